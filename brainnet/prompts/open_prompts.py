"""The prompts that have no answer yet, and what is known of each. No timers and no bus: those are the integrator's."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from brainnet.wire.messages import Answer, Decision, Partial, Prompt


@dataclass(slots=True)
class OpenPrompt:
    """One prompt without an answer. Its decision and partials may arrive before the prompt itself.

    Attributes:
        prompt: What was asked; None while only its decision or partials have arrived.
        arrived: `time.monotonic()` of the first of them.
        decision: Where it was routed.
        decided_ms: From `arrived` to the decision.
        partials: Final partials by region, the first of each.
        parts: Ids of the parts, when it asks for several things.
        part_answers: Their answers, None where there is none yet.
        whole: Id of the prompt that this one is a part of; empty for a prompt of a client.
        answering: Set when it is concluded; from then on nothing changes it.
    """

    prompt: Prompt | None = None
    arrived: float = field(default_factory=time.monotonic)
    decision: Decision | None = None
    decided_ms: float = 0.0
    partials: dict[str, Partial] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    part_answers: list[Answer | None] = field(default_factory=list)
    whole: str = ""
    answering: bool = False

    def elapsed_ms(self) -> float:
        """Return the milliseconds since it arrived."""
        return (time.monotonic() - self.arrived) * 1000

    @property
    def has_grounds(self) -> bool:
        """Whether something was said about it from which it might be concluded before its deadline."""
        decision = self.decision
        if self.prompt is None or decision is None:
            return False
        if decision.parts:
            return None not in self.part_answers
        return bool(self.partials or decision.error is not None)

    def close(self) -> None:
        """Set `answering`, and drop what nobody needs any more: many are held for a while after their end."""
        self.answering = True
        self.decision = None
        self.partials.clear()
        self.part_answers = []

    @property
    def missing(self) -> list[str]:
        """The regions that were asked and have not answered."""
        return [] if self.decision is None else [r for r in self.decision.chosen if r not in self.partials]


class OpenPromptTable:
    """Open prompts by id, oldest first.

    Guarantees: at most `capacity` entries are held, the oldest are dropped; a decision and each region's final partial
    are taken once, the first of each; nothing is taken for a prompt that is concluded.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._open: OrderedDict[str, OpenPrompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, prompt_id: str) -> OpenPrompt | None:
        """Return the entry of a prompt, or None."""
        return self._open.get(prompt_id)

    def accept(self, prompt: Prompt) -> OpenPrompt:
        """Open a prompt, or complete the entry that its decision or a partial made before it arrived."""
        entry = self._entry(prompt.prompt_id)
        entry.prompt = prompt
        return entry

    def add_decision(self, decision: Decision) -> OpenPrompt | None:
        """Take a decision in; returns the entry that it changed, or None."""
        entry = self._entry(decision.prompt_id)
        if entry.answering or entry.decision is not None:
            return None
        entry.decision, entry.decided_ms = decision, entry.elapsed_ms()
        return entry

    def add_partial(self, partial: Partial) -> OpenPrompt | None:
        """Take a final partial in; returns the entry that it changed, or None."""
        entry = self._entry(partial.prompt_id)
        if entry.answering or partial.region in entry.partials:
            return None
        entry.partials[partial.region] = partial
        return entry

    def _entry(self, prompt_id: str) -> OpenPrompt:
        entry = self._open.get(prompt_id)
        if entry is None:
            entry = self._open[prompt_id] = OpenPrompt()
            while len(self._open) > self.capacity:
                self._open.popitem(last=False)
        return entry

    def close(self, prompt_id: str) -> OpenPrompt | None:
        """Remove a prompt; returns its entry, or None when it was not open."""
        return self._open.pop(prompt_id, None)
