r"""Quantum-inspired modulation of routing scores: the certainty of a decision sets its temperature.

Of scores s over N routes, with $p = \mathrm{softmax}(s)$, $H = -\sum p \ln p$ and
$H_{max} = \ln N$ (N = 1: $H / H_{max} = 0$), a single qubit is rotated from $|0\rangle$ by

$$
\begin{aligned}
R_y(\theta) = \begin{pmatrix} \cos\theta/2 & -\sin\theta/2 \\ \sin\theta/2 & \cos\theta/2 \end{pmatrix}, \quad
\theta = \pi \min(1, H / H_{max}), \quad \alpha = P(|0\rangle) = \cos^2 \frac\theta2
\end{aligned}
$$

alpha is 1 when one score dominates and 0 when all are equal. It has two effects: it sets the firing threshold of the
working memory, and the routing temperature:

$$
\vartheta = \vartheta_{base} (1 + 0.2 (1 - \alpha)), \quad T_r = \frac{1}{\alpha + \epsilon}, \quad
\text{route\_probs} = \mathrm{softmax}(s / T_r)
$$

The rotation is the textbook one (Nielsen and Chuang 2010, *Quantum Computation and Quantum Information*, 4.2); the two
effects are this project's own. numpy only, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainnet.errors import ModelError

__all__ = ["Modulation", "modulate", "select_routes", "softmax"]

EPSILON = 1e-6
MAX_TEMPERATURE = 20.0
PLASTICITY = 0.2


@dataclass(frozen=True, slots=True)
class Modulation:
    """One modulated decision over N routes.

    Attributes:
        probs: softmax(scores) [N].
        entropy: the entropy of `probs` in nats.
        alpha: certainty, in [0, 1]; 1 is certain.
        temperature: T_r, at least 1 / (1 + epsilon).
        threshold: the threshold of the working memory, in units of its membrane potential.
        route_probs: softmax(scores / T_r) [N].
    """

    probs: NDArray[np.float64]
    entropy: float
    alpha: float
    temperature: float
    threshold: float
    route_probs: NDArray[np.float64]


def softmax(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the softmax of scores [N], of which at least one must be finite; -inf gives exactly 0."""
    row = np.asarray(scores, np.float64)
    with np.errstate(over="ignore"):
        shifted = np.exp(row - row.max())
    total: NDArray[np.float64] = shifted / shifted.sum()
    return total


def modulate(
    scores: ArrayLike,
    mask: Sequence[bool] | NDArray[np.bool_] | None = None,
    *,
    base_threshold: float = 1.0,
    plasticity: float = PLASTICITY,
    epsilon: float = EPSILON,
    max_temperature: float = MAX_TEMPERATURE,
) -> Modulation:
    """Modulate routing scores [N] by the equations of this module.

    The published epsilon, 1e-6, allows T_r = 1e6, at which the probabilities are uniform to six digits for all scores.
    Therefore T_r is limited; pass `math.inf` for the published behaviour.

    Args:
        scores: [N].
        mask: routes where it is False get probability 0 and do not count in N; None for all routes.
        base_threshold: the threshold of a certain decision.
        plasticity: the factor 0.2 of the equations.
        epsilon: as in the equations.
        max_temperature: the upper limit of T_r.

    Raises:
        ModelError: no route is allowed, a score is NaN or +inf, the shapes differ, or a constant is out of range.
    """
    constants = {"base_threshold": base_threshold, "epsilon": epsilon, "max_temperature": max_temperature}
    for name, value in constants.items():
        if not value > 0:
            raise ModelError(f"{name} must be above 0, got {value}")
    if not plasticity >= 0:
        raise ModelError(f"plasticity must be at least 0, got {plasticity}")
    row = np.asarray(scores, np.float64)
    if row.ndim != 1 or not row.size:
        raise ModelError(f"scores must be one non-empty row [N], got shape {row.shape}")
    if mask is not None:
        allowed = np.asarray(mask, np.bool_)
        if allowed.shape != row.shape:
            raise ModelError(f"mask of shape {allowed.shape} does not fit {row.size} scores")
        row = np.where(allowed, row, -np.inf)
    if np.isnan(row).any() or np.isposinf(row).any():
        raise ModelError("scores must not be NaN or +inf")
    count = int(np.isfinite(row).sum())
    if not count:
        raise ModelError("no route is allowed: every score is masked or -inf")

    probs = softmax(row)
    positive = probs[probs > 0]
    entropy = max(0.0, float(-(positive * np.log(positive)).sum()))
    relative = min(1.0, entropy / math.log(count)) if count > 1 else 0.0
    alpha = math.cos(math.pi * relative / 2) ** 2
    temperature = min(1.0 / (alpha + epsilon), max_temperature)
    return Modulation(
        probs=probs,
        entropy=entropy,
        alpha=alpha,
        temperature=temperature,
        threshold=base_threshold * (1.0 + plasticity * (1.0 - alpha)),
        route_probs=softmax(row / temperature),
    )


def select_routes(route_probs: ArrayLike, mass: float = 0.8) -> list[int]:
    """Return the smallest set of routes whose probabilities reach `mass`, likeliest first (as in top-p sampling).

    Ties go to the lower index. The set is never empty, and never contains a route of probability 0.

    Raises:
        ModelError: mass is not in (0, 1], or the probabilities are not one row that adds up to 1.
    """
    if not 0.0 < mass <= 1.0:
        raise ModelError(f"mass must be in (0, 1], got {mass}")
    probs = np.asarray(route_probs, np.float64)
    if probs.ndim != 1 or not ((probs >= 0).all() and abs(probs.sum() - 1) <= 1e-6):
        raise ModelError(f"route_probs must be one row of probabilities that add up to 1, got {probs.tolist()}")
    # stable, so that ties go to the lower index
    order = np.argsort(-probs, kind="stable")
    reached = np.cumsum(probs[order])
    # rounding must not add one route more than the mass needs
    size = int(np.searchsorted(reached, mass - 1e-9)) + 1
    return [int(i) for i in order[:size] if probs[i] > 0]
