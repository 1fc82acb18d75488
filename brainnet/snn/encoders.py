r"""Rate, latency and direct codes: numbers in [0, 1] as spikes over time, and back.

Every encoder takes values [...] and gives [T, ...], time first; every decoder undoes it. Codes for token sequences are
in :mod:`brainnet.snn.tas`, for integers in :mod:`brainnet.snn.spike_codes`, for event cameras in
:mod:`brainnet.snn.event_frames`.

.. math::
    \text{rate:}\quad & s_t \sim \text{Bernoulli}(x), && \hat x = \tfrac1T \textstyle\sum_t s_t \\
    \text{latency:}\quad & t_1 = \operatorname{round}((1 - x)(T - 1)), && \hat x = 1 - t_1 / (T - 1) \\
    \text{charging:}\quad & t_1 = \operatorname{round}(\tau \ln\tfrac{x}{x - \theta}),
        && \hat x = \theta / (1 - e^{-t_1 / \tau}) \\
    \text{direct:}\quad & x_t = x, && \hat x = \tfrac1T \textstyle\sum_t x_t

:math:`t_1` is the step of the only spike. The charging code is the time at which an LIF neuron with time constant
:math:`\tau` crosses :math:`\theta` under the constant current x; it is snnTorch's default latency code (Eshraghian et
al. 2023, *Training Spiking Neural Networks Using Lessons From Deep Learning*). Direct encoding feeds the value to the
first layer as a current of every step, as spiking networks for images do (Rueckauer et al. 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, positive, real, sequence


def rate_encode(values: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Random spikes [T, ...] that fire at each of ``steps`` steps with probability ``values`` (0 to 1) [...].

    0 never fires and 1 always does. Raises ModelError for no steps, or values outside 0 to 1.
    """
    _checked(values, steps)
    drawn = torch.rand(steps, *values.shape, dtype=values.dtype, device=values.device, generator=generator)
    return (drawn < values).to(values.dtype)


def rate_decode(spikes: Tensor) -> Tensor:
    """The mean over time of spikes [T, ...]. Its standard error after rate encoding is sqrt(x (1 - x) / T)."""
    return sequence("spikes", spikes).mean(0)


def latency_encode(values: Tensor, steps: int) -> Tensor:
    """One spike each, [T, ...], the earlier the larger the value (0 to 1): 1 at the first step, 0 at the last.

    Needs at least two steps. Raises ModelError for fewer, or values outside 0 to 1.
    """
    _checked(values, steps, least=2)
    return _one_spike(((1 - values) * (steps - 1)).round(), values, steps)


def latency_decode(spikes: Tensor) -> Tensor:
    """Values [...] from the first spike over [T, ...]; within 1 / (2 (T - 1)) of what was encoded. Silence gives 0."""
    first, silent = _first_spike(spikes)
    return torch.where(silent, 0.0, 1 - first / (spikes.shape[0] - 1))


def charging_encode(values: Tensor, steps: int, tau: float, threshold: float) -> Tensor:
    """One spike each, [T, ...], when a neuron charged by ``values`` [...] crosses ``threshold``; ``tau`` in steps.

    Values at or below the threshold, and spikes due after the last step, stay silent. Raises ModelError for no steps,
    values outside 0 to 1, or a tau or threshold that is not above 0.
    """
    _checked(values, steps)
    positive("tau", tau)
    positive("threshold", threshold)
    crosses = values > threshold
    # the safe value keeps the logarithm finite where it is not used
    safe = torch.where(crosses, values, 2 * threshold)
    due = (tau * torch.log(safe / (safe - threshold))).round()
    return _one_spike(torch.where(crosses & (due < steps), due, steps), values, steps)


def charging_decode(spikes: Tensor, tau: float, threshold: float) -> Tensor:
    """Values [...] from the first spike over [T, ...]. A spike at step 0 gives 1, the largest value, and silence 0."""
    positive("tau", tau)
    positive("threshold", threshold)
    first, silent = _first_spike(spikes)
    value = (threshold / -torch.expm1(-first / tau)).clamp(max=1.0)
    return torch.where(silent, 0.0, value)


def direct_encode(values: Tensor, steps: int) -> Tensor:
    """Currents [T, ...] that repeat ``values`` [...] at every step; a view that takes no memory.

    Values may be any finite numbers. Raises ModelError for no steps.
    """
    _steps(steps)
    return finite("values", real("values", values)).expand(steps, *values.shape)


def direct_decode(currents: Tensor) -> Tensor:
    """The mean over time of currents [T, ...]."""
    return sequence("currents", currents).mean(0)


def _one_spike(step: Tensor, values: Tensor, steps: int) -> Tensor:
    """Spikes [T, ...] at the given step of each value; nowhere for a step past the last."""
    times = torch.arange(steps, device=values.device).view(-1, *[1] * values.ndim)
    return (times == step.long()).to(values.dtype)


def _first_spike(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """The step of the first spike of [T, ...], in its own type, and where there is none at all."""
    if sequence("spikes", spikes).shape[0] < 2:
        raise ModelError("spikes must have at least 2 steps: with one step no latency can be told")
    fired = spikes > 0
    return fired.to(torch.uint8).argmax(0).to(spikes.dtype), ~fired.any(0)


def _checked(values: Tensor, steps: int, least: int = 1) -> None:
    _steps(steps, least)
    finite("values", real("values", values))
    if values.numel() and not bool(((values >= 0) & (values <= 1)).all()):
        raise ModelError(f"values must be within 0 to 1, got {float(values.min()):g} to {float(values.max()):g}")


def _steps(steps: int, least: int = 1) -> None:
    if steps < least:
        raise ModelError(f"steps must be at least {least}, got {steps}")
