"""The example of launch/senses: sensors on topics, each with a network that fires because of it."""

from __future__ import annotations

import asyncio
import runpy
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from brainnet.bus import Bus, Endpoint, Mailbox, Received, open_bus
from brainnet.connectome import load
from brainnet.connectome.summary import summary
from brainnet.paths import share_dir
from brainnet.testing import PATIENCE_S
from brainnet.wire.packet import SpikePacket
from tests.support import Brain, MakeBrain

FOLDER = share_dir() / "launch" / "senses"
TARGETS = {"microphone": "hearing", "depth_camera": "space", "fingertip": "touch", "event_camera": "motion"}
Files = Callable[[dict[str, Path]], tuple[str, str]]


@pytest.fixture(scope="module")
def files() -> Files:
    made: Files = runpy.run_path(str(FOLDER / "make_senses.py"))["files"]
    return made


def test_the_files_are_those_that_the_script_writes(files: Files) -> None:
    assert files({}) == tuple((FOLDER / name).read_text() for name in ("senses.yaml", "network.yaml"))


def test_own_recordings_take_the_place_of_the_signals(files: Files, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    (tmp_path / "points.csv").write_text("t_us,x,y,z\n0,0,0,1\n0,1,0,2\n100000,1,1,2\n")
    (tmp_path / "forces.csv").write_text("t_us,a,b\n" + "".join(f"{1000 * n},{n % 7},{n % 3}\n" for n in range(50)))
    np.savez(tmp_path / "e.npz", t_us=[1, 2], x=[0, 99], y=[0, 59], polarity=[0, 1], width=100, height=60)
    names = zip(TARGETS, ("tone.wav", "points.csv", "forces.csv", "e.npz"), strict=True)
    allocation, network = files({sensor: tmp_path / name for sensor, name in names})
    (tmp_path / "senses.yaml").write_text(allocation)
    (tmp_path / "network.yaml").write_text(network)
    programs = [node["program"] for node in yaml.safe_load(allocation)["nodes"]]
    assert programs[0] == f"sensor:{tmp_path / 'tone.wav'}"
    rows = {row.name: row for row in summary(load(tmp_path / "network.yaml")).populations}
    assert (rows["cochlea"].neurons, rows["grid"].neurons, rows["skin"].neurons) == (24, 64, 4)
    assert rows["retina"].neurons == 2 * 8 * 5  # pixels of 13 x 13


def test_each_network_fires_because_of_its_sensor(make_brain: MakeBrain) -> None:
    with make_brain() as brain:
        brain.launch(FOLDER / "senses.yaml")
        watching = brain.start("topic", "echo", "stream/hearing", "--raster")
        assert watching.stdout is not None
        assert any("24 neurons" in line for line in watching.stdout)
        watching.kill()
        asyncio.run(_fire_and_fall_silent(brain))
        for sensor, target in TARGETS.items():
            assert "no sample on input/" in brain.wait_state(target, "degraded").reason, sensor
        (info,) = brain.rows("node", "info", "hearing")
        assert info["counters"]["cochlea.samples"] > 0
        assert info["counters"]["cochlea.samples_bad"] == 0
        brain.run("stop")


async def _fire_and_fall_silent(brain: Brain) -> None:
    async with await open_bus(Endpoint("evospikenet", f"tcp/127.0.0.1:{brain.port}"), role="client") as bus:
        streams = {target: bus.subscribe(f"stream/{target}", capacity=4096) for target in TARGETS.values()}
        for target, box in streams.items():
            await _until(box, lambda spikes: spikes >= 5, target)
        for sensor in TARGETS:
            await asyncio.to_thread(brain.run, "node", "stop", sensor)
        for target, box in streams.items():
            await _silent(bus, target, box)


async def _until(box: Mailbox[Received], enough: Callable[[int], bool], target: str) -> None:
    spikes = 0
    async with asyncio.timeout(PATIENCE_S):
        while not enough(spikes):
            spikes += await _count(box, target)


async def _silent(bus: Bus, target: str, box: Mailbox[Received]) -> None:
    """Wait until nothing fires in 20 messages in a row, a second at least."""
    quiet = 0
    async with asyncio.timeout(PATIENCE_S):
        while quiet < 20:
            quiet = 0 if await _count(box, target) else quiet + 1


async def _count(box: Mailbox[Received], target: str) -> int:
    message = (await box.get()).message
    assert isinstance(message, SpikePacket), target
    return int(np.count_nonzero(message.data))
