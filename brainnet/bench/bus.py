"""Benchmark of the bus between two processes; the baseline is plain zenoh-python with the same bytes.

Round trip: the bus is measured from `await` to `await`, from one event loop to the other and back, with encoding and
decoding on both sides; the baseline replies inside its callbacks and does not read the bytes. Stream: the bus delivers
decoded packets to one asyncio consumer; the baseline's callback copies the bytes.

Blocks of both alternate, so that a change of the machine's load affects both. Reported is the median over all trips, or
over the rates of the blocks: one block on a busy core does not change it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import threading
import time
import timeit
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from brainnet.bench import workload
from brainnet.bus import Bus, Endpoint, open_bus, open_session
from brainnet.errors import BusError
from brainnet.rows import Row, compare, percentile
from brainnet.testing.ports import free_port
from brainnet.wire.packet import SpikePacket, decode, encode

_TIMEOUT_S = 10.0
"""Seconds without any message after which the benchmark fails."""


@dataclass(frozen=True)
class Plan:
    """Size of the measurement: blocks, round trips per block, packets per block of the stream."""

    blocks: int = 12
    trips: int = 300
    stream: int = 40_000

    @classmethod
    def quick(cls) -> Plan:
        """Return a smaller plan with noisier results."""
        return cls(blocks=4, trips=150, stream=10_000)


@dataclass
class _Measurements:
    trips: list[float] = field(default_factory=list)
    raw_trips: list[float] = field(default_factory=list)
    codec_trips: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    raw_rates: list[float] = field(default_factory=list)
    sent: int = 0
    received: int = 0
    lost: int = 0


async def measure(plan: Plan, progress: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Run the benchmark.

    Args:
        plan: Size of the measurement.
        progress: Called with a description of each step.

    Raises:
        BusError: The two processes do not reach each other, or a message did not return.
    """
    measured = _Measurements()
    async with _Peer.start() as peer:
        for block in range(plan.blocks):
            progress(f"round trip, block {block + 1} of {plan.blocks}")
            measured.raw_trips += await peer.raw_trips(plan.trips)
            measured.trips += await peer.trips(plan.trips)
            measured.codec_trips += await peer.raw_trips(plan.trips, with_codec=True)
        for block in range(plan.blocks):
            progress(f"stream, block {block + 1} of {plan.blocks}")
            measured.raw_rates.append(await peer.raw_stream(plan.stream))
            rate, received = await peer.stream(plan.stream)
            measured.rates.append(rate)
            measured.sent += plan.stream
            measured.received += received
        measured.lost = peer.lost()
    return [*_rows(measured), *_codec()]


def _rows(measured: _Measurements) -> list[Row]:
    raw = "raw zenoh callbacks, same bytes"
    micro = 1e6
    return [
        compare(
            "round_trip_p50",
            statistics.median(measured.trips) * micro,
            "us",
            rival=raw,
            rival_value=statistics.median(measured.raw_trips) * micro,
            limit=("ratio", "<=", 1.5),
        ),
        compare(
            "round_trip_p99",
            percentile(measured.trips, 99) * micro,
            "us",
            rival=raw,
            rival_value=percentile(measured.raw_trips, 99) * micro,
        ),
        compare(
            "round_trip_p50_same_work",
            statistics.median(measured.trips) * micro,
            "us",
            rival="raw zenoh callbacks that encode and decode",
            rival_value=statistics.median(measured.codec_trips) * micro,
        ),
        compare(
            "stream",
            statistics.median(measured.rates),
            "packets/s",
            rival=raw,
            rival_value=statistics.median(measured.raw_rates),
            limit=("value", ">=", 60_000),
        ),
        compare(
            "stream_lost",
            max(measured.lost, measured.sent - measured.received),
            f"of {measured.sent:,} packets",
            limit=("value", "==", 0),
        ),
    ]


def _codec() -> list[Row]:
    packet = workload.packet()
    wire = encode(packet)
    rounds = 2000
    # The minimum, because another process can only make a run slower.
    encode_s = min(timeit.repeat(lambda: encode(packet), number=rounds, repeat=5)) / rounds
    decode_s = min(timeit.repeat(lambda: decode(wire), number=rounds, repeat=5)) / rounds
    return [
        compare("encode", encode_s * 1e6, "us"),
        compare("decode", decode_s * 1e6, "us"),
        compare("packet_size", len(wire), "bytes", rival="bit-packed data alone", rival_value=packet.data.size / 8),
    ]


