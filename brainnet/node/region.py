"""Region: a node that answers prompts."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.bus import Bus, Mailbox, Received
from brainnet.errors import MessageError, RegionError, TopicError
from brainnet.guard import describe, ends_task
from brainnet.limits import MAX_EXAMPLES
from brainnet.node.bids import BID_MODALITY, Bid
from brainnet.node.blame import MAX_DEATHS
from brainnet.node.node import Node
from brainnet.node.spec import NodeSpec
from brainnet.prompts import read_query, warm_up
from brainnet.texts import shorten
from brainnet.wire import keys
from brainnet.wire.codes.values import CONFIDENCE
from brainnet.wire.messages import Partial, PartialHeader, Prompt
from brainnet.wire.packet import SpikePacket

_CACHED_BYTES: Final = 8 << 20
"""Answers kept for queries that are sent again, until their deadline: by a router that was restarted, for prompts that
have no answer yet. In bytes, because an answer of a user's region may hold megabytes."""
_CACHED_AFTER_DEADLINE_S: Final = 2.0
"""Seconds after its deadline for which an answer is kept; then nobody asks for it any more."""
_WHY: Final = 200
"""Characters of the reason of a bid."""
_NO_SPIKES: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)


@dataclass(slots=True)
class Query:
    """One prompt as one region receives it.

    Attributes:
        prompt: The prompt of the client, its text read from the spikes.
        spikes: The text of the prompt as the router sent it, spikes [neurons, steps] (`brainnet.wire.codes.texts`).
        route_prob: The probability with which this region was chosen.
        deadline: `time.monotonic()` seconds after which an answer is too late.
        arrived: `time.monotonic()` seconds at which it was received.
        routed: Whether the router chose this region; False: it was asked for by name.
    """

    prompt: Prompt
    spikes: SpikePacket
    route_prob: float
    deadline: float
    arrived: float = field(default_factory=time.monotonic)
    routed: bool = False
    _emit: Callable[[Query, Partial], None] = field(default=lambda query, partial: None, repr=False)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.deadline

    @property
    def time_left(self) -> float:
        """Seconds until the deadline, not below 0."""
        return max(0.0, self.deadline - time.monotonic())

    def emit(self, partial: Partial) -> None:
        """Publish an interim partial (`final` is set to False); may be called on any thread."""
        partial.final = False
        self._emit(self, partial)


