"""The spikes of a network are the same however its steps are cut, its populations divided, and its state saved."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainnet.connectome import build, window_of
from brainnet.errors import ModelError
from brainnet.simulation.digest import SpikeDigest, combined
from brainnet.simulation.network import Network
from brainnet.simulation.spikes import Spikes
from tests.simulation.networks import connectomes, written

STEPS = 60
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def network(description: dict[str, Any]) -> tuple[Network, int]:
    with tempfile.TemporaryDirectory() as folder:
        connectome = written(Path(folder), description)
        made = build(connectome)
        if "outside" in made.modulators:
            made.modulate("outside", STEPS // 2, 1.5)
        return made, window_of(connectome, connectome.projections)


def check_same(one: Network, other: Network) -> None:
    """Check that two networks have fired the same, and that all that the next steps depend on is the same."""
    assert one.digests() == other.digests()
    for name, population in other.populations.items():
        saved = one.populations[name].save()
        for key, array in population.save().items():
            assert np.array_equal(array, saved[key]), f"{name} {key}"


@few
@given(connectomes(), st.lists(st.integers(1, 9), min_size=1, max_size=STEPS))
def test_windows_of_any_length_give_the_same_spikes(description: dict[str, Any], cuts: list[int]) -> None:
    whole, longest = network(description)
    whole.run(STEPS, longest)
    cut, _ = network(description)
    left = STEPS
    for length in [*cuts, *[1] * STEPS]:
        part = min(length, longest, left)
        if part:
            cut.advance(part)
            left -= part
    check_same(cut, whole)


@few
@given(connectomes(), st.integers(1, STEPS - 1))
def test_a_saved_state_goes_on_where_it_was(description: dict[str, Any], at: int) -> None:
    whole, longest = network(description)
    whole.run(at, longest)
    saved = {name: population.save() for name, population in whole.populations.items()}
    whole.run(STEPS - at, longest)
    resumed, _ = network(description)
    for name, population in resumed.populations.items():
        population.load(saved[name])
    resumed.run(STEPS - at, 1)
    check_same(resumed, whole)


@few
@given(connectomes())
def test_another_seed_gives_other_spikes_or_none(description: dict[str, Any]) -> None:
    first, longest = network(description)
    first.run(STEPS, longest)
    second, _ = network(description | {"seed": description["seed"] + 1})
    second.run(STEPS, longest)
    fired = [sum(len(p.digest.save()["pending"]) for p in n.populations.values()) for n in (first, second)]
    assert first.digest() != second.digest() or fired == [0, 0]


def test_a_window_that_is_not_the_next_one_is_refused() -> None:
    description = {
        "version": 1,
        "populations": [{"id": "a", "model": "lif", "size": 2}],
        "projections": [{"from": "a", "to": "a", "synapses": {"connect": "all_to_all", "weight": 1, "delay_ms": 2}}],
    }
    made, _ = network(description)
    made.advance(2)
    with pytest.raises(ModelError, match="step 2 is next"):
        made.receive("a", Spikes.none(0, 2))


@given(st.lists(st.integers(1, 900), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_a_digest_depends_on_the_spikes_and_not_on_the_windows(lengths: list[int], seed: int) -> None:
    total = sum(lengths)
    counts = np.random.default_rng(seed).random((3, total)) < 0.01
    whole, cut, resumed = SpikeDigest(), SpikeDigest(), SpikeDigest()
    whole.add(Spikes.of_dense(0, counts.astype(int)))
    at = 0
    for length in lengths:
        part = Spikes.of_dense(at, counts[:, at : at + length].astype(int))
        cut.add(part)
        again = SpikeDigest()
        again.load(resumed.save())
        again.add(part)
        resumed = again
        at += length
    assert cut.hexdigest() == resumed.hexdigest() == whole.hexdigest()
    other = counts.copy()
    other[0, 0] = not other[0, 0]
    changed = SpikeDigest()
    changed.add(Spikes.of_dense(0, other.astype(int)))
    assert changed.hexdigest() != whole.hexdigest()


def test_the_digest_of_a_network_does_not_depend_on_the_order_of_its_populations() -> None:
    assert combined({"a": "1", "b": "2"}) == combined({"b": "2", "a": "1"}) != combined({"a": "2", "b": "1"})
