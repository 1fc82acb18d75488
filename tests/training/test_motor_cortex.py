"""The training program of the motor cortex: it learns, can be interrupted, and measures itself."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import motor_cortex_arms
import motor_cortex_measures
import motor_cortex_training as motor_cortex
from brainnet.effectors import reaching
from brainnet.effectors.planar_arm import FEATURES, features, fingertip, inverse_kinematics
from brainnet.effectors.simulation import Plant
from brainnet.errors import ModelError
from brainnet.paths import region_file
from brainnet.snn.models.policy import SpikingPolicy
from brainnet.snn.models.policy_training import ReLUPolicy
from brainnet.training import Run, find_program

WEIGHTS = region_file("motor_cortex", ".safetensors")
SMALL = {
    "cloning_steps": 60,
    "settling_steps": 20,
    "rounds": 2,
    "batch": 256,
    "states": 2000,
    "arms": 4,
    "iterations": 2,
    "value_warmup": 1,
    "minibatch": 50,
    "epochs": 1,
}


def run_in(folder: Path, **changes: object) -> Run[motor_cortex.Settings]:
    settings = find_program("motor_cortex").configure(None, {**SMALL, **changes})
    assert isinstance(settings, motor_cortex.Settings)
    return Run("motor_cortex", settings, folder / "motor_cortex.safetensors", resume=True)


def error(controller: reaching.Controller) -> float:
    states, targets = motor_cortex_arms.random_states(np.random.default_rng(5), 500)
    wanted = reaching.expert_command(states, targets)
    rows = [
        controller(type(states)(states.angles[i], states.velocities[i], states.tip[i], states.applied[i]), targets[i])
        for i in range(500)
    ]
    return float(np.abs(np.array(rows) - wanted).mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run[motor_cortex.Settings]:
    """A training that was not interrupted."""
    run = run_in(tmp_path_factory.mktemp("trained"))
    motor_cortex.train(run)
    return run


def test_training_writes_a_policy_that_has_learned_and_its_baseline(trained: Run[motor_cortex.Settings]) -> None:
    folder = trained.weights.parent
    silent = error(lambda state, target: np.zeros(2))
    assert error(reaching.policy_controller(SpikingPolicy.load(trained.weights))) < 0.5 * silent
    assert error(motor_cortex.nonspiking_controller(folder / motor_cortex.NONSPIKING)) < 0.5 * silent
    assert not list(folder.glob("*.checkpoint"))


def test_an_interrupted_training_ends_as_one_that_was_not(
    trained: Run[motor_cortex.Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = trained.weights.parent, tmp_path
    save, left = Run.save_checkpoint, iter(range(2))

    def interrupted(self: Run[motor_cortex.Settings], state: dict[str, object], part: str = "") -> None:
        save(self, state, part)
        if next(left, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            motor_cortex.train(run_in(parts))
    motor_cortex.train(run_in(parts))
    for name in ("motor_cortex.safetensors", str(motor_cortex.NONSPIKING)):
        expected, found = load_file(whole / name), load_file(parts / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_reward_is_that_of_reacher() -> None:
    env = gymnasium.make("Reacher-v5")
    env.reset(seed=3)
    data = env.unwrapped.data
    rng = np.random.default_rng(0)
    for _ in range(10):
        command = rng.uniform(-1, 1, 2)
        _, expected, *_ = env.step(command)
        ours = motor_cortex_arms.reward(motor_cortex_measures.state_of(data), data.body("target").xpos[:2], command)
        assert float(ours) == pytest.approx(float(expected), abs=1e-9)
    env.close()


def test_the_arm_moves_in_an_episode_as_the_arm_of_the_node_does() -> None:
    env = gymnasium.make("Reacher-v5")
    env.reset(seed=4)
    data, plant = env.unwrapped.data, Plant()
    plant.set_state(data.qpos[:2], data.qvel[:2])
    rng = np.random.default_rng(0)
    for _ in range(20):
        command = rng.uniform(-1, 1, 2)
        env.step(command)
        np.testing.assert_allclose(plant.step(command).tip, motor_cortex_measures.state_of(data).tip, atol=1e-9)
    env.close()


def test_committed_weights_reach_the_bars_of_a_short_evaluation() -> None:
    settings = motor_cortex.Settings(episodes=10, reaches=10, over_topics=False)
    rows = {row.name: row for row in motor_cortex.evaluate(Run("motor_cortex", settings, WEIGHTS))}
    assert rows["reacher_return"].rival == "expert"
    assert rows["reacher_return_beside_twin"].rival == "non-spiking policy"
    assert all(row.ok for row in rows.values() if row.bar)


def test_an_episode_over_topics_ends_where_its_target_is() -> None:
    episodes = motor_cortex_measures.episodes_over_topics(WEIGHTS, 1000, 2, iter, speed=0.25)
    assert len(episodes.returns) == 2
    assert all(-10.0 < value < -0.5 for value in episodes.returns)
    assert max(episodes.distances) < 0.01


def test_settling_turns_from_the_policy_to_the_expert() -> None:
    torch.manual_seed(0)
    net = ReLUPolicy(FEATURES, [8], 2)
    teacher = motor_cortex.settling(net)
    far, far_targets = motor_cortex_arms.random_states(np.random.default_rng(1), 50)
    with torch.no_grad():
        own = net(torch.from_numpy(features(far, far_targets))).clamp(-1, 1).numpy()
    moving = np.abs(far.velocities).max(axis=1) > 3.0
    np.testing.assert_allclose(teacher(far, far_targets)[moving], own[moving], atol=1e-6)
    target = np.array([[0.1, 0.1]])
    angles = inverse_kinematics(target) + 1e-3
    near = type(far)(angles, np.zeros((1, 2)), fingertip(angles), np.zeros((1, 2)))
    np.testing.assert_allclose(teacher(near, target), reaching.expert_command(near, target), atol=1e-3)


def test_a_file_without_a_baseline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="non-spiking"):
        motor_cortex.nonspiking_controller(tmp_path / "none.safetensors")
