"""Rules of connectivity: degrees and ranges by hypothesis, probabilities by exact limits, parts against the whole."""

from __future__ import annotations

import functools
import itertools
import math
import subprocess
import sys
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.connectivity import Ends, SynapseRule, build, estimate, rule_of
from brainnet.simulation.connectivity.base import MAX_DELAY_STEPS, Pairs
from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses
from brainnet.simulation.delivery import Ring, StaticSynapses
from brainnet.simulation.fixed_point import from_fixed
from brainnet.simulation.random import exp, key_of, uniform
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes

PLAIN: dict[str, Any] = {"weight": 1.5, "delay_ms": 1.0}
DRAWN: dict[str, Any] = {"weight": {"normal": [0.4, 0.2]}, "delay_ms": {"uniform": [0.1, 3]}}
ONE_IN_A_MILLION = 1e-6


def made(connect: str, sources: int, targets: int, *, seed: int = 1, name: str = "a->b", **fields: Any) -> Rows:
    part = fields.pop("part", None)
    rule = rule_of({"connect": connect} | PLAIN | fields, name)
    rows = build(rule, sources, targets, seed, name, 0.1, part)
    return rows.rows() if isinstance(rows, ProceduralSynapses) else rows


def listed(rows: Rows) -> list[tuple[int, int, int, int]]:
    """(source, target, weight, delay) of each synapse, row by row."""
    source = np.repeat(np.arange(rows.sources), np.diff(rows.start))
    columns = (np.broadcast_to(values, (rows.count,)) for values in (source, rows.targets, rows.weights, rows.delays))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def matrix(rows: Rows, targets: int) -> NDArray[np.int64]:
    """How many synapses lead from each source to each target."""
    counts = np.zeros((rows.sources, targets), np.int64)
    np.add.at(counts, (np.repeat(np.arange(rows.sources), np.diff(rows.start)), rows.targets), 1)
    return counts


