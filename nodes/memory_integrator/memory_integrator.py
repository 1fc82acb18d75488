"""Memory integrator: fuses the partial answers of the regions that were asked into the one Answer of a prompt.

The protocol is `brainnet.prompts`; this program connects it to the topics, keeps its timers and its journal.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from pydantic import Field

from brainnet import Answer, Decision, Node, NodeParameters, Prompt, SpikePacket, main, serve, subscribe
from brainnet.bus import Bus, Mailbox, Received, Sample
from brainnet.errors import BrainnetError, WireError
from brainnet.node import NodeSpec
from brainnet.prompts import (
    Journal,
    OpenPrompt,
    OpenPromptTable,
    Reliability,
    Trust,
    conclude,
    error_answer,
    load_trust,
)
from brainnet.wire.keys import key
from brainnet.wire.messages import OpenPrompts, OpenPromptsQuery, PartialHeader, new_id

ORPHAN_S = 2.0
"""How long a decision or partial waits for its prompt: they travel on other topics and may overtake it."""


class MemoryIntegrator(Node):
    """Journals prompts, fuses the partials of the regions, and publishes exactly one Answer for each."""

    role = "integrator"
    default_checkpoint = "memory_integrator.safetensors"

    class Parameters(NodeParameters):
        """How answers are fused."""

        max_open: int = Field(
            1000, ge=1, description="prompts of priority 5 open at once; priority 0 may fill half of it, 9 1.4 times it"
        )
        learning_rate: float = Field(
            0.05, ge=0.0, le=1.0, description="how fast a region's reliability follows its record"
        )

    params: Parameters
    journal: Journal
    """Made by `load`, used in the model thread."""

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._open = OpenPromptTable(self.params.max_open)
        self._reliability = Reliability()
        self._trust: dict[str, Trust] = {}
        self._left_open: list[tuple[Prompt, float]] = []
        self._waiting: defaultdict[str, list[asyncio.Future[Answer]]] = defaultdict(list)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def load(self) -> None:
        assert self.checkpoint is not None
        self._trust = load_trust(self.checkpoint)
        self.journal = Journal(self.data_dir / "journal.sqlite")
        self._left_open = self.journal.open_prompts()

    def params_changed(self, name: str) -> None:
        self._open.capacity = self.params.max_open

    async def setup(self) -> None:
        # subscribed by hand, because a malformed prompt is answered, too
        prompts = self.bus.subscribe(key("prompt"), on_malformed=self._refuse_malformed)
        self.spawn(self._receive_prompts(prompts))

    async def run(self) -> None:
        """Ask again what a predecessor that was killed left open: the others answer from what they remember."""
        for prompt, accepted_s in self._left_open:
            prompt.deadline_ms = max(1, int(prompt.deadline_ms - (time.time() - accepted_s) * 1000))
            self._track(prompt)
            await self.send(key("prompt"), prompt)

    async def teardown(self) -> None:
        if hasattr(self, "journal"):
            await self.in_model_thread(self.journal.close)

    # -- prompts -----------------------------------------------------------------------------------------------------

    async def _receive_prompts(self, prompts: Mailbox[Received]) -> None:
        async for received in prompts:
            try:
                prompt: Prompt = received.message
                if await self._accept(prompt) and not prompt.named:
                    self.publish(key("prompt"), prompt)  # again, with the id that it has from here on
            except BrainnetError as error:
                self.report_error("prompt", error)

    @serve("prompt")
    async def ask(self, prompt: Prompt) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if await self._accept(prompt, answer):
            self.publish(key("prompt"), prompt)  # for the router; the copy that comes back here is known
        return await answer

    async def _accept(self, prompt: Prompt, waiting: asyncio.Future[Answer] | None = None) -> bool:
        """Journal and track a prompt.

        Args:
            prompt: What is asked.
            waiting: Gets the answer, now or later.

        Returns:
            Whether the prompt is new here and was accepted.
        """
        if waiting is not None:
            self._waiting[prompt.prompt_id].append(waiting)
        entry = self._open.get(prompt.prompt_id)
        if entry is not None and entry.prompt is not None:  # sent again; it is being answered
            return False
        if not self._open.has_room(prompt.priority):
            reason = f"the brain is busy: {len(self._open)} prompts are open; try again later"
            self._deliver(error_answer(prompt, "busy", reason), prompt)
            return False
        self._track(prompt)
        known = await self.in_model_thread(self.journal.accept, prompt)
        if known is not None:
            self._close(prompt.prompt_id)
            self._deliver(known, prompt)
            return False
        self._answer_if_concluded(prompt.prompt_id)
        return True

    def _track(self, prompt: Prompt) -> None:
        self._open.accept(prompt)
        self._set_timer(prompt.prompt_id, prompt.deadline_ms / 1000, self._answer_if_concluded, True)

    def _set_timer(self, prompt_id: str, delay_s: float, function: Callable[..., None], *args: Any) -> None:
        """Call `function(prompt_id, *args)` later, in place of what was to be called for this prompt before."""
        before = self._timers.pop(prompt_id, None)
        if before is not None:
            before.cancel()
        self._timers[prompt_id] = asyncio.get_running_loop().call_later(delay_s, function, prompt_id, *args)

    def _refuse_malformed(self, sample: Sample, error: WireError) -> None:
        self.count("malformed_prompts")
        as_json = not sample.encoding.startswith("application/msgpack")
        answer = Answer(prompt_id=new_id(), stopped_by="error", error=str(error), code=error.code)
        self.bus.publish(key("result"), answer, as_json=as_json)

    @serve("open_prompts")
    async def open_prompts(self, request: OpenPromptsQuery) -> OpenPrompts:
        return OpenPrompts(prompts=self._open.prompts())

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
            self._answer_if_concluded(prompt_id)
        elif prompt_id not in self._timers:
            self._set_timer(prompt_id, ORPHAN_S, self._close)

    # -- answering ---------------------------------------------------------------------------------------------------

    def _answer_if_concluded(self, prompt_id: str, at_deadline: bool = False) -> None:
        entry = self._open.get(prompt_id)
        if entry is None or entry.prompt is None or entry.answering:
            return
        answer = conclude(entry, trust=self._trust, reliability=self._reliability.by_region, at_deadline=at_deadline)
        if answer is not None:
            entry.answering = True
            self.spawn(self._answer(entry, entry.prompt, answer))

    async def _answer(self, entry: OpenPrompt, prompt: Prompt, answer: Answer) -> None:
        answer.latency_ms = entry.elapsed_ms()
        answer.latency |= {"decision": entry.decided_ms, "total": answer.latency_ms}
        answer.latency |= {f"region.{region}": partial.latency_ms for region, partial in entry.partials.items()}
        if entry.decision is not None:
            self._reliability.update(entry.decision.chosen, entry.partials, self.params.learning_rate)
        await self.in_model_thread(self.journal.answered, answer)
        self._close(prompt.prompt_id)
        self._deliver(answer, prompt)
        self.count("answers" if answer.error is None else "error_answers")

    def _deliver(self, answer: Answer, prompt: Prompt) -> None:
        """Publish an answer, and hand it to every query that waits for it."""
        self.bus.publish(key("result"), answer, as_json=prompt.reply_as == "json")
        for future in self._waiting.pop(prompt.prompt_id, ()):
            if not future.done():
                future.set_result(answer)

    def _close(self, prompt_id: str) -> None:
        self._open.close(prompt_id)
        timer = self._timers.pop(prompt_id, None)
        if timer is not None:
            timer.cancel()


if __name__ == "__main__":
    main(MemoryIntegrator)
