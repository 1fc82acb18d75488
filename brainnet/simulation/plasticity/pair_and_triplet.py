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

from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.plasticity.timed_synapses import TimedSynapses
from brainnet.simulation.plasticity.traces import powers, trace
from brainnet.simulation.random import decay
from brainnet.simulation.rows import Rows
from brainnet.snn.kernels import compiled

if TYPE_CHECKING:
    from brainnet.simulation.plasticity.stdp import STDP


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
        state = self.state
        arguments: tuple[Any, ...] = (
            step, *arrivals, state["weights"], state["pre"], state["pre_before"], state["pre_at"], state["post"],
            state["post_at"], self._tables, self._amplitudes, self._bounds.fixed, sums, efficacy,
        )  # fmt: skip
        _arrive(*arguments)

    def fire(self, step: int, neurons: NDArray[np.int32]) -> None:
        """Let target neurons that fired in one step potentiate their synapses."""
        state, rows = self.state, self._rows
        _fire(
            step, neurons, rows.in_start, rows.in_synapse, rows.in_row, state["weights"], state["pre"],
            state["pre_before"], state["pre_at"], state["post"], state["post_at"], self._tables, self._amplitudes,
            self._bounds.fixed,
        )  # fmt: skip


@compiled
def _changed(weight, change, bounds):  # type: ignore[no-untyped-def]
    moved = weight + np.int64(np.floor(change + 0.5))
    return np.int32(min(max(moved, bounds[0]), bounds[1]))


@compiled
def _arrive(  # type: ignore[no-untyped-def]
    step, first_step, offsets, neurons, delays, sources, start, targets, weights, pre, pre_before, pre_at, post,
    post_at, tables, amplitudes, bounds, sums, efficacy,
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
                    pre_before[t, row] = trace(pre[t, row], passed, tables[t])
                    pre[t, row] = pre_before[t, row] + 1.0
                pre_at[row] = step
            else:  # a source that fires twice in one step
                for t in range(2):
                    pre[t, row] += 1.0
            rate = amplitudes[2] + amplitudes[3] * pre_before[1, row]
            # A loop of its own: in the one below, the multiplication would be paid for by all that do without it.
            if efficacy.size:
                for k in range(np.uint64(start[row]), np.uint64(start[row + 1])):
                    sums[np.uint32(targets[k])] += np.int64(np.floor(weights[k] * efficacy[x] + 0.5))
            whole = np.int64(efficacy.size == 0)
            for k in range(np.uint64(start[row]), np.uint64(start[row + 1])):
                j = np.uint32(targets[k])
                sums[j] += whole * np.int64(weights[k])
                o1 = trace(post[0, j], step - post_at[j], tables[2])
                if o1 > 0.0:
                    weights[k] = _changed(np.int64(weights[k]), -o1 * rate, bounds)


@compiled
def _fire(  # type: ignore[no-untyped-def]
    step, neurons, in_start, in_synapse, in_row, weights, pre, pre_before, pre_at, post, post_at, tables, amplitudes,
    bounds,
):  # fmt: skip
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
                weights[k] = _changed(np.int64(weights[k]), r1 * rate, bounds)
        post[0, j] = o1 + 1.0
        post[1, j] = o2 + 1.0
        post_at[j] = step
