"""Bodies: what they do with commands, with bad ones, without any, and when they are stopped."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainnet import Body, Channel, SpikePacket
from brainnet.bus import Bus
from brainnet.effectors.stopping import effectors, stop_effectors
from brainnet.errors import CallTimeout
from brainnet.testing import MemoryBrain, until
from brainnet.wire.messages import EffectorState, FeedbackHeader, MotorStop, encode

COMMAND, FEEDBACK, STOP = "motor/command/wheel", "motor/feedback/wheel", "motor/stop"


class Wheel(Body):
    """A wheel that turns as fast as it is told."""

    commands = (Channel(name="speed", unit="rad/s", low=-2.0, high=3.0), Channel(name="tilt", unit="rad"))
    feedback = (Channel(name="speed", unit="rad/s"),)
    rate_hz = 200.0

    def load(self) -> None:
        self.speed, self.braked = 0.0, 0
        self.newest: NDArray[np.float64] | None = None

    def step(self, command: NDArray[np.float64]) -> Any:
        self.newest, self.speed = command, float(command[0])
        return np.array([self.speed])

    async def brake(self) -> Any:
        self.speed, self.braked = 0.0, self.braked + 1
        return [0.0]


def packet(*values: float, dtype: Any = np.float32) -> SpikePacket:
    return SpikePacket(np.array(values, dtype)[:, None], "motor", 5000, "driver")


class Drive:
    """A wheel and a driver, who sends a command again and again."""

    def __init__(self, brain: MemoryBrain, wheel: Wheel) -> None:
        self.wheel, self.brain = wheel, brain
        self.driver: Bus = brain.bus("region", "driver")
        self.client: Bus = brain.bus("client")

    async def follow(self, *values: float) -> None:
        def followed() -> bool:
            self.driver.publish(COMMAND, packet(*values))
            return self.wheel.newest is not None and self.wheel.speed == pytest.approx(values[0])

        await until(f"the wheel follows {values}", followed)

    async def rests(self, *values: float) -> None:
        """The wheel brakes for a while, although commands come."""
        braked = self.wheel.braked

        def rested() -> bool:
            self.driver.publish(COMMAND, packet(*values))
            return self.wheel.braked >= braked + 20

        await until("it brakes", rested)
        assert self.wheel.speed == 0.0

    def counters(self) -> dict[str, int]:
        return self.wheel.health().counters

    async def state(self) -> EffectorState:
        (state,) = await effectors(self.client)
        return state


@pytest.fixture
async def drive(tmp_path: Path) -> AsyncIterator[Drive]:
    async with MemoryBrain(tmp_path) as brain:
        yield Drive(brain, await brain.start(Wheel, "wheel_node", parameters={"effector": "wheel", "watchdog_s": 60.0}))


async def test_it_says_what_it_is(drive: Drive) -> None:
    state = await drive.state()
    assert (state.effector, state.node_id, state.rate_hz, state.watchdog_s) == ("wheel", "wheel_node", 200.0, 60.0)
    assert state.about == "A wheel that turns as fast as it is told."
    assert state.commands == list(Wheel.commands)
    assert state.feedback == list(Wheel.feedback)
    assert not state.stopped


async def test_it_follows_the_newest_command_and_publishes_its_state(drive: Drive) -> None:
    watched = drive.brain.bus("region", "watcher").subscribe(FEEDBACK)
    await drive.follow(1.5, 0.25)
    assert drive.wheel.newest == pytest.approx([1.5, 0.25])
    ticks, speed = [], 0.0
    while speed != 1.5:
        message = (await watched.get()).message
        assert isinstance(message, SpikePacket)
        assert (message.shape, message.dt_us, message.source) == ((1, 1), 5000, "wheel_node")
        ticks.append(FeedbackHeader.of(message).tick)
        speed = float(message.data[0, 0])
    assert ticks == sorted(set(ticks))


async def test_a_command_holds_no_longer_than_its_watchdog(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        parameters = {"effector": "wheel", "watchdog_s": 0.05}
        drive = Drive(brain, await brain.start(Wheel, "wheel_node", parameters=parameters))
        drive.driver.publish(COMMAND, packet(1.0, 0.0))
        sent = time.monotonic()
        await until("the command was followed", lambda: drive.wheel.newest is not None)
        await until("it brakes by itself", lambda: drive.wheel.speed == 0.0)
        assert time.monotonic() - sent >= 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        packet(1.0),
        packet(1.0, 2.0, 3.0),
        SpikePacket(np.ones((2, 1), np.uint8), "motor", 5000, "driver"),
        SpikePacket(np.ones((2, 2), np.float32), "motor", 5000, "driver"),
    ],
    ids=["few", "many", "spikes", "steps"],
)
async def test_what_is_no_command_is_refused_with_what_is_expected(drive: Drive, wrong: SpikePacket) -> None:
    await drive.follow(1.0, 0.0)
    drive.driver.publish(COMMAND, wrong)
    await until("it was refused", lambda: drive.counters().get("bad_commands"))
    assert "finite float32 [2, 1] (speed in rad/s, tilt in rad)" in str(drive.wheel.last_error)
    await drive.follow(1.25, 0.0)
    assert drive.wheel.state == "ready"


async def test_commands_outside_the_limits_are_cut_and_seen(drive: Drive) -> None:
    def cut() -> bool:
        drive.driver.publish(COMMAND, packet(5.0, 1e6))
        return drive.wheel.speed == 3.0

    await until("it is cut", cut)
    assert drive.wheel.newest == pytest.approx([3.0, 1e6])  # the tilt has no limits
    assert drive.wheel.state == "degraded"
    assert str(drive.wheel.last_error) == ("a command from 'driver' was cut to the limits: speed 5 rad/s became 3")
    assert drive.counters()["commands_outside_limits"] > 0
    await drive.follow(-2.0, 0.0)
    await until("it is well again", lambda: drive.wheel.state == "ready")


async def test_a_stop_lasts_until_the_release_and_old_commands_are_forgotten(drive: Drive) -> None:
    await drive.follow(1.0, 0.0)
    (state,) = await stop_effectors(drive.client, MotorStop(reason="a hand in the way"))
    assert (state.stopped, state.stopped_because, state.hold_s) == (True, "a hand in the way", None)
    drive.wheel.newest = None
    drive.driver.publish(COMMAND, packet(1.0, 0.0))
    await until(
        "the command was not followed",
        lambda: drive.counters().get("commands_while_stopped") and drive.wheel.bus.counters.queued == 0,
    )
    (state,) = await stop_effectors(drive.client, MotorStop(release=True))
    assert not state.stopped
    braked = drive.wheel.braked
    await until("it goes on to brake", lambda: drive.wheel.braked > braked + 5)
    assert drive.wheel.newest is None  # what was sent before the release is not followed
    await drive.follow(1.0, 0.0)


async def test_a_stop_for_a_time_ends_by_itself_and_does_not_shorten_a_longer_one(drive: Drive) -> None:
    await stop_effectors(drive.client, MotorStop(hold_s=0.1))
    await drive.follow(1.0, 0.0)
    await stop_effectors(drive.client, MotorStop())
    (state,) = await stop_effectors(drive.client, MotorStop(hold_s=0.0))
    assert state.stopped
    assert state.hold_s is None


async def test_a_stop_of_others_does_not_concern_it(drive: Drive) -> None:
    await drive.follow(1.0, 0.0)
    with pytest.raises(CallTimeout, match="none of arm, gripper replies"):
        await stop_effectors(drive.client, MotorStop(effectors=["arm", "gripper"]))
    assert not (await drive.state()).stopped
    (state,) = await stop_effectors(drive.client, MotorStop(effectors=["arm", "wheel"]))
    assert state.stopped


async def test_feedback_says_that_it_is_stopped(drive: Drive) -> None:
    watched = drive.brain.bus("region", "watcher").subscribe(FEEDBACK)
    await stop_effectors(drive.client, MotorStop())
    while True:
        message = (await watched.get()).message
        assert isinstance(message, SpikePacket)
        if FeedbackHeader.of(message).stopped:
            break


@pytest.mark.parametrize(
    "payload",
    [b"", b"stop", b"{}", b'{"effectors": "all"}', encode(MotorStop(), as_json=True), encode(MotorStop()), b"\xc1"],
)
async def test_any_bytes_on_the_key_stop_it(drive: Drive, payload: bytes) -> None:
    await drive.follow(1.0, 0.0)
    drive.client.publish_raw(f"test/{STOP}", b"", "").put(payload, None)
    await drive.rests(1.0, 0.0)
    assert (await drive.state()).stopped


async def test_bytes_that_release_release(drive: Drive) -> None:
    await stop_effectors(drive.client, MotorStop())
    drive.client.publish_raw(f"test/{STOP}", b"", "").put(b'{"release": true}', None)
    await drive.follow(1.0, 0.0)


async def test_no_effector_is_one_clear_error(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        with pytest.raises(CallTimeout, match="no effector is there"):
            await stop_effectors(brain.bus(), MotorStop(), connect_s=0.0)
