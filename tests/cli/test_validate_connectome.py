"""`brainnet validate` of a connectome: its graph as tables and as JSON, and one clear error with its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TWO = """\
version: 1
clock: {dt_ms: 0.5}
populations:
  - {id: a, model: lif, size: 40}
  - {id: b, model: lif, size: 1200}
projections:
  - {from: a, to: b, synapses: {connect: fixed_probability, p: 0.25, weight: 60, delay_ms: {uniform: [2, 5]}}}
  - from: b
    to: a
    name: back
    synapses: {connect: fixed_total_number, n: 1500, weight: {normal: [60, 10]}, delay_ms: 5}
    plasticity: {rule: stdp, w_max: 200}
"""
ROOT = Path(__file__).parents[2]


def run(verb: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brainnet", verb, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def written(folder: Path, text: str = TWO) -> Path:
    path = folder / "two.yaml"
    path.write_text(text)
    return path


def test_the_graph_is_shown(tmp_path: Path) -> None:
    path = written(tmp_path)
    done = run("validate", path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{path} is valid: 2 populations, 2 projections, 2 processes\n"
    lines = [line.split() for line in done.stdout.splitlines() if line]
    assert lines[:3] == [
        ["population", "model", "neurons", "process"],
        ["a", "lif", "40", "a"],
        ["b", "lif", "1,200", "b"],
    ]
    assert lines[4:6] == [
        ["a->b", "a", "b", "excitatory", "fixed_probability", "12,000", "2\N{EN DASH}5"],
        ["back", "b", "a", "excitatory", "fixed_total_number", "1,500", "5", "stdp"],
    ]
    assert [line[:3] for line in lines[6:9]] == [
        ["process", "neurons", "synapses"],
        ["a", "40", "1,500"],
        ["b", "1,200", "12,000"],
    ]
    assert done.stdout.endswith("\nwindow 4 steps, 2 ms; limited by a->b\n")


def test_json_has_one_object_for_each_part(tmp_path: Path) -> None:
    done = run("validate", written(tmp_path), "--json")
    assert done.stderr == ""
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = ["population", "population", "projection", "projection", "process", "process", "window"]
    assert [next(iter(row)) for row in rows] == kinds
    assert rows[0] == {"population": "a", "model": "lif", "neurons": 40, "inputs": 40, "process": "a", "line": 4}
    nbytes = rows[2].pop("bytes")
    assert rows[2] == {
        "projection": "a->b",
        "from": "a",
        "to": "b",
        "port": "excitatory",
        "rule": "fixed_probability",
        "synapses": 12000,
        "shortest_ms": 2.0,
        "longest_ms": 5.0,
        "plasticity": None,
        "line": 7,
    }
    assert rows[5] == {"process": "b", "bytes": nbytes, "populations": ["b"], "neurons": 1200, "synapses": 12000}
    assert rows[6] == {"window": 4, "window_ms": 2.0, "limit": "a->b", "dt_ms": 0.5}


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "text"),
    [
        ("id: b, model: lif", "id: b, model: lief", 5, "populations[1].model", "did you mean lif?"),
        ("to: b", "to: c", 7, "projections[0].to", "there are a, b"),
        ("delay_ms: 5", "delay_ms: 0.1", 11, "projections[1].synapses.delay_ms", "write at least 0.5"),
        ("dt_ms: 0.5", "dt_ms: 0.5, window: 5", 2, "clock.window", "a->b"),
        ("w_max: 200", "w_maximum: 200", 12, "projections[1].plasticity", "w_max"),
        ("weight: 60", "weight: .inf", 7, "projections[0].synapses.weight", "not a finite number"),
    ],
)
def test_a_mistake_is_that_of_a_run(tmp_path: Path, old: str, new: str, line: int, field: str, text: str) -> None:
    assert old in TWO
    path = written(tmp_path, TWO.replace(old, new, 1))
    validated, simulated = run("validate", path), run("simulate", path, "--steps", 1)
    assert (validated.returncode, validated.stdout) == (1, "")
    assert validated.stderr == simulated.stderr
    assert validated.stderr.startswith(f"brainnet: {path}, line {line}, column ")
    assert f": {field}" in validated.stderr
    assert text in validated.stderr
    assert validated.stderr.count("\n") == 1


def test_a_process_is_on_one_host(tmp_path: Path) -> None:
    text = TWO.replace("size: 40", "size: 40, process: p, host: x").replace(
        "size: 1200", "size: 9, process: p, host: y"
    )
    done = run("validate", written(tmp_path, text))
    assert done.returncode == 1
    assert "line 5, column " in done.stderr
    assert "populations[1].host" in done.stderr


def test_the_network_of_an_allocation_is_checked_and_shown(tmp_path: Path) -> None:
    written(tmp_path)
    allocation = tmp_path / "allocation.yaml"
    allocation.write_text("version: 1\nconnectome: two.yaml\n")
    done = run("validate", allocation)
    assert done.returncode == 0, done.stderr
    assert "limited by a->b" in done.stdout
    rows = [json.loads(line) for line in run("validate", allocation, "--json").stdout.splitlines()]
    assert [row["id"] for row in rows[:2]] == ["a", "b"]
    assert rows[-1]["window"] == 4
    written(tmp_path, TWO.replace("model: lif", "model: lief"))
    assert "did you mean lif?" in run("validate", allocation).stderr


EMBEDDED = """\
version: 1
nodes:
  - id: a
    program: population
    parameters:
      model: lif
      size: 40
      parameters: {tau_m_ms: 20}
  - {id: b, program: population, parameters: {model: lif, size: 30}}
projections:
  - from: a
    to: b
    synapses:
      connect: all_to_all
      weight: 1
      delay_ms: 2
"""


def test_a_network_in_an_allocation_is_checked_at_its_places(tmp_path: Path) -> None:
    allocation = tmp_path / "allocation.yaml"
    allocation.write_text(EMBEDDED)
    rows = [json.loads(line) for line in run("validate", allocation, "--json").stdout.splitlines()]
    assert [row["line"] for row in rows if "population" in row or "projection" in row] == [3, 9, 11]
    for old, new, line, field in (
        ("tau_m_ms", "tau_ms", 8, "nodes[0].parameters.parameters.tau_ms"),
        ("delay_ms: 2", "delay_ms: 0", 16, "projections[0].synapses.delay_ms"),
    ):
        allocation.write_text(EMBEDDED.replace(old, new))
        done = run("validate", allocation)
        assert done.returncode == 1
        assert done.stderr.startswith(f"brainnet: {allocation}, line {line}, column ")
        assert f": {field}: " in done.stderr


def test_what_is_for_allocations_alone(tmp_path: Path) -> None:
    done = run("validate", written(tmp_path), "--host", "here")
    assert done.returncode == 2
    assert "--host is for allocations" in done.stderr


def test_the_ready_network_is_valid() -> None:
    assert "is valid: 2 populations" in run("validate", ROOT / "config" / "connectome_config.yaml").stderr
