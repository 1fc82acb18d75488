"""Lock-step without a network: windows that are lost, repeated and late, and processes that are killed and resumed."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainnet.connectome import Connectome, build, window_of
from brainnet.errors import ModelError
from brainnet.simulation.digest import combined
from brainnet.simulation.network import Network
from brainnet.simulation.spikes import Spikes
from brainnet.streams.division import plan_of
from brainnet.streams.lockstep import Lockstep, Plan, Progress, Sent
from brainnet.streams.packing import packer
from brainnet.streams.window import decode_window
from tests.simulation.networks import connectomes, written

STEPS = 60


def packed(network: Network, plan: Plan) -> Lockstep:
    return Lockstep(network, plan, packer(network, lambda: "run", plan.window))


def unpacked(sent: Sent) -> Spikes:
    window = decode_window(sent.payload)
    return Spikes(window.first_step, window.offsets, window.fired)


def processes(connectome: Connectome, parts: list[list[str]], window: int) -> dict[str, Lockstep]:
    """Divide a network among processes."""
    of = {f"process {index}": part for index, part in enumerate(parts)}
    made = {}
    for name, part in of.items():
        plan = plan_of(connectome, of, name, window=window, credit=6, last_step=STEPS)
        made[name] = packed(build(connectome, part), plan)
        assert made[name].network.sources == set(plan.sources)
        reward(made[name].network)
    return made


def reward(network: Network) -> None:
    """Let the modulator from outside rise, where there is one."""
    if "outside" in network.modulators:
        for step, amount in ((STEPS // 3, 0.1), (STEPS // 3, 0.7), (STEPS // 2, 2.0)):
            network.modulate("outside", step, amount)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(connectomes(4), st.integers(1, 4), st.integers(0, 2**32), st.booleans())
def test_a_divided_network_fires_as_the_whole_whatever_happens_on_the_way(
    description: dict[str, Any], number: int, seed: int, killed: bool
) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        connectome = written(Path(folder), description)
        longest = window_of(connectome, connectome.projections)
        whole = build(connectome)
        reward(whole)
        whole.run(STEPS, longest)
        names = list(connectome.populations)
        parts = [part for part in (names[index::number] for index in range(number)) if part]
        window = rng.randint(1, longest)
        running = processes(connectome, parts, window)
        saved: dict[str, Any] = {}
        for _ in range(100_000):
            if all(process.finished for process in running.values()):
                break
            name = rng.choice(list(running))
            if rng.random() < 0.1:  # paused at a step that is no end of a window
                running[name].stop_at = running[name].next_step + rng.randint(0, 3)
            elif running[name].stopped:
                running[name].stop_at = None
            _turn(running, running[name], rng)
            if rng.random() < 0.1:
                saved[name] = running[name].save()
                running[name].note_saved()
            if killed and rng.random() < 0.03:
                running[name] = processes(connectome, parts, window)[name]
                if name in saved:
                    running[name].load(saved[name])
            _tell(running, rng if not killed else None)
        digests = {name: d for process in running.values() for name, d in process.network.digests().items()}
        assert combined(digests) == whole.digest()
        for process in running.values():
            for name, population in process.network.populations.items():
                for projection in population.incoming:
                    expected = whole.populations[name].weights(projection.name)
                    assert np.array_equal(population.weights(projection.name), expected)


def _turn(running: dict[str, Lockstep], process: Lockstep, rng: random.Random) -> None:
    """Let one process compute a window, or ask for what it lacks."""
    if process.can_advance:
        fired = process.advance()
        for source, readers in process.plan.readers.items():
            for reader in readers:
                for _ in range(rng.choice([0, 1, 1, 2])):  # lost, or come twice
                    running[reader].receive(source, fired[source])
        return
    for source, step in process.missing().items():
        sender = next(p for p in running.values() if source in p.plan.readers)
        for sent in sender.sent_since(source, step):
            process.receive(source, unpacked(sent))


def _tell(running: dict[str, Lockstep], rng: random.Random | None) -> None:
    """Tell everybody how far the others are, each with some probability, or all."""
    for name, process in running.items():
        for other in running.values():
            if rng is None or rng.random() < 0.5:
                other.note_progress(name, process.progress)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Lockstep]:
    """A feeds B, with a delay of 2 steps."""
    description = {
        "version": 1,
        "populations": [{"id": name, "model": "lif", "size": 2} for name in "ab"],
        "projections": [{"from": "a", "to": "b", "synapses": {"connect": "all_to_all", "weight": 1, "delay_ms": 2}}],
    }
    return processes(written(tmp_path, description), [["a"], ["b"]], 2)


def test_who_feeds_others_waits_for_them_and_keeps_what_they_may_ask_for(pair: dict[str, Lockstep]) -> None:
    sender, reader = pair.values()
    while sender.can_advance:
        sender.advance()
    assert sender.next_step == 14  # 6 windows of credit, and the one that is computed with the last of it
    assert sender.behind() == ["process 1"]
    assert sender.sent_since("a", 0)[0].first_step == 0
    sender.note_progress("process 1", Progress(next_step=8, needed_step=6))
    assert sender.can_advance
    with pytest.raises(ModelError, match="step 6 is the first"):
        sender.sent_since("a", 0)
    assert reader.missing() == {}  # the first window needs nothing: no spike has had the time to arrive
    reader.advance()
    assert reader.missing() == {"a": 0}


def test_windows_of_others_are_refused(pair: dict[str, Lockstep]) -> None:
    sender, reader = pair.values()
    with pytest.raises(ModelError, match="no source"):
        sender.receive("b", Spikes.none(0, 2))
    with pytest.raises(ModelError, match="others read"):
        reader.sent_since("b", 0)
    reader.advance()
    with pytest.raises(ModelError, match="cannot compute step 2"):
        reader.advance()


def test_a_window_that_comes_again_is_counted(pair: dict[str, Lockstep]) -> None:
    _, reader = pair.values()
    for _ in range(3):
        reader.receive("a", Spikes.none(0, 2))
    assert reader.repeated == 2
    with pytest.raises(ModelError, match="not one of"):
        reader.load({})


def test_a_modulator_is_a_source_with_the_shortest_of_its_delays(tmp_path: Path) -> None:
    rule = {"rule": "dopamine_stdp", "modulator": "c", "modulator_delay_ms": 3}
    description = {
        "version": 1,
        "populations": [{"id": name, "model": "lif", "size": 2, "dale": False} for name in "abc"],
        "projections": [
            {"from": "a", "to": "b", "synapses": {"connect": "all_to_all", "weight": 1, "delay_ms": 5}},
            {"from": "c", "to": "b", "synapses": {"connect": "all_to_all", "weight": 1, "delay_ms": 4}},
        ],
    }
    description["projections"][0]["plasticity"] = rule  # type: ignore[index]
    connectome = written(tmp_path, description)
    processes = {"one": ["a"], "two": ["b"], "three": ["c"]}
    plan = plan_of(connectome, processes, "two")
    assert plan.sources == {"a": 5, "c": 3}
    assert plan.window == 3
    assert plan_of(connectome, processes, "three").readers == {"c": frozenset({"two"})}
    assert plan_of(connectome, {"one": ["a", "b"], "three": ["c"]}, "one").sources == {"c": 3}
