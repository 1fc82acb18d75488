"""`brainnet weights` on a network that runs, and what `brainnet simulate` writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainnet.connectome import build, load, rows_of
from brainnet.testing import wait_until
from tests.support import Brain

STEPS = 400
NETWORK = """\
version: 1
seed: 3
clock: {dt_ms: 1, save_every_s: 60}
populations:
  - {id: a, model: lif, size: 60, parameters: {noise: {rate_hz: 900, weight: 700}}}
  - {id: b, model: lif, size: 60, parameters: {noise: {rate_hz: 900, weight: 700}}}
projections:
  - from: a
    to: b
    synapses: {connect: fixed_probability, p: 0.3, weight: 150, delay_ms: {uniform: [4, 9]}}
    plasticity: {rule: stdp, potentiation: 0.1, depression: 0.12, w_max: 400}
  - {from: b, to: a, synapses: {connect: one_to_one, weight: 50, delay_ms: 5}}
  - {from: b, to: b, synapses: {connect: procedural, in_degree: 3, weight: 1, delay_ms: 5}}
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.yaml"
    path.write_text(NETWORK)
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Iterator[Brain]:
    """A network that stands before its first step."""
    with Brain(tmp_path_factory.mktemp("brain")) as brain:
        brain.start("launch", str(network), "--steps", str(STEPS), "--paused")
        wait_until("the network to be there", lambda: _phases(brain) == ["paused", "paused"])
        yield brain


def _phases(brain: Brain) -> list[str]:
    return [row["phase"] for row in brain.rows("clock", "status", check=False)]


def test_weights_are_shown_saved_set_and_outlive_a_kill(running: Brain, network: Path, tmp_path: Path) -> None:
    connectome = load(network)
    whole = build(connectome)
    whole.run(100, 4)
    running.run("clock", "step", "100")
    rows = {row["projection"]: row for row in running.rows("weights")}
    assert [rows[name]["learns"] for name in ("a->b", "b->a", "b->b")] == [True, False, False]
    assert rows["b->b"]["synapses"] is None
    learned = whole.populations["b"].weights("a->b")
    found = rows["a->b"]
    assert (found["synapses"], found["step"]) == (learned.size, 100)
    assert (found["mean"], found["deviation"]) == pytest.approx((learned.mean(), learned.std()))
    assert (found["smallest"], found["largest"]) == (learned.min(), learned.max())

    file = tmp_path / "learned.npz"
    running.run("weights", "a->b", "--save", str(file))
    with np.load(file) as saved:
        made = rows_of(connectome, connectome.projections[0])
        assert np.array_equal(saved["start"], made.start)
        assert np.array_equal(saved["targets"], made.targets)
        assert np.array_equal(saved["weights"], learned)
        assert np.array_equal(saved["delays"], made.delays)

    (changed,) = running.rows("weights", "a->b", "--set", "20")
    assert (changed["mean"], changed["deviation"]) == (20, 0)
    running.run("weights", "a->b", "--load", str(file))
    assert running.rows("weights", "a->b")[0]["mean"] == pytest.approx(learned.mean())
    running.run("weights", "a->b", "--set", "120")
    whole.populations["b"].set_weights("a->b", 120)
    pid = running.pid("b")
    os.kill(pid, signal.SIGKILL)
    running.wait_state("b", "ready", but_pid=pid)
    wait_until("both to stand there", lambda: [r["next_step"] for r in running.rows("clock", "status")] == [100, 100])
    running.run("clock", "step", "100")
    whole.run(100, 4)
    digests = {name: digest for row in running.rows("clock", "status") for name, digest in row["digests"].items()}
    assert digests == whole.digests()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["b->a", "--set", "1"], ["b->a", "its weights do not change"]),
        (["b->c"], ["no projection 'b->c'", "a->b"]),
        (["b->b", "--save", "x.npz"], ["projections[2]", "nothing of these synapses is stored"]),
        (["a->b", "--set", "1000"], ["w_max 400"]),
        (["a->b", "--set", "nan"], ["not a finite number"]),
        (["a->b", "--load", "nowhere.npz"], ["nowhere.npz", "No such file"]),
        (["a->b", "--load", "network.yaml"], ["network.yaml", "no npz file"]),
        (["a->b", "--load", "short.npz"], ["[2]", "as there are synapses"]),
        (["a->b", "--load", "other.npz"], ["other.npz", "holds no weights"]),
        (["a->b", "--save", "folder"], ["folder", "cannot be written"]),
        (["--set", "1"], ["name the projection"]),
        (["a->b", "--set", "1", "--load", "short.npz"], ["either a file or one weight"]),
    ],
)
def test_what_cannot_be_is_one_error(running: Brain, network: Path, arguments: list[str], texts: list[str]) -> None:
    folder = network.parent
    np.savez(folder / "short.npz", weights=np.ones(2))
    np.savez(folder / "other.npz", other=np.ones(2))
    (folder / "folder").mkdir(exist_ok=True)
    words = [str(folder / word) if "." in word or word == "folder" else word for word in arguments]
    done = running.run("weights", *words, check=False)
    assert done.returncode != 0
    text = " ".join(done.stderr.replace("│", " ").split())
    assert [each for each in texts if each not in text] == [], text
    assert running.rows("weights", "b->a")[0]["mean"] == 50


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brainnet", "simulate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_a_simulation_writes_is_what_it_computed(network: Path, tmp_path: Path) -> None:
    spikes, weights = tmp_path / "spikes.npz", tmp_path / "weights"
    done = simulate(network, "--steps", 300, "--save-spikes", spikes, "--save-weights", weights, "--digest", "--json")
    assert done.returncode == 0, done.stderr
    assert "b->b" in done.stderr  # nothing of it is stored
    connectome = load(network)
    whole = build(connectome)
    fired = whole.advance(300)
    with np.load(spikes) as saved:
        assert saved["dt_ms"] == 1
        for name, population in fired.items():
            assert np.array_equal(saved[f"{name}.neurons"], population.neurons)
            assert np.array_equal(saved[f"{name}.steps"], np.repeat(np.arange(300), np.diff(population.offsets)))
    assert sorted(path.name for path in weights.iterdir()) == ["a.to.b.npz", "b.to.a.npz"]
    text = network.read_text()
    again = tmp_path / "again.yaml"
    learned = f"{{connect: explicit, file: {weights / 'a.to.b.npz'}}}"
    drawn = "{connect: fixed_probability, p: 0.3, weight: 150, delay_ms: {uniform: [4, 9]}}"
    again.write_text(text.replace(drawn, learned))
    assert np.array_equal(build(load(again)).populations["b"].weights("a->b"), whole.populations["b"].weights("a->b"))
    ends: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert ends[-1]["digest"] == whole.digest()


@pytest.mark.parametrize("option", ["--save-spikes", "--save-weights"])
def test_what_cannot_be_written_is_said_before_anything_is_computed(network: Path, option: str) -> None:
    done = simulate(network, "--steps", 10**9, option, network / "below")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert str(network / "below") in done.stderr
