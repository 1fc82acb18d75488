"""A connectome file: what is accepted, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainnet.connectome import build, load, shortest_delay, window_of
from brainnet.errors import ConnectomeError

GOOD = """\
version: 1
seed: 3
clock: {mode: lockstep, dt_ms: 0.5}
populations:
  - {id: a, model: lif, size: 4}
  - {id: b, model: izhikevich, size: 2}
projections:
  - {from: a, to: b, synapses: {connect: all_to_all, weight: 1, delay_ms: 1.5}}
  - {from: a, to: b, synapses: {connect: fixed_probability, p: 0.5, weight: 2, delay_ms: {uniform: [1, 4]}}}
  - {from: b, to: b, port: inhibitory, synapses: {connect: one_to_one, weight: -1, delay_ms: 5}}
"""


def file(folder: Path, text: str) -> Path:
    path = folder / "net.yaml"
    path.write_text(text)
    return path


def test_what_a_file_says(tmp_path: Path) -> None:
    connectome = load(file(tmp_path, GOOD))
    assert list(connectome.populations) == ["a", "b"]
    assert [p.name for p in connectome.projections] == ["a->b", "a->b#2", "b->b"]
    assert [shortest_delay(connectome, p) for p in connectome.projections] == [3, 2, 10]
    assert window_of(connectome, connectome.projections) == 2
    assert connectome.with_seed(None).seed == 3
    network = build(connectome.with_seed(4))
    assert network.populations["b"].model.setting.seed == 4
    assert [p.port for p in network.populations["b"].incoming] == [0, 0, 1]


@pytest.mark.parametrize(
    ("old", "new", "line", "texts"),
    [
        ("version: 1", "version: 2", 1, ["version"]),
        ("seed: 3", "sead: 3", 2, ["sead", "did you mean seed?"]),
        ("dt_ms: 0.5", "dt_ms: 0", 3, ["clock.dt_ms", "greater than 0"]),
        ("model: lif", "model: lief", 5, ["populations[0].model", "lief", "did you mean lif?"]),
        ("size: 4", "size: 0", 5, ["populations[0].size"]),
        ("size: 4", "size: 4, parameters: {tau: 1}", 5, ["populations[0].parameters", "tau"]),
        ("id: b", "id: a", 6, ["two populations", "'a'"]),
        ("to: b, synapses: {connect: all", "to: c, synapses: {connect: all", 8, ["projections[0].to", "'c'", "a, b"]),
        ("connect: all_to_all", "connect: all_too_all", 8, ["projections[0].synapses", "did you mean all_to_all?"]),
        ("connect: all_to_all,", "", 8, ["projections[0].synapses", "should have connect"]),
        ("delay_ms: 1.5", "delay_ms: 0.1", 8, ["projections[0].synapses", "delay"]),
        ("weight: 1,", "weight: .nan,", 8, ["not a finite number"]),
        ("weight: 1,", "weight: 1, wait: 2,", 8, ["wait"]),
        ("p: 0.5", "p: 1.5", 9, ["projections[1].synapses", "p"]),
        ("port: inhibitory", "port: nose", 10, ["port", "nose", "excitatory, inhibitory"]),
        ("weight: -1", "weight: 1", 10, ["inhibitory", "at most 0"]),
        ("connect: one_to_one, weight: -1", "connect: one_to_one, weight: -1", 10, []),
    ],
)
def test_a_mistake_is_one_error_with_its_place(tmp_path: Path, old: str, new: str, line: int, texts: list[str]) -> None:
    assert old in GOOD
    path = file(tmp_path, GOOD.replace(old, new, 1))
    if not texts:
        build(load(path))
        return
    with pytest.raises(ConnectomeError) as raised:
        build(load(path))
    assert str(path) in str(raised.value)
    assert raised.value.line == line
    for text in texts:
        assert text in str(raised.value)


def test_neurons_that_excite_and_inhibit_are_refused_unless_the_file_says_so(tmp_path: Path) -> None:
    more = "  - {from: a, to: a, synapses: {connect: all_to_all, weight: -1, delay_ms: 1}}\n"
    with pytest.raises(ConnectomeError, match=r"Dale.*dale: false"):
        build(load(file(tmp_path, GOOD + more)))
    build(load(file(tmp_path, (GOOD + more).replace("size: 4", "size: 4, dale: false"))))


@pytest.mark.parametrize(
    ("plasticity", "text"),
    [
        ("{}", "rule is missing"),
        ("{rule: sdtp}", "did you mean stdp?"),
        ("{rule: stdp, tau: 1}", "unknown tau"),
        ("{rule: stdp, w_max: 0.5}", "lies outside"),
        ("{rule: stdp, w_min: 2}", "must lie below"),
    ],
)
def test_a_rule_of_plasticity_that_does_not_fit(tmp_path: Path, plasticity: str, text: str) -> None:
    changed = GOOD.replace("delay_ms: 1.5}}", f"delay_ms: 1.5}}, plasticity: {plasticity}}}")
    with pytest.raises(ConnectomeError, match=text) as raised:
        build(load(file(tmp_path, changed)))
    assert raised.value.field.startswith("projections[0].plasticity")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConnectomeError, match="does not exist"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(ConnectomeError, match="is a map"):
        load(file(tmp_path, "[1]"))
    with pytest.raises(ConnectomeError, match="line 2"):
        load(file(tmp_path, "a: [1"))


OWN = """\
import numpy as np
from brainnet.simulation.models.base import Model, ModelParameters
from pydantic import Field


