r"""Release and resources of synapses with short-term plasticity, from spike to spike.

The equations are those of `brainnet.snn.plasticity.short_term_plasticity`. They depend on the spikes of the source
alone, so all synapses of one source neuron share u and x, and these are computed when a spike leaves: a delay only
moves them. With n steps since the last spike, at a spike:

$$
u \leftarrow u e^{-n\,dt/\tau_f}, \quad x \leftarrow 1 - (1 - x) e^{-n\,dt/\tau_d}, \quad
u \leftarrow u + U (1 - u), \quad \text{efficacy} = u x, \quad x \leftarrow x - u x
$$

A neuron that fires several times in one step does so one after the other, without time in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.plasticity.traces import power, squares
from brainnet.simulation.random import decay
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

if TYPE_CHECKING:
    from brainnet.simulation.plasticity.short_term import ShortTerm


class Release:
    """Release u and resources x of the neurons of one source.

    Args:
        sources: Their number.
        rule: Constants.
        dt_ms: One step.

    Attributes:
        state: `release` and `resources` [sources] after the last spike of each, and `at`, its step.
    """

    def __init__(self, sources: int, rule: ShortTerm, dt_ms: float) -> None:
        self._utilisation = rule.utilisation
        self._release = squares(decay(dt_ms, rule.tau_facilitation_ms))
        self._resources = squares(decay(dt_ms, rule.tau_depression_ms))
        self.state: dict[str, NDArray[Any]] = {
            "release": np.zeros(sources),
            "resources": np.ones(sources),
            "at": np.zeros(sources, np.int64),
        }

    def of(self, spikes: Spikes) -> NDArray[np.float64]:
        """Return the efficacy [spikes], between 0 and 1, of the source's next window, and take the window in."""
        efficacy = np.empty(spikes.count)
        if spikes.count:
            state = self.state
            _efficacies(
                spikes.first_step, spikes.offsets, spikes.neurons, state["release"], state["resources"], state["at"],
                self._utilisation, self._release, self._resources, efficacy,
            )  # fmt: skip
        return efficacy


@compiled
def _efficacies(  # type: ignore[no-untyped-def]
    first_step, offsets, neurons, release, resources, at, utilisation, release_squares, resources_squares,
    efficacy,
):  # fmt: skip
    for s in range(offsets.size - 1):
        step = first_step + s
        for x in range(offsets[s], offsets[s + 1]):
            i = neurons[x]
            passed = step - at[i]
            u = release[i] * power(passed, release_squares)
            left = 1.0 - (1.0 - resources[i]) * power(passed, resources_squares)
            u += utilisation * (1.0 - u)
            efficacy[x] = u * left
            release[i], resources[i], at[i] = u, left - u * left, step
