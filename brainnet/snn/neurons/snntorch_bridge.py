"""Conversion between snnTorch's `Leaky` and the LIF sequence of this package: same spikes, same gradients.

A model that is defined and trained with `snntorch.Leaky` runs here, and the other way round. Spikes are equal bit by
bit in float32; with other types, snnTorch still keeps spikes and threshold in float32.
"""

from __future__ import annotations

from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import check_float, check_number, check_positive
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence
from brainnet.snn.neurons.surrogate import arctan_spike

# the points at which the surrogate of a Leaky is compared with the arctangent, in potential above threshold
_PROBES = (-5.0, -1.0, -0.3, -0.05, 0.05, 0.3, 1.0, 5.0)


class LeakySequence(nn.Module):
    """Run a `snntorch.Leaky` over whole sequences: forward takes currents [T, ...] and a state or None.

    The Leaky still owns its parameters, so an optimiser that holds them continues to train it.

    Raises:
        ModelError: as `from_leaky` at construction, and as `brainnet.snn.neurons.lif.lif_sequence` in a call.
    """

    def __init__(self, leaky: snntorch.Leaky) -> None:
        super().__init__()
        self.alpha = from_leaky(leaky).alpha
        self.leaky = leaky

    def forward(self, currents: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """Return spikes and state as `lif_sequence`."""
        return lif_sequence(currents, state, _read(self.leaky, self.alpha))


def from_leaky(leaky: snntorch.Leaky) -> LIFParams:
    """Return the present constants of a `snntorch.Leaky`; beta stays attached to its parameter.

    The state is the same in both: `LIFState(mem)`.

    Raises:
        ModelError: naming the setting that this neuron does not have (another surrogate than ATan, inhibition,
            quantised state, graded spikes, a learned or a per-neuron threshold, reset in the step of the spike).
    """
    if not isinstance(leaky, snntorch.Leaky):
        raise ModelError(f"leaky must be a snntorch.Leaky, not {type(leaky).__name__}")
    unsupported = {
        "inhibition": bool(leaky.inhibition),
        "state_quant": bool(leaky.state_quant),
        "graded_spikes_factor": not bool((leaky.graded_spikes_factor == 1).all()),
        "learn_graded_spikes_factor": leaky.graded_spikes_factor.requires_grad,
        "learn_threshold": leaky.threshold.requires_grad,
        "one threshold a neuron": leaky.threshold.unique().numel() != 1,
        "surrogate_disable": bool(leaky.surrogate_disable),
        "reset_delay=False": not leaky.reset_delay,
    }
    for setting, used in unsupported.items():
        if used:
            raise ModelError(f"leaky uses {setting}, which the LIF sequence does not have; build it without")
    return _read(leaky, _steepness(leaky.spike_grad))


def to_leaky(params: LIFParams, *, learn_beta: bool = False, init_hidden: bool = False) -> snntorch.Leaky:
    """Return a `snntorch.Leaky` with these constants, a copy of beta, and snnTorch's defaults otherwise.

    snnTorch stores every neuron in a list of the class, where only those with `init_hidden` are needed; others are
    removed from it here, so that they can be freed.

    Raises:
        ModelError: beta is not of a floating-point type within 0 to 1, the threshold not finite, alpha not above 0, or
            the reset unknown.
    """
    if params.reset not in snntorch.SpikingNeuron.reset_dict:
        raise ModelError(f"reset must be 'subtract', 'zero' or 'none', not {params.reset!r}")
    beta = check_float("beta", params.beta).detach().clone()
    if not bool(((beta >= 0) & (beta <= 1)).all()):
        raise ModelError("beta must be within 0 to 1: snnTorch clamps it to that range")
    leaky = snntorch.Leaky(
        beta=beta,
        threshold=check_number("threshold", params.threshold),
        reset_mechanism=params.reset,
        spike_grad=snntorch.surrogate.atan(alpha=check_positive("alpha", params.alpha)),
        learn_beta=learn_beta,
        init_hidden=init_hidden,
    )
    if not init_hidden and snntorch.SpikingNeuron.instances and snntorch.SpikingNeuron.instances[-1] is leaky:
        snntorch.SpikingNeuron.instances.pop()
    return leaky


def _read(leaky: snntorch.Leaky, alpha: float) -> LIFParams:
    threshold = float(leaky.threshold.reshape(-1)[0])
    return LIFParams(leaky.beta.clamp(0, 1), threshold, leaky.reset_mechanism, alpha)


def _steepness(surrogate: Any) -> float:
    """Return the alpha of a surrogate gradient, from its derivative at 0, which is alpha / 2 for an arctangent.

    Raises:
        ModelError: its derivatives elsewhere are not those of the arctangent.
    """
    alpha = 2 * float(_derivative(surrogate, torch.zeros(1)))
    probes = torch.tensor(_PROBES)
    ours = _derivative(lambda over: arctan_spike(over, alpha), probes)
    if not (alpha > 0 and torch.allclose(_derivative(surrogate, probes), ours, rtol=1e-4, atol=0)):
        raise ModelError("leaky has a surrogate gradient other than snntorch.surrogate.atan; build it with that one")
    return alpha


def _derivative(function: Any, points: Tensor) -> Tensor:
    with torch.enable_grad():
        at = points.clone().requires_grad_()
        spikes = function(at)
        # without a surrogate the result has no graph: the derivative is 0
        return torch.autograd.grad(spikes.sum(), at)[0] if spikes.requires_grad else torch.zeros_like(points)
