"""Memory integrator: fuses the partial answers of the regions that were asked into the one answer of a prompt.

The protocol is `brainnet.prompts`; this program connects it to the topics and keeps its timers. What it concludes goes
to the broker, which accepted the prompt and publishes its Answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np
from pydantic import Field

from brainnet import Answer, Decision, Node, NodeParameters, Prompt, SpikePacket, main, subscribe
from brainnet.bus import Bus
from brainnet.errors import WireError
from brainnet.guard import describe, ends_task
from brainnet.node import MAX_DEATHS, LiveRegions, NodeSpec, resume
from brainnet.prompts import (
    PART_MODALITY,
    OpenPrompt,
    OpenPromptTable,
    Reliability,
    Trust,
    conclude,
    error_answer,
    examples,
    load_trust,
    part_id,
    part_of,
    warm_up,
)
from brainnet.wire.codes.values import CONFIDENCE
from brainnet.wire.keys import key
from brainnet.wire.messages import Accepted, PartialHeader

ORPHAN_S = 2.0
"""How long a decision or partial waits for its prompt: they travel on other topics and may overtake it."""
MAX_TOGETHER = 64
"""Messages that are handled together at most."""
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
        self._regions = LiveRegions(control)

    def load(self) -> None:
        assert self.checkpoint is not None
        self._trust = load_trust(self.checkpoint)
        warm_up()

    async def setup(self) -> None:
        self.bus.declare(self._conclusion_key)
        self.spawn(self._regions.follow(), essential=True)

    async def run(self) -> None:
        """Take up what a predecessor left open: the others answer from what they remember."""
        await self.bus.wait_matching(self._conclusion_key, 2.0)
        await resume(self)

    # -- prompts -----------------------------------------------------------------------------------------------------

    @subscribe("accepted", batch=MAX_TOGETHER)
    async def on_accepted(self, batch: list[Accepted]) -> None:
        changed = []
        for accepted in batch:
            prompt = accepted.prompt
            entry = self._open.get(prompt.prompt_id)
            if entry is not None and entry.prompt is not None:  # handed out again; it is known
                continue
            entry = self._open.accept(prompt)
            changed.append(entry)
            self._open_parts(entry)
            self._set_timer(prompt.prompt_id, accepted.left_ms / 1000, self._at_deadline)
        self._conclude_ready(changed)

    def _set_timer(self, prompt_id: str, delay_s: float, function: Callable[[str], None]) -> None:
        """Call `function(prompt_id)` later, in place of what was to be called for this prompt before."""
        before = self._timers.pop(prompt_id, None)
        if before is not None:
            before.cancel()
        self._timers[prompt_id] = asyncio.get_running_loop().call_later(delay_s, function, prompt_id)

    # -- what the brain says about them ------------------------------------------------------------------------------

    @subscribe("decision", batch=MAX_TOGETHER)
    async def on_decisions(self, batch: list[Decision]) -> None:
        changed = []
        for decision in batch:
            entry = self._known(decision.prompt_id, self._open.add_decision(decision))
            if entry is not None:
                self._open_parts(entry)
            elif (concluded := self._part_answer(decision.prompt_id)) is not None:
                # The router was started again, and waits for this part before it asks for the next.
                self._tell_router(decision, concluded)
            changed.append(entry)
        self._conclude_ready(changed)

    @subscribe("partial", batch=MAX_TOGETHER)
    async def on_partials(self, batch: list[SpikePacket]) -> None:
        changed = []
        for packet in batch:
            try:
                partial = PartialHeader.of(packet).partial
            except WireError as error:  # of this partial; those beside it are of other prompts
                self.report_error("partial", error)
                continue
            if partial.final:
                changed.append(self._known(partial.prompt_id, self._open.add_partial(partial)))
        self._conclude_ready(changed)

    def _known(self, prompt_id: str, entry: OpenPrompt | None) -> OpenPrompt | None:
        """Return an entry that was changed; one whose prompt has not arrived is dropped after a while."""
        if entry is not None and entry.prompt is None and prompt_id not in self._timers:
            self._set_timer(prompt_id, ORPHAN_S, self._close)
        return entry

    # -- prompts that ask for several things -------------------------------------------------------------------------

    def _open_parts(self, whole: OpenPrompt) -> None:
        """Open the parts of a prompt, once both the prompt and its decision have arrived."""
        if whole.prompt is None or whole.decision is None or whole.parts or not whole.decision.parts:
            return
        for number, text in enumerate(whole.decision.parts):
            part = self._open.accept(part_of(whole.prompt, number, text))
            part.whole = whole.prompt.prompt_id
            whole.parts.append(part_id(whole.prompt.prompt_id, number))
            whole.part_answers.append(None)

    def _part_answer(self, prompt_id: str) -> Answer | None:
        """Return the answer of a part that is concluded, while the prompt that it is a part of is open."""
        part = self._open.get(prompt_id)
        whole = self._open.get(part.whole) if part is not None and part.whole else None
        if whole is None or whole.answering:
            return None
        return whole.part_answers[whole.parts.index(prompt_id)]

    def _conclude_part(self, part: OpenPrompt, answer: Answer) -> None:
        """Keep the answer of a part; the router hears of it and asks for the next, and the last one ends the whole."""
        whole = self._open.get(part.whole)
        if whole is None or whole.answering:
            return
        whole.part_answers[whole.parts.index(answer.prompt_id)] = answer
        if whole.decision is not None:
            self._tell_router(whole.decision, answer)
        self._conclude_ready([whole])

    def _tell_router(self, decision: Decision, answer: Answer) -> None:
        """Let the router know, in spikes, that a part of a prompt has its answer, and how sure it is."""
        if not decision.router:
            return
        packet = self.packet(
            CONFIDENCE.encode(np.array([answer.confidence])),
            modality=PART_MODALITY,
            metadata={"prompt_id": answer.prompt_id},
        )
        self.spawn(self.send(key("spikes", source=self.id, target=decision.router), packet))

    # -- concluding --------------------------------------------------------------------------------------------------

    def _conclude_ready(self, changed: Sequence[OpenPrompt | None]) -> None:
        """Conclude those of the changed prompts whose outcome nothing that is missing can change."""
        ready: dict[str, OpenPrompt] = {}
        for entry in changed:
            if entry is not None and entry.prompt is not None:
                name = entry.prompt.prompt_id
                if entry.has_grounds or self.work.deaths(name) >= MAX_DEATHS:
                    ready[name] = entry
        # What may have killed a predecessor is fused alone, so that no other prompt is blamed for it.
        together = [(name, entry) for name, entry in ready.items() if not self.work.deaths(name)]
        for alone in [(name, entry) for name, entry in ready.items() if self.work.deaths(name)]:
            self._conclude([alone], at_deadline=False)
        if together:
            self._conclude(together, at_deadline=False)

    def _at_deadline(self, prompt_id: str) -> None:
        entry = self._open.get(prompt_id)
        if entry is not None:
            # What its parts have so far is part of the answer.
            for name in entry.parts:
                part = self._open.get(name)
                if part is not None and part.decision is not None and not part.answering:
                    self._conclude([(name, part)], at_deadline=True)
            self._conclude([(prompt_id, entry)], at_deadline=True)

    def _conclude(self, entries: list[tuple[str, OpenPrompt]], *, at_deadline: bool) -> None:
        names = [name for name, _ in entries]
        self.work.begin(names)
        try:
            for _, entry in entries:
                if entry.prompt is not None and not entry.answering:
                    try:
                        self._conclude_one(entry, entry.prompt, at_deadline)
                    except BaseException as error:  # of this prompt, not of those beside it
                        if ends_task(error):
                            raise
                        self.report_error("conclude", error)
        finally:
            self.work.end(names)

    def _conclude_one(self, entry: OpenPrompt, prompt: Prompt, at_deadline: bool) -> None:
        try:
            answer = self._fuse(entry, prompt, at_deadline)
        except BaseException as error:  # it is answered with the error
            if ends_task(error):
                raise
            self.report_error("fuse", error)
            reason = f"internal error in {self.id}: {describe(error)}"
            answer = error_answer(prompt, "internal", reason, decision=entry.decision)
        if answer is not None:
            entry.close()
            # The entry stays for a while, so that what arrives late is known; then nothing is left of it.
            if entry.whole:
                self._conclude_part(entry, answer)
                return
            for name in (prompt.prompt_id, *entry.parts):
                self._set_timer(name, ORPHAN_S, self._close)
            self._send(prompt, answer)

    def _fuse(self, entry: OpenPrompt, prompt: Prompt, at_deadline: bool) -> Answer | None:
        deaths = self.work.deaths(prompt.prompt_id)
        if deaths >= MAX_DEATHS:
            return error_answer(prompt, "poison", f"{self.id} died {deaths} times while it fused this prompt")
        started = time.perf_counter()
        answer = conclude(
            entry,
            trust=self._trust,
            reliability=self._reliability.by_region,
            at_deadline=at_deadline,
            able=examples(self._regions),
        )
        if answer is None:
            return None
        if entry.decision is not None:
            self._reliability.update(entry.decision.chosen, entry.partials, self.params.learning_rate)
        parts = {f"region.{region}": partial.latency_ms for region, partial in entry.partials.items()}
        answer.latency = parts | {"decision": entry.decided_ms, "fuse": (time.perf_counter() - started) * 1000}
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
