"""Rates, intervals and delays: by the times of arrival, whatever the clocks of the senders say."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.bus import Sample, Stamp
from brainnet.cli.node_table import duration
from brainnet.observe import listening
from brainnet.observe.series import MAX_DELAY_MS, MAX_SERIES, Collection, Series
from brainnet.testing import PATIENCE_S, until
from tests.small_brain import SmallBrain

NEAR = pytest.approx
MS = 10**6
HOUR_NS = 3600 * 10**9
EPOCH = 1_700_000_000 * 10**9


def test_a_clock_that_is_set_back_changes_neither_rate_nor_intervals() -> None:
    series = Series("k", "eye")
    for number in range(10):
        clock = EPOCH + number * 10 * MS - (HOUR_NS if number >= 5 else 0)
        series.add(Stamp("eye", number + 1, clock), 8, number * 10 * MS, EPOCH + number * 10 * MS + MS)
    assert series.rate_hz == NEAR(100)
    assert series.intervals.low == series.intervals.high == NEAR(0.01)
    assert series.delays.number == 5
    assert series.delays.low == series.delays.high == NEAR(1)
    assert series.clock_difference_ms == NEAR(3_600_001)


def test_a_gap_in_the_numbers_is_no_interval() -> None:
    series = Series("k", "eye")
    for number, at in ((1, 0), (2, 10), (5, 40), (6, 50)):
        series.add(Stamp("eye", number, 0), 8, at * MS, EPOCH)
    assert series.rate_hz == NEAR(100)
    assert series.counts()["missing"] == 2
    assert series.intervals.high == NEAR(0.01)


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 10**12)), max_size=20),
    st.integers(0, 2**63),
)
def test_no_stamp_makes_a_negative_or_endless_time(stamps: list[tuple[int, int, int]], now_ns: int) -> None:
    series, arrived = Series("k", "eye"), 0
    for seq, clock, step in stamps:
        arrived += step
        series.add(Stamp("eye", seq, clock), 8, arrived, now_ns)
    assert series.rate_hz is None or series.rate_hz >= 0
    assert series.intervals.low is None or series.intervals.low >= 0
    assert series.delays.low is None or (series.delays.high is not None and series.delays.high <= MAX_DELAY_MS)
    assert series.delays.low is None or series.delays.low >= 0


def test_senders_cannot_fill_the_memory_with_keys() -> None:
    collection, losses = Collection("test"), listening.Losses()
    for number in range(MAX_SERIES + 10):
        sample = Sample(f"foreign/{number}", b"x", "", None)
        collection.take(sample)
        losses.count(sample, "test")
    assert len(collection.series) == MAX_SERIES + 1
    assert collection.series["", ""].seen == 10
    assert losses.seen == MAX_SERIES + 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (61, "1 m 01 s"),
        (7260, "2 h 01 m"),
        (-3600, "unknown (the clocks differ)"),
        (1.8e9 * 3, "unknown (the clocks differ)"),
        (float("inf"), "unknown (the clocks differ)"),
        (float("nan"), "unknown (the clocks differ)"),
    ],
)
def test_a_time_span_that_nothing_lasts_is_said_to_be_unknown(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Refused(Exception):
    """What a test raises."""


@pytest.mark.parametrize("where", ["handle", "on_tick"])
async def test_listening_ends_with_whatever_its_functions_raise(small_brain: SmallBrain, where: str) -> None:
    bus = await small_brain.join("client")

    def refuse(*_: object) -> None:
        raise Refused

    def accept(*_: object) -> None:
        pass

    async with asyncio.timeout(PATIENCE_S):
        listen = asyncio.create_task(
            listening.listen(
                bus,
                "foreign/key",
                refuse if where == "handle" else accept,
                every=0.01,
                on_tick=refuse if where == "on_tick" else accept,
            )
        )
        if where == "handle":
            stranger = await small_brain.join("client")
            publisher = stranger.publish_raw("foreign/key", b"", "")
            assert await stranger.wait_publisher(publisher, PATIENCE_S)
            publisher.put(b"x", None)
        await until("the end", listen.done)
        with pytest.raises(Refused):
            await listen
