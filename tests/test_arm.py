"""The arm in closed loop with the committed weights, physics and models as the nodes run them, without a bus."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainnet import RegionError, SpikePacket
from brainnet.effectors import reaching
from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import JointState, command_data
from brainnet.effectors.planar_arm import features, fingertip, inverse_kinematics, predicted_state
from brainnet.effectors.reaching import Controller, policy_controller
from brainnet.effectors.simulation import Dynamics, Plant
from brainnet.errors import ModelError, PacketError
from brainnet.paths import share_dir
from brainnet.snn.models.policy import SpikingPolicy
from cerebellum_model import AdaptiveForwardModel, ForwardModel
from motor_cortex_targets import asks_to_stop, check_reachable, parse_target

WEIGHTS = share_dir() / "nodes"


@pytest.fixture(scope="module")
def policy() -> SpikingPolicy:
    return SpikingPolicy.load(WEIGHTS / "motor_cortex" / "motor_cortex.safetensors")


@pytest.fixture(scope="module")
def controller(policy: SpikingPolicy) -> Controller:
    return policy_controller(policy)


@pytest.fixture
def plant() -> Plant:
    return Plant()


def cerebellum() -> AdaptiveForwardModel:
    return AdaptiveForwardModel(ForwardModel.load(WEIGHTS / "cerebellum" / "cerebellum.safetensors"))


def test_kinematics_are_those_of_the_simulated_arm(plant: Plant) -> None:
    rng = np.random.default_rng(0)
    for target in reaching.random_targets(rng, 20):
        plant.set_state(inverse_kinematics(target), np.zeros(2))
        np.testing.assert_allclose(plant.state().tip, target, atol=1e-6)
        np.testing.assert_allclose(fingertip(plant.state().angles), target, atol=1e-6)


def test_late_sensors_show_what_was(plant: Plant) -> None:
    plant.set_dynamics(Dynamics(sensor_delay=2))
    plant.set_state(np.array([0.5, 1.0]), np.zeros(2))
    states = [plant.state()]
    for step in range(6):
        states.append(plant.step(np.array([0.3, -0.1])))
        sensed, true = plant.sensed(), states[max(0, step - 1)]
        np.testing.assert_array_equal(sensed.velocities, true.velocities)
        np.testing.assert_array_equal(sensed.applied, true.applied)
        assert sensed.tick == states[-1].tick


def test_reaches_and_settles_from_anywhere(controller: Controller, plant: Plant) -> None:
    rng = np.random.default_rng(1)
    targets = np.concatenate([[[0.1, 0.1]], reaching.random_targets(rng, 30), reaching.grid_targets()[::8]])
    final = []
    for target in targets:
        reaching.random_posture(rng, plant)
        trace = reaching.reach(plant, controller, target)
        final.append(trace.distances[-1])
        assert trace.settling_time(plant.dt) < 1.8
        assert trace.final_speed < 0.5
    assert np.median(final) < 0.002
    assert max(final) < 0.01


def test_reaches_although_commands_come_late(controller: Controller, plant: Plant) -> None:
    rng = np.random.default_rng(2)
    for target in reaching.random_targets(rng, 10):
        reaching.random_posture(rng, plant)
        trace = reaching.reach(plant, controller, target, late_commands=iter(rng.random(100) < 0.2))
        assert trace.distances[-1] < 0.01


def test_holds_what_it_has_reached(controller: Controller, plant: Plant) -> None:
    trace = reaching.reach(plant, controller, np.array([-0.05, 0.12]), steps=500)
    assert trace.distances[100:].max() < 0.01


def test_a_policy_without_spikes_moves_nothing(policy: SpikingPolicy, plant: Plant) -> None:
    """The torques come from the spikes: silence the neurons and nothing is left that depends on the target."""
    silent = SpikingPolicy(
        [layer._replace(weight=0 * layer.weight, bias=0 * layer.bias) for layer in policy.hidden],
        policy.readout,
        policy.shape,
    )
    state = plant.state()
    actions = {tuple(silent.act(features(state, t)).values) for t in reaching.grid_targets()}
    assert len(actions) == 1


def test_forward_model_predicts_the_nominal_arm(controller: Controller, plant: Plant) -> None:
    model = cerebellum()
    reaching.reach(plant, controller, np.array([0.1, 0.1]), corrector=model)
    assert len(model.errors) == 100
    assert np.mean(model.errors) < 0.01 * np.mean(model.velocity_changes)
    assert model.late_commands == 0


@functools.cache
def expected_tips(controller: Controller, seed: int, count: int, number: int) -> NDArray[Any]:
    """Where the nominal arm is in each step of the reach of a number among `count`, moved by the controller alone."""
    plant, rng = Plant(), np.random.default_rng(seed)
    target = reaching.random_targets(rng, count)[number]
    for _ in range(number + 1):
        reaching.random_posture(rng, plant)
    return reaching.reach(plant, controller, target).tips


def off_path(
    controller: Controller, dynamics: Dynamics, model: AdaptiveForwardModel | None, numbers: range, seed: int = 3
) -> list[float]:
    """Mean distance in metres of each reach from where the nominal arm would be, moved by the controller alone."""
    plant, rng = Plant(), np.random.default_rng(seed)
    plant.set_dynamics(dynamics)
    result = []
    for number, target in enumerate(reaching.random_targets(rng, numbers.stop)):
        reaching.random_posture(rng, plant)
        if number in numbers:
            expected = expected_tips(controller, seed, numbers.stop, number)
            got = reaching.reach(plant, controller, target, corrector=model).tips
            result.append(float(np.hypot(*(got - expected).T).mean()))
    return result


@pytest.mark.parametrize("name", ["mass_x2", "curl_field", "constant_force", "delay_40ms"])
def test_recovers_accuracy_and_retains_what_it_learned(controller: Controller, name: str) -> None:
    changed, model = reaching.changed_dynamics(name), cerebellum()
    off_path(controller, changed, model, range(4))
    learned = off_path(controller, changed, model, range(5, 8))
    alone = off_path(controller, changed, None, range(5, 8))
    assert np.mean(learned) < 0.4 * np.mean(alone)
    # the change goes away, and returns
    off_path(controller, Dynamics(), model, range(8, 9))
    assert np.mean(off_path(controller, changed, model, range(5, 8))) < 0.4 * np.mean(alone)


def test_cerebellum_leaves_the_nominal_arm_alone(controller: Controller) -> None:
    model = cerebellum()
    assert max(off_path(controller, Dynamics(), model, range(5))) == 0.0
    assert model.contexts.active == 0
    assert model.delay == 0


def test_cerebellum_recognises_the_nominal_arm_again(controller: Controller) -> None:
    model = cerebellum()
    off_path(controller, reaching.changed_dynamics("half_torque"), model, range(4))
    assert model.contexts.active == 1
    off_path(controller, Dynamics(), model, range(4, 5))
    assert model.contexts.active == 0
    assert max(off_path(controller, Dynamics(), model, range(5, 8))) == 0.0
    off_path(controller, reaching.changed_dynamics("half_torque"), model, range(8, 9))
    assert model.contexts.active == 1
    assert len(model.contexts.readouts) == 2


def test_cerebellum_finds_out_how_late_the_feedback_is(controller: Controller) -> None:
    model = cerebellum()
    for delay in (1, 3, 0):
        off_path(controller, Dynamics(sensor_delay=delay), model, range(2))
        assert model.delay == delay
    assert len(model.contexts.readouts) == 1


def test_late_commands_are_not_mistaken_for_a_changed_arm(controller: Controller, plant: Plant) -> None:
    model, rng = cerebellum(), np.random.default_rng(6)
    for target in reaching.random_targets(rng, 5):
        reaching.random_posture(rng, plant)
        reaching.reach(plant, controller, target, corrector=model, late_commands=iter(rng.random(100) < 0.2))
    assert model.late_commands > 10
    assert model.contexts.active == 0
    assert model.delay == 0


def test_a_correction_that_is_none_changes_nothing(plant: Plant) -> None:
    state, none = plant.state(), MotorCorrection.zero(2)
    for name in ("angles", "velocities", "tip"):
        np.testing.assert_array_equal(getattr(predicted_state(state, none), name), getattr(state, name))
    np.testing.assert_array_equal(none.torque(np.array([0.3, -0.4])), np.zeros(2))


def test_corrections_travel_as_spikes() -> None:
    correction = MotorCorrection(
        np.array([0.1, 0.2]), np.array([1.0, 2.0]), np.array([0.3, -0.1]), np.array([[1.0, 0.5], [0.0, -5.0]])
    )
    read = MotorCorrection.from_packet(SpikePacket.decode(SpikePacket(correction.to_spikes()).encode()), 2)
    np.testing.assert_allclose(read.angles, correction.angles, atol=0.0005)
    np.testing.assert_allclose(read.velocities, correction.velocities, atol=0.004)
    np.testing.assert_allclose(read.offset, correction.offset, atol=0.0006)
    np.testing.assert_allclose(read.gain, [[1.0, 0.5], [0.0, -4.0]], atol=0.002)  # cut to the largest gain
    np.testing.assert_array_equal(read.values, correction.rounded().values)
    silent = SpikePacket(np.zeros_like(correction.to_spikes()))
    np.testing.assert_array_equal(MotorCorrection.from_packet(silent, 2).values, 0.0)
    for bad in (np.zeros((2, 1), np.uint8), correction.to_spikes().astype(np.float32), 2 * correction.to_spikes()):
        with pytest.raises(PacketError, match="10 values are spikes"):
            MotorCorrection.from_packet(SpikePacket(bad), 2)


def test_no_forward_model_in_other_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="forward model"):
        ForwardModel.load(WEIGHTS / "motor_cortex" / "motor_cortex.safetensors")
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
        ("y = 0.05 and x = 0.1", (0.1, 0.05)),
        ("reach X0.1 Y 0.05", (0.1, 0.05)),
        ("（０.１，０.０５）", (0.1, 0.05)),
        ("go to 0.1,\n\t0.05", (0.1, 0.05)),
        ("go to 1e-1, 5e-2", (0.1, 0.05)),
        ("go to 0.1, and 0.05", (0.1, 0.05)),
        ("0.1-0.05", None),
        ("12 metal parts and 3 more", None),
        ("go" + " " * 90_000 + "to (0.1, 0.05)", (0.1, 0.05)),
        ("word " * 18_000 + "now move the arm to (0.1, 0.05)", (0.1, 0.05)),
        ("move the arm to (0.1, 0.05) " + "word " * 18_000, (0.1, 0.05)),
        ("1" * 100_000 + " " + "1" * 50, None),
    ],
)
def test_reads_targets(text: str, target: tuple[float, float] | None) -> None:
    found = parse_target(text)
    assert found == (None if target is None else pytest.approx(target))


def test_refuses_points_in_space_and_out_of_reach() -> None:
    with pytest.raises(RegionError, match="planar"):
        parse_target("move to (0.1, 0.1, 0.2)")
    with pytest.raises(RegionError, match="planar"):
        parse_target("move to x=0.1 y=0.1 z=0.2")
    for text in ("go to 1e999, 0.1", f"go to {'9' * 400}, 0.1"):
        target = parse_target(text)
        assert target is not None
        with pytest.raises(RegionError, match="inf"):
            check_reachable(target)
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
    sent = SpikePacket.decode(SpikePacket(command_data(np.array([3.0, -0.5]))).encode())
    np.testing.assert_array_equal(sent.data, np.array([[1.0], [-0.5]], np.float32))


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
    "text",
    [
        "stop",
        "Stop!",
        "  STOP  ",
        "please stop",
        "Please, stop the arm now.",
        "Robot, halt!",
        "emergency stop",
        "stop moving",
        "freeze",
        "Don't move",
        "do not move the arm",
        "hold still, please",
        "stop everything at once",
        "abort the movement",
    ],
)
def test_a_prompt_that_asks_to_stop(text: str) -> None:
    assert asks_to_stop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "move to (0.1, 0.1) and stop",
        "Where does the bus stop?",
        "do not stop",
        "stop at (0.1, 0.1)",
        "what does halt mean?",
        "The train does not stop here.",
        "stopped",
        "stop words",
        "stop " * 50,
    ],
)
def test_a_prompt_that_does_not_ask_to_stop(text: str) -> None:
    assert not asks_to_stop(text)
