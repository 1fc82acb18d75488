"""This side of the bus benchmark: the sessions to the second process, `brainnet.bench.peer`, and what they measure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from brainnet.bench import workload
from brainnet.bus import Bus, Endpoint, open_bus, open_session
from brainnet.errors import BusError
from brainnet.testing.ports import free_port
from brainnet.wire.packet import SpikePacket, decode, encode

_TIMEOUT_S = 10.0
"""Seconds without any message after which the benchmark fails."""


class PeerLink:
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
    async def start(cls) -> AsyncIterator[PeerLink]:
        """Start the second process and reach it over loopback.

        Raises:
            BusError: It does not start, or the two do not reach each other.
        """
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
        ponged = self._pongs.get
        try:
            # One timeout for all: arming one for each trip would be measured with it.
            async with asyncio.timeout(_TIMEOUT_S + count * 0.01):
                for _ in range(count):
                    start = time.perf_counter()
                    self._bus.publish(workload.PING, SpikePacket(self._data, modality="bench"))
                    await ponged()
                    taken.append(time.perf_counter() - start)
        except TimeoutError:
            raise BusError(f"{count - len(taken)} of {count} round trips did not come back") from None
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
