"""What a model is that takes the samples of a sensor from its topic."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from brainnet.sensors.blocks import Block


@runtime_checkable
class Listener(Protocol):
    """A model that takes what a sensor sends; a model of a user's own may be one."""

    @property
    def topic(self) -> str | None:
        """The topic, `input/{modality}/{source}`; None where it takes nothing from a topic."""

    def sense(self, block: Block) -> None:
        """Take one sample; called by another thread than `advance`, and not for long.

        Args:
            block: Its payload; `t_us` are microseconds since 1970.
        """

    def refuse(self, problem: str) -> None:
        """Take note of a sample that could not be read; called as `sense` is."""
