"""What a connectome will be: its graph and its memory, and every mistake that shows without making synapses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainnet.connectome import Connectome, build, load, processes_of
from brainnet.connectome.summary import Window, summary
from brainnet.errors import ConnectomeError
from brainnet.simulation import connectivity
from brainnet.simulation.delivery import StaticSynapses
from brainnet.streams.division import window_between

NETWORK = """\
version: 1
seed: 3
clock:
  dt_ms: 0.5
populations:
  - id: noise
    model: poisson
    size: 20
    parameters:
      rate_hz: 50
  - id: a
    model: lif
    size: 30
    process: cortex
    parameters:
      tau_m_ms: 20
  - id: b
    model: izhikevich
    size: 20
    process: cortex
projections:
  - from: noise
    to: a
    synapses:
      connect: all_to_all
      weight: 1
      delay_ms: 3
  - from: a
    to: b
    synapses:
      connect: fixed_probability
      p: 0.5
      weight: {normal: [2, 0.5]}
      delay_ms: {uniform: [1, 4]}
    plasticity:
      rule: stdp
      w_max: 8
  - from: b
    to: a
    port: inhibitory
    synapses:
      connect: fixed_in_degree
      n: 4
      weight: -1
      delay_ms: 1
"""


def written(folder: Path, text: str) -> Connectome:
    path = folder / "net.yaml"
    path.write_text(text)
    return load(path)


def test_the_graph(tmp_path: Path) -> None:
    found = summary(written(tmp_path, NETWORK))
    populations = [(p.name, p.model, p.neurons, p.process, p.line) for p in found.populations]
    assert populations == [
        ("noise", "poisson", 20, "noise", 6),
        ("a", "lif", 30, "cortex", 11),
        ("b", "izhikevich", 20, "cortex", 17),
    ]
    edges = [(p.name, p.source, p.target, p.port, p.rule, p.synapses, p.plasticity) for p in found.projections]
    assert edges == [
        ("noise->a", "noise", "a", "excitatory", "all_to_all", 600, None),
        ("a->b", "a", "b", "excitatory", "fixed_probability", 300, "stdp"),
        ("b->a", "b", "a", "inhibitory", "fixed_in_degree", 120, None),
    ]
    assert [(p.shortest_ms, p.longest_ms) for p in found.projections] == [(3, 3), (1, 4), (1, 1)]
    processes = [(p.name, p.populations, p.neurons, p.synapses) for p in found.processes]
    assert processes == [("noise", ("noise",), 20, 0), ("cortex", ("a", "b"), 50, 1020)]
    assert [p.nbytes for p in found.processes] == [0, sum(p.nbytes for p in found.projections)]


@pytest.mark.parametrize(
    ("old", "new", "window"),
    [
        ("", "", Window(6, 3.0, "noise->a")),
        ("  dt_ms: 0.5", "  dt_ms: 0.5\n  window: 4", Window(4, 2.0, "clock.window")),
        ("    size: 20\n    parameters", "    size: 20\n    process: cortex\n    parameters", Window(2, 1.0, "a->b")),
        ("delay_ms: 3", "delay_ms: 900", Window(1000, 500.0, "the most that are possible, 1000")),
        ("delay_ms: 3", "delay_ms: {normal: [12, 0.5]}", Window(16, 8.0, "noise->a")),
    ],
)
def test_what_limits_the_window(tmp_path: Path, old: str, new: str, window: Window) -> None:
    connectome = written(tmp_path, NETWORK.replace(old, new, 1))
    assert summary(connectome).window == window
    owners = {name: process for process, names in processes_of(connectome).items() for name in names}
    if len(set(owners.values())) > 1:
        assert window_between(connectome, owners) == window.steps


def test_a_packet_limits_the_window_of_a_large_population(tmp_path: Path) -> None:
    large = NETWORK.replace("size: 20", "size: 4000000", 1).replace("all_to_all", "fixed_total_number\n      n: 9", 1)
    window = summary(written(tmp_path, large)).window
    assert (window.steps, window.limit) == (4, "a packet, which holds 16,777,216 neurons x steps")


def test_no_synapse_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = NETWORK.replace("size: 30", "size: 300000").replace("size: 20", "size: 200000")
    monkeypatch.setattr(connectivity, "build", lambda *_: pytest.fail("made synapses"))
    found = summary(written(tmp_path, large))
    assert found.projections[0].synapses == 200_000 * 300_000
    assert found.processes[1].nbytes > 4 * 200_000 * 300_000


RULES: dict[str, dict[str, Any]] = {
    "one_to_one": {"to": "c"},
    "all_to_all": {"self_connections": False, "to": "c"},
    "fixed_probability": {"p": 0.1},
    "fixed_in_degree": {"n": 30},
    "fixed_total_number": {"n": 5000},
    "distance_dependent": {
        "source_positions": {"grid": [20, 15]},
        "target_positions": {"grid": [20, 10], "spacing": 1.2},
        "sigma": 2.5,
    },
    "small_world": {"k": 20, "beta": 0.2, "to": "c"},
    "explicit": {"file": "edges.npz"},
    "procedural": {"in_degree": 40},
}
VALUES: dict[str, dict[str, Any]] = {
    "fixed": {"weight": 0.5, "delay_ms": 2},
    "drawn": {"weight": {"normal": [0.5, 0.05]}, "delay_ms": {"uniform": [1, 5]}},
}
STDP, DOPAMINE, SHORT_TERM = {"rule": "stdp"}, {"rule": "dopamine_stdp", "modulator": "reward"}, {"rule": "short_term"}
LEARNING: dict[str, Any] = {"nothing": None, "stdp": STDP, "dopamine": DOPAMINE, "both": [STDP, SHORT_TERM]}
CASES = [(r, v, p) for r in RULES for v in VALUES for p in ("nothing", "stdp") if (r, p) != ("procedural", "stdp")]
CASES += [("fixed_probability", v, p) for v in VALUES for p in ("dopamine", "both")]


@pytest.mark.parametrize(("rule", "values", "plasticity"), CASES)
def test_the_estimate_is_what_is_built(tmp_path: Path, rule: str, values: str, plasticity: str) -> None:
    draws = np.random.default_rng(1)
    np.savez(tmp_path / "edges.npz", sources=draws.integers(0, 300, 4000), targets=draws.integers(0, 200, 4000))
    fields = dict(RULES[rule])
    target = fields.pop("to", "b")
    projection = {"from": "a", "to": target, "synapses": {"connect": rule} | fields | VALUES[values]}
    if plasticity != "nothing":
        projection["plasticity"] = LEARNING[plasticity]
    sizes = {"a": 300, "b": 200, "c": 300}
    populations = [{"id": name, "model": "lif", "size": size} for name, size in sizes.items()]
    connectome = written(tmp_path, json.dumps({"version": 1, "populations": populations, "projections": [projection]}))
    found = summary(connectome)
    (incoming,) = build(connectome).populations[target].incoming
    static: Any = incoming.static
    if incoming.plastic is not None:
        count = incoming.plastic.weights.size
    else:
        count = static.rows.count if isinstance(static, StaticSynapses) else static.rows().count
    kept = {id(array): array.nbytes for array in arrays_in([incoming.plastic, incoming.efficacies, static])}
    assert found.projections[0].synapses == pytest.approx(count, rel=0.1)
    assert found.projections[0].nbytes == pytest.approx(sum(kept.values()), rel=0.1)
    assert {p.name: p.nbytes for p in found.processes}[target] == found.projections[0].nbytes


def arrays_in(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays that an object keeps, directly and in what it keeps."""
    if isinstance(value, np.ndarray):
        yield value
    parts = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list | tuple) else []
    if type(value).__module__.startswith("brainnet."):
        names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
        parts += [getattr(value, name) for name in names]
    for part in parts:
        yield from arrays_in(part)


