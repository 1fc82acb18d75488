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

from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.plasticity.timed_synapses import TimedSynapses
from brainnet.simulation.plasticity.traces import powers, trace
from brainnet.simulation.random import decay
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

if TYPE_CHECKING:
    from brainnet.simulation.plasticity.stdp import STDP

_PART: Final = 64
"""Synapses of a row that are computed together."""


class STDPSynapses(TimedSynapses):
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
        super().__init__(rows, targets, (rule.w_min, rule.w_max))
        self.rule = rule
        self._tables = np.array(
            [powers(decay(dt_ms, t)) for t in (rule.tau_plus_ms, rule.tau_x_ms, rule.tau_minus_ms, rule.tau_y_ms)]
        )
        self._amplitudes = UNIT * np.array(
            [rule.potentiation, rule.triplet_potentiation, rule.depression, rule.triplet_depression]
        )
        self.state: dict[str, NDArray[Any]] = {"weights": self._rows.sorted(rows.weights), **self._traces(2)}

    @property
    def weights(self) -> NDArray[np.int32]:
        """The weights now, fixed point, in the order of the rows that they were made of."""
        return self._rows.given(self.state["weights"])

    def set_weights(self, weights: NDArray[np.int32]) -> None:
        """Set the weights, for what arrives from the next step on.

        Args:
            weights: int32 [synapses], fixed point, in the order of the rows that they were made of.

        Raises:
            ModelError: A weight lies outside of the bounds.
        """
        self._bounds.check(weights)
        self.state["weights"][:] = self._rows.sorted(weights)

    def _take(self, step: int, arrivals: Any, sums: NDArray[np.int64], efficacy: NDArray[np.float64]) -> None:
        arrive(step, sums, efficacy, *arrivals, *self._changing)

    def fire(self, step: int, neurons: NDArray[np.int32]) -> None:
        """Let target neurons that fired in one step potentiate their synapses."""
        fire(step, neurons, *self._ends, *self._changing)

    def kernel_arguments(self, history: Spikes) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
        """Return what the kernels `arrive` and `fire` take at their end.

        Args:
            history: The spikes of the source that may arrive.

        Returns:
            What only `arrive` takes, what only `fire` takes, and what both take after it.
        """
        return self._arrivals(history), self._ends, self._changing

    @property
    def _ends(self) -> tuple[Any, ...]:
        rows = self._rows
        return rows.in_start, rows.in_synapse, rows.in_row

    @property
    def _changing(self) -> tuple[Any, ...]:
        state = self.state
        return (
            state["weights"], state["pre"], state["pre_before"], state["pre_at"], state["post"], state["post_at"],
            self._tables, self._amplitudes, self._bounds.fixed,
        )  # fmt: skip


@compiled
def _changed(weight, change, low, high):  # type: ignore[no-untyped-def]
    # In floating point, which holds each of these whole numbers: so the loop around becomes vector instructions.
    moved = np.float64(weight) + np.floor(change + 0.5)
    moved = moved if moved > low else low
    return np.int32(moved if moved < high else high)


# A call for each spike would take longer than a row of a few synapses.
@numba.njit(inline="always", error_model="numpy")
def _see(step, row, pre, pre_before, pre_at, tables):  # type: ignore[no-untyped-def]
    """Let the traces of one row take in a spike that arrives."""
    passed = step - pre_at[row]
    if passed > 0:
        for t in range(2):
            pre_before[t, row] = trace(pre[t, row], passed, tables[t])
            pre[t, row] = pre_before[t, row] + 1.0
        pre_at[row] = step
    else:  # a source that fires twice in one step
        for t in range(2):
            pre[t, row] += 1.0


@compiled
def arrive(  # type: ignore[no-untyped-def]
    step, sums, efficacy, first_step, offsets, neurons, delays, sources, start, targets, weights, pre, pre_before,
    pre_at, post, post_at, tables, amplitudes, bounds,
):  # fmt: skip
    """Add what arrives in one step to the sums, and let it change the weights; as `STDPSynapses.arrive`."""
    lowest, highest = np.float64(bounds[0]), np.float64(bounds[1])
    traces = np.empty(_PART)
    for g in range(delays.size):
        at = step - delays[g] - first_step
        if at < 0 or at >= offsets.size - 1:
            continue
        for x in range(offsets[at], offsets[at + 1]):
            row = g * sources + neurons[x]
            _see(step, row, pre, pre_before, pre_at, tables)
            rate = amplitudes[2] + amplitudes[3] * pre_before[1, row]
            end = start[row + 1]
            for low in range(start[row], end, _PART):
                high = min(end, low + _PART)
                part, ends = weights[low:high], targets[low:high]
                # Loops of their own: in one with the others, the multiplication would be paid for by all that do
                # without it, and what is looked up at the targets would keep the last from vector instructions.
                if efficacy.size:
                    for k in range(part.size):
                        sums[np.uint32(ends[k])] += np.int64(np.floor(part[k] * efficacy[x] + 0.5))
                else:
                    for k in range(part.size):
                        sums[np.uint32(ends[k])] += np.int64(part[k])
                for k in range(part.size):
                    j = np.uint32(ends[k])
                    traces[k] = trace(post[0, j], step - post_at[j], tables[2])
                for k in range(part.size):
                    part[k] = _changed(part[k], -traces[k] * rate, lowest, highest) if traces[k] > 0.0 else part[k]


@compiled
def fire(  # type: ignore[no-untyped-def]
    step, neurons, in_start, in_synapse, in_row, weights, pre, pre_before, pre_at, post, post_at, tables, amplitudes,
    bounds,
):  # fmt: skip
    """Let target neurons that fired in one step potentiate their synapses; as `STDPSynapses.fire`."""
    lowest, highest = np.float64(bounds[0]), np.float64(bounds[1])
    for x in range(neurons.size):
        j = np.uint32(neurons[x])
        passed = step - post_at[j]
        o1 = trace(post[0, j], passed, tables[2])
        o2 = trace(post[1, j], passed, tables[3])
        rate = amplitudes[0] + amplitudes[1] * o2
        for y in range(np.uint64(in_start[j]), np.uint64(in_start[j + 1])):
            row = np.uint32(in_row[y])
            since = step - pre_at[row]
            r1 = pre_before[0, row] if since == 0 else trace(pre[0, row], since, tables[0])
            if r1 > 0.0:
                k = np.uint32(in_synapse[y])
                weights[k] = _changed(weights[k], r1 * rate, lowest, highest)
        post[0, j] = o1 + 1.0
        post[1, j] = o2 + 1.0
        post_at[j] = step
