"""The benchmark of the bus: that it measures between two real processes, and what its rows say. Never the timings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brainnet.bench import bus
from brainnet.bench.bus import Measurements, Plan
from brainnet.rows import compare, percentile
from brainnet.testing import PATIENCE_S, wait_until
from tests.support import processes_of


async def test_rows_say_what_was_measured_and_nothing_is_lost() -> None:
    told: list[str] = []
    rows = {row.name: row for row in await bus.measure(Plan(blocks=2, trips=20, stream=2000), told.append)}
    assert rows["stream_lost"].value == 0
    assert rows["stream_lost"].ok
    for name in ("round_trip_p50", "round_trip_p99", "stream"):
        row = rows[name]
        assert row.rival_value
        assert row.ratio == pytest.approx(row.value / row.rival_value)
    assert rows["round_trip_p99"].value >= rows["round_trip_p50"].value > 0
    assert (rows["round_trip_p50"].bar, rows["stream"].bar) == ("ratio <= 1.5", "value >= 60,000")
    assert rows["packet_size"].value < 1000
    assert len(told) == 4


def _measured(**further: object) -> Measurements:
    return Measurements(
        trips=[3e-4, 2e-4, 9e-4],
        raw_trips=[1e-4],
        codec_trips=[2e-4],
        rates=[80_000.0, 100_000.0, 90_000.0],
        raw_rates=[900_000.0],
        sent=300,
        received=300,
        **further,  # type: ignore[arg-type]
    )


def test_rows_beside_dora_follow_those_of_the_same_measure() -> None:
    measured = _measured(
        dora="dora-rs 9.9", dora_trips=[5e-4, 4e-4, 4e-4], dora_rates=[20_000.0], dora_sent=3000, dora_received=2990
    )
    rows = {row.name: row for row in bus.rows(measured)}
    assert list(rows) == [
        "round_trip_p50",
        "round_trip_p50_dora",
        "round_trip_p99",
        "round_trip_p50_same_work",
        "stream",
        "stream_dora",
        "stream_lost",
    ]
    trip, stream = rows["round_trip_p50_dora"], rows["stream_dora"]
    assert (trip.value, trip.rival_value, trip.ratio) == pytest.approx((300, 400, 0.75))
    assert (stream.value, stream.rival_value, stream.ratio) == pytest.approx((90_000, 20_000, 4.5))
    assert (trip.bar, trip.ok, stream.bar, stream.ok) == ("ratio <= 0.85", True, "ratio >= 4", True)
    assert "dora-rs 9.9" in str(trip.rival)
    assert "10 of 3,000" in str(stream.rival)
    assert rows["stream_lost"].value == 0


def test_without_dora_its_rows_are_left_out() -> None:
    assert not [row.name for row in bus.rows(_measured()) if "dora" in row.name]


@pytest.mark.parametrize(("received", "lost", "found"), [(300, 0, 0), (290, 0, 10), (300, 4, 4)])
def test_a_packet_that_is_missing_is_counted_once(received: int, lost: int, found: int) -> None:
    measured = _measured(lost=lost)
    measured.received = received
    row = next(row for row in bus.rows(measured) if row.name == "stream_lost")
    assert (row.value, row.ok) == (found, found == 0)


def test_a_missed_bar_is_status_1_and_rows_are_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "brainnet", "bench", "bus", "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"name", "value", "unit", "rival", "rival_value", "ratio", "bar", "ok"} == set(rows[0])
    assert done.returncode == (0 if all(row["ok"] is not False for row in rows) else 1)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_no_process_is_left(tmp_path: Path, ending: signal.Signals) -> None:
    marker = str(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "brainnet", "bench", "bus"],
        env={**os.environ, "BENCH_TEST": marker},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until("the second process", lambda: len(processes_of(marker)) >= 2)
    process.send_signal(ending)
    process.wait(PATIENCE_S)
    wait_until("both processes to go", lambda: not processes_of(marker))


@pytest.mark.parametrize(
    ("limit", "ok"),
    [
        (("ratio", "<=", 1.5), False),
        (("ratio", "<=", 2.0), True),
        (("value", ">=", 10.0), True),
        (("value", ">=", 10.5), False),
        (("value", "==", 10.0), True),
    ],
)
def test_a_bar_holds_or_not(limit: tuple[str, str, float], ok: bool) -> None:
    row = compare("x", 10.0, "us", rival="y", rival_value=5.0, limit=limit)  # type: ignore[arg-type]
    assert (row.ratio, row.ok) == (2.0, ok)


def test_a_row_without_a_bar_is_neither_held_nor_missed() -> None:
    assert compare("x", 1.0, "us").ok is None


def test_percentiles() -> None:
    values = [float(v) for v in range(100)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50.0, 99.0, 99.0)
    assert percentile([3.0], 99) == 3.0
