"""The arm in closed loop with the committed weights, physics and models as the nodes run them, without a bus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainnet import RegionError, SpikePacket
from brainnet.errors import ModelError, PacketError
from brainnet.joint_state import JointState, command_data, read_command
from brainnet.paths import share_dir
from brainnet.snn.policy import SpikingPolicy
from nodes.arm_body import Dynamics, Plant
from nodes.cerebellum import ForwardModel
from nodes.motor_cortex import check_reachable, features, parse_target
from nodes.training import arm_loop

WEIGHTS = share_dir() / "nodes" / "weights"


@pytest.fixture(scope="module")
def policy() -> SpikingPolicy:
    return SpikingPolicy.load(WEIGHTS / "motor_cortex.safetensors")


@pytest.fixture
def plant() -> Plant:
    return Plant()


def forward_model() -> ForwardModel:
    return ForwardModel.load(WEIGHTS / "cerebellum.safetensors")


def test_kinematics_are_those_of_the_simulated_arm(plant: Plant) -> None:
    rng = np.random.default_rng(0)
    for target in arm_loop.random_targets(rng, 20):
        plant.place(arm_loop.inverse_kinematics(target), np.zeros(2))
        np.testing.assert_allclose(plant.state().tip, target, atol=1e-6)


def test_reaches_and_settles_from_anywhere(policy: SpikingPolicy, plant: Plant) -> None:
    rng = np.random.default_rng(1)
    targets = np.concatenate([[[0.1, 0.1]], arm_loop.random_targets(rng, 30), arm_loop.grid_targets()[::8]])
    final = []
    for target in targets:
        arm_loop.random_posture(rng, plant)
        trace = arm_loop.reach(plant, policy, target)
        final.append(trace.distances[-1])
        assert trace.settling_time(plant.dt) < 1.8
        assert trace.final_speed < 0.5
    assert np.median(final) < 0.002
    assert max(final) < 0.01


def test_reaches_although_commands_come_late(policy: SpikingPolicy, plant: Plant) -> None:
    rng = np.random.default_rng(2)
    for target in arm_loop.random_targets(rng, 10):
        arm_loop.random_posture(rng, plant)
        trace = arm_loop.reach(plant, policy, target, late=iter(rng.random(100) < 0.2))
        assert trace.distances[-1] < 0.01


def test_holds_what_it_has_reached(policy: SpikingPolicy, plant: Plant) -> None:
    trace = arm_loop.reach(plant, policy, np.array([-0.05, 0.12]), steps=500)
    assert trace.distances[100:].max() < 0.01


def test_a_policy_without_spikes_moves_nothing(policy: SpikingPolicy, plant: Plant) -> None:
    """The torques come from the spikes: silence the neurons and nothing is left that depends on the target."""
    silent = SpikingPolicy(
        [layer._replace(weight=0 * layer.weight, bias=0 * layer.bias) for layer in policy.hidden],
        policy.readout,
        policy.shape,
    )
    state = plant.state()
    actions = {tuple(silent.act(features(state, t)).values) for t in arm_loop.grid_targets()}
    assert len(actions) == 1


def test_forward_model_predicts_the_nominal_arm(policy: SpikingPolicy, plant: Plant) -> None:
    model = forward_model()
    arm_loop.reach(plant, policy, np.array([0.1, 0.1]), cerebellum=model)
    assert len(model.errors) == 100
    assert np.mean(model.errors) < 0.01 * np.mean(model.changes)
    assert model.unmatched == 0


def final_distances(policy: SpikingPolicy, dynamics: Dynamics, model: ForwardModel | None) -> np.ndarray:
    plant, rng = Plant(), np.random.default_rng(3)
    plant.change(dynamics)
    final = []
    for target in arm_loop.random_targets(rng, 14):
        arm_loop.random_posture(rng, plant)
        final.append(arm_loop.reach(plant, policy, target, cerebellum=model).distances[-1])
    return np.array(final[4:])


def test_cerebellum_wins_back_accuracy_under_a_force(policy: SpikingPolicy) -> None:
    pushed = arm_loop.changed("force of 200 N")
    without, adapted = final_distances(policy, pushed, None), final_distances(policy, pushed, forward_model())
    assert np.median(without) > 0.008
    assert np.median(adapted) < 0.25 * np.median(without)


def test_cerebellum_does_not_harm_the_nominal_arm(policy: SpikingPolicy) -> None:
    assert final_distances(policy, Dynamics(), forward_model()).max() < 0.005


def test_cerebellum_unlearns_when_the_arm_is_itself_again(policy: SpikingPolicy) -> None:
    plant, model, rng = Plant(), forward_model(), np.random.default_rng(4)
    plant.change(arm_loop.changed("half the torque"))
    for target in arm_loop.random_targets(rng, 5):
        arm_loop.reach(plant, policy, target, cerebellum=model)
    plant.change(Dynamics())
    final = [arm_loop.reach(plant, policy, t, cerebellum=model).distances[-1] for t in arm_loop.random_targets(rng, 5)]
    assert max(final) < 0.01


def test_cerebellum_learns_nothing_from_commands_that_came_late(plant: Plant) -> None:
    model = forward_model()
    state = plant.state()
    model.feel(state)
    model.correct(state.tick, np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    model.feel(plant.step(np.zeros(2)))
    assert model.unmatched == 1
    assert not model.errors
    assert not model.readout.learned.any()


def test_no_forward_model_in_other_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="forward model"):
        ForwardModel.load(WEIGHTS / "motor_cortex.safetensors")
    with pytest.raises(ModelError, match="none"):
        ForwardModel.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Move the arm to (0.10, 0.10)", (0.1, 0.1)),
        ("reach x=0.1 y=-0.05", (0.1, -0.05)),
        ("reach for x: 5 cm, y: −8 cm please", (0.05, -0.08)),
        ("point at 0.1, 0.1.", (0.1, 0.1)),
        ("point at .1 and -.05", (0.1, -0.05)),
        ("go to 10 cm, 5 cm", (0.1, 0.05)),
        ("go to (10, 5) cm", (0.1, 0.05)),
        ("move to 100mm 50mm", (0.1, 0.05)),
        ("move to 10 centimetres by 5 centimeters", (0.1, 0.05)),
        ("move to 0.1 metres, 0.1 metres", (0.1, 0.1)),
        ("move 2 times: no point here", None),
        ("move the arm", None),
        ("", None),
    ],
)
def test_reads_targets(text: str, target: tuple[float, float] | None) -> None:
    found = parse_target(text)
    assert found == (None if target is None else pytest.approx(target))


def test_refuses_points_in_space_and_out_of_reach() -> None:
    with pytest.raises(RegionError, match="planar"):
        parse_target("move to (0.1, 0.1, 0.2)")
    check_reachable((0.1, 0.1))
    for target in ((0.3, 0.0), (0.0, 0.001), (1e9, 0.0)):
        with pytest.raises(RegionError, match=r"0\.205 m"):
            check_reachable(target)


def test_joint_states_and_commands_travel_in_packets() -> None:
    state = JointState(
        np.array([0.1, 0.2]), np.array([1.0, -1.0]), np.array([0.1, 0.05]), np.array([0.5, -0.5]), tick=7
    )
    read = JointState.from_packet(SpikePacket.decode(SpikePacket(state.to_data(), metadata={"tick": 7}).encode()))
    for name in ("angles", "velocities", "tip", "applied"):
        np.testing.assert_allclose(getattr(read, name), getattr(state, name), atol=1e-6)
    assert read.tick == 7
    np.testing.assert_array_equal(read_command(SpikePacket(command_data(np.array([3.0, -0.5]))), 2), [1.0, -0.5])


@pytest.mark.parametrize(
    "packet",
    [
        SpikePacket(np.zeros((8, 1), np.float32)),
        SpikePacket(np.zeros((8, 1), np.float32), metadata={"tick": "7"}),
        SpikePacket(np.zeros((9, 1), np.float32), metadata={"tick": 7}),
        SpikePacket(np.zeros((8, 2), np.float32), metadata={"tick": 7}),
        SpikePacket(np.zeros((0, 1), np.float32), metadata={"tick": 7}),
        SpikePacket(np.zeros((8, 1), np.uint8), metadata={"tick": 7}),
    ],
)
def test_refuses_what_is_no_joint_state(packet: SpikePacket) -> None:
    with pytest.raises(PacketError, match="joint feedback"):
        JointState.from_packet(packet)


@pytest.mark.parametrize(
    "data", [np.zeros((3, 1), np.float32), np.zeros((2, 1), np.uint8), np.array([[np.nan], [0]], np.float32)]
)
def test_refuses_what_is_no_command(data: np.ndarray) -> None:
    with pytest.raises(PacketError, match="motor command"):
        read_command(SpikePacket(data), 2)
