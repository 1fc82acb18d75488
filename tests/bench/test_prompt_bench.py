"""The benchmark of prompts: that it measures real brains in turns, and what its rows say. Never the timings."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.bench.prompt import CLIENTS, stages
from brainnet.errors import LaunchError
from brainnet.testing import PATIENCE_S, wait_until
from brainnet.testing.own_brain import OwnBrain, interpreter
from brainnet.wire.messages import Answer
from tests.support import Brain, node, write_allocation

ROOT = Path(__file__).resolve().parents[2]


def named(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_rows_hold_rates_latencies_and_stages_of_a_checkout_and_of_another(
    home: Brain, answering: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("brainnet", "topics", "nodes", "config", "launch"):
        (other / name).symlink_to(ROOT / name)
    (other / ".venv").symlink_to(sys.prefix)
    rows = named(home.rows("bench", "prompt", str(answering), "--quick", "--against", str(other)))
    for clients in CLIENTS:
        p50 = rows[f"right_{clients}_p50"]
        assert p50["ratio"] == pytest.approx(p50["value"] / p50["rival_value"])
        assert rows[f"right_{clients}_p95"]["value"] >= p50["value"] > 0
        assert rows[f"right_{clients}_rate"]["value"] > 0
        assert f"right_{clients}_errors" not in rows
        for figure in ("rate", "p50"):  # measured in turns
            row = rows[f"right_{clients}_{figure}_against"]
            assert row["ratio"] == pytest.approx(row["value"] / row["rival_value"])
            assert row["value"] == rows[f"right_{clients}_{figure}"]["value"]
            assert str(other) in row["rival"] or row["rival"].startswith("commit ")
    assert rows["right_encode"]["value"] > 0
    found = {name.removeprefix("right_1_stage_") for name in rows if "_stage_" in name}
    assert {"decision", "total", "compute", "transport"} <= found
    home.wait_gone()


def test_a_brain_that_runs_can_be_measured(home: Brain, answering: Path) -> None:
    home.launch(answering)
    before = home.nodes()
    rows = named(home.rows("bench", "prompt", "--attach", "--quick"))
    assert rows["right_1_rate"]["value"] > 0
    assert not [name for name in rows if name.endswith("_against")]
    assert {id: record.pid for id, record in home.nodes().items()} == {id: r.pid for id, r in before.items()}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_no_process_is_left(home: Brain, answering: Path, ending: signal.Signals) -> None:
    command = home.start("bench", "prompt", str(answering))
    wait_until("the brain", lambda: "right" in home.processes().values())
    command.send_signal(ending)
    command.wait(PATIENCE_S)
    home.wait_gone()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--attach"], "no brain runs"),
        (["--against", "/nowhere"], ".venv/bin/python"),
        (["missing.yaml"], "missing.yaml"),
    ],
)
def test_a_mistake_is_one_error(home: Brain, arguments: list[str], text: str) -> None:
    done = home.run("bench", "prompt", *arguments, check=False)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert home.processes() == {}


def test_a_brain_that_is_not_complete_is_not_measured(home: Brain, tmp_path: Path) -> None:
    never = {"policy": "never"}
    path = write_allocation(tmp_path / "bad.yaml", node("one"), node("bad", "exits", restart=never))
    for benchmark in ("prompt", "boot"):
        done = home.run("bench", benchmark, str(path), "--quick", check=False)
        assert done.returncode == 1
        assert "bad" in done.stderr
        home.wait_gone()


def test_a_start_is_measured_beside_a_process_that_imports_torch(home: Brain, answering: Path) -> None:
    rows = named(home.rows("bench", "boot", str(answering), "--quick"))
    ready, whole = rows["boot_ready"], rows["boot_memory"]
    for row in (ready, whole):
        assert row["ratio"] == pytest.approx(row["value"] / row["rival_value"])
    parts = [row["value"] for name, row in rows.items() if name.startswith("boot_memory_")]
    assert {"boot_memory_launcher", "boot_memory_zygote", "boot_memory_right"} <= set(rows)
    assert sum(parts) == pytest.approx(whole["value"])
    home.wait_gone()


times = st.floats(0, 1000, allow_nan=False)


@given(times, times, times, times, st.dictionaries(st.sampled_from(["a", "b"]), times, min_size=1))
def test_the_stages_of_a_prompt_add_up(
    journal: float, decision: float, fuse: float, extra: float, regions: dict[str, float]
) -> None:
    """Transport, journal, decision, the slowest region, fusion and what is between them: all of the client's time."""
    brain = decision + fuse + max(regions.values()) + extra
    latency = {"journal": journal, "decision": decision, "fuse": fuse, "brain": brain, "total": brain + journal}
    latency |= {f"region.{name}": value for name, value in regions.items()}
    answer = Answer(prompt_id="id", latency=latency)
    found = stages(answer, brain + journal + 7)
    assert found["transport"] == pytest.approx(7)
    assert found["compute"] == max(regions.values())
    assert found["between"] == pytest.approx(extra, abs=1e-6)
    parts = [value for name, value in found.items() if name not in ("total", "brain")]
    assert sum(parts) == pytest.approx(brain + journal + 7)


def test_an_answer_without_parts_is_all_transport() -> None:
    assert stages(Answer(prompt_id="id"), 5.0) == {"transport": 5.0}


def test_a_checkout_without_an_environment_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="scripts/setup"):
        interpreter(tmp_path)


async def test_a_brain_of_its_own_leaves_no_file(answering: Path) -> None:
    with OwnBrain(answering) as brain:
        brain.launch()
        async with brain.connected() as bus:
            status = await brain.ready(bus)
        assert {node.id for node in status.nodes} == {"prefrontal", "memory_integrator", "right"}
        assert status.pid == brain.pid
        state = brain.state
        assert json.loads((state / "launcher.lock").read_text())["port"] == brain.port
    assert not state.exists()
