r"""The spike as a step function with a surrogate derivative, so that spiking networks can learn by gradients.

$$
s = 1 \text{ if } x > 0 \text{ else } 0, \qquad
\frac{\partial s}{\partial x} := \frac{\alpha/2}{1 + (\frac{\pi}{2}\alpha x)^2}
$$

The derivative is that of $\frac{1}{\pi}\arctan(\frac{\pi}{2}\alpha x)$ (Fang et al. 2021, *Incorporating
Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks*).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def arctan_spike(x: Tensor, alpha: float, inclusive: bool = False) -> Tensor:
    """Return spikes (0/1, in the type of `x`) where `x` is above 0.

    Args:
        x: the membrane potential above threshold.
        alpha: steepness of the surrogate, in units of 1 / `x`.
        inclusive: fire at exactly 0, too.
    """
    spikes: Tensor = _ArctanSpike.apply(x, alpha, inclusive)
    return spikes


class _ArctanSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float, inclusive: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x >= 0 if inclusive else x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * (ctx.alpha / 2) / (1 + (torch.pi / 2 * ctx.alpha * x) ** 2), None, None
