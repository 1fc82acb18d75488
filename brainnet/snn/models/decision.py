r"""The decision of a router: from scores to a choice of routes.

Two pure functions: `run_working_memory` computes the working memory of a session over a prompt, and `decide` turns the
scores that a model computes from its spikes into a `Decision`, by the equations of `brainnet.snn.models.quantum`. The
next prompt of the session starts from the membrane potential of the previous one, with the threshold that its decision
set. Nothing here depends on the runtime or on the meaning of the names.

Working memory is a layer of LIF neurons (`brainnet.snn.neurons.lif`), one for each channel at each position of the
prompt. The mean over the L positions is carried to the next prompt:

$$
\bar u = \frac1L \sum_l u_{T, l}, \qquad u_{0, l} = \bar u_{\text{last prompt}}, \qquad
\vartheta = \vartheta_{base} (1 + 0.2 (1 - \alpha_{\text{last prompt}}))
$$
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.models.quantum import EPSILON, MAX_TEMPERATURE, PLASTICITY, Modulation, modulate, select_routes
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence

__all__ = ["Decision", "DecisionParams", "decide", "run_working_memory"]


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


def run_working_memory(
    currents: Tensor, present: Tensor, membrane: Tensor | None, params: LIFParams
) -> tuple[Tensor, Tensor]:
    """Run working memory over one prompt; differentiable.

    Args:
        currents: [T, B, L, D].
        present: bool [B, L]; positions that are False get no current, stay silent and do not count in the mean.
        membrane: the membrane potential [B, D] from which every position starts; None for rest.
        params: the constants of the neurons.

    Returns:
        The spikes [T, B, L, D], and the mean membrane potential [B, D] after the prompt.

    Raises:
        ModelError: as `lif.lif_sequence`, and for shapes that do not fit.
    """
    if currents.ndim != 4 or present.shape != currents.shape[1:3]:
        raise ModelError(
            f"currents must be [steps, batch, positions, width] and present [batch, positions] of them, got "
            f"{tuple(currents.shape)} and {tuple(present.shape)}"
        )
    start = None
    if membrane is not None:
        if membrane.shape != (currents.shape[1], currents.shape[3]):
            expected = (currents.shape[1], currents.shape[3])
            raise ModelError(f"membrane must be [batch, width] = {expected}, got {tuple(membrane.shape)}")
        start = LIFState(membrane[:, None].expand(currents.shape[1:]).contiguous())
    mask = present.to(currents.dtype)[..., None]
    spikes, after = lif_sequence(currents * mask, start, params)
    # masked again: a position without current can still fire from the membrane potential of the last prompt
    mean = (after.membrane * mask).sum(1) / mask.sum(1).clamp(min=1)
    return spikes * mask, mean
