r"""Synapses that learn from the times of spikes: pair and triplet STDP, all-to-all, with exponential traces.

The rules are those of `brainnet.snn.plasticity.stdp`, here for sparse synapses whose spikes arrive after a delay. The
delay is that of the axon, so a synapse sees a presynaptic spike when it arrives, and a postsynaptic one at once:

$$
\begin{aligned}
\text{post fires:}\quad & \Delta w = +r_1 (A_2^+ + A_3^+ o_2) \\
\text{pre arrives:}\quad  & \Delta w = -o_1 (A_2^- + A_3^- r_2)
\end{aligned}
$$

All traces are taken as they were before the spikes of the step, so that two spikes in one step do not see each other. A
spike that arrives adds the weight as it was before it. Weights stay between `w_min` and `w_max`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT, to_fixed
from brainnet.simulation.random import decay
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

if TYPE_CHECKING:
    from brainnet.simulation.plasticity.stdp import STDP

_TABLE = 1 << 14
"""Steps up to which the decay of a trace is looked up; after them a trace counts as zero."""


class STDPSynapses:
    """The synapses of one projection that learn by STDP.

    Args:
        rows: The synapses at the beginning.
        targets: Number of target neurons.
        rule: Constants.
        dt_ms: One step.

    Raises:
        ModelError: The bounds are the wrong way round, or a weight lies outside of them.
    """

    def __init__(self, rows: Rows, targets: int, rule: STDP, dt_ms: float) -> None:
        low, high = int(to_fixed(rule.w_min)), int(to_fixed(rule.w_max))
        if low >= high:
            raise ModelError(f"w_min {rule.w_min:g} must lie below w_max {rule.w_max:g}")
        if rows.count and not (low <= int(rows.weights.min()) and int(rows.weights.max()) <= high):
            raise ModelError(f"a weight lies outside of w_min {rule.w_min:g} and w_max {rule.w_max:g}")
        self.rule = rule
        self._rows = rows
        self._bounds = np.array([low, high], np.int64)
        self._sources = rows.sources
        count = rows.count
        source = np.repeat(np.arange(rows.sources), np.diff(rows.start))
        delay = np.broadcast_to(rows.delays, (count,))
        self.delays = np.unique(delay).astype(np.int32)
        # Synapses of one source with one delay are a row of their own: their spikes arrive in the same step.
        row = np.searchsorted(self.delays, delay) * rows.sources + source
        self._order = np.argsort(row, kind="stable")
        rows_total = max(1, self.delays.size) * rows.sources
        self._start = np.zeros(rows_total + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=rows_total), out=self._start[1:])
        self._targets = np.ascontiguousarray(rows.targets[self._order])
        row = row[self._order].astype(np.int32)
        self._in_synapse = np.argsort(self._targets, kind="stable").astype(np.int32)
        self._in_row = np.ascontiguousarray(row[self._in_synapse])
        self._in_start = np.zeros(targets + 1, np.int64)
        np.cumsum(np.bincount(self._targets, minlength=targets), out=self._in_start[1:])
        self._tables = np.array(
            [_powers(decay(dt_ms, t)) for t in (rule.tau_plus_ms, rule.tau_x_ms, rule.tau_minus_ms, rule.tau_y_ms)]
        )
        self._amplitudes = UNIT * np.array(
            [rule.potentiation, rule.triplet_potentiation, rule.depression, rule.triplet_depression]
        )
        weights = np.broadcast_to(rows.weights, (count,))[self._order].copy()
        self.state: dict[str, NDArray[Any]] = {
            "weights": weights,
            # r1 and r2 of each row, after the arrivals of step `pre_at`, and before them
            "pre": np.zeros((2, rows_total)),
            "pre_before": np.zeros((2, rows_total)),
            "pre_at": np.full(rows_total, -_TABLE, np.int64),
            "post": np.zeros((2, targets)),
            "post_at": np.full(targets, -_TABLE, np.int64),
        }

    @property
    def weights(self) -> NDArray[np.int32]:
        """The weights now, fixed point, in the order of the rows that they were made of."""
        result = np.empty_like(self.state["weights"])
        result[self._order] = self.state["weights"]
        return result

    def arrive(self, step: int, history: Spikes, sums: NDArray[np.int64]) -> None:
        """Add what arrives in one step to the sums [neurons], and let it depress the synapses.

        Args:
            step: The step.
            history: The spikes of the source, at least from `step` minus the longest delay on.
            sums: Input of the port in this step.
        """
        state = self.state
        _arrive(
            step, history.first_step, history.offsets, history.neurons, self.delays, self._sources, self._start,
            self._targets, state["weights"], state["pre"], state["pre_before"], state["pre_at"], state["post"],
            state["post_at"], self._tables, self._amplitudes, self._bounds, sums,
        )  # fmt: skip

    def fire(self, step: int, neurons: NDArray[np.int32]) -> None:
        """Let target neurons that fired in one step potentiate their synapses."""
        state = self.state
        _fire(
            step, neurons, self._in_start, self._in_synapse, self._in_row, state["weights"], state["pre"],
            state["pre_before"], state["pre_at"], state["post"], state["post_at"], self._tables, self._amplitudes,
            self._bounds,
        )  # fmt: skip


def _powers(base: float) -> NDArray[np.float64]:
    """Return base**0, base**1, ... by multiplication, which is the same on every machine."""
    return np.multiply.accumulate(np.concatenate([[1.0], np.full(_TABLE - 1, base)]))


@compiled
def _changed(weight, change, bounds):  # type: ignore[no-untyped-def]
    moved = weight + np.int64(np.floor(change + 0.5))
    return np.int32(min(max(moved, bounds[0]), bounds[1]))


@compiled
def _trace(value, steps, powers):  # type: ignore[no-untyped-def]
    return value * powers[steps] if steps < powers.size else 0.0


@compiled
def _arrive(  # type: ignore[no-untyped-def]
    step, first_step, offsets, neurons, delays, sources, start, targets, weights, pre, pre_before, pre_at, post,
    post_at, tables, amplitudes, bounds, sums,
):  # fmt: skip
    for g in range(delays.size):
        at = step - delays[g] - first_step
        if at < 0 or at >= offsets.size - 1:
            continue
        for x in range(offsets[at], offsets[at + 1]):
            row = g * sources + neurons[x]
            passed = step - pre_at[row]
            if passed > 0:
                for t in range(2):
                    pre_before[t, row] = _trace(pre[t, row], passed, tables[t])
                    pre[t, row] = pre_before[t, row] + 1.0
                pre_at[row] = step
            else:  # a source that fires twice in one step
                for t in range(2):
                    pre[t, row] += 1.0
            rate = amplitudes[2] + amplitudes[3] * pre_before[1, row]
            for k in range(start[row], start[row + 1]):
                j = targets[k]
                sums[j] += np.int64(weights[k])
                o1 = _trace(post[0, j], step - post_at[j], tables[2])
                if o1 > 0.0:
                    weights[k] = _changed(np.int64(weights[k]), -o1 * rate, bounds)


@compiled
def _fire(  # type: ignore[no-untyped-def]
    step, neurons, in_start, in_synapse, in_row, weights, pre, pre_before, pre_at, post, post_at, tables, amplitudes,
    bounds,
):  # fmt: skip
    for x in range(neurons.size):
        j = neurons[x]
        passed = step - post_at[j]
        o1 = _trace(post[0, j], passed, tables[2])
        o2 = _trace(post[1, j], passed, tables[3])
        rate = amplitudes[0] + amplitudes[1] * o2
        for y in range(in_start[j], in_start[j + 1]):
            row = in_row[y]
            since = step - pre_at[row]
            r1 = pre_before[0, row] if since == 0 else _trace(pre[0, row], since, tables[0])
            if r1 > 0.0:
                k = in_synapse[y]
                weights[k] = _changed(np.int64(weights[k]), r1 * rate, bounds)
        post[0, j] = o1 + 1.0
        post[1, j] = o2 + 1.0
        post_at[j] = step
