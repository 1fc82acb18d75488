"""Prompts that ask for several things: each part is routed by itself, after the one before it has its answer."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from brainnet import Prompt
from brainnet.prompts import part_id, part_of

MAX_PARTED = 256
"""Prompts with parts that are held at once; the oldest is dropped."""


@dataclass(slots=True)
class _Parted:
    prompt: Prompt
    texts: list[str]
    deadline: float
    next: int = 0


class PartedPrompts:
    """The prompts whose parts are being answered. Not thread-safe."""

    def __init__(self) -> None:
        self._parted: OrderedDict[str, _Parted] = OrderedDict()
        self._parents: dict[str, str] = {}

    def begin(self, prompt: Prompt, texts: list[str], deadline: float) -> Prompt:
        """Take a prompt in, with `time.monotonic()` of its deadline; returns its first part."""
        parted = _Parted(prompt, texts, deadline)
        self._parted[prompt.prompt_id] = parted
        while len(self._parted) > MAX_PARTED:
            self.end(next(iter(self._parted)))
        return self._part(parted)

    def parts(self, prompt_id: str) -> list[str]:
        """Return the ids of the parts of a prompt; none where it has no parts."""
        parted = self._parted.get(prompt_id)
        return [] if parted is None else [part_id(prompt_id, number) for number in range(len(parted.texts))]

    def after(self, prompt_id: str) -> tuple[Prompt, float] | None:
        """Return the part that follows the one that has been answered, and its deadline; None where there is none."""
        parted = self._parted.get(self._parents.get(prompt_id, ""))
        if parted is None or prompt_id != part_id(parted.prompt.prompt_id, parted.next):
            return None  # it was answered before, by a predecessor of this process
        parted.next += 1
        if parted.next >= len(parted.texts):
            return None
        return self._part(parted), parted.deadline

    def _part(self, parted: _Parted) -> Prompt:
        name = part_id(parted.prompt.prompt_id, parted.next)
        self._parents[name] = parted.prompt.prompt_id
        return part_of(parted.prompt, parted.next, parted.texts[parted.next])

    def end(self, prompt_id: str) -> list[str]:
        """Forget a prompt that has its answer; returns the ids of its parts."""
        names = self.parts(prompt_id)
        self._parted.pop(prompt_id, None)
        for name in names:
            self._parents.pop(name, None)
        return names
