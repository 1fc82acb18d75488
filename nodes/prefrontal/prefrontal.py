"""Prefrontal cortex: routes each prompt to the regions that should answer it, and says why."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import Field

from brainnet import Decision, Node, NodeParameters, Prompt, SpikePacket, main, subscribe
from brainnet.bus import Bus
from brainnet.errors import BrainnetError
from brainnet.guard import describe, ends_task
from brainnet.node import MAX_DEATHS, NodeSpec, Restarts, resume
from brainnet.prompts import RegionLoad, RegionPresence, query_packet, warm_up
from brainnet.snn.models.decision import DecisionParams
from brainnet.snn.models.router import (
    MAX_ROUTING_TEMPERATURE,
    RouteDecision,
    Router,
    RouteRequest,
    RouterState,
)
from brainnet.wire.codes.values import CONFIDENCE
from brainnet.wire.keys import chunk, key
from brainnet.wire.messages import Accepted, Answered

MAX_SESSIONS = 256
"""Sessions whose working memory is held; the least recently used one is dropped."""
MAX_REMEMBERED = 512
"""Prompts that are remembered, open or answered: so that one that comes again is neither routed nor answered twice."""

MAX_TOGETHER = 16
"""Prompts that are decided in one run of the network at most."""

RESTART_SHARE = 0.9
"""Share of a prompt's time for which its regions are waited for while they are started again; the rest is for the
answer of those that are there."""

FIRST_REPLY_S = 3.0
"""Seconds for which the start waits for the supervisors' first reply."""

RETURNING_S = 0.25
"""Seconds between two questions to the supervisors while a region is about to return."""

AWAY_S = 2.0
"""The same while regions are away and none is about to return."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A prompt that is not routed yet, and `time.monotonic()` after which nobody waits any more."""

    prompt: Prompt
    deadline: float


