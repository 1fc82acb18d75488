r"""Several readouts of the same features, one for each state of the environment, and the selection of the active one.

A single adaptive model forgets one environment while it learns another. Here every readout predicts; the one under
which the recent observations are likeliest is active and learns. A new readout is added when one without any learning
would be likelier than all others. So learning about one environment survives the time spent in another (Wolpert and
Kawato 1998, *Multiple paired forward and inverse models for motor control*; Heald, Lengyel and Wolpert 2021,
*Contextual inference underlies the learning of sensorimotor repertoires*).

The score of an error e under an expected variance v is $\tfrac12 \log v + e^2 / 2v$: the negative log-likelihood of a
Gaussian without its constant.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.models.granule import AdaptiveReadout, FloatArray

MAX_ERROR = 4.0
"""Errors are clipped to this number of standard deviations before a readout learns from them."""


class HypothesisSelector:
    """The hypothesis with the lowest recent score: the medians of the last `window` scores are compared.

    Medians ignore single outliers. Another hypothesis becomes the best only if it is lower by more than `margin`, and
    only when more than half of the window is filled.

    Attributes:
        margin: the required difference of medians.
        best: the index of the selected hypothesis.

    Raises:
        ModelError: no hypothesis, an empty window, or a negative margin.
    """

    def __init__(self, hypotheses: int, window: int, margin: float) -> None:
        if hypotheses < 1 or window < 1 or margin < 0.0:
            raise ModelError(
                f"a selector needs hypotheses, a window and margin >= 0, got {hypotheses}, {window}, {margin}"
            )
        self.margin = margin
        self.best = 0
        self._hypotheses, self._window = hypotheses, window
        self._scores: deque[NDArray[np.float64]] = deque(maxlen=window)

    def update(self, scores: NDArray[np.floating]) -> bool:
        """Add one score for each hypothesis and select again.

        Args:
            scores: [hypotheses], lower is better.

        Returns:
            Whether the selected hypothesis changed.

        Raises:
            ModelError: scores of another shape.
        """
        if scores.shape != (self._hypotheses,):
            raise ModelError(f"scores must be one for each of {self._hypotheses} hypotheses, got {scores.shape}")
        self._scores.append(np.asarray(scores, np.float64))
        if 2 * len(self._scores) <= self._window:
            return False
        medians = np.median(np.stack(self._scores), axis=0)
        candidate = int(medians.argmin())
        if medians[self.best] - medians[candidate] <= self.margin:
            return False
        self.best = candidate
        return True

    def reset(self, hypotheses: int, best: int) -> None:
        """Select `best` among `hypotheses`, and forget all scores."""
        self._hypotheses, self.best = hypotheses, best
        self._scores.clear()


class Contexts:
    """Readouts for the environments met so far. The first is the initial one, which never learns.

    Args:
        initial: the initial readout, from which all others are copied.
        expected_error: standard deviation of the errors of the initial readout in the environment it was trained in.
        capacity: the largest number of readouts, with the initial one; beyond it the least recently active one is
            removed.
        window: the number of observations over which readouts are compared.
        margin: how much likelier than the active one a readout must be to become active, in nats.

    Raises:
        ModelError: a capacity below 2, or an expected error not above 0.
    """

    def __init__(
        self,
        initial: AdaptiveReadout,
        expected_error: float = 0.01,
        *,
        capacity: int = 6,
        window: int = 7,
        margin: float = 3.0,
    ) -> None:
        if capacity < 2 or expected_error <= 0.0:
            raise ModelError(
                f"contexts need a capacity >= 2 and errors expected > 0, got {capacity} and {expected_error}"
            )
        self.readouts = [initial]
        self.expected_error, self.capacity = expected_error, capacity
        # one hypothesis more than readouts: the last stands for a new copy of the initial readout
        self._selector = HypothesisSelector(2, window, margin)
        # the step at which each readout was last active
        self._last_active = [0]
        self._clock = 0
        # observations to learn from later, as they may belong to a new environment
        self._pending: deque[tuple[FloatArray, NDArray[np.floating]]] = deque()
        self._window = window

    @property
    def active(self) -> int:
        """The index of the active readout; 0 is the initial one."""
        return self._selector.best

    @property
    def initial(self) -> AdaptiveReadout:
        """The readout that never learns."""
        return self.readouts[0]

    @property
    def current(self) -> AdaptiveReadout:
        """The active readout."""
        return self.readouts[self.active]

    def observe(self, features: FloatArray, outcome: NDArray[np.floating]) -> FloatArray:
        """Score all readouts, select one of them, and let it learn.

        It learns from the observation of `window` steps ago: by then it is known whether that observation belonged to
        another environment.

        Args:
            features: [features].
            outcome: the observed values [outputs].

        Returns:
            The error [outputs] of the readout that was active before.
        """
        self._clock += 1
        errors = [np.asarray(outcome - readout.predict(features), np.float32) for readout in self.readouts]
        variances = [self.expected_error**2, *(readout.variance(features) for readout in self.readouts[1:])]
        before = errors[self.active]
        new_score = _score(errors[0], self.initial.prior_variance(features))
        scores = [*map(_score, errors, variances), new_score]
        self._pending.append((features.copy(), outcome))
        if self._selector.update(np.array(scores)):
            # a change is noticed after half a window; only the observations since then belong to the new environment
            while len(self._pending) > self._window // 2 + 1:
                self._pending.popleft()
            if self.active == len(self.readouts):
                self._add_readout()
        self._last_active[self.active] = self._clock
        if len(self._pending) > self._window:
            self._learn(*self._pending.popleft())
        return before

    def _learn(self, features: FloatArray, outcome: NDArray[np.floating]) -> None:
        if self.active:
            error = outcome - self.current.predict(features)
            excess = math.sqrt(float((error**2).mean()) / self.current.variance(features)) / MAX_ERROR
            self.current.learn(features, error / max(1.0, excess))

    def _add_readout(self) -> None:
        """Add a copy of the initial readout and make it active."""
        if len(self.readouts) == self.capacity:
            oldest = 1 + int(np.argmin(self._last_active[1:]))
            del self.readouts[oldest], self._last_active[oldest]
        self.readouts.append(self.initial.initial_copy())
        self._last_active.append(self._clock)
        self._selector.reset(len(self.readouts) + 1, len(self.readouts) - 1)


def _score(error: FloatArray, variance: float) -> float:
    return 0.5 * math.log(variance) + float((error**2).mean()) / (2.0 * variance)
