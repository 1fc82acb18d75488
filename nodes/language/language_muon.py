# mypy: allow-untyped-calls, no-warn-return-any
"""The optimiser Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before every step.

The orthogonal factor is approximated by Newton-Schulz steps with the coefficients of Polar Express (Amsel et al. 2025),
which need fewer steps; at small batches they are a large part of the time of a training step. Updates are scaled to the
size of AdamW's (Liu et al. 2025, *Muon is Scalable for LLM Training*), so that both use one learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Coefficients a, b, c of each step, x -> a x + b x x^T x + c (x x^T)^2 x, as published for singular values in (0, 1].
_STEPS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)
_MARGIN = 1.02
"""Factor on the norm, so that rounding lifts no singular value above 1, for which the coefficients are not made."""


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Approximate the orthogonal factor U V^T of `matrix` = U S V^T.

    Singular values above about 1/200 of the largest end near 1.

    Args:
        matrix: The matrix.
        dtype: Type of the computation.

    Returns:
        The factor, in the type of the matrix.
    """
    # The Gram matrix is smaller for a wide matrix than for a tall one.
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = (wide / (wide.norm() * _MARGIN + 1e-7)).to(dtype)
    for a, b, c in _STEPS:
        gram = x @ x.t()
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if matrix.shape[0] <= matrix.shape[1] else x.t()).to(matrix)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Args:
        matrices: Matrices, or parameter groups of them. A matrix that holds several linear maps, one above the other,
            belongs in a group with their number, `maps`; each map is then made orthogonal by itself.
        lr: Learning rate.
        weight_decay: Weight decay.
        momentum: Momentum.
        dtype: Type in which matrices are made orthogonal.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "maps": 1})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all matrices; `closure` is not used."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                mean: Tensor = state["momentum_buffer"]
                mean.lerp_(matrix.grad, 1 - momentum)
                parts = matrix.grad.lerp(mean, momentum).chunk(group["maps"])
                update = torch.cat([orthogonal(part, self._dtype) for part in parts])
                matrix.mul_(1 - rate * group["weight_decay"])
                # Gives the update a root mean square of about 0.2, that of AdamW's updates (Liu et al. 2025).
                matrix.add_(update, alpha=-0.2 * rate * max(parts[0].shape) ** 0.5)
