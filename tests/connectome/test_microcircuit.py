"""The cortical microcircuit fires at the published rates, and the same however it is computed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from brainnet.connectome import Connectome, build, load, shortest_delay
from brainnet.simulation.digest import combined
from brainnet.streams.lockstep import Lockstep, Plan
from brainnet.streams.packing import packer

FOLDER = Path(__file__).parents[2] / "launch" / "microcircuit"
SKIPPED_STEPS = 2_000
COUNTED_STEPS = 6_000
DIVIDED_STEPS = 300


@pytest.fixture(scope="module")
def connectome() -> Connectome:
    return load(FOLDER / "microcircuit.yaml")


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_microcircuit", FOLDER / "make_microcircuit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "written.yaml"
    subprocess.run([sys.executable, FOLDER / "make_microcircuit.py", "--scale", "0.1", "--output", path], check=True)
    assert path.read_text() == (FOLDER / "microcircuit.yaml").read_text()
    refused = subprocess.run(
        [sys.executable, FOLDER / "make_microcircuit.py", "--scale", "2", "--output", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "at most 1" in refused.stderr


def test_synapses_are_as_many_as_published(figures: ModuleType) -> None:
    # "about 0.3 billion synapses" at full scale, with 77,169 neurons (Potjans and Diesmann 2014)
    total = sum(figures.synapses(target, source) for target in range(8) for source in range(8))
    assert sum(figures.NEURONS) == 77_169
    assert 0.29e9 < total < 0.31e9
    assert "current_pa" not in figures.text(1.0)


def test_rates_are_those_of_the_full_model(connectome: Connectome, figures: ModuleType) -> None:
    network = build(connectome)
    network.advance(SKIPPED_STEPS)
    fired = network.advance(COUNTED_STEPS)
    seconds = COUNTED_STEPS * connectome.clock.dt_ms / 1000
    for name, *both in zip(figures.POPULATIONS, figures.FIRST_RATE_HZ, figures.LATER_RATE_HZ, strict=True):
        rate = fired[name].count / network.populations[name].model.setting.size / seconds
        for published in both:
            assert abs(rate - published) <= max(0.25 * published, 0.5), f"{name}: {rate:.3f}, published {published} Hz"


def test_windows_and_processes_do_not_change_a_spike(connectome: Connectome) -> None:
    whole, cut = build(connectome), build(connectome)
    whole.advance(DIVIDED_STEPS)
    for steps in (1, 7, 92, 200):
        cut.advance(steps)
    assert cut.digest() == whole.digest()
    halves = divided(connectome)
    while not all(half.finished for half in halves):
        before = [half.next_step for half in halves]
        for half, other in (halves, halves[::-1]):
            if half.can_advance:
                fired = half.advance()
                for name in half.plan.readers:
                    other.receive(name, fired[name])
            other.note_progress(half.plan.process, half.progress)
        assert [half.next_step for half in halves] != before
    digests = halves[0].network.digests() | halves[1].network.digests()
    assert digests == whole.digests()
    assert combined(digests) == whole.digest()


def divided(connectome: Connectome) -> list[Lockstep]:
    """Divide the populations between two processes, layers 2/3 and 4 from 5 and 6."""
    names = list(connectome.populations)
    parts = {"upper": names[:4], "lower": names[4:]}
    window = min(shortest_delay(connectome, projection) for projection in connectome.projections)
    halves = []
    for process, part in parts.items():
        between = [p.entry for p in connectome.projections if (p.entry.source in part) != (p.entry.target in part)]
        sources = {entry.source: window for entry in between if entry.target in part}
        other = next(name for name in parts if name != process)
        readers = {entry.source: frozenset({other}) for entry in between if entry.source in part}
        plan = Plan(process, window, sources, readers, last_step=DIVIDED_STEPS)
        network = build(connectome, part)
        halves.append(Lockstep(network, plan, packer(network, lambda: "run", window)))
    return halves
