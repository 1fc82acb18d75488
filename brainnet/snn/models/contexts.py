r"""Several readouts of the same features, one for each way the world has been, and which of them holds now.

A world that changes back and forth is forgotten and learned again by a single adaptive model. Here every readout
predicts, the one that makes the observations likeliest is believed and learns, and a new one is begun when a readout
that knows nothing yet would make them likelier still, so that what was learned about one world survives the time spent
in another (Wolpert & Kawato 1998, *Multiple paired forward and inverse models for motor control*; Heald, Lengyel &
Wolpert 2021, *Contextual inference underlies the learning of sensorimotor repertoires*).

An error e of a readout that expects errors of variance v scores $\tfrac12 \log v + e^2 / 2v$, minus the logarithm
of a Gaussian likelihood but for a constant.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.models.granule import AdaptiveReadout, FloatArray

FAR = 4.0
"""Standard deviations beyond which an error is learned from as if it were just that far."""


class Choice:
    """Which of several hypotheses scores lowest lately: the medians of the last `window` scores decide.

    Only a hypothesis that is lower by more than `margin` replaces the one believed, and only when more than half of
    the window has been seen; single outliers do not move a median.
    """

    def __init__(self, hypotheses: int, window: int, margin: float) -> None:
        if hypotheses < 1 or window < 1 or margin < 0.0:
            raise ModelError(
                f"a choice needs hypotheses, a window and margin >= 0, got {hypotheses}, {window}, {margin}"
            )
        self.margin = margin
        self.best = 0
        self._hypotheses, self._window = hypotheses, window
        self._scores: deque[NDArray[np.float64]] = deque(maxlen=window)

    def judge(self, scores: NDArray[np.floating]) -> bool:
        """Take in one score of each hypothesis; returns whether another one is believed now."""
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

    def restart(self, hypotheses: int, best: int) -> None:
        """Believe `best` among `hypotheses` and judge anew."""
        self._hypotheses, self.best = hypotheses, best
        self._scores.clear()


class Contexts:
    """Readouts for the worlds met so far. The first is innate: it never learns.

    Args:
        innate: the readout to be born with, from which all others start.
        expected: standard deviation of the innate readout's errors in the world that it was made for.
        capacity: largest number of readouts, the innate one included; beyond it the one unused longest is given up.
        window: observations over which readouts are compared.
        margin: by how much a readout must be likelier than the believed one to be believed itself, in nats.
    """

    def __init__(
        self,
        innate: AdaptiveReadout,
        expected: float = 0.01,
        *,
        capacity: int = 6,
        window: int = 7,
        margin: float = 3.0,
    ) -> None:
        if capacity < 2 or expected <= 0.0:
            raise ModelError(f"contexts need a capacity >= 2 and errors expected > 0, got {capacity} and {expected}")
        self.readouts = [innate]
        self.expected, self.capacity = expected, capacity
        # the last hypothesis is always a readout that has learned nothing
        self._choice = Choice(2, window, margin)
        self._used = [0]
        """When each readout was last believed."""
        self._clock = 0
        self._pending: deque[tuple[FloatArray, NDArray[np.floating]]] = deque()
        """Observations that may turn out to be another world's, and are learned from when they have not."""
        self._window = window

    @property
    def active(self) -> int:
        """Which readout is believed; 0 is the innate one."""
        return self._choice.best

    @property
    def innate(self) -> AdaptiveReadout:
        """The readout that never learns."""
        return self.readouts[0]

    @property
    def current(self) -> AdaptiveReadout:
        """The readout that is believed."""
        return self.readouts[self.active]

    def observe(self, features: FloatArray, outcome: NDArray[np.floating]) -> FloatArray:
        """Judge all readouts by `outcome` [outputs] of `features`, choose among them, and let the chosen one learn
        from what it has been believed through: the observation of `window` steps ago.

        Returns the error [outputs] of the readout believed before.
        """
        self._clock += 1
        errors = [np.asarray(outcome - readout.predict(features), np.float32) for readout in self.readouts]
        variances = [self.expected**2, *(readout.variance(features) for readout in self.readouts[1:])]
        before = errors[self.active]
        unborn = _score(errors[0], self.innate.prior_variance(features))
        scores = [*map(_score, errors, variances), unborn]
        self._pending.append((features.copy(), outcome))
        if self._choice.judge(np.array(scores)):
            # as many observations as it took to notice are the new world's
            while len(self._pending) > self._window // 2 + 1:
                self._pending.popleft()
            if self.active == len(self.readouts):
                self._begin()
        self._used[self.active] = self._clock
        if len(self._pending) > self._window:
            self._learn(*self._pending.popleft())
        return before

    def _learn(self, features: FloatArray, outcome: NDArray[np.floating]) -> None:
        if self.active:
            error = outcome - self.current.predict(features)
            far = math.sqrt(float((error**2).mean()) / self.current.variance(features)) / FAR
            self.current.learn(features, error / max(1.0, far))

    def _begin(self) -> None:
        """Begin a new readout from the innate one and believe it."""
        if len(self.readouts) == self.capacity:
            oldest = 1 + int(np.argmin(self._used[1:]))
            del self.readouts[oldest], self._used[oldest]
        self.readouts.append(self.innate.unborn())
        self._used.append(self._clock)
        self._choice.restart(len(self.readouts) + 1, len(self.readouts) - 1)


def _score(error: FloatArray, variance: float) -> float:
    return 0.5 * math.log(variance) + float((error**2).mean()) / (2.0 * variance)
