"""Memory integrator: fuses the partials of a decision into the one Answer of a prompt."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from brainnet import Answer, Decision, Node, NodeParameters, Partial, Prompt, SpikePacket, main, serve, subscribe
from brainnet.bus import Sample
from brainnet.errors import BrainnetError, WireError
from brainnet.prompts.fusion import Fused, fuse, load_trust
from brainnet.prompts.journal import Journal
from brainnet.wire.keys import key
from brainnet.wire.messages import OpenPrompts, OpenPromptsQuery, PartialHeader, StoppedBy, new_id


@dataclass(slots=True)
class Open:
    """A prompt that has no answer yet. Decision and partials may come before the prompt itself."""

    prompt: Prompt | None = None
    arrived: float = field(default_factory=time.monotonic)
    decision: Decision | None = None
    decided_ms: float = 0.0
    partials: dict[str, Partial] = field(default_factory=dict)
    waiting: list[asyncio.Future[Answer]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    answering: bool = False

    def elapsed_ms(self) -> float:
        return (time.monotonic() - self.arrived) * 1000


class MemoryIntegrator(Node):
    """Journals prompts, fuses the partials of the regions, and publishes exactly one Answer for each."""

    role = "integrator"
    default_checkpoint = "memory_integrator.safetensors"

    class Parameters(NodeParameters):
        """How answers are fused."""

        max_open: int = Field(1000, ge=1, description="prompts open at once; more are refused at once")
        learning_rate: float = Field(
            0.05, ge=0.0, le=1.0, description="how fast a region's reliability follows its record"
        )

    params: Parameters

    def load(self) -> None:
        assert self.checkpoint is not None
        self._trust = load_trust(self.checkpoint)
        self._journal = Journal(self.data_dir / "journal.sqlite")
        self._left_open = self._journal.open_prompts()

    async def setup(self) -> None:
        self._open: OrderedDict[str, Open] = OrderedDict()
        self._reliability: dict[str, float] = {}
        self._prompts = self.bus.subscribe(key("prompt"), on_malformed=self._refuse_malformed)
        self.spawn(self._listen_to_prompts())

    async def run(self) -> None:
        for prompt, accepted_s in self._left_open:  # of a predecessor that was killed
            prompt.deadline_ms = max(1, int(prompt.deadline_ms - (time.time() - accepted_s) * 1000))
            self._track(prompt)
            await self.send(key("prompt"), prompt)  # the others answer again from what they remember

    async def teardown(self) -> None:
        await self.in_model_thread(self._journal.close)

    # -- prompts -----------------------------------------------------------------------------------------------------

    async def _listen_to_prompts(self) -> None:
        async for received in self._prompts:
            try:
                prompt: Prompt = received.message
                if await self._accept(prompt) is not None and not prompt.named:
                    self.publish(key("prompt"), prompt)  # again, with the id that it has from here on
            except BrainnetError as error:
                self.fail("prompt", error)

    @serve("prompt")
    async def ask(self, prompt: Prompt) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        entry = await self._accept(prompt, answer)
        if entry is not None:
            self.publish(key("prompt"), prompt)  # for the prefrontal cortex; the copy that comes back here is known
        return await answer

    async def _accept(self, prompt: Prompt, waiting: asyncio.Future[Answer] | None = None) -> Open | None:
        """Journal and track a prompt; returns its entry when it is new. `waiting` gets the answer, now or later."""
        entry = self._open.get(prompt.prompt_id)
        if entry is not None and entry.prompt is not None:
            if waiting is not None:
                entry.waiting.append(waiting)
            return None
        if len(self._open) >= self.params.max_open:
            refusal = _error(prompt, f"the brain is busy: {len(self._open)} prompts are open; try again later")
            self._deliver(refusal, prompt, [waiting] if waiting else [])
            return None
        entry = self._track(prompt)
        if waiting is not None:
            entry.waiting.append(waiting)
        known = await self.in_model_thread(self._journal.accept, prompt)
        if known is not None:
            self._forget(prompt.prompt_id)
            self._deliver(known, prompt, entry.waiting)
            return None
        self._consider(prompt.prompt_id)
        return entry

    def _track(self, prompt: Prompt) -> Open:
        entry = self._open.setdefault(prompt.prompt_id, Open())
        entry.prompt = prompt
        loop = asyncio.get_running_loop()
        entry.timer = loop.call_later(prompt.deadline_ms / 1000, self._consider, prompt.prompt_id, True)
        return entry

    def _refuse_malformed(self, sample: Sample, error: WireError) -> None:
        self.count("malformed_prompts")
        as_json = not sample.encoding.startswith("application/msgpack")
        self.bus.publish(
            key("result"),
            Answer(prompt_id=new_id(), stopped_by="error", error=str(error), code=error.code),
            as_json=as_json,
        )

    @serve("open_prompts")
    async def open_prompts(self, request: OpenPromptsQuery) -> OpenPrompts:
        return OpenPrompts(prompts=[e.prompt for e in self._open.values() if e.prompt is not None])

    # -- what the brain says about them ------------------------------------------------------------------------------

    @subscribe("decision")
    async def on_decision(self, decision: Decision) -> None:
        entry = self._entry(decision.prompt_id)
        if entry is not None and entry.decision is None:
            entry.decision = decision
            entry.decided_ms = entry.elapsed_ms()
            self._consider(decision.prompt_id)

    @subscribe("partial")
    async def on_partial(self, packet: SpikePacket) -> None:
        partial = PartialHeader.of(packet).partial
        if not partial.final:
            return
        entry = self._entry(partial.prompt_id)
        if entry is not None and partial.region not in entry.partials:
            entry.partials[partial.region] = partial
            self._consider(partial.prompt_id)

    def _entry(self, prompt_id: str) -> Open | None:
        """The entry of a prompt; made when decision or partial overtook it, but not for what nobody asked here."""
        entry = self._open.get(prompt_id)
        if entry is None and len(self._open) < self.params.max_open:
            entry = self._open[prompt_id] = Open()
            asyncio.get_running_loop().call_later(2.0, self._drop_orphan, prompt_id)
        return entry

    def _drop_orphan(self, prompt_id: str) -> None:
        entry = self._open.get(prompt_id)
        if entry is not None and entry.prompt is None:
            self._forget(prompt_id)

    # -- answering ---------------------------------------------------------------------------------------------------

    def _consider(self, prompt_id: str, at_deadline: bool = False) -> None:
        """Answer if there is nothing more to wait for."""
        entry = self._open.get(prompt_id)
        if entry is None or entry.prompt is None or entry.answering:
            return
        answer = self._conclude(entry, entry.prompt, at_deadline)
        if answer is not None:
            entry.answering = True
            self.spawn(self._answer(entry, entry.prompt, answer))

    def _conclude(self, entry: Open, prompt: Prompt, at_deadline: bool) -> Answer | None:
        decision = entry.decision
        if decision is None:
            if at_deadline:
                return _error(
                    prompt, f"no decision within {prompt.deadline_ms} ms: the prefrontal cortex did not answer"
                )
            return None
        if decision.error is not None:
            return _error(prompt, decision.error, decision=decision)
        missing = [r for r in decision.chosen if r not in entry.partials]
        partials = {r: p for r, p in entry.partials.items() if r in decision.chosen}
        fused = fuse(partials, decision.route_probs, decision.chosen, self._reliability, self._trust, prompt.text)
        if missing and not fused.settled and not at_deadline:
            return None
        stopped_by: StoppedBy = "all" if not missing else "settled" if fused.settled else "deadline"
        if not fused.ranked:
            return _error(prompt, _why_nothing(partials, missing, prompt), decision=decision, late=missing)
        return _result(entry, prompt, decision, fused, missing, stopped_by)

    async def _answer(self, entry: Open, prompt: Prompt, answer: Answer) -> None:
        answer.latency_ms = entry.elapsed_ms()
        answer.latency |= {"decision": entry.decided_ms, "total": answer.latency_ms}
        answer.latency |= {f"region.{r}": p.latency_ms for r, p in entry.partials.items()}
        self._learn(entry)
        await self.in_model_thread(self._journal.answered, answer)
        self._forget(prompt.prompt_id)
        self._deliver(answer, prompt, entry.waiting)
        self.count("answers" if answer.error is None else "error_answers")

    def _deliver(self, answer: Answer, prompt: Prompt, waiting: list[asyncio.Future[Answer]]) -> None:
        self.bus.publish(key("result"), answer, as_json=prompt.reply_as == "json")
        for future in waiting:
            if not future.done():
                future.set_result(answer)

    def _forget(self, prompt_id: str) -> None:
        entry = self._open.pop(prompt_id, None)
        if entry is not None and entry.timer is not None:
            entry.timer.cancel()

    def _learn(self, entry: Open) -> None:
        """Reliability of a region: the running share of its queries that it answered at all."""
        if entry.decision is None:
            return
        rate = self.params.learning_rate
        for region in entry.decision.chosen:
            partial = entry.partials.get(region)
            if partial is not None:
                before = self._reliability.get(region, 1.0)
                # a refusal with a reason is an answer too; only failures count against a region
                failed = partial.code == "internal"
                self._reliability[region] = before + rate * ((0.0 if failed else 1.0) - before)


def _result(
    entry: Open, prompt: Prompt, decision: Decision, fused: Fused, missing: list[str], stopped_by: StoppedBy
) -> Answer:
    best = fused.ranked[0]
    content: dict[str, Any] = {
        "regions": best.content,
        "candidates": [
            {
                "text": claimed.text,
                "score": claimed.score,
                "regions": claimed.regions,
                "evidence": {region: claimed.content[region] | claimed.support[region] for region in claimed.regions},
            }
            for claimed in fused.ranked[:5]
        ],
    }
    refused = {r: p.error for r, p in entry.partials.items() if p.error is not None}
    if refused:
        content["refused"] = refused
    return Answer(
        prompt_id=prompt.prompt_id,
        text=best.text,
        content=content,
        confidence=fused.confidence,
        contributing=best.regions + sorted({r for s in fused.ranked for r in s.regions} - set(best.regions)),
        late=missing,
        stopped_by=stopped_by,
        decision=decision,
        prompt=prompt.text,
        session_id=prompt.session_id,
    )


def _error(prompt: Prompt, reason: str, decision: Decision | None = None, late: list[str] | None = None) -> Answer:
    return Answer(
        prompt_id=prompt.prompt_id,
        stopped_by="error",
        error=reason,
        decision=decision,
        late=late or [],
        prompt=prompt.text,
        session_id=prompt.session_id,
    )


def _why_nothing(partials: dict[str, Partial], missing: list[str], prompt: Prompt) -> str:
    reasons = [f"{region}: {partial.error or 'it had nothing to say'}" for region, partial in partials.items()]
    if missing:
        reasons.append(f"{', '.join(missing)}: no answer within {prompt.deadline_ms} ms")
    return "; ".join(reasons) or "no region was asked"


if __name__ == "__main__":
    main(MemoryIntegrator)
