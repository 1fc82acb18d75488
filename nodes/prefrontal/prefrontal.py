"""Prefrontal cortex: routes each prompt to the regions that should answer it, and says why."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from brainnet import Decision, Node, NodeParameters, Prompt, SpikePacket, main, subscribe
from brainnet.bus import Bus
from brainnet.errors import BrainnetError, ModelError
from brainnet.guard import describe, ends_task
from brainnet.node import BID_MODALITY, MAX_DEATHS, LiveRegions, NodeSpec, resume
from brainnet.prompts import PART_MODALITY, RegionLoad, query_packet, split_requests, warm_up
from brainnet.snn.models.decision import DecisionParams
from brainnet.snn.models.router import MAX_ROUTING_TEMPERATURE, RouteDecision, Router, RouterState
from brainnet.wire.codes.values import CONFIDENCE
from brainnet.wire.keys import chunk, key
from brainnet.wire.messages import MAX_PARTS, Accepted, Answered, PartialHeader
from prefrontal_bids import Bids
from prefrontal_examples import OTHER, Examples
from prefrontal_model import NOBODY, Found, Made, RouterModel
from prefrontal_parts import PartedPrompts
from prefrontal_presence import Presence
from prefrontal_self import partial_about_itself

MAX_SESSIONS = 256
"""Sessions whose working memory is held; the least recently used one is dropped."""
MAX_REMEMBERED = 512
"""Prompts that are remembered, open or answered: so that one that comes again is neither routed nor answered twice."""

MAX_TOGETHER = 16
"""Prompts that are decided in one run of the network at most."""

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
        about: What it asks of the brain itself, `other` where nothing.
    """

    prompt: Prompt
    decision: Decision
    deadline: float
    regions: set[str] = field(default_factory=set)
    sure: float = 0.0
    about: str = OTHER


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

        bid_ms: float = Field(
            5.0,
            ge=0.0,
            le=1000.0,
            description="how long to wait for what regions bid; longer where bids usually take longer; 0: no bids",
        )
        embedder: str = Field(
            str(Path(__file__).parent.parent / "hippocampus" / "hippocampus.safetensors"),
            description="weights of the text embedder, for regions that are known by examples",
        )

    params: Parameters
    model: RouterModel
    """Made by `load`."""

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._decisions_key = key("decision", node_id=self.id)
        self._presence = Presence(bus, control, patience_s=self.params.patience_s)
        self._sessions: OrderedDict[str, RouterState] = OrderedDict()
        self._routing: set[str] = set()
        self._routed: OrderedDict[str, Routed] = OrderedDict()
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._load = RegionLoad()
        self._regions = LiveRegions(control)
        self._bids = Bids(bus, self.id)
        self._parted = PartedPrompts()
        self._known_version = -1

    def load(self) -> None:
        assert self.checkpoint is not None
        router = Router.load(self.checkpoint)
        examples: Examples | None = None
        try:
            examples = RouterModel.load_examples(Path(self.params.embedder))
        except ModelError as error:  # prompts are routed all the same
            self.log.warning("prompts are not compared with examples of regions", reason=str(error))
        self.model = RouterModel(router, examples, self.id)
        for text in ("Is anybody there?", "Which picture is this of the many that I showed you on Monday, 3 May?"):
            self.model.find([Prompt(text=text, image=b"\0")] * 2, [None] * 2, compare=True)
        warm_up()

    async def setup(self) -> None:
        self.bus.declare(self._decisions_key)
        self.spawn(self._follow_presence(), essential=True)
        await self.add_subscription(key("spikes", target=self.id), self.on_spikes)
        # A router that has just started decides only when it knows who is alive: those that it does not know yet would
        # be denied. Their queries are declared now, so that they are matched when the first prompt comes.
        self._presence.routes = self.model.router.config.routes
        self.spawn(self._regions.follow(), essential=True)
        for region in await self._presence.start():
            self._declare(region)
        self.spawn(self._presence.follow_restarts(), essential=True)

    def params_changed(self, name: str) -> None:
        self._presence.patience_s = self.params.patience_s

    def _declare(self, region: str) -> None:
        self.bus.declare(key("query", region=region))
        self._bids.declare(region)

    async def run(self) -> None:
        """Take up what a predecessor left open."""
        await resume(self)

    @subscribe("accepted", batch=MAX_TOGETHER)
    async def on_accepted(self, batch: list[Accepted]) -> None:
        """Route what waits, as many prompts as possible in one run of the network."""
        now = time.monotonic()
        new = [_Waiting(a.prompt, now + a.left_ms / 1000) for a in batch if a.left_ms and self._is_new(a.prompt)]
        await self._route_all([whole for whole in new if not self._split(whole)])

    async def _route_all(self, waiting: list[_Waiting]) -> None:
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
            for part in (self._routed.get(name) for name in self._parted.parts(prompt.prompt_id)):
                if part is not None:
                    self.spawn(self._ask(part, part.decision.chosen))
            return False
        self._routing.add(prompt.prompt_id)
        return True

    @subscribe("answered")
    async def on_answered(self, answered: Answered) -> None:
        for exchange in answered.exchanges:
            routed = self._routed.pop(exchange.prompt_id, None)
            if routed is not None:
                self._load.conclude(exchange.prompt_id, routed.regions)
            for part in self._parted.end(exchange.prompt_id):
                if (routed := self._routed.pop(part, None)) is not None:
                    self._load.conclude(part, routed.regions)
            _put(self._answered, exchange.prompt_id, None, MAX_REMEMBERED)

    async def on_spikes(self, packet: SpikePacket, key: str) -> None:
        """Take the bid of a region, the news that a part of a prompt has its answer, or that a region has answered."""
        if packet.modality == BID_MODALITY:
            self._bids.take(chunk("spikes", key, "source"), packet)
        elif packet.modality == PART_MODALITY:
            await self._after_part(packet.metadata.get("prompt_id"))
        else:
            self._hear_answer(packet, chunk("spikes", key, "source"))

    def _hear_answer(self, packet: SpikePacket, region: str) -> None:
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
        decision = routed.decision
        expected = decision.route_probs.get(region, 0.0) if decision.routed_by == "router" else 0.0
        strength = confidence / routed.sure * (1.0 - min(1.0, expected))
        session = routed.prompt.session_id
        state = self.model.router.after_answer(self._sessions.get(session), region, strength)
        _put(self._sessions, session, state, MAX_SESSIONS)

    # -- prompts that ask for several things -------------------------------------------------------------------------

    def _split(self, whole: _Waiting) -> bool:
        """Begin with the first part of a prompt that asks for several things; returns whether it is one."""
        prompt = whole.prompt
        if prompt.regions is not None:
            return False
        texts = split_requests(prompt.text)[:MAX_PARTS]
        if len(texts) < 2:
            return False
        self._routing.discard(prompt.prompt_id)
        decision = Decision(prompt_id=prompt.prompt_id, parts=texts, router=self.id)
        self.spawn(self._ask(self._keep(whole, decision), []))
        self.spawn(self._route(_Waiting(self._parted.begin(prompt, texts, whole.deadline), whole.deadline)))
        return True

    async def _after_part(self, prompt_id: object) -> None:
        """Route the part that follows the one that has its answer."""
        if not isinstance(prompt_id, str):
            return
        routed = self._routed.get(prompt_id)
        if routed is not None:
            self._load.conclude(prompt_id, routed.regions)
        following = self._parted.after(prompt_id)
        if following is not None:
            self.spawn(self._route(_Waiting(*following)))

    # -- deciding ----------------------------------------------------------------------------------------------------

    async def _route_together(self, waiting: list[_Waiting]) -> None:
        """Decide several prompts in one run; one whose regions are not all there is decided alone."""
        started = time.monotonic()
        made: list[Made] = []
        available = self._available(min(w.deadline for w in waiting))
        if available:
            try:
                made = await self._run_together([w.prompt for w in waiting], available)
            except BaseException as error:
                if ends_task(error):
                    raise
                self._report(error)
        latency_ms = (time.monotonic() - started) * 1000
        for index, one in enumerate(waiting):
            if made and all(r == self.id or self._presence.listens(r) for r in made[index].route.chosen):
                self._remember_session(one.prompt, made[index].route)
                decision = made[index].decision(one.prompt.prompt_id, self.id)
                decision.latency_ms = latency_ms
                self._routing.discard(one.prompt.prompt_id)
                self._ask_now(self._keep(one, decision, made[index].about))
            else:
                self.spawn(self._route(one))

    async def _route(self, waiting: _Waiting) -> None:
        """Decide one prompt: wait for a region that is being restarted, or decide that it cannot be routed."""
        started = time.monotonic()
        prompt, deadline = waiting.prompt, waiting.deadline
        about = OTHER
        try:
            deaths = self.work.deaths(prompt.prompt_id)
            if deaths >= MAX_DEATHS:
                raise BrainnetError(f"{self.id} died {deaths} times while it routed this prompt", code="poison")
            if prompt.regions is not None:
                decision = await self._decide_as_asked(prompt, prompt.regions, deadline)
            else:
                decision, about = await self._decide(prompt, deadline)
        except BaseException as error:
            if ends_task(error):
                raise
            self._report(error)
            code = error.code if isinstance(error, BrainnetError) else "internal"
            reason = str(error)
            if code != NOBODY:
                reason = f"the prompt could not be routed: {error if code != 'internal' else describe(error)}"
            decision = Decision(prompt_id=prompt.prompt_id, error=reason, code=code, router=self.id)
        finally:
            self._routing.discard(prompt.prompt_id)
        decision.latency_ms = (time.monotonic() - started) * 1000
        await self._ask(self._keep(waiting, decision, about), decision.chosen)

    def _keep(self, waiting: _Waiting, decision: Decision, about: str = OTHER) -> Routed:
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
        routed = Routed(prompt, decision, waiting.deadline, set(decision.chosen), about=about)
        _put(self._routed, prompt.prompt_id, routed, MAX_REMEMBERED)
        self._load.ask(prompt.prompt_id, routed.regions, waiting.deadline)
        self.count("decisions")
        return routed

    def _report(self, error: BaseException) -> None:
        """Report why a prompt could not be routed; that no region is for it is no fault."""
        if not isinstance(error, BrainnetError) or error.code != NOBODY:
            self.report_error("decide", error)

    async def _decide_as_asked(self, prompt: Prompt, regions: list[str], deadline: float) -> Decision:
        """Choose the regions that the client named."""
        present = [r for r in dict.fromkeys(regions) if await self._presence.is_present(r, deadline)]
        unknown = [r for r in regions if r not in present]
        share = 1.0 / len(present) if present else 0.0
        known = sorted(r for r in self._presence.alive if self._presence.listens(r))
        error = None
        if unknown:
            error = f"no region {', '.join(unknown)} is alive; alive are: {', '.join(known) or 'none'}"
            error += self._presence.why_down(unknown)
        return Decision(
            prompt_id=prompt.prompt_id,
            route_probs=dict.fromkeys(present, share),
            chosen=[] if error else present,
            routed_by="client",
            error=error,
            code="no_region" if error else None,
        )

    async def _decide(self, prompt: Prompt, deadline: float) -> tuple[Decision, str]:
        """Let the network choose among all its routes; where a chosen region stays away, among those that are present.

        Returns:
            The decision, and what the prompt asks of the brain itself.

        Raises:
            BrainnetError: No region that can be routed to is alive.
        """
        available = self._available(deadline)
        while True:
            if not available:
                routes = self.model.router.config.routes
                why = self._presence.why_down(routes)
                raise BrainnetError(
                    f"none of the regions that can be routed to is alive ({', '.join(routes)}){why}", code="no_region"
                )
            (made,) = await self._run_together([prompt], available)
            absent = [r for r in made.route.chosen if r != self.id and not await self._presence.is_present(r, deadline)]
            if not absent:
                break
            available = [r for r in available if r not in absent]
        self._remember_session(prompt, made.route)
        return made.decision(prompt.prompt_id, self.id), made.about

    async def _run_together(self, prompts: list[Prompt], available: list[str]) -> list[Made]:
        """Run the network for several prompts while the regions say how well they could answer, and choose.

        Args:
            prompts: The prompts.
            available: The routes and regions to choose from.
        """
        wait_s = self.params.bid_ms / 1000
        if wait_s:
            self._bids.ask(prompts, [region for region in available if self._bids.bids(region)])
            self._learn_regions()
        found = await self.in_model_thread(self._recorded, self._find, prompts)
        said = await self._bids.collect(prompts, wait_s) if wait_s else [{} for _ in prompts]
        params = DecisionParams(
            self.params.mass, self.model.router.config.base_threshold, max_temperature=self.params.max_temperature
        )
        return [self.model.choose(one, bids, available, params) for one, bids in zip(found, said, strict=True)]

    def _learn_regions(self) -> None:
        """Learn the examples of regions that came or went."""
        if self._regions.version != self._known_version:
            self._known_version = self._regions.version
            routes = self.model.router.config.routes
            own = [r.node_id for r in self._regions if r.node_id not in routes and not self._bids.bids(r.node_id)]
            # Before the run for which it is needed, in the same thread.
            self.spawn(self.in_model_thread(self.model.know, list(self._regions), own))

    def _available(self, deadline: float) -> list[str]:
        """Return the regions that are alive, or will be while their prompt can wait.

        They are the routes of the network, and those that may be known by bids or examples.
        """
        routes = self.model.router.config.routes
        others = [region.node_id for region in self._regions if region.node_id not in routes]
        return [r for r in (*routes, *others) if self._presence.is_expected(r, deadline)]

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

    def _find(self, prompts: list[Prompt]) -> list[Found]:
        states = [self._sessions.get(prompt.session_id) if prompt.session_id else None for prompt in prompts]
        return self.model.find(prompts, states, compare=bool(self.params.bid_ms))

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask_now(self, routed: Routed) -> None:
        """Publish a decision and ask its regions, all of which listen."""
        if not self.bus.is_matched(self._decisions_key):  # the integrator is being restarted
            self.spawn(self._ask(routed, routed.decision.chosen))
            return
        self.publish(self._decisions_key, routed.decision)
        for region in routed.decision.chosen:
            if region == self.id:
                self.spawn(self._answer_about_itself(routed))
            else:
                self.publish(key("query", region=region), self._query(routed, region))

    async def _ask(self, routed: Routed, regions: list[str]) -> None:
        """Publish a decision and ask regions, each when it listens."""
        if not await self.send(self._decisions_key, routed.decision, wait_s=2.0):
            self.log.warning("no integrator listens", key=self._decisions_key)
        for region in regions:
            if region == self.id:
                await self._answer_about_itself(routed)
            elif not await self.send(key("query", region=region), self._query(routed, region)):
                self.log.warning("region went away", region=region, prompt_id=routed.prompt.prompt_id)

    def _query(self, routed: Routed, region: str) -> SpikePacket:
        return query_packet(
            routed.prompt,
            source=self.id,
            route_prob=min(1.0, routed.decision.route_probs.get(region, 0.0)),
            left_ms=max(0.0, (routed.deadline - time.monotonic()) * 1000),
            routed=routed.decision.routed_by == "router",
        )

    async def _answer_about_itself(self, routed: Routed) -> None:
        """Answer a prompt about the brain itself, as a region does, from what the nodes say now."""
        started = time.monotonic()
        confidence = min(1.0, routed.decision.bids.get(self.id, 0.0))
        partial = partial_about_itself(routed.about, confidence, await self._regions.now(), self.spec.namespace)
        partial.prompt_id, partial.region = routed.prompt.prompt_id, self.id
        partial.latency_ms = (time.monotonic() - started) * 1000
        header = PartialHeader(partial=partial, prompt_id=partial.prompt_id)
        packet = self.packet(np.zeros((0, 0), np.uint8), modality=self.id, header=header)
        if not await self.send(key("partial", node_id=self.id), packet, wait_s=2.0):
            self.log.warning("no integrator subscribes to the partials", prompt_id=partial.prompt_id)

    # -- who is there ------------------------------------------------------------------------------------------------

    async def _follow_presence(self) -> None:
        """Follow who is alive; ask a region that came back again what it has not answered."""
        async for region, alive, returned in self._presence.changes():
            if alive:
                self._declare(region)
            if returned:
                now = time.monotonic()
                for routed in [r for r in self._routed.values() if region in r.regions and r.deadline > now]:
                    self.spawn(self._ask(routed, [region]))


def _put(table: OrderedDict[str, V], name: str, value: V, limit: int) -> None:
    """Set an entry as the newest one, and drop the oldest beyond a limit."""
    table[name] = value
    table.move_to_end(name)
    while len(table) > limit:
        table.popitem(last=False)


if __name__ == "__main__":
    main(Prefrontal)
