r"""Rate, latency and direct codes: numbers in [0, 1] as spikes over time, and back.

Every encoder takes values [...] and gives [T, ...], time first; every decoder undoes it. Values are checked on CPU, as
everywhere in this package; elsewhere the check would wait for the device. Codes for token sequences are
in :mod:`brainnet.snn.codes.tas`, for integers in :mod:`brainnet.snn.codes.spike_codes`, for event cameras in
:mod:`brainnet.snn.codes.event_frames`.

.. math::
    \text{rate:}\quad & s_t \sim \text{Bernoulli}(x), && \hat x = \tfrac1T \textstyle\sum_t s_t \\
    \text{latency:}\quad & t_1 = \operatorname{round}((1 - x)(T - 1)), && \hat x = 1 - t_1 / (T - 1) \\
    \text{charging:}\quad & t_1 = \operatorname{round}(\tau \ln\tfrac{x}{x - \theta}),
        && \hat x = \min(1, \theta / (1 - e^{-t_1 / \tau})) \\
    \text{direct:}\quad & x_t = x, && \hat x = \tfrac1T \textstyle\sum_t x_t

:math:`t_1` is the step of the only spike. The charging code is the time at which an LIF neuron with time constant
:math:`\tau` (in steps) crosses :math:`\theta` under the constant current x; it is snnTorch's default latency code
(Eshraghian et al. 2023, *Training Spiking Neural Networks Using Lessons From Deep Learning*). Direct encoding feeds the
value to the first layer as a current of every step, as spiking networks for images do (Rueckauer et al. 2017). Rounding
is to the nearest step, ties to the even one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, positive, real, sequence


def rate_encode(values: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Random spikes [T, ...] that fire at each of `steps` steps with probability `values` (0 to 1) [...].

    0 never fires and 1 always does. Raises ModelError for no steps, values outside 0 to 1, or a generator of another
    device.
    """
    _checked(values, steps)
    if generator is not None and generator.device != values.device:
        raise ModelError(f"generator is on {generator.device}, values on {values.device}; they must be together")
    # half precision has too few numbers between 0 and 1 for small rates
    precise = torch.promote_types(values.dtype, torch.float32)
    drawn = torch.rand(steps, *values.shape, dtype=precise, device=values.device, generator=generator)
    return (drawn < values).to(values.dtype)


def rate_decode(spikes: Tensor) -> Tensor:
    """The mean over time of spikes [T, ...]. Its standard error after rate encoding is sqrt(x (1 - x) / T)."""
    return sequence("spikes", spikes).mean(0)


def latency_encode(values: Tensor, steps: int) -> Tensor:
    """One spike each, [T, ...], the earlier the larger the value (0 to 1): 1 at the first step, 0 at the last.

    Needs at least two steps. Raises ModelError for fewer, or values outside 0 to 1.
    """
    _checked(values, steps)
    _two("steps", steps)
    return _one_spike(((1 - values) * (steps - 1)).round(), values, steps)


def latency_decode(spikes: Tensor) -> Tensor:
    """Values [...] from the first spike over [T, ...]; within 1 / (2 (T - 1)) of what was encoded. Silence gives 0.

    Raises ModelError for fewer than two steps.
    """
    first, silent = _first_spike(spikes)
    _two("steps of spikes", len(spikes))
    return torch.where(silent, 0.0, 1 - first / (spikes.shape[0] - 1))


def charging_encode(values: Tensor, steps: int, tau: float, threshold: float) -> Tensor:
    """One spike each, [T, ...], when a neuron charged by `values` [...] crosses `threshold`; `tau` in steps.

    Values at or below the threshold, and spikes due after the last step, stay silent. Raises ModelError for no steps,
    values outside 0 to 1, a tau not above 0, or a threshold not between 0 and 1.
    """
    _checked(values, steps)
    _charging(tau, threshold)
    crosses = values > threshold
    # no number below the threshold, where it is not used
    due = (tau * torch.log(values / (values - threshold))).round()
    return _one_spike(torch.where(crosses & (due < steps), due, steps), values, steps)


def charging_decode(spikes: Tensor, tau: float, threshold: float) -> Tensor:
    """Values [...] from the first spike over [T, ...]. A spike at step 0 gives 1, the largest value, and silence 0.

    Within m (m - threshold) / (2 tau threshold) of what was encoded, m the larger of the two: half a step times the
    slope of the code. Raises ModelError as :func:`charging_encode`.
    """
    _charging(tau, threshold)
    first, silent = _first_spike(spikes)
    value = (threshold / -torch.expm1(-first / tau)).clamp(max=1.0)
    return torch.where(silent, 0.0, value)


def direct_encode(values: Tensor, steps: int) -> Tensor:
    """Currents [T, ...] that repeat `values` [...] at every step; a view that takes no memory.

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
    fired = sequence("spikes", spikes) > 0
    return fired.to(torch.uint8).argmax(0).to(spikes.dtype), ~fired.any(0)


def _checked(values: Tensor, steps: int) -> None:
    _steps(steps)
    finite("values", real("values", values))
    # elsewhere the check would wait for the device
    if values.device.type == "cpu" and values.numel() and not bool(((values >= 0) & (values <= 1)).all()):
        raise ModelError(f"values must be within 0 to 1, got {float(values.min()):g} to {float(values.max()):g}")


def _charging(tau: float, threshold: float) -> None:
    positive("tau", tau)
    if not 0 < threshold < 1:
        raise ModelError(f"threshold must be between 0 and 1, not {threshold}: no value could cross it")


def _two(name: str, steps: int) -> None:
    if steps < 2:
        raise ModelError(f"{name} must be at least 2, got {steps}: one step cannot tell early from late")


def _steps(steps: int) -> None:
    if steps < 1:
        raise ModelError(f"steps must be at least 1, got {steps}")
