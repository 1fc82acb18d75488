r"""Motor corrections: what a forward model sends to the controller of an effector with n joints, as spikes.

A correction has 3 n + n^2 values, in this order:

    n      lead, angles: change of the joint angles between the next feedback and the time its command acts, rad
    n      lead, velocities: change of the joint velocities over the same time, rad/s
    n      offset: command to be added, fractions of full torque
    n^2    gain: what is to be added for each unit of the controller's own command, row by row

A controller computes its command w from $x + lead$ in place of the state x that the feedback shows, and sends
$w + offset + gain \cdot w$. The values travel in the code of `brainnet.wire.codes.values`: silence corrects nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.effectors.joint_state import MOTOR_NEURONS
from brainnet.wire.codes.values import ValueCode
from brainnet.wire.packet import SpikePacket

LARGEST_LEAD: Final = (1.0, 8.0)
"""Largest lead of an angle, rad, and of a velocity, rad/s, that a correction can hold."""
LARGEST_OFFSET: Final = 1.0
"""Largest command to be added, fraction of full torque."""
LARGEST_GAIN: Final = 4.0
"""Largest command to be added for each unit of the controller's own."""


@cache
def correction_code(joints: int) -> ValueCode:
    """Return the code of a correction for n joints."""
    angle, velocity = LARGEST_LEAD
    parts = [angle] * joints + [velocity] * joints + [LARGEST_OFFSET] * joints + [LARGEST_GAIN] * joints**2
    return ValueCode(tuple(parts), MOTOR_NEURONS)


@dataclass(frozen=True, eq=False)
class MotorCorrection:
    """One correction for n joints; see the module for units.

    Attributes:
        angles: Lead of the joint angles, float64 [n].
        velocities: Lead of the joint velocities, float64 [n].
        offset: Command to be added, float64 [n].
        gain: Command to be added for each unit of the controller's own, float64 [n, n].
    """

    angles: NDArray[np.float64]
    velocities: NDArray[np.float64]
    offset: NDArray[np.float64]
    gain: NDArray[np.float64]

    @classmethod
    def zero(cls, joints: int) -> MotorCorrection:
        """Return the correction that changes nothing."""
        return cls(np.zeros(joints), np.zeros(joints), np.zeros(joints), np.zeros((joints, joints)))

    def torque(self, command: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is to be added to the controller's own `command` [n]."""
        return self.offset + self.gain @ command

    @property
    def values(self) -> NDArray[np.float64]:
        """The values in the order of the module, float64 [3 n + n^2]."""
        return np.concatenate([self.angles, self.velocities, self.offset, self.gain.ravel()])

    @classmethod
    def of(cls, values: NDArray[np.float64], joints: int) -> MotorCorrection:
        """Return the correction with these values [3 n + n^2]."""
        angles, velocities, offset, gain = np.split(values, [joints, 2 * joints, 3 * joints])
        return cls(angles, velocities, offset, gain.reshape(joints, joints))

    def to_spikes(self) -> NDArray[np.uint8]:
        """Return the spikes of a correction packet, uint8 [neurons, steps]."""
        return correction_code(self.offset.size).encode(self.values)

    def rounded(self) -> MotorCorrection:
        """Return the correction that arrives: a spike more or less is the finest that its values can differ by."""
        joints = self.offset.size
        return self.of(correction_code(joints).rounded(self.values), joints)

    @classmethod
    def from_packet(cls, packet: SpikePacket, joints: int) -> MotorCorrection:
        """Read a correction packet for `joints` joints.

        Raises:
            PacketError: The data are not the spikes of a correction.
        """
        return cls.of(correction_code(joints).decode(packet), joints)