@functools.cache
def binomial_limits(n: int, p: float, chance: float = ONE_IN_A_MILLION) -> tuple[int, int]:
    """The numbers of successes below and above which each less than half of `chance` lies."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(n + 1)
    ]
    below = list(itertools.accumulate(math.exp(x) for x in logs))
    low = next(k for k in range(n + 1) if below[k] > chance / 2)
    high = next(k for k in range(n + 1) if below[k] > 1 - chance / 2)
    return low, high


@st.composite
def rules(draw: st.DrawFn) -> tuple[dict[str, Any], int, int]:
    """A rule, and two sizes that it fits."""
    connect = draw(
        st.sampled_from(
            [
                "one_to_one",
                "all_to_all",
                "fixed_probability",
                "fixed_in_degree",
                "fixed_total_number",
                "distance_dependent",
                "small_world",
                "procedural",
            ]
        )
    )
    sources = draw(st.integers(3, 30))
    alone = connect in ("one_to_one", "small_world") or draw(st.booleans())
    targets = sources if alone else draw(st.integers(1, 30))
    fields: dict[str, Any] = {"connect": connect}
    if connect not in ("one_to_one", "small_world", "procedural") and sources == targets:
        fields["self_connections"] = draw(st.booleans())
    if connect == "fixed_probability":
        fields["p"] = draw(st.floats(0, 1))
    elif connect == "fixed_in_degree":
        fields["multiple_synapses"] = draw(st.booleans())
        fields["n"] = draw(st.integers(0, sources - 1))
    elif connect == "fixed_total_number":
        fields["n"] = draw(st.integers(0, 100))
    elif connect == "distance_dependent":
        fields |= {"sigma": draw(st.floats(0.1, 20)), "p_max": draw(st.floats(0, 1))}
        fields["profile"] = draw(st.sampled_from(["gaussian", "exponential"]))
        fields["source_positions"] = {"grid": [sources], "spacing": draw(st.floats(0.1, 2))}
        fields["target_positions"] = {"grid": [targets]}
        fields["radius"] = draw(st.none() | st.floats(0.1, 30))
        if draw(st.booleans()):
            fields |= {"periodic": True, "extent": [60.0]}
    elif connect == "small_world":
        fields["k"] = 2 * draw(st.integers(1, (sources - 1) // 2))
        fields["beta"] = draw(st.floats(0, 1))
    elif connect == "procedural":
        fields[draw(st.sampled_from(["in_degree", "out_degree"]))] = draw(st.integers(0, 6))
    return fields | draw(st.sampled_from([PLAIN, DRAWN])), sources, targets


@given(rules(), st.integers(0, 3))
def test_rows_are_whole_and_made_again(rule: tuple[dict[str, Any], int, int], seed: int) -> None:
    fields, sources, targets = rule
    rows = made(**fields, sources=sources, targets=targets, seed=seed)
    assert rows.start.dtype == np.int64
    assert {rows.targets.dtype, rows.weights.dtype, rows.delays.dtype} == {np.dtype(np.int32)}
    assert rows.start[0] == 0
    assert rows.start[-1] == rows.count
    assert rows.sources == sources
    assert (np.diff(rows.start) >= 0).all()
    assert rows.count == 0 or 0 <= rows.targets.min() <= rows.targets.max() < targets
    assert {rows.weights.size, rows.delays.size} <= {1, rows.count}
    assert rows.count == 0 or rows.delays.min() >= 1
    counts = matrix(rows, targets)
    if fields["connect"] != "procedural":
        assert listed(rows) == sorted(listed(rows), key=lambda synapse: synapse[:2])
        if fields["connect"] != "fixed_total_number" and not fields.get("multiple_synapses"):
            assert counts.max() <= 1
    if not fields.get("self_connections", fields["connect"] != "small_world"):
        assert not np.diagonal(counts).any()
    assert listed(made(**fields, sources=sources, targets=targets, seed=seed)) == listed(rows)


@given(rules(), st.data())
def test_a_part_of_the_targets_is_the_same_as_in_the_whole(
    rule: tuple[dict[str, Any], int, int], data: st.DataObject
) -> None:
    fields, sources, targets = rule
    low = data.draw(st.integers(0, targets))
    high = data.draw(st.integers(low, targets))
    whole = listed(made(**fields, sources=sources, targets=targets))
    part = listed(made(**fields, sources=sources, targets=targets, part=(low, high)))
    assert [(i, j + low, w, d) for i, j, w, d in part] == [synapse for synapse in whole if low <= synapse[1] < high]


@given(rules())
def test_the_estimate_is_what_is_built(rule: tuple[dict[str, Any], int, int]) -> None:
    fields, sources, targets = rule
    found = estimate(rule_of(fields, "x"), sources, targets)
    rows = build(rule_of(fields, "x"), sources, targets, 1, "x", 0.1)
    if isinstance(rows, ProceduralSynapses):
        assert found == (rows.rows().count, rows.nbytes)
    elif fields["connect"] not in ("fixed_probability", "distance_dependent"):
        assert found == (rows.count, rows.nbytes)
    else:
        assert 0 <= found.synapses <= sources * targets


def test_parts_across_blocks_of_gaps() -> None:
    """Gaps begin anew at multiples of 1,024 targets: parts that begin and end anywhere, and a p for longer blocks."""
    for p in (0.02, 0.001):
        whole = listed(made("fixed_probability", 20, 5000, p=p))
        for low, high in ((0, 1024), (1024, 2048), (1000, 3000), (1023, 1025), (4096, 5000), (2500, 2500)):
            part = listed(made("fixed_probability", 20, 5000, p=p, part=(low, high)))
            assert [(i, j + low, w, d) for i, j, w, d in part] == [s for s in whole if low <= s[1] < high]


def test_other_seeds_and_names_give_other_synapses() -> None:
    def targets(**fields: Any) -> list[int]:
        return [int(j) for j in made("fixed_probability", 50, 50, p=0.3, **fields).targets]

    assert len({tuple(targets(**fields)) for fields in ({}, {"seed": 2}, {"name": "a->c"})}) == 3


@given(st.integers(1, 20), st.integers(1, 20))
def test_one_to_one_and_all_to_all(sources: int, targets: int) -> None:
    assert (matrix(made("one_to_one", sources, sources), sources) == np.eye(sources)).all()
    assert (matrix(made("all_to_all", sources, targets), targets) == 1).all()
    alone = made("all_to_all", sources, sources, self_connections=False)
    assert (matrix(alone, sources) == 1 - np.eye(sources)).all()
    assert (matrix(made("fixed_probability", sources, targets, p=1), targets) == 1).all()
    assert made("fixed_probability", sources, targets, p=0).count == 0
    assert made("fixed_probability", sources, targets, p=1e-300).count == 0


@pytest.mark.parametrize(("p", "alone"), [(0.003, False), (0.1, False), (0.1, True), (0.93, False)])
def test_a_probability_is_kept(p: float, alone: bool) -> None:
    size = 250
    rows = made("fixed_probability", size, size, p=p, self_connections=not alone)
    low, high = binomial_limits(size * (size - alone), p)
    assert low <= rows.count <= high


def test_each_pair_has_the_probability() -> None:
    """Also the first and last targets of a block, over which no gap leads."""
    repeats, p = 400, 0.2
    places = [0, 1, 1022, 1023, 1024, 1025, 1099]
    counts = np.zeros((3, 1100), np.int64)
    for repeat in range(repeats):
        counts += matrix(made("fixed_probability", 3, 1100, p=p, name=str(repeat)), 1100)
    low, high = binomial_limits(repeats, p)
    assert counts[:, places].min() >= low
    assert counts[:, places].max() <= high
    low, high = binomial_limits(repeats, p, ONE_IN_A_MILLION / counts.size)
    assert low <= counts.min() <= counts.max() <= high


@given(st.integers(2, 20), st.integers(1, 20), st.data())
def test_in_degrees_and_totals(sources: int, targets: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, sources))
    assert (matrix(made("fixed_in_degree", sources, targets, n=n), targets).sum(0) == n).all()
    many = made("fixed_in_degree", sources, targets, n=3 * sources, multiple_synapses=True)
    assert (matrix(many, targets).sum(0) == 3 * sources).all()
    every = made("fixed_in_degree", sources, sources, n=sources - 1, self_connections=False)
    assert (matrix(every, sources) == 1 - np.eye(sources)).all()
    assert made("fixed_total_number", sources, targets, n=7 * n).count == 7 * n


def test_every_set_of_sources_is_drawn_as_often() -> None:
    targets = 6000
    counts = matrix(made("fixed_in_degree", 4, targets, n=2), targets)
    sets, how_often = np.unique(counts.T, axis=0, return_counts=True)
    assert len(sets) == 6
    low, high = binomial_limits(targets, 1 / 6)
    assert low <= how_often.min() <= how_often.max() <= high


def test_pairs_of_a_total_are_drawn_evenly() -> None:
    n = 5000
    low, high = binomial_limits(n, 1 / 12)
    every = matrix(made("fixed_total_number", 3, 4, n=n), 4).ravel()
    others = matrix(made("fixed_total_number", 4, 4, n=n, self_connections=False), 4)[~np.eye(4, dtype=bool)]
    for drawn in (every, others):
        assert drawn.size == 12
        assert low <= drawn.min() <= drawn.max() <= high


@st.composite
def places(draw: st.DrawFn, size: int, axes: int) -> NDArray[np.float64]:
    numbers = draw(st.lists(st.floats(0, 10), min_size=size * axes, max_size=size * axes))
    return np.array(numbers).reshape(size, axes)


@given(st.integers(1, 25), st.integers(1, 25), st.integers(1, 3), st.data())
def test_distances_against_all_pairs(
    tmp_path_factory: pytest.TempPathFactory, sources: int, targets: int, axes: int, data: st.DataObject
) -> None:
    """Each pair is tried with its own random number, so the search by cells must find what all pairs give."""
    source_at, target_at = data.draw(places(sources, axes)), data.draw(places(targets, axes))
    periodic = data.draw(st.booleans())
    profile = data.draw(st.sampled_from(["gaussian", "exponential"]))
    sigma, radius = data.draw(st.floats(0.5, 5)), data.draw(st.floats(0.5, 6))
    p_max = data.draw(st.floats(0, 1))
    file = tmp_path_factory.mktemp("places") / "places.npz"
    np.savez(file, a=source_at, b=target_at)
    fields: dict[str, Any] = {"periodic": True, "extent": [10.0] * axes} if periodic else {}
    rows = made(
        "distance_dependent", sources, targets, sigma=sigma, radius=radius, p_max=p_max, profile=profile, **fields,
        source_positions={"file": str(file), "array": "a"}, target_positions={"file": str(file), "array": "b"},
    )  # fmt: skip
    key = key_of(1, "projection", "a->b", "pairs")
    for i, j in itertools.product(range(sources), range(targets)):
        apart = np.abs(source_at[i] - target_at[j])
        apart = np.minimum(apart, 10 - apart) if periodic else apart
        square = 0.0
        for value in apart.tolist():
            square += value * value
        exponent = -0.5 * square / (sigma * sigma) if profile == "gaussian" else -math.sqrt(square) / sigma
        near = square <= radius * radius and uniform(key, i, j) < p_max * exp(exponent)
        assert (j in rows.targets[rows.start[i] : rows.start[i + 1]]) == near


def test_probability_falls_with_distance() -> None:
    """On a ring of 200 neurons, 20 names: the number of synapses at each distance has its probability."""
    size, repeats, sigma = 200, 20, 5.0
    ring: dict[str, Any] = {"grid": [size], "spacing": 0.5}
    counts = np.zeros(size, np.int64)
    for repeat in range(repeats):
        rows = made(
            "distance_dependent", size, size, sigma=sigma, p_max=0.6, periodic=True, name=str(repeat),
            source_positions=ring, target_positions=ring,
        )  # fmt: skip
        source = np.repeat(np.arange(size), np.diff(rows.start))
        counts += np.bincount((rows.targets - source) % size, minlength=size)
    for step, found in enumerate(counts.tolist()):
        distance = 0.5 * min(step, size - step)
        p = 0.6 * math.exp(-0.5 * (distance / sigma) ** 2)
        low, high = binomial_limits(size * repeats, p, ONE_IN_A_MILLION / size)
        assert low <= found <= high


def test_a_grid_counts_its_last_axis_first() -> None:
    rows = made(
        "distance_dependent", 6, 6, sigma=1e9, radius=1.0,
        source_positions={"grid": [2, 3]}, target_positions={"grid": [2, 3]},
    )  # fmt: skip
    assert rows.targets[rows.start[1] : rows.start[2]].tolist() == [0, 1, 2, 4]


@given(st.integers(3, 30), st.data())
def test_small_worlds(size: int, data: st.DataObject) -> None:
    k = 2 * data.draw(st.integers(1, (size - 1) // 2))
    ring = matrix(made("small_world", size, size, k=k, beta=0), size)
    apart = (np.arange(size)[None, :] - np.arange(size)[:, None]) % size
    assert (ring == ((apart > 0) & (np.minimum(apart, size - apart) <= k // 2))).all()
    other = matrix(made("small_world", size, size, k=k, beta=data.draw(st.floats(0, 1))), size)
    assert (other.sum(1) == k).all()
    assert not np.diagonal(other).any()
    assert other.max() == 1


def test_small_worlds_keep_as_many_edges_as_beta_says() -> None:
    size, k, beta = 400, 6, 0.3
    rows = made("small_world", size, size, k=k, beta=beta)
    apart = (rows.targets - np.repeat(np.arange(size), np.diff(rows.start))) % size
    kept = int((np.minimum(apart, size - apart) <= k // 2).sum())
    low, high = binomial_limits(size * k, 1 - beta)
    # An edge that is drawn anew may fill the place of one that was drawn anew before it.
    assert low <= kept <= high + size * k * beta * 2 * k / size


def spikes_of(counts: NDArray[np.int64], first_step: int = 5) -> Spikes:
    return Spikes.of_dense(first_step, counts)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 6), st.data())
def test_procedural_synapses_deliver_what_they_list(
    sources: int, targets: int, degree: int, data: st.DataObject
) -> None:
    which = data.draw(st.sampled_from(["in_degree", "out_degree"]))
    fields = data.draw(st.sampled_from([PLAIN, DRAWN, PLAIN | {"weight": {"lognormal": [0, 1], "factor": -1}}]))
    low = data.draw(st.integers(0, targets))
    high = data.draw(st.integers(low, targets))
    rule = rule_of({"connect": "procedural", which: degree} | fields, "x")
    synapses = build(rule, sources, targets, 3, "x", 0.1, (low, high))
    assert isinstance(synapses, ProceduralSynapses)
    rows = synapses.rows()
    counts = data.draw(st.lists(st.integers(0, 2), min_size=sources * 4, max_size=sources * 4))
    spikes = spikes_of(np.array(counts).reshape(sources, 4))
    found, expected = (Ring(1, synapses.longest_delay + 8, high - low).sums[0] for _ in range(2))
    synapses.deliver(spikes, found)
    StaticSynapses(rows).deliver(spikes, expected)
    assert (found == expected).all()
    if (low, high) == (0, targets):
        assert (rows.shortest_delay, rows.longest_delay) == (synapses.shortest_delay, synapses.longest_delay)
    degrees = matrix(rows, high - low).sum(0 if which == "in_degree" else 1)
    assert (degrees == degree).all() if which == "in_degree" else (degrees <= degree).all()


@pytest.mark.parametrize("which", ["in_degree", "out_degree"])
def test_procedural_synapses_are_drawn_evenly(which: str) -> None:
    """The number of synapses of each pair over 500 names, and how often two of them have the same ends."""
    sources, targets, degree, repeats = 8, 6, 4, 500
    if which == "out_degree":
        sources, targets = targets, sources
    counts = np.array(
        [matrix(made("procedural", sources, targets, **{which: degree}, name=str(r)), targets) for r in range(repeats)]
    )
    low, high = binomial_limits(degree * repeats, 1 / 8, ONE_IN_A_MILLION / 48)
    assert low <= counts.sum(0).min() <= counts.sum(0).max() <= high
    # Of the 6 x 4 draws, each pair of one neuron's 4 draws is equal with probability 1 / 8.
    equal = int((counts * (counts - 1) // 2).sum())
    low, high = binomial_limits(repeats * 6 * 6, 1 / 8)
    assert low <= equal <= high


def test_weights_are_drawn_as_they_are_described() -> None:
    def weights(weight: Any) -> NDArray[np.float64]:
        return from_fixed(made("all_to_all", 200, 200, weight=weight).weights)

    normal = weights({"normal": [2.0, 0.5]})
    assert normal.mean() == pytest.approx(2, abs=5 * 0.5 / 200)
    assert normal.std() == pytest.approx(0.5, abs=5 * 0.5 / 200)
    cut = weights({"normal": [-1.0, 1.0]})
    assert cut.max() == 0
    low, high = binomial_limits(40_000, 0.15866)
    assert low <= (cut == 0).sum() <= high
    assert weights({"normal": [0.0, 1.0]}).min() < -2
    logarithms = np.log(weights({"lognormal": [1.0, 0.3]}))
    assert logarithms.mean() == pytest.approx(1, abs=5 * 0.3 / 200)
    assert logarithms.std() == pytest.approx(0.3, abs=5 * 0.3 / 200)
    assert weights({"lognormal": [1.0, 0.3], "factor": -2}).max() < 0
    even = weights({"uniform": [-1.0, 3.0]})
    assert -1 <= even.min() <= even.max() <= 3
    assert even.mean() == pytest.approx(1, abs=5 * 4 / math.sqrt(12) / 200)
    assert np.unique(weights({"normal": [2.0, 0.0]})).tolist() == [2.0]


def test_delays_are_whole_steps_and_at_least_one() -> None:
    assert made("one_to_one", 3, 3, delay_ms=0.3).delays.tolist() == [3]
    assert made("one_to_one", 3, 3, delay_ms=0.25).delays.tolist() == [3]
    assert made("one_to_one", 3, 3, delay_ms=0.1).delays.tolist() == [1]
    drawn = made("all_to_all", 50, 50, delay_ms={"uniform": [-0.2, 0.3]}).delays
    assert set(drawn.tolist()) == {1, 2, 3}


def test_synapses_of_one_pair_draw_their_own_weights() -> None:
    rows = made("fixed_in_degree", 1, 1, n=50, multiple_synapses=True, weight={"normal": [1, 0.1]})
    assert len(set(rows.weights.tolist())) > 45


@pytest.mark.parametrize(
    ("sizes", "fields", "words"),
    [
        ((3, 4), {"connect": "one_to_one"}, ["connect", "one size", "3", "4"]),
        ((3, 4), {"connect": "all_to_all", "self_connections": False}, ["self_connections", "3", "4"]),
        ((4, 4), {"connect": "fixed_probability", "p": 1.1}, ["p:", "less than or equal to 1", "1.1"]),
        ((4, 4), {"connect": "fixed_probability", "p": math.nan}, ["p:", "finite"]),
        ((4, 4), {"connect": "fixed_probability"}, ["p:", "required"]),
        ((4, 4), {"connect": "fixed_probability", "p": 0.1, "q": 1}, ["q:", "not permitted"]),
        ((4, 4), {"connect": "at_random"}, ["connect:", "at_random", "fixed_probability"]),
        ((4, 4), {}, ["connect:"]),
        ((4, 4), {"connect": "fixed_in_degree", "n": 5}, ["n:", "5", "4", "multiple_synapses"]),
        ((4, 4), {"connect": "fixed_in_degree", "n": 4, "self_connections": False}, ["n:", "3"]),
        (
            (1, 1),
            {"connect": "fixed_in_degree", "n": 1, "self_connections": False, "multiple_synapses": True},
            ["n:", "no source"],
        ),
        ((1, 1), {"connect": "fixed_total_number", "n": 1, "self_connections": False}, ["n:", "no source"]),
        ((4, 5), {"connect": "small_world", "k": 2, "beta": 0.1}, ["connect", "one size"]),
        ((4, 4), {"connect": "small_world", "k": 4, "beta": 0.1}, ["k:", "below", "4"]),
        ((4, 4), {"connect": "small_world", "k": 3, "beta": 0.1}, ["k:", "multiple of 2"]),
        ((4, 4), {"connect": "procedural"}, ["in_degree", "out_degree"]),
        ((4, 4), {"connect": "procedural", "in_degree": 1, "out_degree": 1}, ["in_degree", "out_degree"]),
        ((4, 4), {"connect": "one_to_one", "weight": math.nan}, ["weight", "finite"]),
        ((4, 4), {"connect": "one_to_one", "weight": 40_000}, ["weight", "40000", "32768"]),
        ((4, 4), {"connect": "one_to_one", "weight": 1e-7}, ["weight", "1e-07", "smallest"]),
        ((4, 4), {"connect": "one_to_one", "weight": {"normal": [1, -1]}}, ["weight", "normal", "greater than"]),
        ((4, 4), {"connect": "one_to_one", "weight": {}}, ["weight", "exactly one"]),
        ((4, 4), {"connect": "one_to_one", "weight": {"uniform": [2, 1]}}, ["weight", "lowest"]),
        ((4, 4), {"connect": "one_to_one", "weight": {"lognormal": [20, 1]}}, ["weight", "drawn", "32768"]),
        ((4, 4), {"connect": "one_to_one", "weight": {"lognormal": [1e300, 1], "factor": 0}}, ["weight", "drawn"]),
        ((4, 4), {"connect": "procedural", "in_degree": 2, "weight": {"lognormal": [9, 1]}}, ["weight", "32768"]),
        ((4, 4), {"connect": "one_to_one", "delay_ms": 0.05}, ["delay_ms", "0.05", "0.1"]),
        ((4, 4), {"connect": "one_to_one", "delay_ms": -1}, ["delay_ms", "-1"]),
        ((4, 4), {"connect": "one_to_one", "delay_ms": 1e9}, ["delay_ms", "too long"]),
        ((4, 4), {"connect": "one_to_one", "delay_ms": {"uniform": [1e9, 2e9]}}, ["delay_ms", "too long"]),
        ((4, 4), {"connect": "procedural", "out_degree": 2, "delay_ms": {"uniform": [1e9, 2e9]}}, ["delay_ms"]),
        ((0, 4), {"connect": "all_to_all"}, ["source", "1 to"]),
        ((4, 2**31), {"connect": "all_to_all"}, ["target", "1 to"]),
    ],
)
def test_what_is_not_possible_is_said(sizes: tuple[int, int], fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        build(rule_of(PLAIN | fields, "a->b"), *sizes, 1, "a->b", 0.1)
    text = str(caught.value)
    assert text.startswith("projection 'a->b', ")
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source_positions": {"grid": [2, 3]}}, ["source_positions", "6", "4"]),
        ({"target_positions": {"grid": [4, 1]}}, ["target_positions", "axes"]),
        ({"source_positions": {"grid": [0]}}, ["source_positions", "greater than"]),
        ({"source_positions": {"file": "nowhere.npz"}}, ["source_positions", "nowhere.npz"]),
        ({"extent": [4.0]}, ["extent", "periodic"]),
        ({"periodic": True, "extent": [3.0]}, ["source_positions", "outside"]),
        ({"periodic": True, "extent": [4.0, 4.0]}, ["extent", "axes"]),
        ({"periodic": True, "target_positions": {"grid": [4], "spacing": 2}}, ["extent"]),
        ({"sigma": 0}, ["sigma", "greater than"]),
        ({"radius": -1}, ["radius", "greater than"]),
        ({"profile": "flat"}, ["profile", "gaussian"]),
    ],
)
def test_places_that_do_not_fit(fields: dict[str, Any], words: list[str]) -> None:
    here = {"grid": [4]}
    described = {"connect": "distance_dependent", "sigma": 1, "source_positions": here, "target_positions": here}
    with pytest.raises(ModelError) as caught:
        build(rule_of(PLAIN | described | fields, "a->b"), 4, 4, 1, "a->b", 0.1)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("step", "part"), [(0.0, None), (math.nan, None), (0.1, (2, 1)), (0.1, (0, 5)), (0.1, (-1, 2))]
)
def test_steps_and_parts_that_are_none(step: float, part: tuple[int, int] | None) -> None:
    with pytest.raises(ModelError, match=r"projection 'x', (dt_ms|part)"):
        build(rule_of({"connect": "all_to_all"} | PLAIN, "x"), 4, 4, 1, "x", step, part)


def test_the_longest_delay_is_possible() -> None:
    assert made("one_to_one", 2, 2, delay_ms=MAX_DELAY_STEPS * 0.1).longest_delay == MAX_DELAY_STEPS


class EverySecond(SynapseRule):
    """A rule of a user's own: each neuron to every second target."""

    connect: Literal["every_second"] = "every_second"

    def expected(self, ends: Ends) -> float:
        return ends.sources * len(range(ends.low + ends.low % 2, ends.high, 2))

    def pairs(self, ends: Ends) -> Pairs:
        each = np.arange(ends.low + ends.low % 2, ends.high, 2, dtype=np.int32) - np.int32(ends.low)
        return each.size * np.arange(ends.sources + 1, dtype=np.int64), np.tile(each, ends.sources)


def test_a_rule_of_a_users_own_has_weights_delays_and_an_estimate() -> None:
    rule = EverySecond.model_validate(DRAWN)
    rows = build(rule, 10, 7, 1, "x", 0.1)
    assert isinstance(rows, Rows)
    assert estimate(rule, 10, 7) == (rows.count, rows.nbytes) == (40, rows.nbytes)
    part = build(rule, 10, 7, 1, "x", 0.1, (3, 7))
    assert isinstance(part, Rows)
    assert [(i, j + 3, w, d) for i, j, w, d in listed(part)] == [s for s in listed(rows) if s[1] >= 3]


def test_rules_are_read_without_compiled_code() -> None:
    code = "import sys, brainnet.simulation.connectivity; print({'numba', 'torch', 'h5py'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
