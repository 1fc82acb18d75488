"""Headers of motor packets, what an effector says of itself, and the stop of effectors.

The data of a command are float32 [commands, 1], those of a feedback float32 [feedback, 1], in the order of the channels
of the effector's `EffectorState`.
"""

from __future__ import annotations

from pydantic import Field

from brainnet.wire.messages.codec import ErrorText, Header, Id, Message


class FeedbackHeader(Header):
    """Header of a packet on `motor_feedback`."""

    tick: int = Field(strict=True, description="counts the effector's steps; a jump means steps that nobody saw")
    idle: bool = Field(False, description="nobody commands the effector, and it rests")
    stopped: bool = Field(False, description="it was stopped on `motor/stop`, brakes, and follows no command")


class CommandHeader(Header):
    """Header of a packet on `motor_command`."""

    tick: int = Field(0, description="of the feedback that this command answers; 0: of none")
    target: list[float] | None = Field(None, description="what the movement aims at, metres")


class Channel(Message):
    """One number of a command or of a feedback.

    Attributes:
        name: What it is.
        unit: Its unit, `1` for a number without one.
        low: The smallest value; None where there is no limit.
        high: The largest value; None where there is no limit.
    """

    name: Id
    unit: Id = "1"
    low: float | None = None
    high: float | None = None


class EffectorQuery(Message):
    """Query for what an effector is, and whether it is stopped."""


class EffectorState(Message):
    """What an effector is: once asked, anybody can command it and read its feedback."""

    effector: Id
    node_id: Id
    about: ErrorText = ""
    rate_hz: float = Field(description="feedbacks per second while it moves")
    watchdog_s: float = Field(description="how long a command holds; then it brakes")
    commands: list[Channel] = Field(description="the rows of a command")
    feedback: list[Channel] = Field(description="the rows of a feedback")
    stopped: bool = False
    stopped_because: ErrorText = ""
    hold_s: float | None = Field(None, description="seconds for which it stays stopped; null: until it is released")


class MotorStop(Message):
    """Stops effectors: they brake at once and follow no command, until the time is over or they are released."""

    effectors: list[Id] = Field(default_factory=list, max_length=1000, description="which; none: all")
    release: bool = Field(False, description="follow commands again")
    hold_s: float | None = Field(None, ge=0.0, description="seconds to stay stopped; null: until a release")
    reason: ErrorText = ""

    def concerns(self, effector: str) -> bool:
        """Return whether it is meant for this effector."""
        return not self.effectors or effector in self.effectors
