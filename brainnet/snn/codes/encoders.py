r"""Rate, latency and direct codes: numbers in [0, 1] as spikes over time, and back.

Every encoder maps values [...] to [T, ...], time first; every decoder inverts it. Values are checked on CPU only, as
everywhere in this package: elsewhere the check would wait for the device. Codes for token sequences are
in `brainnet.snn.codes.tas`, for integers in `brainnet.snn.codes.spike_codes`, for event cameras in
`brainnet.snn.codes.event_frames`.

$$
\begin{aligned}
\text{rate:}\quad & s_t \sim \text{Bernoulli}(x), && \hat x = \tfrac1T \textstyle\sum_t s_t \\
\text{latency:}\quad & t_1 = \operatorname{round}((1 - x)(T - 1)), && \hat x = 1 - t_1 / (T - 1) \\
\text{charging:}\quad & t_1 = \operatorname{round}(\tau \ln\tfrac{x}{x - \theta}),
&& \hat x = \min(1, \theta / (1 - e^{-t_1 / \tau})) \\
\text{direct:}\quad & x_t = x, && \hat x = \tfrac1T \textstyle\sum_t x_t
\end{aligned}
$$

$t_1$ is the step of the only spike. The charging code is the time at which an LIF neuron with time constant
$\tau$ (in steps) crosses $\theta$ under the constant current x; it is snnTorch's default latency code
(Eshraghian et al. 2023, *Training Spiking Neural Networks Using Lessons From Deep Learning*). Direct encoding feeds the
value to the first layer as a current of every step, as spiking networks for images do (Rueckauer et al. 2017). Rounding
is to the nearest step, ties to the even one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import check_finite, check_float, check_positive, check_sequence


def rate_encode(values: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Return random spikes [T, ...] that fire at each step with probability `values` [...].

    0 never fires and 1 always does.

    Args:
        values: probabilities in 0 to 1.
        steps: T.
        generator: the random generator; None uses torch's default.

    Raises:
        ModelError: no steps, values outside 0 to 1, or a generator on another device.
    """
    _check_values(values, steps)
    if generator is not None and generator.device != values.device:
        raise ModelError(f"generator is on {generator.device}, values on {values.device}; they must be together")
    # half precision has too few numbers between 0 and 1 to draw small rates correctly
    precise = torch.promote_types(values.dtype, torch.float32)
    drawn = torch.rand(steps, *values.shape, dtype=precise, device=values.device, generator=generator)
    return (drawn < values).to(values.dtype)


def rate_decode(spikes: Tensor) -> Tensor:
    """Return the mean over time of spikes [T, ...].

    After rate encoding its standard error is sqrt(x (1 - x) / T).
    """
    return check_sequence("spikes", spikes).mean(0)


def latency_encode(values: Tensor, steps: int) -> Tensor:
    """Return one spike per value (0 to 1), [T, ...]: at the first step for 1, at the last step for 0.

    Raises:
        ModelError: fewer than two steps, or values outside 0 to 1.
    """
    _check_values(values, steps)
    _check_two_steps("steps", steps)
    return _one_spike(((1 - values) * (steps - 1)).round(), values, steps)


def latency_decode(spikes: Tensor) -> Tensor:
    """Return the values [...] of latency-coded spikes [T, ...]; 0 where there is no spike.

    The result is within 1 / (2 (T - 1)) of the encoded value.

    Raises:
        ModelError: fewer than two steps.
    """
    first, silent = _first_spike(spikes)
    _check_two_steps("steps of spikes", len(spikes))
    return torch.where(silent, 0.0, 1 - first / (spikes.shape[0] - 1))


def charging_encode(values: Tensor, steps: int, tau: float, threshold: float) -> Tensor:
    """Return one spike per value, [T, ...], when a neuron charged by it crosses `threshold`.

    Values at or below the threshold give no spike, nor do spikes that are due after the last step.

    Args:
        values: constant currents [...] in 0 to 1.
        steps: T.
        tau: the membrane time constant in steps.
        threshold: the firing threshold, between 0 and 1.

    Raises:
        ModelError: no steps, values outside 0 to 1, a tau not above 0, or a threshold not between 0 and 1.
    """
    _check_values(values, steps)
    _check_charging(tau, threshold)
    crosses = values > threshold
    # NaN below the threshold; torch.where below does not use those values
    due = (tau * torch.log(values / (values - threshold))).round()
    return _one_spike(torch.where(crosses & (due < steps), due, steps), values, steps)


def charging_decode(spikes: Tensor, tau: float, threshold: float) -> Tensor:
    """Return the values [...] of charging-coded spikes [T, ...]; 0 where there is no spike.

    A spike at step 0 gives 1, the largest value. With m the larger of the encoded and the decoded value, the error is
    at most m (m - threshold) / (2 tau threshold): half a step times the slope of the code.

    Raises:
        ModelError: no step, a tau not above 0, or a threshold not between 0 and 1.
    """
    _check_charging(tau, threshold)
    first, silent = _first_spike(spikes)
    # expm1 keeps its digits for early spikes, where exp(-t / tau) is close to 1
    value = (threshold / -torch.expm1(-first / tau)).clamp(max=1.0)
    return torch.where(silent, 0.0, value)


def direct_encode(values: Tensor, steps: int) -> Tensor:
    """Return currents [T, ...] that repeat `values` [...] at every step, as a view that takes no memory.

    Raises:
        ModelError: no steps, or values that are not finite.
    """
    _check_steps(steps)
    return check_finite("values", check_float("values", values)).expand(steps, *values.shape)


def direct_decode(currents: Tensor) -> Tensor:
    """Return the mean over time of currents [T, ...]."""
    return check_sequence("currents", currents).mean(0)


def _one_spike(step: Tensor, values: Tensor, steps: int) -> Tensor:
    """Return spikes [T, ...] at the given step of each value; none for a step after the last."""
    times = torch.arange(steps, device=values.device).view(-1, *[1] * values.ndim)
    # a comparison instead of scatter_: steps past the last match nothing, so they need no special case
    return (times == step.long()).to(values.dtype)


def _first_spike(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the step of the first spike of [T, ...], in the type of the spikes, and where there is no spike."""
    fired = check_sequence("spikes", spikes) > 0
    # argmax returns the first maximum, but is not defined for bool
    return fired.to(torch.uint8).argmax(0).to(spikes.dtype), ~fired.any(0)


def _check_values(values: Tensor, steps: int) -> None:
    _check_steps(steps)
    check_finite("values", check_float("values", values))
    # elsewhere the check would wait for the device
    if values.device.type == "cpu" and values.numel() and not bool(((values >= 0) & (values <= 1)).all()):
        raise ModelError(f"values must be within 0 to 1, got {float(values.min()):g} to {float(values.max()):g}")


def _check_charging(tau: float, threshold: float) -> None:
    check_positive("tau", tau)
    if not 0 < threshold < 1:
        raise ModelError(f"threshold must be between 0 and 1, not {threshold}: no value could cross it")


def _check_two_steps(name: str, steps: int) -> None:
    if steps < 2:
        raise ModelError(f"{name} must be at least 2, got {steps}: one step cannot tell early from late")


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ModelError(f"steps must be at least 1, got {steps}")