@dataclass(slots=True)
class Routed:
    """A prompt that was routed, held until its answer so that its regions can be asked again.

    Attributes:
        prompt: What was asked.
        decision: Where it was routed.
        deadline: `time.monotonic()` after which nobody waits any more.
        regions: The regions that were asked.
        sure: Sum of the confidences with which regions have answered it.
    """

    prompt: Prompt
    decision: Decision
    deadline: float
    regions: set[str] = field(default_factory=set)
    sure: float = 0.0


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
            MAX_ROUTING_TEMPERATURE, ge=1.0, description="clamp of the routing temperature 1 / (alpha + eps)"
        )
        patience_s: float = Field(
            3.0, ge=0.0, description="how long to wait for a region that was alive a moment ago and no supervisor knows"
        )

    params: Parameters
    router: Router
    """Made by `load`, used in the model thread."""

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._decisions_key = key("decision", node_id=self.id)
        self._presence = RegionPresence()
        self._restarts = Restarts(control)
        self._went_away = asyncio.Event()
        self._sessions: OrderedDict[str, RouterState] = OrderedDict()
        self._routing: set[str] = set()
        self._routed: OrderedDict[str, Routed] = OrderedDict()
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._load = RegionLoad()

    def load(self) -> None:
        assert self.checkpoint is not None
        self.router = Router.load(self.checkpoint)
        for text in ("Is anybody there?", "Which picture is this of the many that I showed you on Monday, 3 May?"):
            self._run_router([Prompt(text=text, image=b"\0")] * 2, list(self.router.config.routes))
        warm_up()

    async def setup(self) -> None:
        self.bus.declare(self._decisions_key)
        self.spawn(self._follow_presence(), essential=True)
        await self.add_subscription(key("spikes", target=self.id), self.on_spikes)
        # A router that has just started decides only when it knows who is alive: those that it does not know yet would
        # be denied. Their queries are declared now, so that they are matched when the first prompt comes.
        for token in await self.control.alive():
            region = chunk("alive", token, "node_id")
            self._presence.update(region, alive=True)
            self.bus.declare(key("query", region=region))
        await self._restarts.ask(FIRST_REPLY_S)
        self.spawn(self._follow_restarts(), essential=True)

    async def run(self) -> None:
        """Take up what a predecessor left open."""
        await resume(self)

    @subscribe("accepted", batch=MAX_TOGETHER)
    async def on_accepted(self, batch: list[Accepted]) -> None:
        """Route what waits, as many prompts as possible in one run of the network."""
        now = time.monotonic()
        waiting = [_Waiting(a.prompt, now + a.left_ms / 1000) for a in batch if a.left_ms and self._is_new(a.prompt)]
        while waiting:
            together: list[_Waiting] = []
            later: list[_Waiting] = []
            sessions: set[str] = set()
            for one in waiting:
                session = one.prompt.session_id
                if one.prompt.regions is not None or self.work.deaths(one.prompt.prompt_id):
                    self.spawn(self._route(one))
                elif session and session in sessions:  # it is decided from what the one before leaves in memory
                    later.append(one)
                else:
                    sessions.add(session)
                    together.append(one)
            if together:
                await self._route_together(together)
            waiting = later

    def _is_new(self, prompt: Prompt) -> bool:
        """Return whether a prompt is to be routed; one that was routed is asked again."""
        if prompt.prompt_id in self._answered or prompt.prompt_id in self._routing:
            return False
        routed = self._routed.get(prompt.prompt_id)
        if routed is not None:  # the integrator was restarted and asks again
            self.spawn(self._ask(routed, routed.decision.chosen))
            return False
        self._routing.add(prompt.prompt_id)
        return True

    @subscribe("answered")
    async def on_answered(self, answered: Answered) -> None:
        for exchange in answered.exchanges:
            routed = self._routed.pop(exchange.prompt_id, None)
            if routed is not None:
                self._load.conclude(exchange.prompt_id, routed.regions)
            _put(self._answered, exchange.prompt_id, None, MAX_REMEMBERED)

    async def on_spikes(self, packet: SpikePacket, key: str) -> None:
        """Let the working memory of a session know who answered, as far as the decision did not expect it.

        Where the network chose a region and was sure, its working memory holds that already; where the client named
        the region, or several were asked, the answers say what "once more" will mean: each as much as its region is
        sure, beside those that have answered before it.
        """
        prompt_id = packet.metadata.get("prompt_id")
        routed = self._routed.get(prompt_id) if isinstance(prompt_id, str) else None
        if routed is None or not routed.prompt.session_id:
            return
        confidence = max(0.0, *CONFIDENCE.decode(packet))
        if not confidence:
            return
        routed.sure += confidence
        region, decision = chunk("spikes", key, "source"), routed.decision
        expected = decision.route_probs.get(region, 0.0) if decision.routed_by == "router" else 0.0
        strength = confidence / routed.sure * (1.0 - min(1.0, expected))
        session = routed.prompt.session_id
        state = self.router.after_answer(self._sessions.get(session), region, strength)
        _put(self._sessions, session, state, MAX_SESSIONS)

    # -- deciding ----------------------------------------------------------------------------------------------------

    async def _route_together(self, waiting: list[_Waiting]) -> None:
        """Decide several prompts in one run; one whose regions are not all there is decided alone."""
        started = time.monotonic()
        made: list[RouteDecision] = []
        available = self._available(min(w.deadline for w in waiting))
        if available:
            try:
                made = await self.in_model_thread(
                    self._recorded, self._run_router, [w.prompt for w in waiting], available
                )
            except BaseException as error:
                if ends_task(error):
                    raise
                self.report_error("decide", error)
        latency_ms = (time.monotonic() - started) * 1000
        for index, one in enumerate(waiting):
            if made and all(map(self._listens, made[index].chosen)):
                self._remember_session(one.prompt, made[index])
                decision = _decision(one.prompt, made[index])
                decision.latency_ms = latency_ms
                self._routing.discard(one.prompt.prompt_id)
                self._ask_now(self._keep(one, decision))
            else:
                self.spawn(self._route(one))

    async def _route(self, waiting: _Waiting) -> None:
        """Decide one prompt: wait for a region that is being restarted, or decide that it cannot be routed."""
        started = time.monotonic()
        prompt, deadline = waiting.prompt, waiting.deadline
        try:
            deaths = self.work.deaths(prompt.prompt_id)
            if deaths >= MAX_DEATHS:
                raise BrainnetError(f"{self.id} died {deaths} times while it routed this prompt", code="poison")
            if prompt.regions is not None:
                decision = await self._decide_as_asked(prompt, prompt.regions, deadline)
            else:
                decision = await self._decide(prompt, deadline)
        except BaseException as error:
            if ends_task(error):
                raise
            self.report_error("decide", error)
            code = error.code if isinstance(error, BrainnetError) else "internal"
            reason = f"the prompt could not be routed: {error if code != 'internal' else describe(error)}"
            decision = Decision(prompt_id=prompt.prompt_id, error=reason, code=code)
        finally:
            self._routing.discard(prompt.prompt_id)
        decision.latency_ms = (time.monotonic() - started) * 1000
        await self._ask(self._keep(waiting, decision), decision.chosen)

    def _keep(self, waiting: _Waiting, decision: Decision) -> Routed:
        """Remember where a prompt was routed, so that its regions can be asked again.

        When all of its regions have too much to do, it is refused before they are asked.
        """
        prompt, left_ms = waiting.prompt, (waiting.deadline - time.monotonic()) * 1000
        refusals = [self._load.check(region, prompt.priority, left_ms) for region in decision.chosen]
        refused = [refusal for refusal in refusals if refusal is not None]
        if refused and len(refused) == len(refusals):
            decision.chosen, decision.code = [], "busy"
            decision.error = "; ".join(refusal.reason for refusal in refused)
            decision.retry_after_ms = min(refusal.retry_after_ms for refusal in refused)
        routed = Routed(prompt, decision, waiting.deadline, set(decision.chosen))
        _put(self._routed, prompt.prompt_id, routed, MAX_REMEMBERED)
        self._load.ask(prompt.prompt_id, routed.regions, waiting.deadline)
        self.count("decisions")
        return routed

    async def _decide_as_asked(self, prompt: Prompt, regions: list[str], deadline: float) -> Decision:
        """Choose the regions that the client named."""
        present = [r for r in dict.fromkeys(regions) if await self._is_present(r, deadline)]
        unknown = [r for r in regions if r not in present]
        share = 1.0 / len(present) if present else 0.0
        known = sorted(r for r in self._presence.alive if self._listens(r))
        error = None
        if unknown:
            error = f"no region {', '.join(unknown)} is alive; alive are: {', '.join(known) or 'none'}"
            error += self._why_down(unknown)
        return Decision(
            prompt_id=prompt.prompt_id,
            route_probs=dict.fromkeys(present, share),
            chosen=[] if error else present,
            routed_by="client",
            error=error,
            code="no_region" if error else None,
        )

    async def _decide(self, prompt: Prompt, deadline: float) -> Decision:
        """Let the network choose among all its routes; where a chosen region stays away, among those that are present.

        Raises:
            BrainnetError: No region that can be routed to is alive.
        """
        available = self._available(deadline)
        while True:
            if not available:
                routes = self.router.config.routes
                why = self._why_down(routes)
                raise BrainnetError(
                    f"none of the regions that can be routed to is alive ({', '.join(routes)}){why}", code="no_region"
                )
            (made,) = await self.in_model_thread(self._recorded, self._run_router, [prompt], available)
            absent = [r for r in made.chosen if not await self._is_present(r, deadline)]
            if not absent:
                break
            available = [r for r in available if r not in absent]
        self._remember_session(prompt, made)
        return _decision(prompt, made)

    def _available(self, deadline: float) -> list[str]:
        """Return the routes whose regions are alive, or will be while their prompt can wait."""
        left_s = RESTART_SHARE * max(0.0, deadline - time.monotonic())
        return [r for r in self.router.config.routes if self._is_expected(r, left_s)]

    def _why_down(self, regions: Iterable[str]) -> str:
        """Return why regions do not run, as the end of a sentence; empty when the supervisors say nothing of them."""
        return "".join(f"; {why}" for region in regions if (why := self._restarts.why_down(region)))

    def _remember_session(self, prompt: Prompt, made: RouteDecision) -> None:
        if prompt.session_id:
            _put(self._sessions, prompt.session_id, made.state, MAX_SESSIONS)

    def _recorded(self, function: Callable[..., V], prompts: list[Prompt], *args: Any) -> V:
        """Call a function of the model for some prompts, which are blamed if this process dies meanwhile."""
        names = [prompt.prompt_id for prompt in prompts]
        self.work.begin(names)
        try:
            return function(prompts, *args)
        finally:
            self.work.end(names)

    def _run_router(self, prompts: list[Prompt], available: list[str]) -> list[RouteDecision]:
        requests = [
            RouteRequest(
                prompt.text,
                has_image=prompt.image is not None,
                has_audio=prompt.audio is not None,
                state=self._sessions.get(prompt.session_id) if prompt.session_id else None,
            )
            for prompt in prompts
        ]
        params = DecisionParams(
            self.params.mass, self.router.config.base_threshold, max_temperature=self.params.max_temperature
        )
        return self.router.decide_batch(requests, available=available, params=params)

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask_now(self, routed: Routed) -> None:
        """Publish a decision and ask its regions, all of which listen."""
        if not self.bus.is_matched(self._decisions_key):  # the integrator is being restarted
            self.spawn(self._ask(routed, routed.decision.chosen))
            return
        self.publish(self._decisions_key, routed.decision)
        for region in routed.decision.chosen:
            self.publish(key("query", region=region), self._query(routed, region))

    async def _ask(self, routed: Routed, regions: list[str]) -> None:
        """Publish a decision and ask regions, each when it listens."""
        if not await self.send(self._decisions_key, routed.decision, wait_s=2.0):
            self.log.warning("no integrator listens", key=self._decisions_key)
        for region in regions:
            if not await self.send(key("query", region=region), self._query(routed, region)):
                self.log.warning("region went away", region=region, prompt_id=routed.prompt.prompt_id)

    def _query(self, routed: Routed, region: str) -> SpikePacket:
        return query_packet(
            routed.prompt,
            source=self.id,
            route_prob=min(1.0, routed.decision.route_probs.get(region, 0.0)),
            left_ms=max(0.0, (routed.deadline - time.monotonic()) * 1000),
        )

    # -- who is there ------------------------------------------------------------------------------------------------

    async def _follow_presence(self) -> None:
        """Follow who is alive; ask a region that came back again what it has not answered."""
        async for token in self.bus.watch_alive():
            region = chunk("alive", token.key, "node_id")
            if not token.alive:
                self._went_away.set()
            if self._presence.update(region, token.alive):
                now = time.monotonic()
                for routed in [r for r in self._routed.values() if region in r.regions and r.deadline > now]:
                    self.spawn(self._ask(routed, [region]))

    async def _follow_restarts(self) -> None:
        """Ask the supervisors, while regions are away, which of them are started again."""
        while True:
            away = self._away()
            if away:
                await self._restarts.ask()
            returning = not self._restarts.known or any(self._restarts.start_in_s(r) < AWAY_S for r in away)
            pause_s = RETURNING_S if returning else AWAY_S if away else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._went_away.wait()
            self._went_away.clear()

    def _away(self) -> set[str]:
        """Return the nodes that are not alive: those that can be routed to, that were there, or are allocated."""
        known = {*self.router.config.routes, *self._presence.seen, *self._restarts.nodes}
        return known - self._presence.alive

    def _listens(self, region: str) -> bool:
        return self.bus.is_matched(key("query", region=region))

    def _is_expected(self, region: str, within_s: float) -> bool:
        """Return whether a region is there or may soon be: a supervisor starts it, or it was alive a moment ago."""
        if self._presence.is_expected(region, self.params.patience_s) or self._restarts.start_in_s(region) < within_s:
            return True
        # Before the supervisors have replied, one that is being started cannot be told from one that does not exist.
        return not self._restarts.known

    async def _is_present(self, region: str, deadline: float) -> bool:
        """Return whether a region listens, waiting for one that is being started again."""
        started = time.monotonic()
        give_up = started + RESTART_SHARE * max(0.0, deadline - started)
        while not self._listens(region):
            now = time.monotonic()
            left_s = give_up - now
            if region in self._presence.alive:  # it runs and does not listen: perhaps it is no region
                left_s = min(left_s, started + self.params.patience_s - now)
            if left_s <= 0 or not self._is_expected(region, left_s):
                return False
            await self.bus.wait_matching(key("query", region=region), min(left_s, RETURNING_S))
        return True


def _decision(prompt: Prompt, made: RouteDecision) -> Decision:
    return Decision(
        prompt_id=prompt.prompt_id,
        route_probs=dict(zip(made.names, map(float, made.route_probs), strict=True)),
        scores=dict(zip(made.names, map(float, made.scores), strict=True)),
        # float rounding may leave the bounds that the message checks by one part in 10^16
        entropy=max(0.0, float(made.entropy)),
        alpha=min(1.0, max(0.0, float(made.alpha))),
        temperature=float(made.temperature),
        threshold=float(made.threshold),
        chosen=list(made.chosen),
    )


def _put(table: OrderedDict[str, V], name: str, value: V, limit: int) -> None:
    """Set an entry as the newest one, and drop the oldest beyond a limit."""
    table[name] = value
    table.move_to_end(name)
    while len(table) > limit:
        table.popitem(last=False)


if __name__ == "__main__":
    main(Prefrontal)
