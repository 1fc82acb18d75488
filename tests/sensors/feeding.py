"""Drives encoders: windows cut anywhere, with the state saved and loaded in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from brainnet.sensors.blocks import Block
from brainnet.sensors.encoders.base import Encoder
from brainnet.simulation.spikes import Spikes


def encoded(make: Callable[[], Encoder], blocks: Sequence[Block], lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (step, neuron) of all spikes of windows of these lengths; each one goes on with a new encoder."""
    encoder, first = make(), 0
    found: list[Spikes] = []
    for steps in lengths:
        low, high = first * encoder.dt_us, (first + steps) * encoder.dt_us
        found.append(encoder.window(first, steps, [block for block in blocks if low <= block.t_us < high]))
        first += steps
        saved, encoder = encoder.save(), make()
        encoder.load(saved)
    whole = Spikes.joined(found)
    assert whole.first_step == 0
    assert whole.neurons.size == whole.offsets[-1]
    return [(step, neuron) for step in range(first) for neuron in whole.in_step(step).tolist()]


def windows_of(steps: int) -> st.SearchStrategy[list[int]]:
    """Draw lengths of windows with a sum."""
    cuts = st.sets(st.integers(1, steps - 1)) if steps > 1 else st.just(set[int]())
    return cuts.map(lambda inner: [b - a for a, b in zip([0, *sorted(inner)], [*sorted(inner), steps], strict=True)])
