r"""The spike as a step function with a surrogate derivative, so that spiking networks can learn by gradients.

.. math::
    s = 1 \text{ if } x > 0 \text{ else } 0, \qquad
    \frac{\partial s}{\partial x} := \frac{\alpha/2}{1 + (\frac{\pi}{2}\alpha x)^2}

The derivative is that of :math:`\frac{1}{\pi}\arctan(\frac{\pi}{2}\alpha x)` (Fang et al. 2021, *Incorporating
Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks*).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def arctan_spike(over: Tensor, alpha: float, inclusive: bool = False) -> Tensor:
    """Spikes (0/1, dtype of `over`) where `over` is above 0; `inclusive` fires at exactly 0, too.

    `alpha` is the steepness of the surrogate, in units of 1 / `over`.
    """
    spikes: Tensor = _ArctanSpike.apply(over, alpha, inclusive)
    return spikes


class _ArctanSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, over: Tensor, alpha: float, inclusive: bool) -> Tensor:
        ctx.save_for_backward(over)
        ctx.alpha = alpha
        return (over >= 0 if inclusive else over > 0).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (over,) = ctx.saved_tensors
        return grads[0] * (ctx.alpha / 2) / (1 + (torch.pi / 2 * ctx.alpha * over) ** 2), None, None
