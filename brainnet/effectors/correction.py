r"""The layout of motor corrections: what a forward model sends to the controller of an effector with n joints.

A correction is float32 [3 n + n^2, 1], rows in this order:

    n rows    lead, angles: change of the joint angles between the next feedback and the time its command acts, rad
    n rows    lead, velocities: change of the joint velocities over the same time, rad/s
    n rows    offset: command to be added, fractions of full torque
    n^2 rows  gain: what is to be added for each unit of the controller's own command, row by row

A controller computes its command w from $x + lead$ in place of the state x that the feedback shows, and sends
$w + offset + gain \cdot w$.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError
from brainnet.wire.packet import SpikePacket


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

    def to_data(self) -> NDArray[np.float32]:
        """Return the rows of a correction packet, float32 [3 n + n^2, 1]."""
        rows = np.concatenate([self.angles, self.velocities, self.offset, self.gain.ravel()])
        return rows.astype(np.float32)[:, None]

    @classmethod
    def from_packet(cls, packet: SpikePacket, joints: int) -> MotorCorrection:
        """Read a correction packet for `joints` joints.

        Raises:
            PacketError: The shape is wrong, or a value is not finite.
        """
        rows = 3 * joints + joints**2
        if packet.shape != (rows, 1) or packet.data.dtype.kind != "f" or not np.isfinite(packet.data).all():
            raise PacketError(
                f"a motor correction for {joints} joints is finite float32 [{rows}, 1], got {packet.data.dtype} "
                f"{list(packet.shape)} from {packet.source!r}"
            )
        values = packet.data[:, 0].astype(np.float64)
        angles, velocities, offset, gain = np.split(values, [joints, 2 * joints, 3 * joints])
        return cls(angles, velocities, offset, gain.reshape(joints, joints))
