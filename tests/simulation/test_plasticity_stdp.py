"""STDP of sparse synapses with delays changes the weights as the dense formulas of the library do."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.simulation.fixed_point import UNIT, from_fixed, to_fixed
from brainnet.simulation.plasticity import STDP
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from brainnet.snn.plasticity.stdp import TripletSTDPParams, triplet_stdp

STEPS, SOURCES, TARGETS = 40, 4, 3
PARAMS = TripletSTDPParams(0.3, 0.2, 0.1, 0.15)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.booleans())
def test_the_changes_are_those_of_the_library(seed: int, delay: int, triplets: bool) -> None:
    params = PARAMS if triplets else PARAMS._replace(triplet_potentiation=0.0, triplet_depression=0.0)
    rng = np.random.default_rng(seed)
    pre = (rng.random((SOURCES, STEPS)) < 0.2).astype(int)
    post = (rng.random((TARGETS, STEPS)) < 0.2).astype(int)
    start = np.arange(SOURCES + 1, dtype=np.int64) * TARGETS
    targets = np.tile(np.arange(TARGETS, dtype=np.int32), SOURCES)
    rows = Rows(start, targets, to_fixed([10.0]), np.array([delay], np.int32))
    rule = STDP(
        potentiation=params.pair_potentiation, depression=params.pair_depression,
        triplet_potentiation=params.triplet_potentiation, triplet_depression=params.triplet_depression,
        tau_plus_ms=params.tau_plus, tau_minus_ms=params.tau_minus, tau_x_ms=params.tau_x, tau_y_ms=params.tau_y,
        w_min=-1000.0, w_max=1000.0,
    )  # fmt: skip
    synapses = rule.synapses(rows, TARGETS, 1.0)
    history = Spikes.of_dense(0, pre)
    arrived = np.zeros((STEPS, TARGETS), np.int64)
    for step in range(STEPS):
        synapses.arrive(step, history, arrived[step])
        synapses.fire(step, np.flatnonzero(post[:, step]).astype(np.int32))
    # a delay of the axon: the synapse sees a spike when it arrives
    seen = np.zeros_like(pre)
    seen[:, delay:] = pre[:, : STEPS - delay]
    change, _ = triplet_stdp(torch.tensor(seen.T).double(), torch.tensor(post.T).double(), None, params)
    found = from_fixed(synapses.weights).reshape(SOURCES, TARGETS).T - 10.0
    # each of up to two changes of a step is rounded to a fixed-point number
    assert np.allclose(found, change.numpy(), rtol=0, atol=2 * STEPS / UNIT)
    assert arrived.any() == seen.any()
