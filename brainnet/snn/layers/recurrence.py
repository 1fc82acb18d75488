r"""Gated linear recurrence over a whole sequence.

$$
h_t = f_t \odot h_{t-1} + (1 - f_t) \odot v_t
$$

The element-wise form of linear attention with data-dependent decay (HGRN, Qin et al. 2023; minGRU, Feng et al. 2024):
the state is one number per channel, whatever the length of the sequence.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from brainnet.errors import ModelError
from brainnet.snn import kernels
from brainnet.snn.checks import check_finite, check_float, check_step


def gated_scan(forget: Tensor, value: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run the recurrence over a sequence; differentiable in all three tensors.

    float32 on CPU runs in a compiled kernel, everything else in a torch loop. Two halves with the state carried over
    give the same result as the whole sequence.

    Args:
        forget: the forget gates [T, ...], 0..1.
        value: [T, ...].
        state: the hidden state before the first step; None for zero.

    Returns:
        The hidden states [T, ...], and the last of them.

    Raises:
        ModelError: no step, shapes, types or devices that do not fit, and (on CPU) values that are not finite.
    """
    initial = _initial_state(forget, value, state)
    if forget.device.type != "cpu" or forget.dtype != torch.float32:
        return gated_scan_reference(forget, value, initial)
    steps = forget.shape[0]
    hidden, last = _GatedScan.apply(forget.reshape(steps, -1), value.reshape(steps, -1), initial.reshape(-1))
    return hidden.view(forget.shape), check_finite("forget, value and state", last.view(forget.shape[1:]))


def gated_scan_reference(forget: Tensor, value: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run `gated_scan` as a torch loop: for any device and type, and as the reference for the compiled kernel.

    Raises:
        ModelError: as `gated_scan`.
    """
    hidden = _initial_state(forget, value, state)
    trace = []
    for f, v in zip(forget.unbind(0), value.unbind(0), strict=True):
        hidden = f * hidden + (1 - f) * v
        trace.append(hidden)
    return torch.stack(trace), check_finite("forget, value and state", hidden)


def _initial_state(forget: Tensor, value: Tensor, state: Tensor | None) -> Tensor:
    """Return the initial hidden state after checking shapes and types.

    Values are not checked here: NaN and infinity never decay, so they show in the last hidden state.
    """
    if check_float("forget", forget).ndim < 1 or not forget.shape[0]:
        raise ModelError(f"forget must be [steps, ...] with at least one step, not of shape {tuple(forget.shape)}")
    if (value.shape, value.dtype, value.device) != (forget.shape, forget.dtype, forget.device):
        raise ModelError(
            f"forget is {forget.dtype} {tuple(forget.shape)} on {forget.device}, "
            f"value {value.dtype} {tuple(value.shape)} on {value.device}; they must agree"
        )
    return torch.zeros_like(forget[0]) if state is None else check_step("state", state, "forget", forget)


class _GatedScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forget: Tensor, value: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        forget, value, state = forget.contiguous(), value.contiguous(), state.contiguous()
        hidden = torch.empty_like(forget)
        kernels.scan_forward(forget.detach().numpy(), value.detach().numpy(), state.detach().numpy(), hidden.numpy())
        ctx.save_for_backward(forget, value, state, hidden)
        return hidden, hidden[-1].clone()

    @staticmethod
    @once_differentiable
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
