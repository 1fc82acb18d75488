"""A torch module as a population: its state is found, carried and saved, or refused."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import BrainnetError, ConfigError, ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import EXCITATORY, INHIBITORY, Model
from brainnet.simulation.models.registry import model_class
from tests.simulation.models import build, check_cuts, run, setting, sums_of

NETS = Path(__file__).parent / "torch_nets.py"
CASES: dict[str, dict[str, Any]] = {
    "Hidden": {"arguments": {"kind": "leaky"}},
    "Hidden synaptic": {"arguments": {"kind": "synaptic"}},
    "Hidden alpha": {"arguments": {"kind": "alpha"}},
    "Hidden recurrent": {"arguments": {"kind": "recurrent"}},
    "Hidden recurrent synaptic": {"arguments": {"kind": "recurrent synaptic"}},
    "Explicit": {},
    "sequence": {},
    "Picture": {"input_shape": [1, 3, 3]},
    "OwnAttributes": {},
    "Noisy": {},
    "norse_like": {},
    "spikingjelly_like": {},
    "WithMemoryLast": {"output": 1},
    "Plain": {"stateless": True},
    "Double": {},
}
STEPS = 20
OUTPUTS = {"Hidden": 5, "Explicit": 5, "sequence": 5, "norse_like": 5}


def made(case: str, seed: int = 5) -> Model:
    name = case.partition(" ")[0]
    return build(f"torch:{NETS}:{name}", setting(OUTPUTS.get(name, 12), seed=seed), **CASES[case])


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=4)
@given(cuts=st.lists(st.integers(1, STEPS - 1), max_size=6), resume=st.integers(0, STEPS - 1))
def test_windows_and_resuming_give_the_spikes_of_one_long_run(case: str, cuts: list[int], resume: int) -> None:
    spikes = check_cuts(prepared(case).pop, STEPS, 4.0, cuts, resume)
    assert 0 < spikes.count < STEPS * spikes.dense(12).shape[0]


def prepared(case: str) -> list[Model]:
    """Four models in the state before the first step; to make one, with its trial, takes longer than its steps."""
    if case not in _MADE:
        model = made(case)
        _MADE[case] = [model, made(case), copy.deepcopy(model), copy.deepcopy(model)]
        _START[case] = model.save()
    models, start = _MADE[case], _START[case]
    for model in models:
        model.load(start)
    return list(models)


_MADE: dict[str, list[Model]] = {}
_START: dict[str, Any] = {}


def test_a_snntorch_network_runs_as_it_does_in_torch(tmp_path: Path) -> None:
    module = importlib.import_module("tests.simulation.torch_nets")
    torch.manual_seed(7)
    net = module.Hidden("leaky")
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    x = 4 * torch.randn(200, 9)
    x = torch.floor(x * UNIT) / UNIT
    with torch.no_grad():
        expected = torch.cat([net(step[None])[0] for step in x])
    where = setting(5, checkpoint=tmp_path / "weights.pt")
    model = build(f"torch:{NETS}:Hidden", where)
    spikes = run(model, sums_of(x.numpy()), 200, range(0, 200, 9))
    assert spikes.count > 50
    assert np.array_equal(spikes.dense(5).T, expected.numpy())


def test_a_checkpoint_may_be_that_of_a_training(tmp_path: Path) -> None:
    net = importlib.import_module("tests.simulation.torch_nets").Hidden()
    torch.save({"epoch": 3, "state_dict": net.state_dict()}, tmp_path / "weights.pt")
    build(f"torch:{NETS}:Hidden", setting(5, checkpoint=tmp_path / "weights.pt"))


def test_what_is_random_follows_from_seed_and_step() -> None:
    def spikes(seed: int, before: int) -> list[int]:
        torch.manual_seed(before)
        model = made("Noisy", seed)
        sums = {EXCITATORY: np.zeros((100, 9), np.int64), INHIBITORY: np.zeros((100, 9), np.int64)}
        fired: list[int] = run(model, sums, 100).neurons.tolist()
        return fired

    assert spikes(1, 0) == spikes(1, 9) != spikes(2, 0)


def test_weights_that_no_checkpoint_holds_follow_from_the_seed() -> None:
    def spikes(name: str, seed: int) -> list[int]:
        model = build(f"torch:{NETS}:{name}", setting(5, seed=seed))
        fired: list[int] = run(model, sums_of(np.full((50, 9), 3.0)), 50).neurons.tolist()
        return fired

    assert spikes("sequence", 1) == spikes("sequence", 1) != spikes("sequence", 2)
    assert spikes("MADE", 1) == spikes("MADE", 1)


def test_random_numbers_of_others_go_on() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model = made("Noisy")
    run(model, sums_of(np.zeros((3, 9))), 3)
    assert torch.equal(torch.rand(1), expected)


def test_the_sizes_are_found() -> None:
    kind = model_class(f"torch:{NETS}:Hidden")
    assert kind.shape(kind.Parameters(), setting()) == (9, 5)
    assert build(f"torch:{NETS}:Hidden", 5).inputs == 9
    with pytest.raises(ModelError, match="has 5 outputs, and the size is 4"):
        build(f"torch:{NETS}:Hidden", 4)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Loop", "forward sets it back in each call"),
        ("Plain", "a step changes no tensor of it"),
        ("Elsewhere", "given to another copy the spikes differ"),
        ("Dropped", "a step changes no tensor of it"),
    ],
)
def test_a_state_that_cannot_be_found_says_what_was_tried(name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        build(f"torch:{NETS}:{name}", 12)
    assert "tried: states that forward takes and returns" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_outputs_that_are_no_spikes() -> None:
    model = build(f"torch:{NETS}:WithMemoryLast", 12, output=0)
    with pytest.raises(ModelError, match="for output 0 in step 0; spikes are whole numbers"):
        run(model, sums_of(np.ones((1, 9))), 1)


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("Hiden", {}, "did you mean Hidden"),
        ("", {}, "must hold one torch module"),
        ("NUMBER", {}, "neither a torch module nor makes one"),
        ("text", {}, "is no torch module but a str"),
        ("Hidden", {"arguments": {"knd": 1}}, "cannot be made with the arguments"),
        ("Hidden", {"inputs": 4}, r"fails with an input of shape \[1, 4\]"),
        ("Hidden", {"inputs": 4, "input_shape": [2, 3]}, "contradict"),
        ("Hidden", {"input_shape": []}, "list of sizes"),
        ("Hidden", {"output": 2}, "set `output`"),
        ("Picture", {}, "set inputs or input_shape"),
        ("MADE", {"arguments": {"a": 1}}, "takes no arguments"),
    ],
)
def test_modules_that_cannot_be_used(name: str, parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(BrainnetError, match=says):
        build(f"torch:{NETS}:{name}", 5, **parameters)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module")
    for name, says in (("none.py:Net", "does not exist"), ("broken.py:Net", "no_such_module")):
        with pytest.raises(ConfigError, match=says):
            build(f"torch:{name}", 5, tmp_path)


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"fc1.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    for name, says in (
        ("none.pt", "does not exist"),
        ("text.pt", "no file of weights"),
        ("list.pt", "holds a list"),
        ("other.pt", "of another network"),
    ):
        with pytest.raises(ModelError, match=says):
            build(f"torch:{NETS}:Hidden", setting(5, checkpoint=tmp_path / name))


def test_a_saved_state_of_another_module_is_refused() -> None:
    one, other = made("Hidden"), made("Explicit")
    run(one, sums_of(np.ones((2, 9))), 2)
    run(other, sums_of(np.ones((2, 9))), 2)
    with pytest.raises(ModelError, match="the saved state has"):
        other.load(one.save())
