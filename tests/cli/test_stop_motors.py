"""`brainnet stop-motors` beside effectors that the test plays."""

from __future__ import annotations

import pytest

from brainnet.bus import Bus
from brainnet.testing import until
from brainnet.wire.messages import EffectorQuery, EffectorState, MotorStop, decode
from tests.small_brain import SmallBrain


async def effector(small_brain: SmallBrain, name: str, *, obeys: bool = True) -> list[MotorStop]:
    """Play an effector; returns the list that the stops it gets are added to."""
    bus: Bus = await small_brain.join("body", f"{name}_node")
    got: list[MotorStop] = []

    async def describe(request: EffectorQuery, key: str) -> EffectorState:
        stop = got[-1] if got and obeys else MotorStop(release=True)
        return EffectorState(
            effector=name,
            node_id=f"{name}_node",
            rate_hz=50.0,
            watchdog_s=0.2,
            commands=[],
            feedback=[],
            stopped=not stop.release,
            stopped_because=stop.reason,
            hold_s=stop.hold_s,
        )

    def hear(key: str, payload: bytes) -> None:
        stop = decode(MotorStop, payload)
        if stop.concerns(name):
            got.append(stop)

    bus.listen("motor/stop", hear)
    bus.serve(f"motor/effector/{name}", describe)
    return got


async def test_all_are_stopped_and_say_so(small_brain: SmallBrain) -> None:
    arm, wheel = await effector(small_brain, "arm"), await effector(small_brain, "wheel")
    done = await small_brain.run("stop-motors", "--reason", "lunch")
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[1:] == [
        [name, f"{name}_node", *["stopped", "until", "it", "is", "released", "(lunch)"]] for name in ("arm", "wheel")
    ]
    assert [stop.reason for stop in arm + wheel] == ["lunch", "lunch"]
    (row, other) = (await small_brain.run("stop-motors", "--release", "--json")).rows
    assert (row["effector"], row["stopped"], other["effector"]) == ("arm", False, "wheel")


async def test_one_is_stopped_for_a_time(small_brain: SmallBrain) -> None:
    arm, wheel = await effector(small_brain, "arm"), await effector(small_brain, "wheel")
    done = await small_brain.run("stop-motors", "wheel", "--hold", "2.5")
    assert done.code == 0
    assert "stopped for 2.5 s (stop-motors)" in done.out
    assert "arm" not in done.out
    await until("it came", lambda: wheel)
    assert (wheel[0].effectors, wheel[0].hold_s) == (["wheel"], 2.5)
    assert not arm


async def test_one_that_does_not_stop_fails_the_command(small_brain: SmallBrain) -> None:
    await effector(small_brain, "arm")
    await effector(small_brain, "deaf", obeys=False)
    done = await small_brain.run("stop-motors")
    assert (done.code, done.err) == (1, "brainnet: deaf did not stop\n")


@pytest.mark.parametrize(
    ("names", "says"),
    [(["gripper"], "none of gripper replies"), (["arm", "gripper"], "no effector gripper replies")],
)
async def test_one_that_is_not_there_fails_the_command(small_brain: SmallBrain, names: list[str], says: str) -> None:
    await effector(small_brain, "arm")
    done = await small_brain.run("stop-motors", *names)
    assert done.code == 1
    assert says in done.err
    assert done.err.count("\n") == 1


async def test_without_any_effector(small_brain: SmallBrain) -> None:
    done = await small_brain.run("stop-motors")
    assert done.code == 1
    assert "no effector is there" in done.err
    assert done.err.count("\n") == 1
