"""Prefrontal cortex: routes each prompt to the regions that should answer it, and says why."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from brainnet import Answer, Decision, Node, NodeParameters, Prompt, main, subscribe
from brainnet.errors import BrainnetError
from brainnet.snn.models.decision import DecisionParams
from brainnet.snn.models.quantum import MAX_TEMPERATURE
from brainnet.snn.models.router import RouteDecision, Router, RouterState
from brainnet.wire.keys import chunk, key
from brainnet.wire.messages import OpenPromptsQuery, QueryHeader

_SESSIONS = 256
_REMEMBERED = 512


@dataclass(slots=True)
class Asked:
    """A prompt that was decided, kept until its answer so that it can be asked again."""

    prompt: Prompt
    decision: Decision
    spikes: np.ndarray
    deadline: float
    regions: set[str] = field(default_factory=set)


class Prefrontal(Node):
    """Routes prompts with a spiking network whose uncertainty drives a quantum-inspired modulation."""

    role = "router"
    default_checkpoint = "prefrontal.safetensors"

    class Parameters(NodeParameters):
        """How regions are chosen."""

        mass: float = Field(
            DecisionParams().mass, gt=0.0, le=1.0, description="probability mass of the smallest set that is asked"
        )
        max_temperature: float = Field(
            MAX_TEMPERATURE, ge=1.0, description="clamp of the routing temperature 1 / (alpha + eps)"
        )
        patience_s: float = Field(3.0, ge=0.0, description="how long to wait for a region that was alive a moment ago")

    params: Parameters

    def load(self) -> None:
        assert self.checkpoint is not None
        self._router = Router.load(self.checkpoint)
        self._router.decide("warm up", has_image=False)

    async def setup(self) -> None:
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._deciding: set[str] = set()
        self._sessions: OrderedDict[str, RouterState] = OrderedDict()
        self._last_seen: dict[str, float] = {}
        self._alive: set[str] = set()
        self._decisions_key = key("decision", node_id=self.id)
        self.bus.declare(self._decisions_key)
        self.spawn(self._watch_regions())

    async def run(self) -> None:
        """Take up what a predecessor left open; the journal of whoever answers knows."""
        try:
            journal = await self.call(key("open_prompts"), OpenPromptsQuery(), timeout=1.0)
        except BrainnetError:  # a brain that starts has no journal yet, and nothing open
            return
        for prompt in journal.prompts:
            await self.on_prompt(prompt)

    @subscribe("prompt")
    async def on_prompt(self, prompt: Prompt) -> None:
        if not prompt.named:  # plain text, say: whoever answers publishes it again with an id
            return
        if prompt.prompt_id in self._closed or prompt.prompt_id in self._deciding:
            return
        asked = self._asked.get(prompt.prompt_id)
        if asked is not None:  # the integrator was restarted and asks again
            self.spawn(self._ask(asked, asked.decision.chosen))
            return
        self._deciding.add(prompt.prompt_id)
        self.spawn(self._decide(prompt))

    @subscribe("result")
    async def on_result(self, answer: Answer) -> None:
        self._asked.pop(answer.prompt_id, None)
        self._closed[answer.prompt_id] = None
        while len(self._closed) > _REMEMBERED:
            self._closed.popitem(last=False)

    # -- deciding ----------------------------------------------------------------------------------------------------

    async def _decide(self, prompt: Prompt) -> None:
        started = time.monotonic()
        deadline = started + prompt.deadline_ms / 1000
        try:
            if prompt.regions is not None:
                routed, decision = None, await self._as_told(prompt, prompt.regions, deadline)
            else:
                routed, decision = await self._route(prompt, deadline)
            spikes = routed.spikes if routed else await self.in_model_thread(self._encode, prompt)
        except Exception as error:
            self.fail("decide", error)
            code = error.code if isinstance(error, BrainnetError) else "internal"
            reason = f"the prompt could not be routed: {error}"
            decision = Decision(prompt_id=prompt.prompt_id, error=reason, code=code)
            spikes = np.zeros((0, 0), np.uint8)
        finally:
            self._deciding.discard(prompt.prompt_id)
        decision.latency_ms = (time.monotonic() - started) * 1000
        asked = self._asked[prompt.prompt_id] = Asked(prompt, decision, spikes, deadline, set(decision.chosen))
        while len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)
        self.count("decisions")
        await self._ask(asked, decision.chosen)

    async def _as_told(self, prompt: Prompt, regions: list[str], deadline: float) -> Decision:
        """The client named the regions."""
        present = [r for r in dict.fromkeys(regions) if await self._present(r, deadline)]
        unknown = [r for r in regions if r not in present]
        share = 1.0 / len(present) if present else 0.0
        known = sorted(r for r in self._alive if self._listens(r))
        error = f"no region {', '.join(unknown)} is alive; alive are: {', '.join(known) or 'none'}" if unknown else None
        return Decision(
            prompt_id=prompt.prompt_id,
            route_probs=dict.fromkeys(present, share),
            chosen=[] if error else present,
            routed_by="client",
            error=error,
            code="no_region" if error else None,
        )

    async def _route(self, prompt: Prompt, deadline: float) -> tuple[RouteDecision, Decision]:
        """The router chooses among all its regions; if a chosen one does not come back in time, among those present."""
        routes = list(self._router.config.routes)
        available = [r for r in routes if self._expected(r)]
        while True:
            if not available:
                known = ", ".join(routes)
                raise BrainnetError(f"none of the regions that can be routed to is alive ({known})", code="no_region")
            routed = await self.in_model_thread(self._run_router, prompt, available)
            absent = [r for r in routed.chosen if not await self._present(r, deadline)]
            if not absent:
                break
            available = [r for r in available if r not in absent]
        if prompt.session_id:
            self._sessions[prompt.session_id] = routed.state
            self._sessions.move_to_end(prompt.session_id)
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        return routed, Decision(
            prompt_id=prompt.prompt_id,
            route_probs=dict(zip(routed.names, map(float, routed.route_probs), strict=True)),
            scores=dict(zip(routed.names, map(float, routed.scores), strict=True)),
            entropy=max(0.0, float(routed.entropy)),
            alpha=min(1.0, max(0.0, float(routed.alpha))),
            temperature=float(routed.temperature),
            threshold=float(routed.threshold),
            chosen=list(routed.chosen),
        )

    def _run_router(self, prompt: Prompt, available: list[str]) -> RouteDecision:
        return self._router.decide(
            prompt.text,
            has_image=prompt.image is not None,
            has_audio=prompt.audio is not None,
            available=available,
            state=self._sessions.get(prompt.session_id) if prompt.session_id else None,
            mass=self.params.mass,
            max_temperature=self.params.max_temperature,
        )

    def _encode(self, prompt: Prompt) -> np.ndarray:
        return self._router.encode(prompt.text, has_image=prompt.image is not None, has_audio=prompt.audio is not None)

    # -- asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, asked: Asked, regions: list[str]) -> None:
        if not await self.send(self._decisions_key, asked.decision, wait_s=2.0):
            self.log.warning("nobody fuses", key=self._decisions_key)
        for region in regions:
            header = QueryHeader(
                prompt=asked.prompt,
                prompt_id=asked.prompt.prompt_id,
                route_prob=min(1.0, asked.decision.route_probs.get(region, 0.0)),
                left_ms=max(1.0, (asked.deadline - time.monotonic()) * 1000),
            )
            packet = self.packet(asked.spikes, modality="text", header=header)
            if not await self.send(key("query", region=region), packet):
                self.log.warning("region went away", region=region, prompt_id=asked.prompt.prompt_id)

    async def _watch_regions(self) -> None:
        """Know who is alive; ask a region that came back again what it has not answered."""
        async for token in self.bus.watch_alive():
            name = chunk("alive", token.key, "node_id")
            if not token.alive:
                self._alive.discard(name)
                self._last_seen[name] = time.monotonic()
                continue
            returned = name in self._last_seen and name not in self._alive
            self._alive.add(name)
            if returned:
                now = time.monotonic()
                for asked in [a for a in self._asked.values() if name in a.regions and a.deadline > now]:
                    self.spawn(self._ask(asked, [name]))

    def _listens(self, region: str) -> bool:
        return self.bus.is_matched(key("query", region=region))

    def _expected(self, region: str) -> bool:
        """Whether a region is there, or was a moment ago and may come back."""
        gone = time.monotonic() - self._last_seen.get(region, -1e9)
        return region in self._alive or gone < self.params.patience_s

    async def _present(self, region: str, deadline: float) -> bool:
        """Whether a region listens, waiting for one that is being restarted."""
        if self._listens(region):
            return True
        if not self._expected(region):
            return False
        patience = min(self.params.patience_s, max(0.0, deadline - time.monotonic()))
        return await self.bus.wait_matching(key("query", region=region), patience)


if __name__ == "__main__":
    main(Prefrontal)
