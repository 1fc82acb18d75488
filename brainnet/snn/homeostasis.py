r"""Homeostatic thresholds: a neuron that fires too often becomes harder to excite, until it fires at its target rate.

.. math::
    \theta \leftarrow \theta + \eta\,(s - r)

s is the spike of the step (0/1) and r the target, in spikes a step: at rest :math:`\langle s \rangle = r`. Source:
intrinsic plasticity of Lazar, Pipa and Triesch 2009, *SORN: a self-organizing recurrent neural network*, Frontiers in
Computational Neuroscience 3:23, equation 7.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import parameter, positive, sequence


class HomeostasisParams(NamedTuple):
    """The target ``rate`` r in spikes a step (0..1; a number or a tensor that broadcasts against the threshold) and
    the learning rate eta in units of the threshold. Values of Lazar et al. 2009."""

    rate: Tensor | float = 0.1
    learning_rate: float = 0.001


def homeostatic_threshold(threshold: Tensor, spikes: Tensor, params: HomeostasisParams | None = None) -> Tensor:
    """The threshold [...] after spikes [T, ...] fired under it; T may be 1, to adapt at every step.

    Raises ModelError, naming the argument, for shapes and types that do not fit, a rate outside 0 to 1 or a learning
    rate that is not above 0.
    """
    params = params or HomeostasisParams()
    sequence("spikes", spikes)
    if (threshold.shape, threshold.dtype, threshold.device) != (spikes.shape[1:], spikes.dtype, spikes.device):
        raise ModelError(
            f"threshold is {threshold.dtype} {tuple(threshold.shape)} on {threshold.device}; one step of spikes is "
            f"{spikes.dtype} {tuple(spikes.shape[1:])} on {spikes.device}"
        )
    rate = parameter("rate", params.rate, "spikes", spikes)
    if not bool(((rate >= 0) & (rate <= 1)).all()):
        raise ModelError("rate must be within 0 to 1 spikes a step")
    return threshold + positive("learning_rate", params.learning_rate) * (spikes - rate).sum(0)
