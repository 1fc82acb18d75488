r"""Gated linear recurrence over a whole sequence.

.. math:: h_t = f_t \odot h_{t-1} + (1 - f_t) \odot v_t

The element-wise form of linear attention with data-dependent decay (HGRN, Qin et al. 2023; minGRU, Feng et al. 2024):
the state is one number per channel, whatever the length of the sequence.
"""

from typing import Any

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn import kernels


def gated_scan(forget: Tensor, value: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Hidden states [T, ...] and the last of them, for gates ``forget`` (0..1) and ``value``, both [T, ...].

    ``state`` None starts from zero. Differentiable in all three. float32 on CPU is compiled; the rest is a torch loop.
    """
    if forget.shape != value.shape:
        raise ModelError(f"forget is of shape {tuple(forget.shape)}, value of {tuple(value.shape)}")
    initial = forget.new_zeros(forget.shape[1:]) if state is None else state
    if forget.device.type != "cpu" or forget.dtype != torch.float32:
        return gated_scan_reference(forget, value, initial)
    steps = forget.shape[0]
    hidden, last = _GatedScan.apply(forget.reshape(steps, -1), value.reshape(steps, -1), initial.reshape(-1))
    return hidden.view(forget.shape), last.view(forget.shape[1:])


def gated_scan_reference(forget: Tensor, value: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same function written as a torch loop: any device and dtype, and the check on the compiled one."""
    hidden = forget.new_zeros(forget.shape[1:]) if state is None else state
    trace = []
    for f, v in zip(forget.unbind(0), value.unbind(0), strict=True):
        hidden = f * hidden + (1 - f) * v
        trace.append(hidden)
    return torch.stack(trace), hidden


class _GatedScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forget: Tensor, value: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        forget, value, state = forget.contiguous(), value.contiguous(), state.contiguous()
        hidden = torch.empty_like(forget)
        kernels.scan_forward(forget.detach().numpy(), value.detach().numpy(), state.detach().numpy(), hidden.numpy())
        ctx.save_for_backward(forget, value, state, hidden)
        return hidden, hidden[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        forget, value, state, hidden = ctx.saved_tensors
        grad_forget, grad_value, grad_state = (torch.empty_like(x) for x in (forget, value, state))
        kernels.scan_backward(
            grads[0].contiguous().numpy(),
            grads[1].contiguous().numpy(),
            forget.detach().numpy(),
            value.detach().numpy(),
            state.detach().numpy(),
            hidden.detach().numpy(),
            grad_forget.numpy(),
            grad_value.numpy(),
            grad_state.numpy(),
        )
        return grad_forget, grad_value, grad_state
