"""Weights that are read and set while a network runs, rules of users, and mistakes in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainnet.connectome import build, load
from brainnet.errors import ConnectomeError, ModelError
from tests.simulation.driven import PLASTIC, description, made
from tests.simulation.networks import written

STDP: dict[str, Any] = {"rule": "stdp", "potentiation": 0.1, "w_max": 2}
DOPAMINE: dict[str, Any] = {"rule": "dopamine_stdp", "modulator": "reward", "potentiation": 10.0, "w_max": 2}
SHORT_TERM: dict[str, Any] = {"rule": "short_term"}
PRE = [(step, step % 2) for step in range(3, 60, 4)]
POST = [(step, step % 2) for step in range(4, 60, 5)]


@pytest.mark.parametrize("plasticity", [STDP, DOPAMINE, [DOPAMINE, SHORT_TERM]])
def test_weights_that_are_set_are_those_that_are_read(tmp_path: Path, plasticity: Any) -> None:
    network = made(tmp_path, description(PRE, POST, plasticity))
    post = network.populations["post"]
    assert post.weights(PLASTIC).tolist() == [0.5] * 4
    if plasticity is not STDP:
        network.modulate("reward", 30, 1.0)
    network.run(40, 1)
    before = post.save()
    learned = post.weights(PLASTIC)
    assert all(np.array_equal(array, before[key]) for key, array in post.save().items())  # reading changes nothing
    assert (learned != 0.5).any()
    post.set_weights(PLASTIC, [0.25, 0.5, 1.0, 2.0])
    assert post.weights(PLASTIC).tolist() == [0.25, 0.5, 1.0, 2.0]
    post.set_weights(PLASTIC, 0)
    assert post.weights(PLASTIC).tolist() == [0.0] * 4
    network.run(40, 1)
    assert post.weights(PLASTIC).any()


def test_weights_are_read_and_set_in_the_order_of_the_rows(tmp_path: Path) -> None:
    weight, delay = {"uniform": [0, 1]}, {"uniform": [1, 5]}
    static, plastic, short = (
        made(tmp_path, description([], [], rule, weight=weight, delay_ms=delay, neurons=5)).populations["post"]
        for rule in (None, STDP, SHORT_TERM)
    )
    assert np.array_equal(static.weights(PLASTIC), plastic.weights(PLASTIC))
    assert np.array_equal(static.weights(PLASTIC), short.weights(PLASTIC))
    assert static.weights("driver->post").tolist() == [1000.0] * 5
    plastic.set_weights(PLASTIC, np.arange(25) / 32)
    assert plastic.weights(PLASTIC).tolist() == (np.arange(25) / 32).tolist()


@pytest.mark.parametrize("plasticity", [STDP, DOPAMINE])
@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (float("nan"), "not a finite number"),
        ([0.1, 0.1, float("inf"), 0.1], "not a finite number"),
        ([0.1, 0.2], r"weights of shape \[2\]; it is one number, or \[4\]"),
        (np.zeros((4, 1)), r"weights of shape \[4, 1\]"),
        (2.5, "a weight lies outside of w_min 0 and w_max 2"),
        ([0.1, 0.1, -0.5, 0.1], "lies outside"),
        (1e6, "does not fit"),
        ("heavy", "weights are numbers"),
    ],
)
def test_weights_that_cannot_be_set(tmp_path: Path, plasticity: Any, weights: Any, text: str) -> None:
    post = made(tmp_path, description(PRE, POST, plasticity)).populations["post"]
    with pytest.raises(ModelError, match=f"pre->post: .*{text}"):
        post.set_weights(PLASTIC, weights)
    assert post.weights(PLASTIC).tolist() == [0.5] * 4


def test_projections_whose_weights_cannot_be_set(tmp_path: Path) -> None:
    post = made(tmp_path, description(PRE, POST, SHORT_TERM)).populations["post"]
    for name in (PLASTIC, "driver->post"):
        with pytest.raises(ModelError, match=f"{name}: its weights do not change.*stdp with amplitudes of 0"):
            post.set_weights(name, 1.0)
    with pytest.raises(ModelError, match=r"no projection 'pre->pots'; did you mean pre->post\?|did you mean pre->post"):
        post.weights("pre->pots")
    described = description(PRE, POST, None)
    described["projections"][0]["synapses"] = {"connect": "procedural", "in_degree": 1, "weight": 1, "delay_ms": 1}
    procedural = made(tmp_path, described).populations["post"]
    with pytest.raises(ModelError, match="of which nothing is stored"):
        procedural.weights(PLASTIC)


OWN = """\
import numpy as np
from brainnet.simulation.plasticity import EfficacyRule, ModulatedRule, PlasticityRule


class Synapses:
    def __init__(self, rows):
        self.rows = rows
        self.state = {"weights": np.broadcast_to(rows.weights, (rows.count,)).copy(), "rises": np.zeros(1)}

    @property
    def weights(self):
        return self.state["weights"]

    def arrive(self, step, history, sums):
        at = step - 1 - history.first_step
        if 0 <= at < history.steps:
            for i in history.in_step(step - 1):
                row = slice(self.rows.start[i], self.rows.start[i + 1])
                np.add.at(sums, self.rows.targets[row], self.weights[row])
                self.weights[row] += 65536

    def fire(self, step, neurons):
        pass

    def modulate(self, step, amount):
        self.state["rises"] += amount


