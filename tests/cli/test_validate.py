"""`brainnet validate` refuses what `brainnet launch` refuses, in the same words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import PROGRAMS, Brain, MakeBrain, node, write_allocation

ECHO = PROGRAMS / "echo.py"

REFUSED = {
    "endpoint": (
        f"version: 1\nhosts: {{here: {{listen: [10.0.0.1:7447]}}}}\nnodes:\n  - {{id: a, program: {ECHO}}}",
        2,
    ),
    "CPU": (f"version: 1\nnodes:\n  - {{id: a, program: {ECHO}, cpu_affinity: [8000]}}", 3),
    "device": (f"version: 1\nnodes:\n  - {{id: a, program: {ECHO}, device: 'cuda:900'}}", 3),
    "variable": (f'version: 1\nnodes:\n  - {{id: a, program: {ECHO}, environment: {{"A=B": x}}}}', 3),
    "size": (f"version: 1\nnodes:\n  - {{id: a, program: {ECHO}, parameters: {{prefix: {'x' * 300_000}}}}}", 3),
    "hub": (
        f"version: 1\nport: 7599\nhosts: {{here: {{listen: [tcp/localhost:7599]}}}}\n"
        f"nodes:\n  - {{id: a, program: {ECHO}}}",
        3,
    ),
    "checkpoint": (f"version: 1\nnodes:\n  - {{id: a, program: {ECHO}, checkpoint: empty.safetensors}}", 3),
    "module": (f"version: 1\npreload: [no_such_library]\nnodes:\n  - {{id: a, program: {ECHO}}}", 2),
    "date": (f"version: 1\nnodes:\n  - {{id: a, program: {ECHO}, parameters: {{gain: !!timestamp 2026-11-28}}}}", 3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_say_the_same(tmp_path: Path, make_brain: MakeBrain, name: str) -> None:
    text, line = REFUSED[name]
    path = tmp_path / "allocation.yaml"
    path.write_text(text)
    (tmp_path / "empty.safetensors").touch()
    brain = make_brain()
    del brain.env["BRAINNET_PORT"]  # which would come before the port of the file
    validated = brain.run("validate", str(path), check=False)
    launched = brain.run("launch", str(path), "--detach", check=False)
    assert (validated.returncode, launched.returncode) == (1, 1)
    assert validated.stderr == launched.stderr
    assert re.fullmatch(rf"brainnet: {re.escape(str(path))}, line {line}, column \d+: .+\n", validated.stderr)


def test_what_another_host_must_tell_is_not_asked_here(tmp_path: Path, brain: Brain) -> None:
    nodes = [
        node("a", host="here", parameters={"gain": 1e-4}),
        node("b", host="board", cpu_affinity=[8000], device="cuda:900"),
    ]
    hosts = {"here": {"listen": ["tcp/10.0.0.1:7447"]}, "board": {"connect": ["tcp/10.0.0.1:7447"]}}
    path = str(write_allocation(tmp_path / "a.yaml", *nodes, hosts=hosts))
    assert "is valid: 2 nodes" in brain.run("validate", path).stderr
    brain.env["BRAINNET_HOST"] = "here"
    assert "is valid: 2 nodes" in brain.run("validate", path).stderr
    assert "is valid: 2 nodes" in brain.run("validate", path, "--host", "here").stderr
    refused = brain.run("validate", path, "--host", "board", check=False)
    assert "nodes[1].cpu_affinity" in refused.stderr
    assert (
        "no host 'desk'; its hosts are here, board" in brain.run("validate", path, "--host", "desk", check=False).stderr
    )


def test_a_brain_that_runs_does_not_make_its_allocation_invalid(tmp_path: Path, brain: Brain) -> None:
    path = write_allocation(tmp_path / "a.yaml", node("a", parameters={"gain": 1e-4}))
    brain.launch(path)
    assert "is valid" in brain.run("validate", str(path)).stderr
    brain.run("node", "param", "set", "a", "gain", "5e-5")
    assert brain.run("node", "param", "get", "a", "gain").stdout.strip() == "5e-05"
    refused = brain.run("node", "param", "set", "a", "gain", ".inf", check=False)
    assert refused.stderr == "brainnet: VALUE, line 1, column 1: .inf is not a finite number\n"


def test_a_current_folder_that_was_removed(tmp_path: Path, make_brain: MakeBrain) -> None:
    path = write_allocation(tmp_path / "a.yaml", node("a"))
    gone = tmp_path / "gone"
    gone.mkdir()
    brain = make_brain(prefix=["sh", "-c", f'cd {gone} && rmdir {gone} && exec "$@"', "sh"])
    assert "is valid" in brain.run("validate", str(path)).stderr


FILES = sorted(Path(__file__).parents[2].glob("launch/*/node_allocation.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_ready_deployments_are_valid(brain: Brain, path: Path) -> None:
    assert "is valid: 8 nodes" in brain.run("validate", str(path)).stderr