class _Peer:
    """The other process, and this side's sessions to it."""

    def __init__(self, process: asyncio.subprocess.Process, bus: Bus, reading: Bus, session: Any) -> None:
        self._bus = bus
        self._reading = reading
        self._process = process
        self._payload = encode(workload.packet())
        self._data = workload.spikes()
        # Two buses: the stream's mailbox blocks, and must not delay the round trips.
        self._pongs = bus.subscribe(workload.PONG)
        # `block` on a session of its own: back-pressure makes the sender as fast as this consumer, so the measured
        # rate is that of the consumer and no packet is dropped.
        self._stream = reading.subscribe(workload.STREAM, capacity=2048, overflow="block")
        self._ping = workload.best_effort_publisher(session, workload.RAW_PING)
        self._codec_ping = workload.best_effort_publisher(session, workload.CODEC_PING)
        self._raw_pong: Callable[[bytes], None] = lambda payload: None
        self._raw_sample: Callable[[bytes], None] = lambda payload: None
        self._subscribers = [
            session.declare_subscriber(workload.RAW_PONG, lambda s: self._raw_pong(s.payload.to_bytes())),
            session.declare_subscriber(workload.CODEC_PONG, lambda s: self._raw_pong(s.payload.to_bytes())),
            session.declare_subscriber(workload.RAW_STREAM, lambda s: self._raw_sample(s.payload.to_bytes())),
        ]

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls) -> AsyncIterator[_Peer]:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "brainnet.bench.peer",
            str(port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await _expect(process, "ready")
            endpoint = Endpoint(workload.NAMESPACE, f"tcp/127.0.0.1:{port}")
            session = await asyncio.to_thread(open_session, endpoint, "peer")
            try:
                async with (
                    await open_bus(endpoint, role="region", mode="peer", source="bench") as bus,
                    await open_bus(endpoint, role="client", mode="peer", source="reader") as reading,
                ):
                    peer = cls(process, bus, reading, session)
                    await peer._connected()
                    yield peer
            finally:
                session.close()
        finally:
            await _end(process)

    async def _connected(self) -> None:
        """Wait until every publisher has its subscriber, and run some trips to warm up."""
        if not await self._bus.wait_matching(workload.PING, 10):
            raise BusError("the benchmark's two processes do not reach each other over loopback")
        deadline = time.monotonic() + 10
        while not (self._ping.matching_status.matching and self._codec_ping.matching_status.matching):
            if time.monotonic() > deadline:
                raise BusError("the benchmark's two processes do not reach each other over loopback")
            await asyncio.sleep(0.01)
        await self.trips(50)
        await self.raw_trips(50)
        await self.raw_trips(50, with_codec=True)

    async def trips(self, count: int) -> list[float]:
        """Measure round trips through the bus; return the seconds of each."""
        taken = []
        for _ in range(count):
            start = time.perf_counter()
            self._bus.publish(workload.PING, SpikePacket(self._data, modality="bench"))
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._pongs.get()
            except TimeoutError:
                raise BusError(f"a round trip did not come back within {_TIMEOUT_S:g} s") from None
            taken.append(time.perf_counter() - start)
        return taken

    async def raw_trips(self, count: int, *, with_codec: bool = False) -> list[float]:
        """Measure round trips between two callbacks; return the seconds of each.

        Args:
            count: Number of trips.
            with_codec: Encode and decode packets as the bus does.
        """
        taken: list[float] = []
        done = threading.Event()
        clock, payload, data = time.perf_counter, self._payload, self._data
        put = self._codec_ping.put if with_codec else self._ping.put
        start = 0.0

        def ping() -> None:
            nonlocal start
            start = clock()
            put(encode(SpikePacket(data, modality="bench", source="bench", timestamp_ns=1)) if with_codec else payload)

        def pong(received: bytes) -> None:
            if with_codec:
                decode(received)
            taken.append(clock() - start)
            if len(taken) < count:
                ping()
            else:
                done.set()

        self._raw_pong = pong
        ping()
        if not await asyncio.to_thread(done.wait, _TIMEOUT_S + count * 0.01):
            raise BusError("a round trip between two callbacks did not come back")
        return taken

    async def stream(self, count: int) -> tuple[float, int]:
        """Receive a stream with one asyncio consumer; return packets/s and the number of received packets."""
        await self._command("stream", count)
        received = 0
        start = end = 0.0
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S) as limit:
                async for _ in self._stream:
                    received += 1
                    if received == 1:
                        start = time.perf_counter()
                    if received % 4096 == 0:  # rarely, because rescheduling a timer costs time
                        limit.reschedule(loop.time() + _TIMEOUT_S)
                    if received == count:
                        break
        end = time.perf_counter()
        await _expect(self._process, "sent")
        return (received - 1) / (end - start), received

    def lost(self) -> int:
        """Return how many messages are missing in sequence or were dropped by a mailbox."""
        return sum(row.lost + row.dropped for row in self._reading.counters.snapshot())

    async def raw_stream(self, count: int) -> float:
        """Receive a stream with a callback that copies the bytes; return samples/s."""
        done = threading.Event()
        received = 0
        start = end = 0.0

        def sample(_: bytes) -> None:
            nonlocal received, start, end
            received += 1
            if received == 1:
                start = time.perf_counter()
            if received == count:
                end = time.perf_counter()
                done.set()

        self._raw_sample = sample
        await self._command("stream_raw", count)
        arrived = await asyncio.to_thread(done.wait, _TIMEOUT_S + count / 5000)
        await _expect(self._process, "sent")
        if not arrived:
            raise BusError(f"{count - received} of {count} raw samples did not arrive")
        return (count - 1) / (end - start)

    async def _command(self, do: str, count: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, "count": count}).encode() + b"\n")
        await self._process.stdin.drain()


async def _expect(process: asyncio.subprocess.Process, event: str) -> None:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
    except TimeoutError:
        raise BusError(f"the benchmark's second process did not say {event!r} within 60 s") from None
    if not line or json.loads(line).get("event") != event:
        raise BusError(f"the benchmark's second process ended instead of saying {event!r}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(3):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
