r"""Root-mean-square normalisation over the last axis (Zhang and Sennrich 2019), as one compiled operation on CPU.

.. math:: y = \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}} \odot g
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.snn import kernels

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Normalise the last axis, of ``width``, to root mean square 1 and scale by a learned gain; float32 out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype == torch.float64:
            return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, EPSILON)
        result: Tensor = _RMSNorm.apply(x.float().reshape(-1, x.shape[-1]), self.weight)
        return result.view(x.shape)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        x = x.contiguous()
        result, scale = torch.empty_like(x), x.new_empty(len(x))
        kernels.norm_forward(x.detach().numpy(), gain.detach().numpy(), EPSILON, result.numpy(), scale.numpy())
        ctx.save_for_backward(x, gain, scale)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, gain, scale = ctx.saved_tensors
        grad_x, grad_gain = torch.empty_like(x), torch.zeros_like(gain)
        kernels.norm_backward(
            grads[0].contiguous().numpy(),
            x.detach().numpy(),
            gain.detach().numpy(),
            scale.numpy(),
            grad_x.numpy(),
            grad_gain.numpy(),
        )
        return grad_x, grad_gain
