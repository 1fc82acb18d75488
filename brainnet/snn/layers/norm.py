r"""Root-mean-square normalisation over the last axis (Zhang and Sennrich 2019), as one compiled operation on CPU.

$$
y = \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}} \odot g
$$

"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn import kernels
from brainnet.snn.checks import check_finite, check_float

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Normalise the last axis to root mean square 1 and scale it by a learned gain; float32 out.

    Args:
        width: the size of the last axis.

    Raises:
        ModelError: another last axis, type or device, and (on CPU) values that are not finite, or whose squares
            overflow.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ModelError(f"width must be at least 1, not {width}")
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` [..., width] normalised."""
        width = len(self.weight)
        if check_float("x", x).ndim < 1 or x.shape[-1] != width or x.device != self.weight.device:
            actual = f"{tuple(x.shape)} on {x.device}"
            raise ModelError(f"x must be [..., {width}] on {self.weight.device}, not {actual}")
        if x.device.type != "cpu" or x.dtype == torch.float64:
            return F.rms_norm(check_finite("x", x).to(self.weight.dtype), self.weight.shape, self.weight, EPSILON)
        result: Tensor = _RMSNorm.apply(x.float().reshape(-1, width), self.weight)
        return result.view(x.shape)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        x = x.contiguous()
        result, scale = torch.empty_like(x), x.new_empty(len(x))
        kernels.norm_forward(x.detach().numpy(), gain.detach().numpy(), EPSILON, result.numpy(), scale.numpy())
        # NaN or infinity in a row shows in its scale (NaN or 0), so one number per row is enough to check
        if not bool((scale > 0).all()):
            raise ModelError("x must be finite, and its squares too, but holds NaN, infinity or more than float32 can")
        ctx.save_for_backward(x, gain, scale)
        return result

    @staticmethod
    @once_differentiable
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
