r"""The operations of the text model over whole sequences: one autograd node each on CPU, plain torch elsewhere.

$$
\begin{aligned}
\text{neurons:}\quad & s = \mathrm{LIF}(g \odot \mathrm{RMSNorm}(x) + b) \\
\text{recurrence:}\quad & h_t = f_t h_{t-1} + (1 - f_t) v_t, \qquad y = \mathrm{RMSNorm}(h) \odot \mathrm{SiLU}(g) \\
\text{loss:}\quad    & -\log \mathrm{softmax}(x E^\top)_{target}
\end{aligned}
$$

"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.kernels import FloatArray
from brainnet.snn.layers.norm import EPSILON
from brainnet.snn.layers.recurrence import gated_scan_reference
from brainnet.snn.models import text_kernels as kernels
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence_reference
from brainnet.snn.workspace import empty

_EPSILON = np.float32(EPSILON)
_LOSS_ROWS = 512
"""Positions whose logits exist at the same time in the loss: R x V logits would be the largest array of training."""


def normalized_lif(
    x: Tensor, gain: Tensor, bias: Tensor, beta: Tensor, membrane: Tensor, spike_cost: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Run LIF neurons on RMSNorm(`x`): threshold 1, reset by subtraction, arctangent surrogate with alpha 2.

    It is differentiable in all five tensors, as if the loss also contained `spike_cost` times the number of spikes.

    Args:
        x: [T, B, C].
        gain: [N]; N is a multiple of C, and neuron i sees channel i modulo C.
        bias: [N].
        beta: the decay, [N].
        membrane: the potential before step 1, [B, N].
        spike_cost: the cost of one spike.

    Returns:
        The spikes [T, B, N] (0/1), and the potential after step T [B, N].

    Raises:
        ModelError: values that are not finite (checked on CPU).
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        currents = population_currents(x, gain, bias)
        spikes, state = lif_sequence_reference(currents, LIFState(membrane), LIFParams(beta))
        # a cost per spike adds a constant to the gradient of every spike
        if spike_cost and spikes.requires_grad:
            spikes.register_hook(lambda grad: grad + spike_cost)
        return spikes, state.membrane
    spikes, after = _NormalizedLIF.apply(x, gain, bias, beta, membrane, spike_cost)
    if not bool(torch.isfinite(after).all()):
        raise ModelError("x, gain, bias, beta or membrane hold NaN or infinity (or overflow); they must be finite")
    return spikes, after


def population_currents(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Return `gain` * RMSNorm(`x` [T, B, C]) + `bias`, [T, B, N]: the currents of N / C neurons per channel."""
    normal = F.rms_norm(x, x.shape[-1:], None, EPSILON)
    return torch.addcmul(bias.to(x), normal.repeat(1, 1, len(gain) // x.shape[-1]), gain.to(x))


def gated_recurrence(projected: Tensor, bias: Tensor, gain: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Run the gated recurrence of the text model; differentiable in all four tensors.

    Args:
        projected: [T, B, 3 C], the forget gate (before `bias` and the logistic function), the value and the output
            gate.
        bias: [C].
        gain: the scale of the normalised hidden state, [C].
        hidden: the state before step 1, [B, C].

    Returns:
        The output [T, B, C], and the last hidden state [B, C].
    """
    if projected.device.type != "cpu" or projected.dtype != torch.float32:
        forget, value, gate = projected.chunk(3, -1)
        trace, last = gated_scan_reference(torch.sigmoid(forget + bias), value, hidden)
        return F.rms_norm(trace, gain.shape, gain.to(trace), EPSILON) * F.silu(gate), last
    result, after = _GatedRecurrence.apply(projected, bias, gain, hidden)
    return result, after


def linear(x: Tensor, weight: Tensor, half: bool) -> Tensor:
    """Return `x` [..., C] times `weight`^T [C, N].

    Args:
        x: float32.
        weight: float32 [N, C].
        half: compute the product and its gradients in bfloat16, in which 0 and 1 are exact; the result is float32.
    """
    if not half:
        return F.linear(x, weight)
    result: Tensor = _BFloat16Linear.apply(x, weight)
    return result


def next_token_loss(x: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of `targets` [R] under the logits `x` [R, C] `embedding`^T [C, V].

    On CPU the logits of at most 512 positions exist at the same time.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.cross_entropy(F.linear(x, embedding.to(x)).float(), targets)
    loss: Tensor = _NextTokenLoss.apply(x, embedding, targets)
    return loss


def _run(
    kernel: Callable[..., None], inputs: Iterable[Tensor], results: Iterable[FloatArray], *constants: np.float32
) -> None:
    # the kernels index C-contiguous arrays; contiguous() copies only if needed
    kernel(*(tensor.detach().contiguous().numpy() for tensor in inputs), *constants, _EPSILON, *results)


class _NormalizedLIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, beta: Tensor, membrane: Tensor, spike_cost: float
    ) -> tuple[Tensor, Tensor]:
        spikes, after = empty(*x.shape[:2], len(gain)), empty(*membrane.shape)
        _run(kernels.neurons_forward, (x, gain, bias, beta, membrane), (spikes, after))
        ctx.save_for_backward(x, gain, bias, beta, membrane)
        ctx.spike_cost = np.float32(spike_cost)
        return torch.from_numpy(spikes), torch.from_numpy(after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *_, membrane = ctx.saved_tensors
        grad_x = empty(*x.shape)
        # gradients of parameters per stream: streams write to different rows, and torch adds them up
        per_stream = [empty(*membrane.shape) for _ in range(4)]
        _run(kernels.neurons_backward, (*grads, *ctx.saved_tensors), (grad_x, *per_stream), ctx.spike_cost)
        *parameter_grads, grad_membrane = (torch.from_numpy(part) for part in per_stream)
        return torch.from_numpy(grad_x), *(part.sum(0) for part in parameter_grads), grad_membrane, None


class _BFloat16Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        # the bfloat16 copies are saved: half the memory, and the backward pass need not convert them again
        rows, short = x.flatten(0, -2).bfloat16(), weight.bfloat16()
        ctx.save_for_backward(rows, short)
        return (rows @ short.t()).float().view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        rows, short = ctx.saved_tensors
        grad = grads[0].flatten(0, -2).bfloat16()
        return (grad @ short).float().view(*grads[0].shape[:-1], -1), (grad.t() @ rows).float()


class _GatedRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, bias: Tensor, gain: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        result, after = empty(*projected.shape[:2], len(gain)), empty(*hidden.shape)
        _run(kernels.recurrence_forward, (projected, bias, gain, hidden), (result, after))
        ctx.save_for_backward(projected, bias, gain, hidden)
        return torch.from_numpy(result), torch.from_numpy(after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        projected, _, _, hidden = ctx.saved_tensors
        grad_projected = empty(*projected.shape)
        grad_bias, grad_gain, grad_hidden = (empty(*hidden.shape) for _ in range(3))
        _run(
            kernels.recurrence_backward,
            (*grads, *ctx.saved_tensors),
            (grad_projected, grad_bias, grad_gain, grad_hidden),
        )
        return (
            torch.from_numpy(grad_projected),
            torch.from_numpy(grad_bias.sum(0)),
            torch.from_numpy(grad_gain.sum(0)),
            torch.from_numpy(grad_hidden),
        )


class _NextTokenLoss(torch.autograd.Function):
    """Cross-entropy that computes its gradients in the forward pass, so that no logits are stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
        grad_x, grad_embedding, total = torch.empty_like(x), torch.zeros_like(embedding), 0.0
        for start in range(0, len(x), _LOSS_ROWS):
            part = x[start : start + _LOSS_ROWS]
            logits = part @ embedding.t()
            chosen = targets[start : start + _LOSS_ROWS].numpy()
            total += kernels.cross_entropy(logits.numpy(), chosen, np.float32(1 / len(x)))
            if not any(ctx.needs_input_grad):
                continue
            # `logits` now hold their gradients
            torch.mm(logits, embedding, out=grad_x[start : start + _LOSS_ROWS])
            grad_embedding.addmm_(logits.t(), part)
        ctx.save_for_backward(grad_x, grad_embedding)
        return x.new_tensor(total / len(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        # the gradients of the forward pass are those of a loss gradient of 1
        grad_x, grad_embedding = ctx.saved_tensors
        return grad_x * grads[0], grad_embedding * grads[0], None
