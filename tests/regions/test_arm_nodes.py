"""Arm, motor cortex and cerebellum as nodes, in closed loop over topics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from brainnet import Body, Node, Partial, Prompt, SpikePacket
from brainnet.bus import Mailbox, Received
from brainnet.effectors.joint_state import MOTOR_STEPS, JointState, command_code, command_data, tick_of
from brainnet.effectors.stopping import stop_effectors
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import PATIENCE_S, MemoryBrain, until
from brainnet.wire.messages import MotorStop, ParamsQuery


def program(name: str) -> type[Node]:
    return load_program(str(region_file(name)))


async def next_state(feedback: Mailbox[Received]) -> JointState:
    async with asyncio.timeout(PATIENCE_S):
        message = (await feedback.get()).message
    assert isinstance(message, SpikePacket)
    return JointState.from_packet(message)


async def test_reaches_over_topics_and_reports_what_it_measured(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        cerebellum = await brain.start(program("cerebellum"), "cerebellum")
        # before there is an arm, which may settle a little as it starts
        too_early = await brain.query("cerebellum", Prompt(text="How well do you predict?"))
        assert too_early.error is not None
        assert "no movement" in too_early.error
        await brain.start(program("arm_body"), "arm_body")
        cortex = await brain.start(program("motor_cortex"), "motor_cortex")

        watcher = brain.bus("region", "watcher")
        copies, corrections = (
            watcher.subscribe(f"spikes/{way}") for way in ("motor_cortex/cerebellum", "cerebellum/motor_cortex")
        )
        commands = brain.bus("body", "hand").subscribe("motor/command/arm", capacity=1024, overflow="drop_newest")
        interim: list[Partial] = []
        prompt = Prompt(text="Move the arm to (0.10, 0.10)")
        partial = await brain.query("motor_cortex", prompt, interim=interim.append)
        assert partial.error is None
        assert partial.best is not None
        content = partial.best.content
        assert partial.best.text.startswith("Reached (0.100, 0.100): final distance ")
        assert content["distance_m"] < 0.01
        assert np.hypot(*np.subtract(content["final_position"], (0.1, 0.1))) == pytest.approx(content["distance_m"])
        assert partial.confidence > 0.8
        assert content["steps"] > 10
        assert interim
        assert all(p.best is not None and "to go" in p.best.text for p in interim)
        # Between the regions there are spikes, and nothing in the metadata that they compute from.
        copy = (await copies.get()).message
        assert isinstance(copy, SpikePacket)
        assert copy.is_spikes
        assert copy.metadata == {}
        assert tick_of(copy) > 0
        while (sent := (await commands.get()).message).metadata["tick"] != tick_of(copy):
            pass
        assert sent.metadata["target"] == [0.1, 0.1]
        np.testing.assert_array_equal(command_data(command_code(2).decode(copy)), sent.data)
        corrected = (await corrections.get()).message
        assert corrected.is_spikes
        assert tick_of(corrected) > 0

        report = await brain.query("cerebellum", Prompt(text="How well do you predict the arm?"))
        assert report.best is not None
        assert report.best.content["predictions"] > 10
        assert report.best.content["prediction_error_rad_s"] < 0.1 * report.best.content["mean_change_rad_s"]
        assert report.confidence > 0.8
        aside = await brain.query("cerebellum", Prompt(text="Move the arm to (0.10, 0.10)"))
        assert aside.confidence < 0.2
        for node in (cerebellum, cortex):
            assert "errors" not in node.health().counters


async def test_movements_queue_up(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("arm_body"), "arm_body")
        await brain.start(program("motor_cortex"), "motor_cortex")
        answers = await asyncio.gather(
            *(brain.query("motor_cortex", Prompt(text=f"reach {x}, 0.1")) for x in (0.1, -0.1, 0.0))
        )
        for x, partial in zip((0.1, -0.1, 0.0), answers, strict=True):
            assert partial.best is not None
            assert partial.best.content["target"] == [x, 0.1]
            assert partial.best.content["distance_m"] < 0.01


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Move the arm", "names no point"),
        ("Move the arm to (1, 1)", "reaches points between"),
        ("Move the arm to (0.1, 0.1)", "no feedback on motor/feedback/arm"),
    ],
)
async def test_says_why_it_does_not_move(tmp_path: Path, text: str, reason: str) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("motor_cortex"), "motor_cortex")
        partial = await brain.query("motor_cortex", Prompt(text=text))
        assert partial.error is not None
        assert reason in partial.error
        assert partial.confidence == 0.0


async def test_notices_an_arm_that_went_away(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("arm_body"), "arm_body")
        cortex = await brain.start(program("motor_cortex"), "motor_cortex", parameters={"body_return_s": 0.2})
        moving = asyncio.create_task(brain.query("motor_cortex", Prompt(text="reach -0.1, 0.1")))
        await until("spikes", lambda: any(t.key.startswith("spikes") and t.count > 2 for t in cortex.health().topics))
        await brain.stop("arm_body")
        partial = await moving
        assert partial.error is not None
        assert "no feedback on motor/feedback/arm" in partial.error


async def test_a_movement_during_which_the_arm_is_started_again_begins_again(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("arm_body"), "arm_body")
        cortex = await brain.start(program("motor_cortex"), "motor_cortex", parameters={"body_return_s": PATIENCE_S})
        prompt = Prompt(text="reach -0.1, 0.1", deadline_ms=4 * int(PATIENCE_S) * 1000)
        moving = asyncio.create_task(brain.query("motor_cortex", prompt))
        await until("spikes", lambda: any(t.key.startswith("spikes") and t.count > 2 for t in cortex.health().topics))
        await brain.stop("arm_body")
        await brain.start(program("arm_body"), "arm_body")
        partial = await moving
        assert partial.error is None
        assert partial.best is not None
        assert partial.best.content["distance_m"] < 0.02


async def test_bad_commands_are_counted_and_harm_nobody(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        arm = await brain.start(program("arm_body"), "arm_body")
        region = brain.bus("region", "someone")
        feedback = region.subscribe("motor/feedback/arm")
        before = await next_state(feedback)
        for bad in (np.zeros((3, 1), np.float32), np.ones((2, 1), np.uint8), np.zeros((2, 4), np.float32)):
            counted = arm.health().counters.get("bad_commands", 0)
            region.publish("motor/command/arm", SpikePacket(bad))
            await until("a refusal", lambda n=counted: arm.health().counters.get("bad_commands", 0) > n)  # type: ignore[misc]
        assert arm.health().counters["bad_commands"] == 3
        region.publish("motor/command/arm", SpikePacket(command_data(np.array([0.2, 0.0]))))
        while (state := await next_state(feedback)).velocities[0] <= 0.1:
            assert state.tick < before.tick + 200


async def test_a_command_holds_only_until_the_watchdog(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("arm_body"), "arm_body", parameters={"watchdog_s": 0.1, "idle_after_s": 0.3})
        region = brain.bus("region", "someone")
        feedback = region.subscribe("motor/feedback/arm")
        region.publish("motor/command/arm", SpikePacket(command_data(np.array([0.3, 0.3]))))
        while not (await next_state(feedback)).velocities[0] > 1.0:
            pass
        # nobody renews the command: the arm brakes, comes to rest and idles
        while True:
            message = (await feedback.get()).message
            assert isinstance(message, SpikePacket)
            if message.metadata["idle"]:
                break
        state = JointState.from_packet(message)
        assert np.abs(state.velocities).max() < 1e-3
        # an idle arm wakes up at once
        region.publish("motor/command/arm", SpikePacket(command_data(np.array([0.3, 0.0]))))
        while not (await next_state(feedback)).velocities[0] > 0.1:
            pass


async def test_cerebellum_corrects_an_arm_that_is_changed_while_it_runs(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("arm_body"), "arm_body")
        await brain.start(program("cerebellum"), "cerebellum")
        await brain.start(program("motor_cortex"), "motor_cortex", parameters={"timeout_s": 2.0})
        client = brain.bus()
        await client.call("node/arm_body/params", ParamsQuery(name="force", set=True, value=[250.0, -250.0]))

        async def distance() -> float:
            partial = await brain.query("motor_cortex", Prompt(text="reach 0.1, 0.1"))
            assert partial.best is not None
            return float(partial.best.content["distance_m"])

        await client.call("node/motor_cortex/params", ParamsQuery(name="use_correction", set=True, value=False))
        without = await distance()
        await client.call("node/motor_cortex/params", ParamsQuery(name="use_correction", set=True, value=True))
        corrected = [await distance() for _ in range(3)]
        assert corrected[-1] < 0.5 * without


async def test_damaged_efference_copies_and_feedback_are_counted(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        cerebellum = await brain.start(program("cerebellum"), "cerebellum")
        body, region = brain.bus("body", "body"), brain.bus("region", "motor_cortex")
        body.publish("motor/feedback/arm", SpikePacket(np.zeros((2, 1), np.float32)))
        command = command_code(2).encode(np.zeros(2))
        for data, first_step in (
            (command[1:], MOTOR_STEPS),
            (command.astype(np.float32), MOTOR_STEPS),
            (command, None),
        ):
            packet = SpikePacket(data, first_step=first_step)
            region.publish("spikes/motor_cortex/cerebellum", packet)
        await until("3 bad efference copies", lambda: cerebellum.health().counters.get("bad_efference_copies") == 3)
        await until("bad feedback", lambda: cerebellum.health().counters.get("bad_feedback") == 1)


async def test_a_movement_is_stopped_by_a_prompt_and_by_the_key(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        arm = await brain.start(program("arm_body"), "arm_body")
        assert isinstance(arm, Body)
        await brain.start(program("motor_cortex"), "motor_cortex")
        under_way = asyncio.Event()
        for ask_to_stop in (
            lambda: brain.query("motor_cortex", Prompt(text="Stop the arm!")),
            lambda: stop_effectors(brain.bus(), MotorStop(hold_s=0.2)),
        ):
            under_way.clear()
            prompt = Prompt(text="Move the arm to (-0.15, -0.05)")
            moving = asyncio.create_task(brain.query("motor_cortex", prompt, interim=lambda partial: under_way.set()))
            await under_way.wait()  # the first report comes after a quarter of a second
            answer = await ask_to_stop()
            stopped = await moving
            assert stopped.best is not None
            if stopped.best.content["stopped"]:
                assert stopped.best.text.startswith("Was stopped on the way to (-0.150, -0.050): ")
            if isinstance(answer, Partial):
                assert answer.best is not None
                assert answer.best.text == "Stopped: arm."
                assert answer.best.content["stopped"] == ["arm"]
                assert answer.confidence == 1.0
            await until("it is free again", lambda: not arm.stopped)
        reached = await brain.query("motor_cortex", Prompt(text="Move the arm to (0.1, 0.1)"))
        assert reached.best is not None
        assert reached.best.text.startswith("Reached ")
        assert not reached.best.content["stopped"]


async def test_an_arm_that_stays_stopped_says_how_to_release_it(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("arm_body"), "arm_body")
        await brain.start(program("motor_cortex"), "motor_cortex")
        await stop_effectors(brain.bus(), MotorStop())
        refused = await brain.query("motor_cortex", Prompt(text="Move the arm to (0.1, 0.1)"))
        assert "the effector arm is stopped" in str(refused.error)
        assert "brainnet stop-motors --release" in str(refused.error)


async def test_nothing_to_stop_is_said(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program("motor_cortex"), "motor_cortex")
        answer = await brain.query("motor_cortex", Prompt(text="stop"))
        assert "no effector is there" in str(answer.error)
