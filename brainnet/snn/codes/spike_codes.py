r"""Integers as spike trains whose weighted sum over time is the integer.

With $w_t$ the weight of step t, every code satisfies $x = \sum_t w_t s_t$:

$$
\begin{aligned}
\text{binary:}\quad & s_t = [x > t], && w_t = 1, && 0 \le x \le T \\
\text{ternary:}\quad & s_t = \operatorname{sign}(x)\,[|x| > t], && w_t = 1, && |x| \le T \\
\text{bitwise:}\quad & s_t = \lfloor x / 2^t \rfloor \bmod 2, && w_t = 2^t, && 0 \le x < 2^T
\end{aligned}
$$

Bitwise in two's complement gives the last step the weight $-2^{T-1}$, for
$-2^{T-1} \le x < 2^{T-1}$. Steps count from t = 0. These are the codes of SpikingBrain (Pan et al. 2025,
*SpikingBrain Technical Report*, W8A-spike). Since they are linear in the spikes, a product with a weight matrix can be
accumulated spike by spike, and is exact. `brainnet.snn.synops.activation_sparsity` measures how sparse the spikes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import check_integer

Kind = Literal["binary", "ternary", "bitwise"]
# 2^62 and its negative fit in int64
_MAX_BITWISE_STEPS = 62
_EXACT_IN_FLOAT64 = 2**53


@dataclass(frozen=True, slots=True)
class SpikeCode:
    """A code of `steps` time steps.

    Attributes:
        kind: "binary", "ternary" or "bitwise".
        steps: T.
        twos_complement: for bitwise codes of signed integers.

    Raises:
        ModelError: an unknown kind, steps out of range, or two's complement of another kind.
    """

    kind: Kind
    steps: int
    twos_complement: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ModelError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.steps < 1 or (self.kind == "bitwise" and self.steps > _MAX_BITWISE_STEPS):
            raise ModelError(
                f"steps must be at least 1, and at most {_MAX_BITWISE_STEPS} for bitwise codes, got {self.steps}"
            )
        if self.twos_complement and self.kind != "bitwise":
            raise ModelError(f"twos_complement is for bitwise codes, not for {self.kind}")

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest integer that the code can represent."""
        if self.kind == "binary":
            return 0, self.steps
        if self.kind == "ternary":
            return -self.steps, self.steps
        if self.twos_complement:
            return -(1 << self.steps - 1), (1 << self.steps - 1) - 1
        return 0, (1 << self.steps) - 1

    @property
    def weights(self) -> list[int]:
        """The weight of a spike at each step."""
        if self.kind != "bitwise":
            return [1] * self.steps
        weights = [1 << step for step in range(self.steps)]
        if self.twos_complement:
            weights[-1] = -weights[-1]
        return weights


def encode(values: Tensor, code: SpikeCode) -> Tensor:
    """Return the spikes int8 [T, ...] of integers [...]: 0/1, or -1/0/1 for ternary.

    Raises:
        ModelError: values that are not integers, or outside the range of the code.
    """
    values = _signed("values", values)
    low, high = code.range
    if values.numel() and not (low <= int(values.min()) and int(values.max()) <= high):
        actual = f"{int(values.min())} to {int(values.max())}"
        raise ModelError(f"values must be {low} to {high} for {code.kind} spikes of {code.steps} steps, got {actual}")
    step = torch.arange(code.steps, device=values.device).view(-1, *[1] * values.ndim)
    if code.kind == "binary":
        return (values > step).to(torch.int8)
    if code.kind == "ternary":
        return (values.sign() * (values.abs() > step)).to(torch.int8)
    return ((values >> step) & 1).to(torch.int8)


def decode(spikes: Tensor, code: SpikeCode) -> Tensor:
    """Return the integers int64 [...] of spikes [T, ...]: the weighted sum over time. It inverts `encode` exactly.

    Raises:
        ModelError: spikes that are not integers, or of another number of steps.
    """
    spikes = _signed("spikes", spikes)
    if spikes.ndim < 1 or spikes.shape[0] != code.steps:
        raise ModelError(f"spikes must be [{code.steps}, ...], not of shape {tuple(spikes.shape)}")
    weights = torch.tensor(code.weights, device=spikes.device).view(-1, *[1] * (spikes.ndim - 1))
    return (spikes * weights).sum(0)


def spike_matmul(values: Tensor, weight: Tensor, code: SpikeCode) -> Tensor:
    """Return the integer product int64 [..., N] of integers [..., K] and `weight` [K, N], accumulated over time steps.

    It always equals `values @ weight` in unbounded integers.

    Raises:
        ModelError: shapes and types that do not fit, values outside the range of the code, or products that may exceed
            64 bits.
    """
    weight = _signed("weight", weight)
    if values.ndim < 1 or weight.ndim != 2 or values.shape[-1] != weight.shape[0]:
        raise ModelError(f"values {tuple(values.shape)} and weight {tuple(weight.shape)} must be [..., K] and [K, N]")
    if values.device != weight.device:
        raise ModelError(f"values are on {values.device}, weight on {weight.device}; they must be together")
    spikes = encode(values, code)
    result = torch.zeros(*values.shape[:-1], weight.shape[1], dtype=torch.int64, device=values.device)
    if not weight.numel():
        return result
    per_step = max(abs(int(weight.min())), abs(int(weight.max()))) * weight.shape[0]
    if per_step * sum(abs(w) for w in code.weights) >= 2**63:
        raise ModelError("weight is too large for this code: the product may exceed 64 bits")
    # sums of integers below 2^53 are exact in float64 in any order, and BLAS has no product for integers
    kind = torch.float64 if per_step < _EXACT_IN_FLOAT64 else torch.int64
    columns = weight.to(kind)
    for step, weight_of_step in zip(spikes, code.weights, strict=True):
        # high bits and late steps are often silent: a step without spikes adds nothing
        if bool(step.any()):
            result += weight_of_step * (step.to(kind) @ columns).long()
    return result


def _signed(name: str, values: Tensor) -> Tensor:
    """Return integer `values` as int64.

    Raises:
        ModelError: values that are not integers, or 2^63 and above.
    """
    signed = check_integer(name, values).long()
    # values that int64 cannot hold became negative
    if values.dtype == torch.uint64 and bool((signed < 0).any()):
        raise ModelError(f"{name} must be below 2^63")
    return signed
