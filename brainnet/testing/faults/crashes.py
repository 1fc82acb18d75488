"""Regions that end their process."""

from __future__ import annotations

import os
import sys
from typing import Never

from pydantic import Field

from brainnet.node import NodeParameters, Query, Region
from brainnet.testing.faults.answers import says
from brainnet.wire.messages import Partial


def die(exit_code: int, message: str) -> Never:
    """Write a last line to standard error, and end the process without any clean-up."""
    print(message, file=sys.stderr, flush=True)
    os._exit(exit_code)


class CrashAtOnce(Region):
    """Ends its process as soon as it is ready."""

    class Parameters(NodeParameters):
        """How it ends."""

        exit_code: int = Field(3, ge=0, le=255)
        message: str = Field("segment 4 is out of spikes", description="last line on standard error")

    params: Parameters

    async def run(self) -> None:
        """End the process."""
        die(self.params.exit_code, self.params.message)

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt, if one arrives before the end."""
        return says(query.prompt.text)


class CrashAfter(Region):
    """Answers some prompts, and ends its process at the next one."""

    class Parameters(NodeParameters):
        """How it ends."""

        prompts: int = Field(1, ge=0, description="how many it answers")
        exit_code: int = Field(3, ge=0, le=255)

    params: Parameters

    def load(self) -> None:
        """Start to count."""
        self.answered = 0

    answered: int

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt, or end the process."""
        if self.answered >= self.params.prompts:
            die(self.params.exit_code, f"the prompt after {self.answered} is one too many")
        self.answered += 1
        return says(query.prompt.text)


class CrashOnWord(Region):
    """Ends its process when a prompt has a certain word; with every prompt when the word is empty."""

    class Parameters(NodeParameters):
        """When and how it ends."""

        word: str = Field("crash", description="the word")
        exit_code: int = Field(3, ge=0, le=255)

    params: Parameters

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt, or end the process."""
        if not self.params.word or self.params.word in query.prompt.text.split():
            die(self.params.exit_code, "segment 4 is out of spikes")
        return says(query.prompt.text)
