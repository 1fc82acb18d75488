"""The layout of motor packets: the feedback of an effector, the commands to it, and their copies as spikes.

Feedback (topic `motor_feedback`) of a planar arm with n joints is float32 [3 n + 2, 1], rows in this order:

    n rows   joint angles, rad
    n rows   joint velocities, rad/s
    2 rows   fingertip x, y in metres, the shoulder at the origin
    n rows   command applied during the step that led here, as a fraction of full torque, in [-1, 1]

with `tick` (counts physics steps) in the header. A command (topic `motor_command`) is float32 [n, 1], a fraction of
full torque per joint, in [-1, 1]: what an effector takes. Between regions a command is the spikes of `command_code`,
and a tick is `MOTOR_STEPS` of their steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import MessageError, PacketError
from brainnet.wire.codes.values import ValueCode
from brainnet.wire.messages import FeedbackHeader
from brainnet.wire.packet import SpikePacket

MOTOR_NEURONS: Final = 128
"""Neurons of each population that says a value of a movement."""
MOTOR_STEPS: Final = ValueCode(()).steps
"""Steps of the spikes that stand for one tick of an effector."""


@dataclass(frozen=True, eq=False)
class JointState:
    """One feedback of an arm with n joints; see the module for units.

    Attributes:
        angles: Joint angles, float64 [n].
        velocities: Joint velocities, float64 [n].
        tip: Position of the fingertip, float64 [2].
        applied: Command applied during the step that led to this state, float64 [n].
        tick: Number of the physics step.
        idle: Whether nobody commands the arm, and it rests.
        stopped: Whether the arm was stopped, and follows no command.
    """

    angles: NDArray[np.float64]
    velocities: NDArray[np.float64]
    tip: NDArray[np.float64]
    applied: NDArray[np.float64]
    tick: int = 0
    idle: bool = False
    stopped: bool = False

    def to_data(self) -> NDArray[np.float32]:
        """Return the rows of a feedback packet, float32 [3 n + 2, 1]."""
        return np.concatenate([self.angles, self.velocities, self.tip, self.applied]).astype(np.float32)[:, None]

    @classmethod
    def from_packet(cls, packet: SpikePacket) -> JointState:
        """Read a feedback packet.

        Raises:
            PacketError: The shape or the header is not that of a feedback packet.
        """
        rows, steps = packet.shape
        joints = (rows - 2) // 3
        if steps != 1 or joints < 1 or rows != 3 * joints + 2 or packet.data.dtype.kind != "f":
            raise PacketError(
                f"joint feedback is float32 [3 n + 2, 1], got {packet.data.dtype} {list(packet.shape)} "
                f"from {packet.source!r}"
            )
        try:
            header = FeedbackHeader.of(packet)
        except MessageError as error:
            raise PacketError(f"joint feedback from {packet.source!r}: {error}") from None
        angles, velocities, tip, applied = np.split(
            packet.data[:, 0].astype(np.float64), [joints, 2 * joints, 2 * joints + 2]
        )
        return cls(angles, velocities, tip, applied, header.tick, header.idle, header.stopped)


def command_data(command: NDArray[Any]) -> NDArray[np.float32]:
    """Return the rows of a command packet for `command` [n], float32 [n, 1]."""
    return np.asarray(np.clip(command, -1.0, 1.0), np.float32)[:, None]


@cache
def command_code(joints: int) -> ValueCode:
    """Return the code of a command for n joints, each in [-1, 1]: no value is off by more than 0.0005."""
    return ValueCode((1.0,) * joints, MOTOR_NEURONS)


def tick_of(packet: SpikePacket) -> int:
    """Return the tick of an effector that the spikes of a packet belong to.

    Raises:
        PacketError: The packet does not say with which step it begins.
    """
    if packet.first_step is None:
        raise PacketError(f"spikes about a movement say with which step they begin; those of {packet.source!r} do not")
    return packet.first_step // MOTOR_STEPS