class Region(Node):
    """A node that answers queries on topic `query` with partials on topic `partial`.

    Where a prompt belongs to a session, the router also hears that the region answered, and how sure it is: the firing
    rate of a population, on `spikes/{region}/{router}`.

    Guarantees: every query gets exactly one final partial, an error partial if need be: for an exception, for a result
    that is no partial, for content that cannot be written; a query that is sent again (the router was restarted) gets
    the same one; a query that is past its deadline is not computed; a prompt during which the region died twice is
    not computed again.

    Override `answer`: as `def` it runs in the model thread, as `async def` on the event loop, several at a time.
    Or override `answer_batch`: it gets all queries that wait (at most `max_batch`) and returns one partial for each.
    Raise `RegionError` for a reason that is meant for the client.

    Attributes:
        max_batch: Queries that `answer_batch` gets at most.
        examples: Prompts for this region, in the words of users. The router compares new prompts with them, so that a
            region of your own is asked without any training; the field `examples` of an allocation replaces them.
        modality: Modality of the partials' packets; the node's id by default.
    """

    max_batch: ClassVar[int] = 16
    examples: ClassVar[tuple[str, ...]] = ()
    modality: ClassVar[str] = ""

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        # Two underscores, so that the names cannot collide with attributes of subclasses.
        self.__query_key = keys.key("query", region=spec.id)
        self.__result_key = keys.key("partial", node_id=spec.id)
        self.__done: OrderedDict[str, _Done] = OrderedDict()
        self.__done_bytes = 0
        self.__working: set[str] = set()
        self.__loop = asyncio.get_running_loop()

    def answer(self, query: Query) -> Any:
        """Answer one query with a `Partial`.

        Raises:
            RegionError: The region cannot answer; the text is for the client.
        """
        raise RegionError(f"{self.id} has no answer method")

    def bid(self, prompt: Prompt) -> Any:
        """Say with a `Bid` how well this region could answer a prompt, within a few milliseconds; None says nothing.

        As `def` it runs in the model thread, as `async def` on the event loop, which does not wait while the model
        computes. Pictures, sound and arrays of the prompt are empty bytes: only that they are there is known. It must
        not change anything, because another region may be asked.
        """
        return None

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        """Answer all queries that wait; by default with `answer`, one after the other."""
        return [self.__answer_or_error(query) for query in queries]

    @property
    def answers(self) -> bool:
        """True: prompts may be routed here."""
        return True

    @property
    def prompt_examples(self) -> tuple[str, ...]:
        """Those of the allocation, or else of the class."""
        return self.spec.examples or tuple(self.examples)[:MAX_EXAMPLES]

    async def _start_node(self) -> None:
        # Before the model is loaded, so that the first answer finds its subscribers matched.
        self.bus.declare(self.__result_key)
        await self.in_model_thread(warm_up)
        await super()._start_node()

    async def _accept_work(self) -> None:
        # Last, so that no query arrives before the region can answer it.
        if type(self).bid is not Region.bid:
            self.spawn(self.__serve_bids(self.bus.subscribe(keys.key("bid", region=self.id))), essential=True)
        self.spawn(self.__serve_queries(self.bus.subscribe(self.__query_key)), essential=True)
        await self._wait_reachable(self.__query_key)

    async def __serve_bids(self, prompts_in: Mailbox[Received]) -> None:
        bidding: Any = self.bid
        concurrent = inspect.iscoroutinefunction(bidding)
        while True:
            for received in await prompts_in.get_batch(self.max_batch):
                packet = received.message
                try:
                    prompt, _ = read_query(packet)
                    bid = await bidding(prompt) if concurrent else await self.in_model_thread(bidding, prompt)
                    if bid is not None:
                        self.__send_bid(packet.source, prompt.prompt_id, bid)
                except BaseException as error:  # of this bid; the prompt is decided without it
                    if ends_task(error):
                        raise
                    self.report_error("bid", error)

    def __send_bid(self, router: str, prompt_id: str, bid: Bid) -> None:
        packet = self.packet(
            CONFIDENCE.encode(np.array([bid.score])),
            modality=BID_MODALITY,
            metadata={"prompt_id": prompt_id, "why": shorten(bid.why, _WHY)},
        )
        self.publish(keys.key("spikes", source=self.id, target=router), packet)

    async def __serve_queries(self, queries_in: Mailbox[Received]) -> None:
        concurrent = inspect.iscoroutinefunction(self.answer)
        while True:
            batch = await queries_in.get_batch(self.max_batch)
            queries = [q for q in (self.__read_query(r.message) for r in batch) if q is not None]
            for query in [q for q in queries if not self.__is_computable(q)]:
                queries.remove(query)
            # What may have killed a predecessor is computed alone, so that it takes no other prompt with it.
            for suspect in [q for q in queries if self.work.deaths(q.prompt.prompt_id)]:
                queries.remove(suspect)
                await (self.__answer_one(suspect) if concurrent else self.__answer_in_batch([suspect]))
            if concurrent:
                for query in queries:
                    self.spawn(self.__answer_one(query))
            elif queries:
                await self.__answer_in_batch(queries)

    def __read_query(self, packet: SpikePacket) -> Query | None:
        try:
            prompt, header = read_query(packet)
        except MessageError as error:
            self.count("malformed_queries")
            self.report_error("query", error)
            return None
        left_ms = prompt.deadline_ms if header.left_ms is None else header.left_ms
        if prompt.prompt_id in self.__working:  # sent again while it is answered; that answer is on its way
            return None
        if (done := self.__done.get(prompt.prompt_id)) is not None:
            self.spawn(self.__send_packet(done.packet))
            return None
        self.__working.add(prompt.prompt_id)
        self.count("queries")
        deadline = time.monotonic() + left_ms / 1000
        return Query(prompt, packet, header.route_prob, deadline, routed=header.routed, _emit=self.__emit)

    def __is_computable(self, query: Query) -> bool:
        """Return whether a query is to be computed; if not, it is answered with the reason."""
        if query.expired:  # nobody waits for its answer, and it would delay the others
            late = Partial(error=f"{self.id} was busy until after the deadline", code="deadline")
            self.spawn(self.__finish(query, late))
            return False
        prompt = query.prompt
        if not prompt.text and prompt.image is None and prompt.audio is None and not prompt.arrays:
            self.spawn(self.__finish(query, Partial(error=f"no spike of the prompt arrived at {self.id}")))
            return False
        deaths = self.work.deaths(prompt.prompt_id)
        if deaths >= MAX_DEATHS:
            reason = f"{self.id} died {deaths} times while it worked on this prompt, and does not try it again"
            self.log.error("a prompt is given up", prompt_id=prompt.prompt_id, deaths=deaths)
            self.spawn(self.__finish(query, Partial(error=reason, code="poison")))
            return False
        return True

    async def __answer_one(self, query: Query) -> None:
        self.work.begin([query.prompt.prompt_id])
        try:
            partial = await self.answer(query)
        except BaseException as error:
            if ends_task(error):
                raise
            partial = self.__error_partial(query, error)
        await self.__finish(query, partial)
        self.work.end([query.prompt.prompt_id])

    async def __answer_in_batch(self, queries: list[Query]) -> None:
        waiting = [q for q in queries if self.__is_computable(q)]  # again: suspects before them may have taken long
        if not waiting:
            return
        self.work.begin(q.prompt.prompt_id for q in waiting)
        try:
            partials = list(await self.in_model_thread(self.answer_batch, waiting))
            if len(partials) != len(waiting):
                raise RegionError(f"{self.id} answered {len(partials)} of {len(waiting)} queries", code="internal")
        except BaseException as error:
            if ends_task(error):
                raise
            partials = [self.__error_partial(query, error) for query in waiting]
        for query, partial in zip(waiting, partials, strict=True):
            await self.__finish(query, partial)
        self.work.end(q.prompt.prompt_id for q in waiting)

    def __answer_or_error(self, query: Query) -> Partial:
        try:
            partial: Partial = self.answer(query)
        except BaseException as error:  # in the model thread, where nothing is cancelled
            return self.__error_partial(query, error)
        return partial

    def __error_partial(self, query: Query, error: BaseException) -> Partial:
        if isinstance(error, RegionError):
            return Partial(error=str(error), code=error.code)
        self.report_error("answer", error)
        self.record_outcome("answer", error)
        return Partial(error=f"internal error in {self.id}: {describe(error)}", code="internal")

    async def __finish(self, query: Query, partial: Any) -> None:
        prompt_id = query.prompt.prompt_id
        try:
            if not isinstance(partial, Partial):
                raise TypeError(f"answer returned {type(partial).__name__}, not a Partial")
            partial.final = True
            packet = self.__partial_packet(query, partial)
            # Before the partial: a router forgets a prompt that has its answer.
            self.__tell_router(query, partial)
            size = await self.__send_packet(packet)
        except Exception as error:  # no partial, or one with content or spikes that cannot be written
            partial = self.__error_partial(query, error)
            packet = self.__partial_packet(query, partial)
            size = await self.__send_packet(packet)
        self.__keep(prompt_id, _Done(packet, size, query.deadline + _CACHED_AFTER_DEADLINE_S))
        self.__working.discard(prompt_id)
        self.count("answers" if partial.error is None else "refusals")
        if partial.error is None:
            self.record_outcome("answer", None)

    def __tell_router(self, query: Query, partial: Partial) -> None:
        """Let the router's working memory know that this region has answered, and how sure it is, in spikes."""
        if partial.error is not None or not query.prompt.session_id:
            return
        try:
            answer_key = keys.key("spikes", source=self.id, target=query.spikes.source)
        except TopicError:  # the asker has no name that can stand in a key
            return
        packet = self.packet(
            CONFIDENCE.encode(np.array([partial.confidence])),
            modality="confidence",
            metadata={"prompt_id": query.prompt.prompt_id},
        )
        if self.bus.is_matched(answer_key):
            self.publish(answer_key, packet)
        else:  # the first answer, or a router that listens to none
            self.spawn(self.send(answer_key, packet))

    def __keep(self, prompt_id: str, done: _Done) -> None:
        if done.size <= _CACHED_BYTES:
            self.__done[prompt_id] = done
            self.__done_bytes += done.size
        now = time.monotonic()
        while self.__done_bytes > _CACHED_BYTES or (self.__done and next(iter(self.__done.values())).until < now):
            self.__done_bytes -= self.__done.popitem(last=False)[1].size

    async def __send_packet(self, packet: SpikePacket) -> int:
        """Send a partial when somebody listens; returns its bytes."""
        if not await self.bus.wait_matching(self.__result_key, 1.0):
            self.log.warning("no integrator subscribes to the partials", key=self.__result_key)
        return self.bus.publish(self.__result_key, packet)

    def __partial_packet(self, query: Query, partial: Partial) -> SpikePacket:
        partial.prompt_id = query.prompt.prompt_id
        partial.region = self.id
        partial.latency_ms = (time.monotonic() - query.arrived) * 1000
        if partial.error is not None and partial.code is None:
            partial.code = RegionError.code
        spikes = _NO_SPIKES if partial.spikes is None else partial.spikes
        header = PartialHeader(partial=partial, prompt_id=partial.prompt_id)
        return self.packet(spikes, modality=self.modality or self.id, header=header)

    def __emit(self, query: Query, partial: Partial) -> None:
        packet = self.__partial_packet(query, partial)
        # On the event loop, so that interim partials keep their order and come before the final one.
        self.__loop.call_soon_threadsafe(self.__publish_interim, packet)

    def __publish_interim(self, packet: SpikePacket) -> None:
        try:
            self.publish(self.__result_key, packet)
        except Exception as error:  # content that cannot be written; the final partial says so
            self.report_error("emit", error)


@dataclass(frozen=True, slots=True)
class _Done:
    """A final partial that was sent.

    Attributes:
        packet: What was sent.
        size: Its bytes on the wire.
        until: `time.monotonic()` seconds after which nobody asks for it any more.
    """

    packet: SpikePacket
    size: int
    until: float
