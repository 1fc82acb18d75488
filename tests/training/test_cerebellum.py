"""The training program of the cerebellum: the model it makes, its rival, and what it measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainnet.paths import share_dir
from brainnet.training import Run, find_program
from nodes.arm_body import Dynamics, Plant
from nodes.cerebellum import Adaptation, ForwardModel
from nodes.training import arm_loop, cerebellum

WEIGHTS = share_dir() / "nodes" / "weights"


def run_in(folder: Path, **changes: object) -> Run[cerebellum.Settings]:
    settings = find_program("cerebellum").configure(None, changes)
    assert isinstance(settings, cerebellum.Settings)
    return Run("cerebellum", settings, folder / "cerebellum.safetensors")


def test_training_makes_a_model_that_predicts(tmp_path: Path) -> None:
    (tmp_path / "motor_cortex.safetensors").symlink_to(WEIGHTS / "motor_cortex.safetensors")
    run = run_in(tmp_path, cells=60, movements=20)
    cerebellum.train(run)
    model = Adaptation(ForwardModel.load(run.weights))
    arm_loop.reach(Plant(), cerebellum.policy_of(run), np.array([-0.1, 0.05]), cerebellum=model)
    assert np.mean(model.errors) < 0.02 * np.mean(model.changes)


def test_the_rival_reaches_its_targets_on_the_unchanged_arm() -> None:
    pid, arm, rng = arm_loop.PID((0.7, 0.5, 0.07)), Plant(), np.random.default_rng(9)
    final = []
    for target in arm_loop.random_targets(rng, 10):
        arm_loop.random_posture(rng, arm)
        pid.reset()
        final.append(arm_loop.reach(arm, pid, target).distances[-1])
    assert np.median(final) < 0.005


def test_accuracy_of_the_unchanged_arm_is_the_measure() -> None:
    policy = cerebellum.policy_of(run_in(WEIGHTS))
    movements = cerebellum.Movements.draw(np.random.default_rng(0), policy, 3)
    assert movements.follow(range(3), Dynamics(), policy).path == pytest.approx([0.0] * 3, abs=1e-9)
    pushed = movements.follow(range(3), arm_loop.changed("constant_force"), policy)
    assert min(pushed.path) > 0.5
    assert cerebellum.won_back([2.0, 4.0], [1.0, 0.5]) == pytest.approx(75.0)


def test_a_short_evaluation_finds_every_change_won_back_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cerebellum, "tuned_pid", lambda seed: arm_loop.PID((0.7, 0.5, 0.07)))
    rows = list(cerebellum.evaluate(run_in(WEIGHTS, changes=["constant_force"], reaches=8, between=4, again=3)))
    named = {row.name: row for row in rows}
    assert {"constant_force_won_back", "constant_force_kept", "nominal_off_path"} <= set(named)
    assert named["constant_force_won_back"].rival == "PID"
    assert [row.name for row in rows if row.bar and not row.ok] == []
