r"""The language model's operations over whole sequences: each one autograd node on CPU, plain torch elsewhere.

.. math::
    \text{neurons:}\quad & s = \mathrm{LIF}(\mathrm{RMSNorm}(x)) \\
    \text{memory:}\quad  & h_t = f_t h_{t-1} + (1 - f_t) v_t, \qquad y = \mathrm{RMSNorm}(h) \odot \mathrm{SiLU}(g) \\
    \text{loss:}\quad    & -\log \mathrm{softmax}(x E^\top)_{target}
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
from brainnet.snn.models import language_kernels as kernels
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence_reference
from brainnet.snn.workspace import empty

_EPSILON = np.float32(EPSILON)
_ROWS = 512
"""Positions whose logits exist at the same time while a loss is computed."""


def normalised_neurons(x: Tensor, gain: Tensor, beta: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes [T, B, C] (0/1) of LIF neurons that see RMSNorm(``x`` [T, B, C]), and their membrane after step T [B, C].

    ``gain`` [C] scales the normalised input, ``beta`` [C] is the decay; threshold 1, reset by subtraction, arctangent
    surrogate with alpha 2. Differentiable in all four. Raises ModelError on CPU when values are not finite.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        normal = F.rms_norm(x, gain.shape, gain.to(x), EPSILON)
        spikes, state = lif_sequence_reference(normal, LIFState(membrane), LIFParams(beta))
        return spikes, state.membrane
    spikes, after = _Neurons.apply(x, gain, beta, membrane)
    if not bool(torch.isfinite(after).all()):
        raise ModelError("x, gain, beta or membrane hold NaN or infinity (or overflow); they must be finite")
    return spikes, after


def gated_memory(projected: Tensor, bias: Tensor, gain: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence's gated output [T, B, C] and its last hidden state [B, C].

    ``projected`` [T, B, 3 C] holds forget gate (before ``bias`` [C] and the logistic function), value and output gate;
    ``gain`` [C] scales the normalised hidden state; ``hidden`` [B, C] is the state before step 1. Differentiable in
    all four.
    """
    if projected.device.type != "cpu" or projected.dtype != torch.float32:
        forget, value, gate = projected.chunk(3, -1)
        trace, last = gated_scan_reference(torch.sigmoid(forget + bias), value, hidden)
        return F.rms_norm(trace, gain.shape, gain.to(trace), EPSILON) * F.silu(gate), last
    result, after = _Memory.apply(projected, bias, gain, hidden)
    return result, after


def next_token_loss(x: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of ``targets`` [R] under logits ``x`` [R, C] ``embedding``^T [C, V].

    On CPU the logits of no more than 512 positions exist at a time.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.cross_entropy(F.linear(x, embedding.to(x)).float(), targets)
    loss: Tensor = _Loss.apply(x, embedding, targets)
    return loss


def _run(kernel: Callable[..., None], inputs: Iterable[Tensor], results: Iterable[FloatArray]) -> None:
    kernel(*(tensor.detach().contiguous().numpy() for tensor in inputs), _EPSILON, *results)


class _Neurons(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, beta: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
        spikes, after = empty(*x.shape), empty(*membrane.shape)
        _run(kernels.neurons_forward, (x, gain, beta, membrane), (spikes, after))
        ctx.save_for_backward(x, gain, beta, membrane)
        return torch.from_numpy(spikes), torch.from_numpy(after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x, _, _, membrane = ctx.saved_tensors
        grad_x = empty(*x.shape)
        grad_gain, grad_beta, grad_membrane = (empty(*membrane.shape) for _ in range(3))
        _run(kernels.neurons_backward, (*grads, *ctx.saved_tensors), (grad_x, grad_gain, grad_beta, grad_membrane))
        return (
            torch.from_numpy(grad_x),
            torch.from_numpy(grad_gain.sum(0)),
            torch.from_numpy(grad_beta.sum(0)),
            torch.from_numpy(grad_membrane),
        )


class _Memory(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, bias: Tensor, gain: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        result, after = empty(*projected.shape[:2], len(gain)), empty(*hidden.shape)
        _run(kernels.memory_forward, (projected, bias, gain, hidden), (result, after))
        ctx.save_for_backward(projected, bias, gain, hidden)
        return torch.from_numpy(result), torch.from_numpy(after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        projected, _, _, hidden = ctx.saved_tensors
        grad_projected = empty(*projected.shape)
        grad_bias, grad_gain, grad_hidden = (empty(*hidden.shape) for _ in range(3))
        _run(kernels.memory_backward, (*grads, *ctx.saved_tensors), (grad_projected, grad_bias, grad_gain, grad_hidden))
        return (
            torch.from_numpy(grad_projected),
            torch.from_numpy(grad_bias.sum(0)),
            torch.from_numpy(grad_gain.sum(0)),
            torch.from_numpy(grad_hidden),
        )


class _Loss(torch.autograd.Function):
    """Computes its gradients on the way forward, chunk by chunk, so that no chunk's logits need be kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
        grad_x, grad_embedding, total = torch.empty_like(x), torch.zeros_like(embedding), 0.0
        for start in range(0, len(x), _ROWS):
            part = x[start : start + _ROWS]
            logits = part @ embedding.t()
            chosen = targets[start : start + _ROWS].numpy()
            total += kernels.cross_entropy(logits.numpy(), chosen, np.float32(1 / len(x)))
            if not any(ctx.needs_input_grad):
                continue
            torch.mm(logits, embedding, out=grad_x[start : start + _ROWS])
            grad_embedding.addmm_(logits.t(), part)
        ctx.save_for_backward(grad_x, grad_embedding)
        return x.new_tensor(total / len(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_x, grad_embedding = ctx.saved_tensors
        return grad_x * grads[0], grad_embedding * grads[0], None
