"""Quantum-inspired modulation of routing scores: how a sure and an undecided brain choose differently.

A single qubit is rotated from \\|0> by R_y(theta), theta = pi * H / H_max, where H is the entropy of the
softmax of the scores; alpha = P(\\|0>) = cos^2(theta / 2) is 1 when the scores are sure and 0 when they
are uniform. alpha feeds back twice: as the firing threshold of working memory and as the routing
temperature. numpy only, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Modulation", "choose", "modulate", "softmax"]

EPSILON = 1e-6
MAX_TEMPERATURE = 20.0
PLASTICITY = 0.2


@dataclass(frozen=True, slots=True)
class Modulation:
    """One modulated decision over N routes.

    `probs` softmax(scores) [N]; `entropy` of probs in nats; `alpha` in [0, 1], 1 = sure;
    `temperature` T_r >= 1 / (1 + eps); `threshold` for working memory, in units of its membrane
    potential; `route_probs` softmax(scores / T_r) [N].
    """

    probs: NDArray[np.float64]
    entropy: float
    alpha: float
    temperature: float
    threshold: float
    route_probs: NDArray[np.float64]


def softmax(scores: ArrayLike) -> NDArray[np.float64]:
    """Softmax over one row of scores [N]; -inf gives exactly 0. At least one score must be finite."""
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
    """Modulates routing scores [N]; routes where `mask` is False get probability 0 and do not count in N.

    p = softmax(s); H = -sum p ln p; H_max = ln N (N = 1: H / H_max = 0); theta = pi * clamp(H / H_max, 0, 1);
    alpha = cos^2(theta / 2); threshold = base * (1 + plasticity * (1 - alpha));
    T_r = min(1 / (alpha + epsilon), max_temperature); route_probs = softmax(s / T_r).

    The published epsilon, 1e-6, lets T_r reach 1e6, which is uniform to six digits whatever the scores
    say; `max_temperature` is the clamp (pass `math.inf` for the published behaviour).

    Raises ValueError when no route is allowed, a score is NaN or +inf, or the shapes differ.
    """
    row = np.asarray(scores, np.float64)
    if row.ndim != 1 or not row.size:
        raise ValueError(f"scores must be one non-empty row [N], got shape {row.shape}")
    if mask is not None:
        allowed = np.asarray(mask, np.bool_)
        if allowed.shape != row.shape:
            raise ValueError(f"mask of shape {allowed.shape} does not fit {row.size} scores")
        row = np.where(allowed, row, -np.inf)
    if np.isnan(row).any() or np.isposinf(row).any():
        raise ValueError("scores must not be NaN or +inf")
    count = int(np.isfinite(row).sum())
    if not count:
        raise ValueError("no route is allowed: every score is masked or -inf")

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


def choose(route_probs: ArrayLike, mass: float = 0.8) -> list[int]:
    """The smallest set of routes whose probabilities reach `mass`, likeliest first; ties go to the lower index.

    Never empty, and never includes a route of probability 0. Raises ValueError unless 0 < mass <= 1.
    """
    if not 0.0 < mass <= 1.0:
        raise ValueError(f"mass must be in (0, 1], got {mass}")
    probs = np.asarray(route_probs, np.float64)
    order = np.argsort(-probs, kind="stable")
    reached = np.cumsum(probs[order])
    # Rounding must not ask one region more than the mass needs.
    size = int(np.searchsorted(reached, mass - 1e-9)) + 1
    return [int(i) for i in order[:size] if probs[i] > 0]