class Parameters(ModelParameters):
    file: str = Field("none")


class Own(Model):
    Parameters = Parameters

    @classmethod
    def shape(cls, parameters, setting):
        return 3, 2

    @property
    def inputs(self):
        return 3

    learns = False

    def advance(self, window):
        assert (self.setting.folder / self.parameters.file).is_file()
        assert self.setting.checkpoint.is_file()
        return np.ones((2, window.steps), int)
"""


def test_a_model_may_say_its_own_size_and_finds_its_files(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "data.txt").write_text("x")
    own = "{id: o, model: own.py:Own, checkpoint: data.txt, parameters: {file: data.txt}}"
    text = f"""\
version: 1
populations:
  - {own}
  - {{id: a, model: lif, size: 3}}
projections:
  - {{from: a, to: o, synapses: {{connect: one_to_one, weight: 1, delay_ms: 2}}}}
  - {{from: o, to: a, synapses: {{connect: all_to_all, weight: 1, delay_ms: 2}}}}
"""
    network = build(load(file(tmp_path, text)))
    assert network.advance(2)["o"].count == 4
    with pytest.raises(ConnectomeError, match="leave size out") as raised:
        build(load(file(tmp_path, text.replace("checkpoint: data.txt,", "size: 5, checkpoint: data.txt,"))))
    assert raised.value.field == "populations[0].size"
    with pytest.raises(ConnectomeError, match="size is missing"):
        build(load(file(tmp_path, text.replace(", size: 3", ""))))


def test_files_are_looked_for_beside_the_connectome(tmp_path: Path) -> None:
    np.savez(tmp_path / "edges.npz", sources=np.array([0, 1]), targets=np.array([1, 0]))
    text = """\
version: 1
populations: [{id: a, model: lif, size: 2}]
projections:
  - {from: a, to: a, synapses: {connect: explicit, file: edges.npz, weight: 1, delay_ms: 2}}
"""
    build(load(file(tmp_path, text)))
    with pytest.raises(ConnectomeError, match=r"other\.npz"):
        build(load(file(tmp_path, text.replace("edges", "other"))))


def test_a_source_takes_no_input(tmp_path: Path) -> None:
    text = """\
version: 1
populations: [{id: a, model: poisson, size: 2, parameters: {rate_hz: 5}}]
projections: [{from: a, to: a, synapses: {connect: all_to_all, weight: 1, delay_ms: 2}}]
"""
    with pytest.raises(ConnectomeError, match="takes no input") as raised:
        build(load(file(tmp_path, text)))
    assert raised.value.field == "projections[0].to"