def test_delays_that_a_file_lists(tmp_path: Path) -> None:
    sources, targets = np.array([0, 1]), np.array([1, 0])
    weights, delays = np.array([1.0, 2.0]), np.array([1.5, 4.0])
    np.savez(tmp_path / "edges.npz", sources=sources, targets=targets, weights=weights, delays=delays)
    text = NETWORK.replace("all_to_all\n      weight: 1\n      delay_ms: 3", "explicit\n      file: edges.npz")
    found = summary(written(tmp_path, text))
    projection = found.projections[0]
    assert (projection.synapses, projection.shortest_ms, projection.longest_ms) == (2, 1.5, 4.0)
    assert found.window.steps == 1


def explicit(file: str) -> str:
    return f"explicit\n      file: {file}"


NET = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(20, 10)

    def forward(self, x, v):
        v = self.fc(x) + (0 if v is None else 0.5 * v)
        return (v > 0.1).float(), v
"""

MISTAKES = {
    "model": ("model: lif", "model: lief", 12, "populations[1].model", ["did you mean lif?", "izhikevich"]),
    "parameter": ("tau_m_ms: 20", "tau_ms: 20", 16, "populations[1].parameters.tau_ms", ["did you mean tau_m_ms?"]),
    "value": ("tau_m_ms: 20", "tau_m_ms: 0", 16, "populations[1].parameters.tau_m_ms", ["greater than 0"]),
    "list": (
        "rate_hz: 50",
        "rate_hz: [1, 2]",
        10,
        "populations[0].parameters.rate_hz",
        ["2 values for 20 neurons"],
    ),
    "no size": ("    size: 30\n", "", 11, "populations[1]", ["size is missing"]),
    "size": ("size: 30", "size: 0", 13, "populations[1].size", ["greater than or equal to 1"]),
    "sizes": ("all_to_all", "one_to_one", 25, "projections[0].synapses.connect", ["20 neurons", "30"]),
    "port": ("port: inhibitory", "port: nose", 40, "projections[2].port", ["it has excitatory, inhibitory"]),
    "sign": ("weight: -1", "weight: 1", 44, "projections[2].synapses.weight", ["inhibitory must be at most 0"]),
    "source": ("to: a", "to: noise", 23, "projections[0].to", ["takes no input"]),
    "Dale": (
        "projections:\n",
        "projections:\n  - from: b\n    to: b\n    synapses:\n      connect: one_to_one\n      weight: 1\n"
        "      delay_ms: 1\n",
        50,
        "projections[3].synapses.weight",
        ["Dale", "dale: false"],
    ),
    "delay": (
        "delay_ms: 3",
        "delay_ms: 0.2",
        27,
        "projections[0].synapses.delay_ms",
        ["below one step"],
    ),
    "loop": ("delay_ms: 1\n", "delay_ms: 0\n", 45, "projections[2].synapses.delay_ms", ["loops", "at least 0.5"]),
    "long delay": ("delay_ms: 3", "delay_ms: 1e9", 27, "projections[0].synapses.delay_ms", ["too long"]),
    "weight": ("weight: 1\n", "weight: 1e9\n", 26, "projections[0].synapses.weight", ["at most 32768"]),
    "p": ("p: 0.5", "p: 2", 32, "projections[1].synapses.p", ["less than or equal to 1"]),
    "degree": ("n: 4", "n: 40", 43, "projections[2].synapses.n", ["multiple_synapses"]),
    "field": (
        "p: 0.5",
        "pp: 0.5",
        32,
        "projections[1].synapses.pp",
        ["did you mean p?", "fields are weight, delay_ms, connect, p"],
    ),
    "window": (
        "  dt_ms: 0.5",
        "  dt_ms: 0.5\n  window: 7",
        5,
        "clock.window",
        ["noise->a", "6 steps", "at most 6"],
    ),
    "NaN": ("weight: 1\n", "weight: .nan\n", 26, "projections[0].synapses.weight", ["not a finite number"]),
    "population": ("to: b", "to: bb", 29, "projections[1].to", ["no population 'bb'", "noise, a, b"]),
    "plasticity": ("rule: stdp", "rule: sdtp", 35, "projections[1].plasticity", ["did you mean stdp?"]),
    "bounds": ("w_max: 8", "w_max: 1", 35, "projections[1].plasticity", ["lies outside of w_min 0 and w_max 1"]),
    "edges": ("all_to_all", explicit("none.npz"), 26, "projections[0].synapses.file", ["there is no file", "none.npz"]),
    "SONATA": ("all_to_all", explicit("none.h5"), 26, "projections[0].synapses.file", ["there is no file", "none.h5"]),
    "ends": ("all_to_all", explicit("ends.npz"), 26, "projections[0].synapses.file", ["from 0 to 99", "0 to 29"]),
    "pattern": (
        "model: poisson\n    size: 20\n    parameters:\n      rate_hz: 50",
        "model: pattern\n    size: 20\n    parameters:\n      file: none.npz",
        10,
        "populations[0].parameters.file",
        ["none.npz does not exist"],
    ),
    "NIR": ("model: lif", "model: nir:none.nir", 12, "populations[1].model", ["none.nir"]),
    "torch": ("model: lif", "model: torch:none.py:Net", 12, "populations[1].model", ["none.py", "does not exist"]),
    "class": ("model: lif", "model: none.py:Net", 12, "populations[1].model", ["none.py", "does not exist"]),
    "checkpoint": (
        "model: izhikevich\n    size: 20",
        "model: torch:net.py:Net\n    checkpoint: none.pt",
        19,
        "populations[2].checkpoint",
        ["none.pt does not exist"],
    ),
    "size of a model": ("model: izhikevich", "model: torch:net.py:Net", 19, "populations[2].size", ["leave size out"]),
    "inputs": (
        "model: izhikevich\n    size: 20",
        "model: torch:net.py:Net",
        17,
        "populations[2]",
        ["a->b is plastic", "not the neurons that fire"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_line_and_field_and_is_that_of_a_run(tmp_path: Path, name: str) -> None:
    old, new, line, field, texts = MISTAKES[name]
    assert old in NETWORK
    np.savez(tmp_path / "ends.npz", sources=np.array([0, 0]), targets=np.array([0, 99]))
    (tmp_path / "net.py").write_text(NET)
    said = []
    for make in (summary, build):
        with pytest.raises(ConnectomeError) as raised:
            make(written(tmp_path, NETWORK.replace(old, new, 1)))
        said.append(str(raised.value))
        assert raised.value.path == tmp_path / "net.yaml"
        assert (raised.value.line, raised.value.field) == (line, field)
    assert said[0].startswith(f"{tmp_path / 'net.yaml'}, line {line}, column ")
    assert said[0] == said[1]
    for text in texts:
        assert text in said[0]