class Plain(PlasticityRule):
    def synapses(self, rows, targets, dt_ms):
        return Synapses(rows)


class Modulated(ModulatedRule):
    def synapses(self, rows, targets, dt_ms):
        return Synapses(rows)


class Halves:
    state = {}

    def of(self, spikes):
        return np.full(spikes.count, 0.5)


class Half(EfficacyRule):
    def efficacies(self, sources, dt_ms):
        return Halves()
"""


def test_rules_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    network = made(tmp_path, description([(0, 0), (4, 0)], [], {"rule": "own.py:Plain"}, neurons=1))
    network.run(10, 1)
    post = network.populations["post"]
    assert post.weights(PLASTIC).tolist() == [2.5]
    with pytest.raises(ModelError, match=r"Synapses has no method set_weights\(weights\)"):
        post.set_weights(PLASTIC, 1.0)
    with pytest.raises(ConnectomeError, match=r"own\.py:Plain cannot be used with short_term") as raised:
        made(tmp_path, description([], [], [{"rule": "own.py:Plain"}, SHORT_TERM]))
    assert raised.value.field == "projections[0].plasticity[1]"


def test_a_rule_of_a_user_with_a_modulator(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    rule = {"rule": "own.py:Modulated", "modulator": "pre", "modulator_delay_ms": 3, "per_spike": 0.25}
    network = made(tmp_path, description([(0, 0), (4, 0)], [], rule, neurons=1))
    network.modulate("pre", 6, 10.0)
    rises = []
    for _ in range(9):
        network.advance(1)
        rises.append(float(network.populations["post"].save()["projection.0.rises"][0]))
    assert rises == [0, 0, 0, 0.25, 0.25, 0.25, 10.25, 10.5, 10.5]


def test_an_efficacy_of_a_user_halves_what_arrives(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    fired = []
    for weight in (999.0, 1000.0):
        for still in ([], [STDP | {"potentiation": 0, "depression": 0, "w_max": 2000}]):
            rules = [{"rule": "own.py:Half"}, *still]
            network = made(tmp_path, description([(0, 0)], [], rules, weight=weight, neurons=1))
            fired.append(network.advance(3)["post"].count)
    assert fired == [0, 0, 1, 1]  # a neuron fires at 500


@pytest.mark.parametrize(
    ("plasticity", "field", "text"),
    [
        ([], "", ""),
        ([STDP, SHORT_TERM, SHORT_TERM], "plasticity[2]", "one rule of a kind"),
        ([STDP, DOPAMINE], "plasticity[1]", "dopamine_stdp changes weights, as a rule before it does"),
        ([SHORT_TERM | {"utilisation": 0}], "plasticity[0].utilisation", "utilisation: input should be greater than 0"),
        ([STDP, SHORT_TERM | {"tau": 1}], "plasticity[1].tau", "unknown tau"),
        ({"rule": "short_time"}, "plasticity", "did you mean short_term?"),
        ({"rule": "dopamine_stdp"}, "plasticity", "modulator"),
        (DOPAMINE | {"modulator": "a/b"}, "plasticity.modulator", "modulator"),
        (DOPAMINE | {"modulator_delay_ms": 0.2}, "plasticity.modulator_delay_ms", "0.2 ms is 0.2 steps; 1 to"),
        (DOPAMINE | {"modulator_delay_ms": 1e9}, "plasticity.modulator_delay_ms", "is 1e+09 steps"),
        (DOPAMINE | {"tau_c_ms": 0.2}, "plasticity.tau_c_ms", "tau_c_ms: 0.2 is shorter than a step"),
        (DOPAMINE | {"per_spike": 1e9}, "plasticity.per_spike", "per_spike"),
        (DOPAMINE | {"w_max": 0.25}, "plasticity", "lies outside of w_min 0 and w_max 0.25"),
        ([SHORT_TERM, DOPAMINE | {"w_min": 3}], "plasticity[1].w_min", "w_min 3 must lie below w_max 2"),
        ("stdp", "plasticity", "should be a map of rule"),
        ([STDP, 3], "plasticity", "should be a map of rule"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, plasticity: Any, field: str, text: str) -> None:
    described = description(PRE, POST, plasticity)
    if not field:
        build(written(tmp_path, described))
        return
    with pytest.raises(ConnectomeError) as raised:
        build(written(tmp_path, described))
    assert raised.value.field == f"projections[0].{field}"
    assert raised.value.line is not None
    assert str(tmp_path / "network.yaml") in str(raised.value)
    assert text in str(raised.value)


def test_short_term_plasticity_needs_stored_synapses(tmp_path: Path) -> None:
    described = description(PRE, POST, SHORT_TERM)
    described["projections"][0]["synapses"] = {"connect": "procedural", "in_degree": 1, "weight": 1, "delay_ms": 1}
    with pytest.raises(ConnectomeError, match="nothing is stored") as raised:
        build(written(tmp_path, described))
    assert raised.value.field == "projections[0].plasticity"


def test_the_example_is_built() -> None:
    network = build(load(Path(__file__).parents[2] / "config" / "connectome_config.yaml"))
    network.advance(2)
