"""Region: a node that answers prompts."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from brainnet.errors import MessageError, RegionError
from brainnet.messages import Partial, Prompt, validate
from brainnet.node.node import EMPTY_SPIKES, Node, no_answer, region_keys
from brainnet.packet import SpikePacket

_REMEMBERED = 512


@dataclass(slots=True)
class Query:
    """One prompt as one region gets it.

    Attributes:
        prompt: what was asked.
        spikes: the encoded prompt that the prefrontal cortex sent, [neurons, steps].
        route_prob: the probability with which this region was chosen.
        deadline: ``time.monotonic()`` seconds after which nobody waits any more.
    """

    prompt: Prompt
    spikes: SpikePacket
    route_prob: float
    deadline: float
    arrived: float = field(default_factory=time.monotonic)
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
        """Publish an interim partial (``final`` is set to False); from any thread."""
        partial.final = False
        self._emit(self, partial)


class Region(Node):
    """A node that answers the prompts it is asked on ``brain/query/{id}`` with partials on ``brain/result/{id}``.

    Override `answer`: as ``def`` it runs in the model thread, as ``async def`` on the event loop, several at a time.
    Or override `answer_batch`: it gets all queries that wait together (up to `max_batch`) and returns one partial each.

    Every query gets exactly one final partial. A query that comes again (the asker was restarted) gets the same one.
    An error becomes a partial with confidence 0 and the reason; raise `RegionError` for a reason meant for the asker.
    """

    max_batch: ClassVar[int] = 16
    modality: ClassVar[str] = ""

    def answer(self, query: Query) -> Any:
        """Answer one query with a `Partial`."""
        raise RegionError(f"{self.id} has no answer method")

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        """Answer queries that wait together. By default one `answer` after the other."""
        return [self._guarded(query) for query in queries]

    @property
    def answers(self) -> bool:
        """True: prompts may be routed here."""
        return True

    async def _start(self) -> None:
        _, self._result_key = region_keys(self.id)
        self._done: OrderedDict[str, SpikePacket] = OrderedDict()
        self._working: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self.bus.declare(self._result_key)
        await super()._start()

    async def _open(self) -> None:
        query_key, _ = region_keys(self.id)
        self._queries = self.bus.subscribe(query_key)
        self.spawn(self._serve_queries())
        await self._reachable(query_key)

    async def _serve_queries(self) -> None:
        concurrent = inspect.iscoroutinefunction(self.answer)
        while True:
            batch = await self._queries.get_batch(self.max_batch)
            queries = [q for q in (self._read_query(r.message) for r in batch) if q is not None]
            if not queries:
                continue
            if concurrent:
                for query in queries:
                    self.spawn(self._answer_one(query))
            else:
                await self._answer_many(queries)

    def _read_query(self, packet: SpikePacket) -> Query | None:
        try:
            prompt = validate(Prompt, packet.metadata.get("prompt"))
            route_prob = float(packet.metadata.get("route_prob", 1.0))
            left_ms = float(packet.metadata.get("left_ms", prompt.deadline_ms))
        except (MessageError, TypeError, ValueError) as error:
            self.count("malformed_queries")
            self.fail("query", error)
            return None
        if prompt.prompt_id in self._working:
            return None
        if (done := self._done.get(prompt.prompt_id)) is not None:
            self.spawn(self._send_packet(done))
            return None
        self._working.add(prompt.prompt_id)
        self.count("queries")
        return Query(prompt, packet, route_prob, time.monotonic() + left_ms / 1000, _emit=self._emit)

    async def _answer_one(self, query: Query) -> None:
        try:
            partial = await self.answer(query)
        except Exception as error:
            partial = self._failed(query, error)
        await self._finish(query, partial)

    async def _answer_many(self, queries: list[Query]) -> None:
        waiting = [q for q in queries if not q.expired]
        for query in queries:
            if query.expired:
                await self._finish(query, Partial(error=f"{self.id} was busy until after the deadline"))
        if not waiting:
            return
        try:
            partials = await self.in_model_thread(self.answer_batch, waiting)
            if len(partials) != len(waiting):
                raise RegionError(f"{self.id} answered {len(partials)} of {len(waiting)} queries")
        except Exception as error:
            partials = [self._failed(query, error) for query in waiting]
        for query, partial in zip(waiting, partials, strict=True):
            await self._finish(query, partial)

    def _guarded(self, query: Query) -> Partial:
        try:
            partial: Partial = self.answer(query)
        except Exception as error:
            return self._failed(query, error)
        return partial

    def _failed(self, query: Query, error: Exception) -> Partial:
        if not isinstance(error, RegionError):
            self.fail("answer", error)
        return Partial(error=no_answer(error, self.id))

    async def _finish(self, query: Query, partial: Partial) -> None:
        prompt_id = query.prompt.prompt_id
        try:
            partial.final = True
            packet = self._partial_packet(query, partial)
        except Exception as error:
            packet = self._partial_packet(query, self._failed(query, error))
        self._working.discard(prompt_id)
        self._done[prompt_id] = packet
        while len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        self.count("answers" if partial.error is None else "refusals")
        await self._send_packet(packet)
        asker = query.spikes.source
        if partial.spikes is not None and asker:
            self.publish(f"spikes/{self.id}/{asker}", self.packet(partial.spikes, modality=self.modality or self.id))

    async def _send_packet(self, packet: SpikePacket) -> None:
        try:
            if not await self.send(self._result_key, packet):
                self.log.warning("nobody fuses", key=self._result_key)
        except Exception as error:  # spikes of a type that no packet carries, say
            self.fail("partial", error)

    def _partial_packet(self, query: Query, partial: Partial) -> SpikePacket:
        partial.prompt_id = query.prompt.prompt_id
        partial.region = self.id
        partial.latency_ms = (time.monotonic() - query.arrived) * 1000
        spikes = EMPTY_SPIKES if partial.spikes is None else partial.spikes
        metadata = {"partial": partial.model_dump(), "prompt_id": partial.prompt_id}
        return self.packet(spikes, modality=self.modality or self.id, metadata=metadata)

    def _emit(self, query: Query, partial: Partial) -> None:
        packet = self._partial_packet(query, partial)
        self._loop.call_soon_threadsafe(self.publish, self._result_key, packet)
