"""Geometry of the planar two-joint arm, and the input features of a controller that reaches with it.

Links are 0.10 m and 0.11 m, the shoulder is at the origin; angles are in rad, lengths in metres.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import JointState
from brainnet.wire.messages import Channel

JOINTS = 2
UPPER_ARM, FOREARM = 0.1, 0.11
"""Lengths of the links in metres."""
INNER_RADIUS, OUTER_RADIUS = 0.02, 0.205
"""Every point between these distances from the shoulder, in metres, can be reached.

The links are 0.10 m and 0.11 m long, and the elbow turns 3 rad at most."""
MAX_ELBOW = 2.98
"""Largest elbow angle that inverse kinematics asks for, rad; the joint's stop is at 3."""
FEATURES = 14
"""Number of values that `features` returns."""
COMMANDS: Final = tuple(Channel(name=f"torque_{n}", low=-1.0, high=1.0) for n in range(JOINTS))
"""The channels of a command to the planar arm."""
FEEDBACK: Final = (
    *(Channel(name=f"angle_{n}", unit="rad") for n in range(JOINTS)),
    *(Channel(name=f"velocity_{n}", unit="rad/s") for n in range(JOINTS)),
    *(Channel(name=f"fingertip_{axis}", unit="m") for axis in "xy"),
    *(Channel(name=f"applied_{n}", low=-1.0, high=1.0) for n in range(JOINTS)),
)
"""The channels of its feedback."""


def features(state: JointState, target: NDArray[Any]) -> NDArray[np.float32]:
    """Return the policy's inputs, float32 [14] (or [..., 14] for arrays of states), each of order one.

    Directions are given in the frame of the upper arm, so that the task does not depend on the direction of the arm:
    target [2], cosine and sine of the elbow [2], joint velocities coarse and fine [4], vector from the fingertip to
    the target coarse, fine and finest [6].
    """
    shoulder, elbow = state.angles[..., 0], state.angles[..., 1]
    cos, sin = np.cos(shoulder), np.sin(shoulder)

    def in_upper_arm_frame(vector: NDArray[Any]) -> NDArray[Any]:
        x, y = vector[..., 0], vector[..., 1]
        return np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)

    error = in_upper_arm_frame(target - state.tip)
    # Linear terms cover the whole range; the tanh terms resolve small velocities (0.5 rad/s) and the last
    # centimetres (3 cm, 0.8 cm) and saturate elsewhere, so that every input stays of order one.
    return np.concatenate(
        [
            in_upper_arm_frame(np.asarray(target)) / 0.2,
            np.cos(elbow)[..., None],
            np.sin(elbow)[..., None],
            state.velocities / 5.0,
            np.tanh(state.velocities / 0.5),
            error / 0.2,
            np.tanh(error / 0.03),
            np.tanh(error / 0.008),
        ],
        axis=-1,
    ).astype(np.float32)


def fingertip(angles: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the fingertip [..., 2] in metres for joint angles [..., 2]."""
    shoulder, forearm = angles[..., 0], angles[..., 0] + angles[..., 1]
    return np.stack(
        [
            UPPER_ARM * np.cos(shoulder) + FOREARM * np.cos(forearm),
            UPPER_ARM * np.sin(shoulder) + FOREARM * np.sin(forearm),
        ],
        axis=-1,
    )


def inverse_kinematics(target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute joint angles [..., 2] that put the fingertip on `target`, or nearest to it.

    Of the two solutions the one with an elbow angle >= 0 is returned. One elbow side for all targets makes the angles
    a continuous function of the target, which a policy can learn.
    """
    x, y = target[..., 0], target[..., 1]
    cosine = (x * x + y * y - UPPER_ARM**2 - FOREARM**2) / (2 * UPPER_ARM * FOREARM)
    elbow = np.arccos(np.clip(cosine, np.cos(MAX_ELBOW), 1.0))
    shoulder = np.arctan2(y, x) - np.arctan2(FOREARM * np.sin(elbow), UPPER_ARM + FOREARM * np.cos(elbow))
    return np.stack([shoulder, elbow], axis=-1)


def predicted_state(state: JointState, correction: MotorCorrection) -> JointState:
    """Move `state` forward to the time when a command sent now acts, by the lead of `correction`."""
    angles = state.angles + correction.angles
    # The reported tip plus a difference, not the computed tip: without a correction the state is exactly unchanged.
    tip = state.tip + fingertip(angles) - fingertip(state.angles)
    return replace(state, angles=angles, velocities=state.velocities + correction.velocities, tip=tip)


def tip_distance(state: JointState, target: NDArray[Any]) -> float:
    """Compute the distance in metres from the fingertip to `target`."""
    return float(np.hypot(*(target - state.tip)))
