r"""Synapses with an eligibility trace, whose weights change while a modulator is there.

$$
\frac{dc}{dt} = -\frac{c}{\tau_c} + \text{STDP}, \qquad \frac{dd}{dt} = -\frac{d}{\tau_d} + \text{rewards}, \qquad
\frac{dw}{dt} = c\,d
$$

STDP is the pair rule of `brainnet.simulation.plasticity.pair_and_triplet`, with the traces as they were before the
spikes of a step. What arrives and fires in a step, and the rise of the modulator, count from the beginning of the step
on, and between them the equations are solved exactly: after one pair and one reward, w has changed by
$c\,d\,\tau$ with $1/\tau = 1/\tau_c + 1/\tau_d$ and both as they are when the later of the two comes.

A synapse is touched when a spike arrives at it and when its target fires, and not in between. What the modulator did
meanwhile follows from two numbers that all synapses share. Time is counted from the beginning of an epoch; with
$C = c\,e^{t/\tau_c}$, which does not decay, and the integral $h$ of $e^{-t/\tau_c} d(t)$, a touch at $h$ gives

$$
w \leftarrow w + C (h - h_\text{last}), \qquad C \leftarrow C + e^{t/\tau_c}\,\text{STDP}
$$

Bounds are applied whenever a synapse is touched. Epochs lie on a grid of steps and last $4 \tau_c$, so that the
exponentials stay near 1; at the end of one, all synapses are touched.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.plasticity.timed_synapses import TimedSynapses
from brainnet.simulation.plasticity.traces import powers, trace
from brainnet.simulation.random import decay
from brainnet.simulation.rows import Rows
from brainnet.snn.kernels import compiled

if TYPE_CHECKING:
    from brainnet.simulation.plasticity.dopamine_stdp import DopamineSTDP

_EPOCH: Final = 4.0
"""Time constants of the eligibility that an epoch lasts."""
_LONGEST_EPOCH: Final = 1 << 16


class EligibleSynapses(TimedSynapses):
    """The synapses of one projection that learn by STDP and a modulator.

    Args:
        rows: The synapses at the beginning.
        targets: Number of target neurons.
        rule: Constants.
        dt_ms: One step.

    Attributes:
        epoch: Steps of one.
        state: Among others `synapses` [synapses, 3], which stand together because they are read together, from one line
            of the cache: the weight in fixed-point units, but not rounded, since what a modulator adds from spike to
            spike may be less than one; C; and h at the last touch. `integral` is h at the beginning and at the end of
            the last step that was computed.

    Raises:
        ModelError: The bounds are the wrong way round, a weight lies outside of them, or `tau_c_ms` is shorter than a
            step.
    """

    def __init__(self, rows: Rows, targets: int, rule: DopamineSTDP, dt_ms: float) -> None:
        if rule.tau_c_ms < dt_ms:
            raise ModelError(f"tau_c_ms: {rule.tau_c_ms:g} is shorter than a step of {dt_ms:g} ms", field="tau_c_ms")
        super().__init__(rows, targets, (rule.w_min, rule.w_max))
        self.rule = rule
        self.epoch: Final = min(math.floor(_EPOCH * rule.tau_c_ms / dt_ms), _LONGEST_EPOCH)
        self._tables = np.array([powers(decay(dt_ms, tau)) for tau in (rule.tau_plus_ms, rule.tau_minus_ms)])
        self._amplitudes = UNIT * np.array([rule.potentiation, rule.depression])
        self._eligible = powers(decay(dt_ms, rule.tau_c_ms), self.epoch + 1)
        self._decay = decay(dt_ms, rule.tau_d_ms)
        # the integral of c d over one step in seconds, for c = d = 1 at its beginning
        tau_s = 1e-3 / (1.0 / rule.tau_c_ms + 1.0 / rule.tau_d_ms)
        self._step_s = tau_s * (1.0 - self._eligible[1] * self._decay)
        self.state: dict[str, NDArray[Any]] = {
            "synapses": np.zeros((rows.count, 3)),
            "integral": np.zeros(2),
            "modulator": np.zeros(1),
            **self._traces(),
        }
        self.state["synapses"][:, 0] = self._rows.sorted(rows.weights)

    @property
    def modulator(self) -> float:
        """The modulator d in the last step that was computed."""
        return float(self.state["modulator"][0])

    @property
    def weights(self) -> NDArray[np.int32]:
        """The weights now, fixed point, in the order of the rows that they were made of; reading changes nothing."""
        synapses = self.state["synapses"].copy()
        self._settle(synapses)
        return self._rows.given(np.floor(synapses[:, 0] + 0.5).astype(np.int32))

    def set_weights(self, weights: NDArray[np.int32]) -> None:
        """Set the weights, from the next step on; the eligibility stays.

        Args:
            weights: int32 [synapses], fixed point, in the order of the rows that they were made of.

        Raises:
            ModelError: A weight lies outside of the bounds.
        """
        self._bounds.check(weights)
        self._settle(self.state["synapses"])
        self.state["synapses"][:, 0] = self._rows.sorted(weights)

    def _settle(self, synapses: NDArray[np.float64]) -> None:
        """Touch all synapses at the end of the last step that was computed."""
        if synapses.size:
            _settle(synapses, self.state["integral"][1], self._bounds.fixed)

    def modulate(self, step: int, amount: float) -> None:
        """Begin a step: the modulator decays since the step before, and rises by an amount.

        Args:
            step: The step, one more than in the last call.
            amount: Of this step.
        """
        modulator, integral = self.state["modulator"], self.state["integral"]
        now = step % self.epoch
        if not now and step:
            synapses = self.state["synapses"]
            self._settle(synapses)
            synapses[:, 1] *= self._eligible[self.epoch]
            synapses[:, 2] = 0.0
            integral[1] = 0.0
        modulator[0] = self._decay * modulator[0] + amount
        integral[0] = integral[1]
        integral[1] += self._eligible[now] * modulator[0] * self._step_s

    def _take(self, step: int, arrivals: Any, sums: NDArray[np.int64], efficacy: NDArray[np.float64]) -> None:
        state = self.state
        arguments: tuple[Any, ...] = (
            step, *arrivals, state["synapses"], state["integral"][0], state["pre"], state["pre_before"],
            state["pre_at"], state["post"], state["post_at"], self._tables,
            self._amplitudes[1] / self._eligible[step % self.epoch], self._bounds.fixed, sums, efficacy,
        )  # fmt: skip
        _arrive(*arguments)

    def fire(self, step: int, neurons: NDArray[np.int32]) -> None:
        """Let target neurons that fired in one step raise the eligibility of their synapses."""
        state, rows = self.state, self._rows
        _fire(
            step, neurons, rows.in_start, rows.in_synapse, rows.in_row, state["synapses"], state["integral"][0],
            state["pre"], state["pre_before"], state["pre_at"], state["post"], state["post_at"], self._tables,
            self._amplitudes[0] / self._eligible[step % self.epoch], self._bounds.fixed,
        )  # fmt: skip


@numba.njit(inline="always", error_model="numpy")
def _touch(k, synapses, integral, bounds):  # type: ignore[no-untyped-def]
    moved = synapses[k, 0] + synapses[k, 1] * (integral - synapses[k, 2])
    synapses[k, 0] = min(max(moved, float(bounds[0])), float(bounds[1]))
    synapses[k, 2] = integral


@compiled
def _settle(synapses, integral, bounds):  # type: ignore[no-untyped-def]
    for k in range(synapses.shape[0]):
        _touch(k, synapses, integral, bounds)


@compiled
def _arrive(  # type: ignore[no-untyped-def]
    step, first_step, offsets, neurons, delays, sources, start, targets, synapses, integral, pre, pre_before, pre_at,
    post, post_at, tables, depression, bounds, sums, efficacy,
):  # fmt: skip
    for g in range(delays.size):
        at = step - delays[g] - first_step
        if at < 0 or at >= offsets.size - 1:
            continue
        for x in range(offsets[at], offsets[at + 1]):
            row = g * sources + neurons[x]
            passed = step - pre_at[row]
            if passed > 0:
                pre_before[row] = trace(pre[row], passed, tables[0])
                pre[row] = pre_before[row] + 1.0
                pre_at[row] = step
            else:  # a source that fires twice in one step
                pre[row] += 1.0
            factor = efficacy[x] if efficacy.size else 1.0
            for k in range(start[row], start[row + 1]):
                j = targets[k]
                _touch(k, synapses, integral, bounds)
                # the weight is rounded first, so that a factor of 1 adds what `weights` says
                sums[j] += np.int64(np.floor(np.floor(synapses[k, 0] + 0.5) * factor + 0.5))
                synapses[k, 1] -= depression * trace(post[j], step - post_at[j], tables[1])


@compiled
def _fire(  # type: ignore[no-untyped-def]
    step, neurons, in_start, in_synapse, in_row, synapses, integral, pre, pre_before, pre_at, post, post_at, tables,
    potentiation, bounds,
):  # fmt: skip
    for x in range(neurons.size):
        j = neurons[x]
        for y in range(in_start[j], in_start[j + 1]):
            row = in_row[y]
            since = step - pre_at[row]
            r1 = pre_before[row] if since == 0 else trace(pre[row], since, tables[0])
            if r1 > 0.0:
                k = in_synapse[y]
                _touch(k, synapses, integral, bounds)
                synapses[k, 1] += potentiation * r1
        post[j] = trace(post[j], step - post_at[j], tables[1]) + 1.0
        post_at[j] = step
