"""The decision of a router: from scores to a choice of routes.

`decide` is a pure function: it turns the scores that a model computes from its spikes into a `Decision`, by the
equations of `brainnet.snn.models.quantum`. The threshold that a decision sets is that of the working memory
(`brainnet.snn.models.working_memory`) in the next prompt of the session. Nothing here depends on the runtime or on the
meaning of the names. numpy only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainnet.errors import ModelError
from brainnet.snn.models.quantum import EPSILON, MAX_TEMPERATURE, PLASTICITY, Modulation, modulate, select_routes

__all__ = ["Decision", "DecisionParams", "decide"]


class DecisionParams(NamedTuple):
    """Constants of a decision.

    Attributes:
        mass: the probability that the chosen routes reach together.
        base_threshold: as in `quantum.modulate`, like the others.
    """

    mass: float = 0.8
    base_threshold: float = 1.0
    plasticity: float = PLASTICITY
    epsilon: float = EPSILON
    max_temperature: float = MAX_TEMPERATURE


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision and all values that it follows from; rows run over `names`.

    Attributes:
        names: the names of the available routes.
        scores: before the softmax, [N].
        modulation: probabilities, their entropy in nats, alpha, temperature, the next threshold of working memory, and
            the modulated probabilities.
        chosen: the smallest set of names whose modulated probabilities reach the mass, likeliest first.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    modulation: Modulation
    chosen: tuple[str, ...]


def decide(
    scores: ArrayLike,
    names: Sequence[str],
    available: Collection[str] | None = None,
    params: DecisionParams | None = None,
) -> Decision:
    """Choose among routes by their scores; deterministic.

    Args:
        scores: [N].
        names: the names of the N routes.
        available: the names to choose from; None for all. Names that are not in `names` are ignored.
        params: the constants.

    Raises:
        ModelError: the numbers of scores and names differ, none of the available names is known, or as
            `quantum.modulate` and `quantum.select_routes`.
    """
    params = params or DecisionParams()
    row = np.asarray(scores, np.float64)
    if row.shape != (len(names),):
        raise ModelError(f"scores must be one for each of {len(names)} names, got shape {row.shape}")
    mask = np.array([available is None or name in available for name in names], np.bool_)
    if not mask.any():
        raise ModelError(f"none of the available names {sorted(available or [])} is known; known are {list(names)}")
    # the rows of unavailable routes are removed, so that N in the modulation counts the available ones only
    row, known = row[mask], tuple(name for name, usable in zip(names, mask, strict=True) if usable)
    modulation = modulate(
        row,
        base_threshold=params.base_threshold,
        plasticity=params.plasticity,
        epsilon=params.epsilon,
        max_temperature=params.max_temperature,
    )
    return Decision(known, row, modulation, tuple(known[i] for i in select_routes(modulation.route_probs, params.mass)))
