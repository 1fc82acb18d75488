"""Memory integrator: fuses the partial answers of the regions that were asked into the one answer of a prompt.

The protocol is `brainnet.prompts`; this program connects it to the topics and keeps its timers. What it concludes goes
to the broker, which accepted the prompt and publishes its Answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pydantic import Field

from brainnet import Answer, Decision, Node, NodeParameters, Prompt, SpikePacket, main, subscribe
from brainnet.bus import Bus
from brainnet.errors import WireError
from brainnet.guard import describe
from brainnet.node import MAX_DEATHS, NodeSpec, resume
from brainnet.prompts import (
    OpenPrompt,
    OpenPromptTable,
    Reliability,
    Trust,
    conclude,
    error_answer,
    load_trust,
    warm_up,
)
from brainnet.wire.keys import key
from brainnet.wire.messages import Accepted, PartialHeader

ORPHAN_S = 2.0
"""How long a decision or partial waits for its prompt: they travel on other topics and may overtake it."""
MAX_OPEN = 4096
"""Entries that are held at once. The broker hands out far fewer prompts; the rest is room for early partials."""


class MemoryIntegrator(Node):
    """Fuses the partials of the regions that were asked, and concludes each prompt once."""

    role = "integrator"
    default_checkpoint = "memory_integrator.safetensors"

    class Parameters(NodeParameters):
        """How answers are fused."""

        learning_rate: float = Field(
            0.05, ge=0.0, le=1.0, description="how fast a region's reliability follows its record"
        )

    params: Parameters

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._open = OpenPromptTable(MAX_OPEN)
        self._reliability = Reliability()
        self._trust: dict[str, Trust] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._conclusion_key = key("conclusion", node_id=self.id)

    def load(self) -> None:
        assert self.checkpoint is not None
        self._trust = load_trust(self.checkpoint)
        warm_up()

    async def setup(self) -> None:
        self.bus.declare(self._conclusion_key)

    async def run(self) -> None:
        """Take up what a predecessor left open: the others answer from what they remember."""
        await self.bus.wait_matching(self._conclusion_key, 2.0)
        await resume(self)

    # -- prompts -----------------------------------------------------------------------------------------------------

    @subscribe("accepted")
    async def on_accepted(self, accepted: Accepted) -> None:
        prompt = accepted.prompt
        entry = self._open.get(prompt.prompt_id)
        if entry is not None and entry.prompt is not None:  # handed out again; it is known
            return
        self._open.accept(prompt)
        self._set_timer(prompt.prompt_id, accepted.left_ms / 1000, self._conclude, True)
        self._conclude(prompt.prompt_id)

    def _set_timer(self, prompt_id: str, delay_s: float, function: Callable[..., None], *args: Any) -> None:
        """Call `function(prompt_id, *args)` later, in place of what was to be called for this prompt before."""
        before = self._timers.pop(prompt_id, None)
        if before is not None:
            before.cancel()
        self._timers[prompt_id] = asyncio.get_running_loop().call_later(delay_s, function, prompt_id, *args)

    # -- what the brain says about them ------------------------------------------------------------------------------

    @subscribe("decision")
    async def on_decision(self, decision: Decision) -> None:
        self._changed(decision.prompt_id, self._open.add_decision(decision))

    @subscribe("partial")
    async def on_partial(self, packet: SpikePacket) -> None:
        partial = PartialHeader.of(packet).partial
        if partial.final:
            self._changed(partial.prompt_id, self._open.add_partial(partial))

    def _changed(self, prompt_id: str, entry: OpenPrompt | None) -> None:
        if entry is None:
            return
        if entry.prompt is not None:
            self._conclude(prompt_id)
        elif prompt_id not in self._timers:
            self._set_timer(prompt_id, ORPHAN_S, self._close)

    # -- concluding --------------------------------------------------------------------------------------------------

    def _conclude(self, prompt_id: str, at_deadline: bool = False) -> None:
        """Conclude a prompt when nothing that is missing can change the outcome, or at its deadline."""
        entry = self._open.get(prompt_id)
        if entry is None or entry.prompt is None or entry.answering:
            return
        try:
            answer = self._fuse(entry, entry.prompt, at_deadline)
        except Exception as error:  # of this prompt: it is answered with the error
            self.report_error("fuse", error)
            reason = f"internal error in {self.id}: {describe(error)}"
            answer = error_answer(entry.prompt, "internal", reason, decision=entry.decision)
        if answer is not None:
            entry.answering = True
            self._send(entry.prompt, answer)
            # The entry stays for a while, so that what arrives late is known; then nothing is left of it.
            self._set_timer(prompt_id, ORPHAN_S, self._close)

    def _fuse(self, entry: OpenPrompt, prompt: Prompt, at_deadline: bool) -> Answer | None:
        deaths = self.work.deaths(prompt.prompt_id)
        if deaths >= MAX_DEATHS:
            return error_answer(prompt, "poison", f"{self.id} died {deaths} times while it fused this prompt")
        self.work.begin([prompt.prompt_id])
        started = time.perf_counter()
        answer = conclude(entry, trust=self._trust, reliability=self._reliability.by_region, at_deadline=at_deadline)
        self.work.end([prompt.prompt_id])
        if answer is None:
            return None
        if entry.decision is not None:
            self._reliability.update(entry.decision.chosen, entry.partials, self.params.learning_rate)
        answer.latency |= {f"region.{region}": partial.latency_ms for region, partial in entry.partials.items()}
        answer.latency |= {"decision": entry.decided_ms, "fuse": (time.perf_counter() - started) * 1000}
        return answer

    def _send(self, prompt: Prompt, answer: Answer) -> None:
        try:
            self.publish(self._conclusion_key, answer)
        except WireError as error:  # too large, say
            self.report_error("conclude", error)
            self.publish(self._conclusion_key, error_answer(prompt, error.code, f"the answer cannot be sent: {error}"))
        self.count("answers" if answer.error is None else "error_answers")

    def _close(self, prompt_id: str) -> None:
        self._open.close(prompt_id)
        timer = self._timers.pop(prompt_id, None)
        if timer is not None:
            timer.cancel()


if __name__ == "__main__":
    main(MemoryIntegrator)
