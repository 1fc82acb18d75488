"""What the tests of models share: settings, windows of random input, and runs that are cut in different ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import EXCITATORY, INHIBITORY, Model, Setting, Window, compute
from brainnet.simulation.models.registry import make_model, model_class
from brainnet.simulation.spikes import Spikes

Sums = Mapping[str, NDArray[np.int64]]


def setting(size: int = 1, dt_ms: float = 1.0, seed: int = 5, **more: Any) -> Setting:
    return Setting("e", size, dt_ms, seed, **more)


def build(name: str, where: Setting | int = 1, folder: Path | None = None, **values: Any) -> Model:
    where = setting(where) if isinstance(where, int) else where
    return make_model(model_class(name, folder), where, values)


def sums_of(inputs: Any) -> dict[str, NDArray[np.int64]]:
    """The sums of an input [steps, neurons] in units of the weights, by its sign."""
    fixed = np.floor(np.asarray(inputs, np.float64) * UNIT + 0.5).astype(np.int64)
    return {EXCITATORY: np.maximum(fixed, 0), INHIBITORY: np.minimum(fixed, 0)}


def random_sums(model: Model, steps: int, scale: float, seed: int = 1) -> dict[str, NDArray[np.int64]]:
    if not model.ports:
        return {}
    draws = np.random.default_rng(seed).standard_normal((steps, model.inputs))
    return sums_of(scale * (draws + 0.3))


def run(model: Model, sums: Sums, steps: int, cuts: Iterable[int] = (), first: int = 0) -> Spikes:
    """The spikes of steps `first` to `steps`, computed in windows that end at the cuts."""
    ends = [*sorted({cut for cut in cuts if first < cut < steps}), steps]
    parts = []
    for start, end in zip([first, *ends], ends, strict=False):
        part = {port: values[start:end] for port, values in sums.items()}
        parts.append(compute(model, Window(start, end - start, model.setting.dt_ms, part)))
    return Spikes.joined(parts)


def same(one: Spikes, other: Spikes) -> bool:
    return (
        one.first_step == other.first_step
        and np.array_equal(one.offsets, other.offsets)
        and np.array_equal(one.neurons, other.neurons)
    )


def same_state(one: Model, other: Model) -> bool:
    a, b = one.save(), other.save()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def check_cuts(make: Callable[[], Model], steps: int, scale: float, cuts: list[int], resume: int) -> Spikes:
    """Check that cuts change neither spikes nor state, and that a saved state goes on as the model itself does."""
    whole, cut, before, after = make(), make(), make(), make()
    sums = random_sums(whole, steps, scale)
    spikes = run(whole, sums, steps)
    assert same(spikes, run(cut, sums, steps, cuts))
    assert same_state(whole, cut)
    first = run(before, sums, resume) if resume else Spikes.none(0, 0)
    after.load(before.save())
    run(before, sums, steps, first=resume)  # what was saved is a copy
    assert same(spikes, Spikes.joined([first, run(after, sums, steps, cuts, first=resume)]))
    assert same_state(whole, after)
    return spikes
