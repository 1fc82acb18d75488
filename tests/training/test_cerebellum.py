"""The training program of the cerebellum: the model it makes, its baseline, and what it measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cerebellum_training as cerebellum
from brainnet.effectors import reaching
from brainnet.effectors.simulation import Dynamics, Plant
from brainnet.paths import share_dir
from brainnet.training import Run, find_program
from cerebellum_model import AdaptiveForwardModel, ForwardModel

WEIGHTS = share_dir() / "nodes" / "cerebellum"


def run_in(folder: Path, **changes: object) -> Run[cerebellum.Settings]:
    settings = find_program("cerebellum").configure(None, changes)
    assert isinstance(settings, cerebellum.Settings)
    return Run("cerebellum", settings, folder / "cerebellum.safetensors")


def test_training_makes_a_model_that_predicts(tmp_path: Path) -> None:
    run = run_in(tmp_path, cells=60, movements=20)
    cerebellum.train(run)
    model = AdaptiveForwardModel(ForwardModel.load(run.weights))
    reaching.reach(Plant(), cerebellum.load_policy(run), np.array([-0.1, 0.05]), corrector=model)
    assert np.mean(model.errors) < 0.02 * np.mean(model.velocity_changes)


def test_the_baseline_reaches_its_targets_on_the_nominal_arm() -> None:
    pid, arm, rng = reaching.PID((0.7, 0.5, 0.07)), Plant(), np.random.default_rng(9)
    final = []
    for target in reaching.random_targets(rng, 10):
        reaching.random_posture(rng, arm)
        pid.reset()
        final.append(reaching.reach(arm, pid, target).distances[-1])
    assert np.median(final) < 0.005


def test_accuracy_of_the_nominal_arm_is_the_measure() -> None:
    policy = cerebellum.load_policy(run_in(WEIGHTS))
    movements = cerebellum.Movements.draw(np.random.default_rng(0), policy, 3)
    assert movements.measure(range(3), Dynamics(), policy).path == pytest.approx([0.0] * 3, abs=1e-9)
    pushed = movements.measure(range(3), reaching.changed_dynamics("constant_force"), policy)
    assert min(pushed.path) > 0.5
    assert cerebellum.recovered([2.0, 4.0], [1.0, 0.5]) == pytest.approx(75.0)


def test_a_short_evaluation_recovers_and_retains_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cerebellum, "tuned_pid", lambda seed: reaching.PID((0.7, 0.5, 0.07)))
    rows = list(
        cerebellum.evaluate(
            run_in(WEIGHTS, changes=["constant_force"], reaches=8, washout_reaches=4, readaptation_reaches=3)
        )
    )
    named = {row.name: row for row in rows}
    assert {"constant_force_won_back", "constant_force_kept", "nominal_off_path"} <= set(named)
    assert named["constant_force_won_back"].rival == "PID"
    assert [row.name for row in rows if row.bar and not row.ok] == []
