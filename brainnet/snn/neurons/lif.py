r"""Leaky integrate-and-fire neurons over a whole sequence, as one pure function.

$$
\begin{aligned}
\text{subtract:}\quad u_t &= \beta u_{t-1} + x_t - \theta s_{t-1} \\
\text{zero:}\quad     u_t &= \beta (1 - s_{t-1}) u_{t-1} + x_t \\
\text{none:}\quad     u_t &= \beta u_{t-1} + x_t \\
s_t &= 1 \text{ if } u_t > \theta \text{ else } 0
\end{aligned}
$$

This is `snntorch.Leaky` (Eshraghian et al. 2023, *Training Spiking Neural Networks Using Lessons From Deep
Learning*): same spikes, same gradients. Backward replaces the derivative of the step by the arctangent surrogate of
`brainnet.snn.neurons.surrogate` at $u - \theta$ and sends no gradient through the reset.

On CPU in float32 the sequence runs in compiled kernels inside one autograd node; on other devices and dtypes it runs
`lif_sequence_reference`, step by step in torch.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from brainnet.errors import ModelError
from brainnet.snn import kernels
from brainnet.snn.checks import check_number, check_positive
from brainnet.snn.neurons.surrogate import arctan_spike
from brainnet.snn.workspace import empty, parallel_over_columns

Reset = Literal["subtract", "zero", "none"]


class LIFParams(NamedTuple):
    """Constants of the neurons.

    Attributes:
        beta: decay per step, 0..1; broadcasts against one step of the currents.
        threshold: theta.
        reset: how a spike changes the membrane potential.
        alpha: steepness of the surrogate gradient.
    """

    beta: Tensor
    threshold: float = 1.0
    reset: Reset = "subtract"
    alpha: float = 2.0


class LIFState(NamedTuple):
    """The membrane potential after the last step, of the shape of one step."""

    membrane: Tensor


def lif_sequence(currents: Tensor, state: LIFState | None, params: LIFParams) -> tuple[Tensor, LIFState]:
    """Return the spikes [T, ...] (0/1, same type) of neurons under `currents` [T, ...], and the state after step T.

    Two halves with the state carried over give the same result as the whole. It is differentiable in currents, initial
    membrane and beta. Uses torch's number of threads.

    Args:
        currents: [T, ...].
        state: the state before the first step; None for rest (zero).
        params: the constants.

    Raises:
        ModelError: an empty sequence, shapes, types or devices that do not fit, an unknown reset, constants out of
            range, and (on CPU) values that are not finite.
    """
    membrane, beta = _check_arguments(currents, state, params)
    if currents.device.type != "cpu" or currents.dtype != torch.float32:
        return lif_sequence_reference(currents, state, params)
    # the kernels see columns: neurons do not interact, so all axes but time are one
    flat = (currents.reshape(currents.shape[0], -1), membrane.reshape(-1), beta.reshape(-1))
    # without gradients autograd is skipped: it would save all inputs
    if torch.is_grad_enabled() and any(part.requires_grad for part in flat):
        spikes, last = _LIFSequence.apply(*flat, params.threshold, params.reset, params.alpha)
    else:
        spikes, last = _integrate(*flat, params.threshold, params.reset)
    return spikes.view(currents.shape), LIFState(_check_membrane(last.view(currents.shape[1:])))


def lif_sequence_reference(currents: Tensor, state: LIFState | None, params: LIFParams) -> tuple[Tensor, LIFState]:
    """Run `lif_sequence` as a torch loop: for any device and type, and as the reference for the compiled kernels.

    Raises:
        ModelError: as `lif_sequence`.
    """
    return _loop(currents, state, params, None)


def recurrent_lif_sequence(
    currents: Tensor, state: LIFState | None, params: LIFParams, recurrent: Callable[[Tensor], Tensor]
) -> tuple[Tensor, LIFState]:
    """Return spikes and state of neurons that also receive each other's previous spikes, as `snntorch.RLeaky`.

    Adds $R(s_{t-1})$ to the current of every step. The spikes before step 1 are those of the initial membrane
    potential. Gradients flow through R. It is a torch loop on every device.

    With reset to zero the spikes are those of an RLeaky with `reset_delay=False`; with the delay, RLeaky also loses the
    input of the step after a spike.

    Args:
        currents: [T, ...].
        state: the state before the first step; None for rest (zero).
        params: the constants.
        recurrent: R, a map from the spikes of one step to currents of the same shape.

    Raises:
        ModelError: as `lif_sequence`.
    """
    return _loop(currents, state, params, recurrent)


def _loop(
    currents: Tensor, state: LIFState | None, params: LIFParams, recurrent: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, LIFState]:
    membrane, beta = _check_arguments(currents, state, params)
    # the spike before step 1 follows from the initial potential; it causes a reset, but has no gradient
    spike = (membrane > params.threshold).to(membrane.dtype)
    spikes = []
    # unbind: the backward pass of currents[t] allocates a full gradient per step, which is quadratic in T
    for current in currents.unbind(0):
        # detached, because the reset carries no gradient; the recurrence below uses `spike` itself
        fired = spike.detach()
        if params.reset == "zero":
            membrane = (1 - fired) * membrane
        membrane = beta * membrane + current
        if recurrent is not None:
            membrane = membrane + recurrent(spike)
        # subtracted last, in the order of the compiled kernel: float addition depends on it
        if params.reset == "subtract":
            membrane = membrane - fired * params.threshold
        spike = arctan_spike(membrane - params.threshold, params.alpha)
        spikes.append(spike)
    return torch.stack(spikes), LIFState(_check_membrane(membrane))


class LIF(nn.Module):
    """A layer with a learned decay: beta = sigmoid(`decay`), which broadcasts against one step."""

    def __init__(self, decay: Tensor) -> None:
        super().__init__()
        self.decay = nn.Parameter(decay)

    def forward(self, currents: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        """Return spikes and state as `lif_sequence`."""
        return lif_sequence(currents, state, LIFParams(torch.sigmoid(self.decay)))


def _check_membrane(membrane: Tensor) -> Tensor:
    """Return the last membrane potential after checking that it is finite (on CPU).

    NaN and infinity never decay, so those of any step still show in the last potential.
    """
    if membrane.device.type == "cpu":  # elsewhere the check would wait for the device
        # numpy is three times faster than torch here, but has no bfloat16
        values = membrane.detach().float() if membrane.dtype == torch.bfloat16 else membrane.detach()
        if not np.isfinite(values.numpy()).all():
            raise ModelError("currents, state or beta hold NaN or infinity (or overflow); they must be finite")
    return membrane


def _check_arguments(currents: Tensor, state: LIFState | None, params: LIFParams) -> tuple[Tensor, Tensor]:
    if currents.ndim < 2 or currents.shape[0] == 0:
        raise ModelError(f"currents must be [steps, ...] with at least one step, not of shape {tuple(currents.shape)}")
    if params.reset not in ("subtract", "zero", "none"):
        raise ModelError(f"reset must be 'subtract', 'zero' or 'none', not {params.reset!r}")
    if not currents.dtype.is_floating_point:
        raise ModelError(f"currents must be of a floating-point type, not {currents.dtype}")
    check_number("threshold", params.threshold)
    check_positive("alpha", params.alpha)
    step = currents.shape[1:]
    membrane = currents.new_zeros(step) if state is None else state.membrane
    if membrane.shape != step:
        raise ModelError(f"state is of shape {tuple(membrane.shape)}, one step of the currents of {tuple(step)}")
    if membrane.dtype != currents.dtype:
        raise ModelError(f"state is of type {membrane.dtype}, currents of {currents.dtype}; they must agree")
    for name, tensor in (("state", membrane), ("beta", params.beta)):
        if tensor.device != currents.device and tensor.ndim:  # a scalar tensor may be on any device
            raise ModelError(f"{name} is on {tensor.device}, currents on {currents.device}; they must be together")
    try:
        return membrane, params.beta.to(currents).expand(step)
    except RuntimeError:
        raise ModelError(
            f"beta is of shape {tuple(params.beta.shape)}, which does not broadcast against one step {tuple(step)}"
        ) from None


def _integrate(
    currents: Tensor, membrane: Tensor, beta: Tensor, threshold: float, reset: Reset
) -> tuple[Tensor, Tensor]:
    """Return the spikes [T, M] and the last membrane potential [M] of currents [T, M], without autograd."""
    parts = [part.detach().contiguous().numpy() for part in (currents, membrane, beta)]
    # `empty` reuses memory: the page faults of new arrays would cost more than the kernel
    spikes, last = empty(*currents.shape), empty(*membrane.shape)
    parallel_over_columns(
        kernels.lif_forward,
        torch.get_num_threads(),
        *currents.shape,
        *parts,
        *_reset_constants(threshold, reset),
        spikes,
        last,
    )
    return torch.from_numpy(spikes), torch.from_numpy(last)


def _reset_constants(threshold: float, reset: Reset) -> tuple[np.float32, np.float32, np.float32]:
    """Return the reset as the kernels need it: threshold, what a spike subtracts, and whether it resets to 0."""
    return np.float32(threshold), np.float32(threshold if reset == "subtract" else 0.0), np.float32(reset == "zero")


class _LIFSequence(torch.autograd.Function):
    """The compiled sequence over [T, M]; returns the spikes and the last membrane potential [M]."""

    @staticmethod
    def forward(
        ctx: Any, currents: Tensor, membrane: Tensor, beta: Tensor, threshold: float, reset: Reset, alpha: float
    ) -> tuple[Tensor, Tensor]:
        ctx.constants = (*_reset_constants(threshold, reset), np.float32(alpha))
        # inputs only: the backward kernel recomputes the potentials
        ctx.save_for_backward(currents, membrane, beta)
        return _integrate(currents, membrane, beta, threshold, reset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        currents, membrane, beta = (part.detach().contiguous() for part in ctx.saved_tensors)
        # the gradient of a fixed beta would cost one more loop per step
        beta_learns = ctx.needs_input_grad[2]
        grad_currents, grad_membrane = empty(*currents.shape), torch.empty_like(membrane)
        grad_beta = torch.zeros_like(beta)
        parallel_over_columns(
            kernels.lif_backward,
            torch.get_num_threads(),
            *currents.shape,
            grads[0].contiguous().numpy(),
            grads[1].contiguous().numpy(),
            currents.numpy(),
            membrane.numpy(),
            beta.numpy(),
            *ctx.constants,
            beta_learns,
            grad_currents,
            grad_membrane.numpy(),
            grad_beta.numpy(),
        )
        return torch.from_numpy(grad_currents), grad_membrane, grad_beta if beta_learns else None, None, None, None
