"""Headers of motor packets; `brainnet.effectors` gives the layout of their data."""

from __future__ import annotations

from pydantic import Field

from brainnet.wire.messages.codec import Header


class FeedbackHeader(Header):
    """Header of a packet on `motor_feedback`."""

    tick: int = Field(strict=True, description="counts the effector's steps; a jump means steps that nobody saw")
    idle: bool = Field(False, description="nobody commands the effector, and it rests")


class CommandHeader(Header):
    """Header of a packet on `motor_command` and `motor_efference`."""

    tick: int = Field(0, description="of the feedback that this command answers; 0: of none")
    target: list[float] | None = Field(None, description="what the movement aims at, metres")


class CorrectionHeader(Header):
    """Header of a packet on `motor_correction`."""

    tick: int = Field(description="of the feedback that this correction answers")
    prediction_error_rad_s: float | None = Field(None, description="of the last prediction, rad/s")
    context: int = Field(0, description="index of the learned dynamics in use; 0: those from training")
    delay_ms: float = Field(0.0, ge=0.0, description="by which the feedback seems to be late")
