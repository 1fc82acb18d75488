"""The rival dora of the bus benchmark: that it measures between two real nodes, and leaves nothing behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from brainnet.bench import bus, dora
from brainnet.bench.bus import Plan
from brainnet.bench.dora import Dora
from brainnet.errors import BusError
from brainnet.testing import wait_until
from tests.support import processes_of

needs_dora = pytest.mark.skipif(dora.absent() is not None, reason=f"dora cannot take part: {dora.absent()}")


@needs_dora
async def test_two_nodes_answer_and_lose_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marker = str(tmp_path)
    monkeypatch.setenv("BENCH_TEST", marker)
    async with Dora.start(queue=2000) as nodes:
        assert processes_of(marker)
        trips = await nodes.trips(20)
        assert len(trips) == 20
        assert min(trips) > 0
        for _ in range(2):  # the second stream is counted from zero
            rate, received = await nodes.stream(2000)
            assert rate > 0
            assert received == 2000
    wait_until("the nodes and dora to go", lambda: not processes_of(marker))


@needs_dora
async def test_its_rows_are_part_of_the_benchmark() -> None:
    rows = {row.name: row for row in await bus.measure(Plan(blocks=2, trips=20, stream=2000))}
    assert rows["round_trip_p50_dora"].rival_value
    assert rows["stream_dora"].rival_value
    assert "lost 0 of 4,000" in str(rows["stream_dora"].rival)


@pytest.mark.skipif(shutil.which("false") is None, reason="there is no command `false`")
async def test_a_dataflow_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dora, "_command", lambda: shutil.which("false"))
    with pytest.raises(BusError, match="did not start"):
        async with Dora.start(queue=10):
            pass


def test_dora_takes_part_only_where_all_of_it_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dora.importlib.metadata, "version", lambda name: "9.9")  # type: ignore[attr-defined]
    monkeypatch.setattr(dora.importlib.util, "find_spec", lambda name: object())  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "dora-rs-cli" in str(dora.absent())
    (tmp_path / "dora").touch(0o755)
    assert dora.absent() is None
    monkeypatch.setattr(dora.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    assert "module" in str(dora.absent())
