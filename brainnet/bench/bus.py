"""Benchmark of the bus between two processes, beside plain zenoh-python with the same bytes, and beside dora-rs.

Round trip: the bus is measured from `await` to `await`, from one event loop to the other and back, with encoding and
decoding on both sides; the baseline replies inside its callbacks and does not read the bytes. Stream: the bus delivers
decoded packets to one asyncio consumer; the baseline's callback copies the bytes.

dora-rs takes part where it is installed: two Python nodes that encode and decode the same packets with the same codec,
and wait for events as dora's nodes do, without an event loop.

Blocks of all alternate, so that a change of the machine's load affects all. Reported is the median over all trips, or
over the rates of the blocks: one block on a busy core does not change it.
"""

from __future__ import annotations

import contextlib
import statistics
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field

from brainnet.bench import dora, workload
from brainnet.bench.dora import Dora
from brainnet.bench.peer_link import PeerLink
from brainnet.rows import Row, compare, percentile
from brainnet.wire.packet import decode, encode


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
class Measurements:
    """What was measured: seconds of each round trip, packets/s of each block of the stream, and counts of packets.

    Attributes:
        trips: Through the bus.
        raw_trips: Between two callbacks.
        codec_trips: Between two callbacks that encode and decode.
        rates: Through the bus.
        raw_rates: To a callback.
        sent: Packets of the streams through the bus.
        received: Those that were received.
        lost: Those that are missing in sequence, or were dropped by a mailbox.
        dora: Name and version of dora; empty where it did not take part.
        dora_trips: Between two nodes of dora.
        dora_rates: From one node of dora to another.
        dora_sent: Packets of the streams of dora.
        dora_received: Those that were received.
    """

    trips: list[float] = field(default_factory=list)
    raw_trips: list[float] = field(default_factory=list)
    codec_trips: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    raw_rates: list[float] = field(default_factory=list)
    sent: int = 0
    received: int = 0
    lost: int = 0
    dora: str = ""
    dora_trips: list[float] = field(default_factory=list)
    dora_rates: list[float] = field(default_factory=list)
    dora_sent: int = 0
    dora_received: int = 0


async def measure(plan: Plan, progress: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Run the benchmark.

    Args:
        plan: Size of the measurement.
        progress: Called with a description of each step.

    Raises:
        BusError: The two processes do not reach each other, a message did not return, or dora is installed and does not
            start its nodes.
    """
    measured = Measurements()
    async with contextlib.AsyncExitStack() as stack:
        peer = await stack.enter_async_context(PeerLink.start())
        rival: Dora | None = None
        if dora.absent() is None:
            measured.dora = dora.name()
            rival = await stack.enter_async_context(Dora.start(queue=plan.stream))
        for block in range(plan.blocks):
            progress(f"round trip, block {block + 1} of {plan.blocks}")
            measured.raw_trips += await peer.raw_trips(plan.trips)
            measured.trips += await peer.trips(plan.trips)
            measured.codec_trips += await peer.raw_trips(plan.trips, with_codec=True)
            if rival is not None:
                measured.dora_trips += await rival.trips(plan.trips)
        for block in range(plan.blocks):
            progress(f"stream, block {block + 1} of {plan.blocks}")
            measured.raw_rates.append(await peer.raw_stream(plan.stream))
            rate, received = await peer.stream(plan.stream)
            measured.rates.append(rate)
            measured.sent += plan.stream
            measured.received += received
            if rival is not None:
                rate, received = await rival.stream(plan.stream)
                measured.dora_rates.append(rate)
                measured.dora_sent += plan.stream
                measured.dora_received += received
        measured.lost = peer.lost()
    return [*rows(measured), *_codec()]


def rows(measured: Measurements) -> list[Row]:
    """Return the rows of what was measured; those of dora only where it took part."""
    raw = "raw zenoh callbacks, same bytes"
    micro = 1e6
    beside_dora = _beside_dora(measured) if measured.dora else {}
    listed = [
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
    # Beside the row of the same measure, so that both baselines of it stand together.
    return [row for own in listed for row in (own, beside_dora.get(own.name)) if row is not None]


def _beside_dora(measured: Measurements) -> dict[str, Row]:
    """Return the rows beside dora, by the name of the row that each follows."""
    lost = measured.dora_sent - measured.dora_received
    return {
        "round_trip_p50": compare(
            "round_trip_p50_dora",
            statistics.median(measured.trips) * 1e6,
            "us",
            rival=f"{measured.dora}, two Python nodes, same packets and codec",
            rival_value=statistics.median(measured.dora_trips) * 1e6,
            limit=("ratio", "<=", 0.85),
        ),
        "stream": compare(
            "stream_dora",
            statistics.median(measured.rates),
            "packets/s",
            rival=f"{measured.dora}, which lost {lost:,} of {measured.dora_sent:,}",
            rival_value=statistics.median(measured.dora_rates),
            limit=("ratio", ">=", 4),
        ),
    }


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
