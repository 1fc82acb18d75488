r"""Homeostatic thresholds: a neuron that fires too often becomes harder to excite, until it fires at its target rate.

$$
\theta \leftarrow \theta + \eta\,(s - r)
$$

s is the spike of the step (0/1) and r the target, in spikes a step: at rest $\langle s \rangle = r$. Over T steps
the mean rate is off the target by $(\theta_T - \theta_0) / (\eta T)$: a threshold that stays bounded means that
the target is reached. Source: intrinsic plasticity of Lazar, Pipa and Triesch 2009, *SORN: a self-organizing recurrent
neural network*, Frontiers in Computational Neuroscience 3:23.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import as_parameter, check_positive, check_sequence, check_step


class HomeostasisParams(NamedTuple):
    """Constants of the rule; the defaults are those of Lazar et al. 2009.

    Attributes:
        rate: the target r in spikes per step (0..1), a number or a tensor that broadcasts against the threshold.
        learning_rate: eta, in units of the threshold.
    """

    rate: Tensor | float = 0.1
    learning_rate: float = 0.001


def homeostatic_threshold(threshold: Tensor, spikes: Tensor, params: HomeostasisParams | None = None) -> Tensor:
    """Return the threshold [...] after the spikes [T, ...].

    T may be 1, to adapt at every step. Two halves with the threshold carried over give the same result as the whole.

    Raises:
        ModelError: shapes or types that do not fit, a rate outside 0 to 1, or a learning rate not above 0.
    """
    params = params or HomeostasisParams()
    check_sequence("spikes", spikes)
    check_step("threshold", threshold, "spikes", spikes)
    rate = as_parameter("rate", params.rate, "spikes", spikes)
    if not bool(((rate >= 0) & (rate <= 1)).all()):
        raise ModelError("rate must be within 0 to 1 spikes a step")
    return threshold + check_positive("learning_rate", params.learning_rate) * (spikes - rate).sum(0)
