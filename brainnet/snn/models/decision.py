r"""The decision of a router: scores in, a choice and all that it follows from out.

Three pure functions in a circle: `remember` runs a session's working memory over what a prompt brings, some model
makes scores of its spikes, and `decide` makes of the scores a `Decision` by the equations of
`brainnet.snn.models.quantum`. The next prompt of the session starts from what the memory held, with the threshold that
the decision's uncertainty set. `DecisionEngine` turns the circle, for several sessions. Nothing here knows the runtime,
or what the names mean.

Working memory is a layer of LIF neurons (`brainnet.snn.neurons.lif`), one for each channel at each position of the
prompt. With the mean over the L positions, it keeps of a prompt

$$
\bar u = \frac1L \sum_l u_{T, l}, \qquad u_{0, l} = \bar u_{\text{last prompt}}, \qquad
\vartheta = \vartheta_{base} (1 + 0.2 (1 - \alpha_{\text{last prompt}}))
$$

"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.models.quantum import EPSILON, MAX_TEMPERATURE, PLASTICITY, Modulation, choose, modulate
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence

__all__ = ["Decision", "DecisionEngine", "DecisionParams", "MemoryState", "decide", "remember"]


class DecisionParams(NamedTuple):
    """Constants of a decision: `mass` that the chosen regions reach together, and those of `quantum.modulate`."""

    mass: float = 0.8
    base_threshold: float = 1.0
    plasticity: float = PLASTICITY
    epsilon: float = EPSILON
    max_temperature: float = MAX_TEMPERATURE


class MemoryState(NamedTuple):
    """What working memory holds between two prompts: `membrane` [..., D], and the firing `threshold` of its neurons."""

    membrane: Tensor
    threshold: float


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision and everything it follows from; rows run over `names`, the regions that were available.

    `scores` before softmax [N]; `modulation` with the probabilities, their entropy in nats, alpha, the temperature,
    the next threshold of working memory and the modulated probabilities; `chosen`, the smallest set of names whose
    modulated probabilities reach the mass, likeliest first.
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
    """Decide by `scores` [N] among those of the N `names` that are `available` (None: all of them). Deterministic.

    Names in `available` that are none of `names` are left out. Raises ModelError when the numbers of scores and names
    differ, none of the available names is known, and as `quantum.modulate` and `quantum.choose` do.
    """
    params = params or DecisionParams()
    row = np.asarray(scores, np.float64)
    if row.shape != (len(names),):
        raise ModelError(f"scores must be one for each of {len(names)} names, got shape {row.shape}")
    mask = np.array([available is None or name in available for name in names], np.bool_)
    if not mask.any():
        raise ModelError(f"none of the available names {sorted(available or [])} is known; known are {list(names)}")
    row, known = row[mask], tuple(name for name, there in zip(names, mask, strict=True) if there)
    modulation = modulate(
        row,
        base_threshold=params.base_threshold,
        plasticity=params.plasticity,
        epsilon=params.epsilon,
        max_temperature=params.max_temperature,
    )
    return Decision(known, row, modulation, tuple(known[i] for i in choose(modulation.route_probs, params.mass)))


def remember(currents: Tensor, present: Tensor, membrane: Tensor | None, params: LIFParams) -> tuple[Tensor, Tensor]:
    """Working memory over one prompt: its spikes [T, B, L, D] and the membrane potential [B, D] that it keeps.

    `currents` [T, B, L, D]; `present` bool [B, L]: positions that are False get no current, stay silent and are not
    kept. Every position starts from `membrane` [B, D] (None: rest). Differentiable. Raises ModelError as
    `lif.lif_sequence`, and for shapes that do not fit.
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
    there = present.to(currents.dtype)[..., None]
    spikes, after = lif_sequence(currents * there, start, params)
    kept = (after.membrane * there).sum(1) / there.sum(1).clamp(min=1)
    return spikes * there, kept


class DecisionEngine:
    """Decides among `names`, with a working memory for each session.

    `score` is the model: it makes N scores of working memory's spikes [T, L, D]. `beta` is the decay of the memory's
    neurons per step, one for all or a tensor [D]. The least recently used session is forgotten when there are more
    than `sessions`. Not thread-safe.
    """

    def __init__(
        self,
        names: Sequence[str],
        score: Callable[[Tensor], ArrayLike],
        *,
        beta: float | Tensor = 0.9,
        params: DecisionParams | None = None,
        sessions: int = 256,
    ) -> None:
        self.names = tuple(names)
        self.score = score
        self.beta = beta
        self.params = params or DecisionParams()
        self.limit = sessions
        self._sessions: OrderedDict[str, MemoryState] = OrderedDict()

    def decide(self, currents: Tensor, session: str = "", available: Collection[str] | None = None) -> Decision:
        """Decide on a prompt that brings `currents` [T, L, D]; a named session remembers it for its next prompt.

        A prompt without a session starts from rest and leaves nothing behind. One that raises ModelError, as `remember`
        and `decide` do, leaves the session as it was.
        """
        before = self.memory(session)
        threshold = self.params.base_threshold if before is None else before.threshold
        with torch.inference_mode():
            spikes, membrane = remember(
                currents[:, None],
                torch.ones(1, currents.shape[1], dtype=torch.bool),
                None if before is None else before.membrane[None],
                LIFParams(torch.as_tensor(self.beta), threshold),
            )
            scores = np.asarray(self.score(spikes[:, 0]), np.float64)
        decision = decide(scores, self.names, available, self.params)
        if session:
            self._sessions[session] = MemoryState(membrane[0], decision.modulation.threshold)
            self._sessions.move_to_end(session)
            while len(self._sessions) > self.limit:
                self._sessions.popitem(last=False)
        return decision

    def memory(self, session: str) -> MemoryState | None:
        """What a session's working memory holds; None for one that is not known, or was forgotten."""
        return self._sessions.get(session)

    def forget(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(session, None)
