r"""Adaptive prediction: a sparse random expansion into granule cells, and a readout that learns from its errors.

Granule cells each see a few inputs through fixed random weights and fire only when those agree, so that any smooth
function of the inputs becomes nearly linear in their firing rates (Marr 1969; Albus 1971). A linear readout y = W phi
of the rates learns online: with the error e in the part of the climbing fibres,

$$
k = \frac{P \phi}{r + \phi^T P \phi}, \qquad W \leftarrow W + e \, k^T, \qquad P \leftarrow P - k \, (P \phi)^T.
$$

P is the covariance of what is not known about a row of W, r the variance of noise: recursive least squares (Plackett
1950), so that every observation is used once and in full. With P held at a multiple of the identity it would be the
normalised delta rule. Observations that matter less and less would end all learning; therefore P returns slowly to what
it was at first, which also bounds it (stabilised forgetting, Kulhavy & Zarrop 1993).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif_steps import lif_spikes

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GranuleLayer:
    """Spiking granule cells with fixed sparse input.

    Attributes:
        sources: which inputs each cell sees, integer [cells, fan_in].
        weights: the strength of each, float32 [cells, fan_in].
        bias: constant current of each cell, float32 [cells].
        steps: spike time steps per input.
        beta: membrane decay per step.
    """

    sources: NDArray[np.integer[Any]]
    weights: FloatArray
    bias: FloatArray
    steps: int = 8
    beta: float = 0.8

    def __post_init__(self) -> None:
        if self.sources.ndim != 2 or self.weights.shape != self.sources.shape:
            raise ModelError(
                f"granule sources {self.sources.shape} and weights {self.weights.shape} must be [cells, fan_in]"
            )
        if self.bias.shape != self.sources.shape[:1] or self.steps < 1 or not 0.0 < self.beta < 1.0:
            raise ModelError("granule cells need one bias each, steps >= 1 and 0 < beta < 1")

    @property
    def cells(self) -> int:
        """Number of granule cells."""
        return self.sources.shape[0]

    @classmethod
    def random(
        cls, samples: NDArray[Any], cells: int, rng: np.random.Generator, fan_in: int = 4, active: float = 0.2
    ) -> GranuleLayer:
        """Cells with random input, each biased to fire for the fraction `active` of `samples` [n, inputs].

        Real granule cells have about four dendrites, hence the default `fan_in`; the bias stands for the inhibition
        by Golgi cells that keeps the layer sparse.
        """
        inputs = samples.shape[1]
        if fan_in > inputs:
            raise ModelError(f"granule cells with {fan_in} inputs each need that many inputs, got {inputs}")
        sources = rng.permuted(np.tile(np.arange(inputs), (cells, 1)), axis=1)[:, :fan_in]
        weights = rng.normal(0.0, 1.0 / np.sqrt(fan_in), sources.shape).astype(np.float32)
        drive = (np.asarray(samples, np.float32)[:, sources] * weights).sum(-1)
        layer = cls(sources.astype(np.int32), weights, np.zeros(cells, np.float32))
        # under constant current x the membrane settles at x / (1 - beta), so a cell fires from x = 1 - beta upwards
        rheobase = (1.0 - layer.beta**layer.steps) / (1.0 - layer.beta)
        bias = 1.0 / rheobase - np.quantile(drive, 1.0 - active, axis=0)
        return cls(layer.sources, weights, bias.astype(np.float32))

    def spikes(self, inputs: NDArray[Any]) -> FloatArray:
        """Spikes 0.0/1.0 [..., cells, steps] for `inputs` [..., inputs], held for all steps."""
        drive = (np.asarray(inputs, np.float32)[..., self.sources] * self.weights).sum(-1) + self.bias
        currents = np.broadcast_to(drive[..., None], (*drive.shape, self.steps))
        return lif_spikes(currents, self.beta, 1.0)


class AdaptiveReadout:
    """A linear readout [outputs, features] that learns online and remembers what it was born with.

    Args:
        innate: float [outputs, features], the weights to start from.
        prior: float [features], the variance of how far each weight may be from that; 0 for weights that never learn.
        noise: r, the variance of what no weights explain.
        forgetting: fraction by which each observation lets P return to `prior`.
    """

    def __init__(self, innate: NDArray[Any], prior: NDArray[Any], noise: float = 1e-4, forgetting: float = 0.0) -> None:
        if innate.ndim != 2 or prior.shape != innate.shape[1:] or not (prior >= 0).all():
            raise ModelError(
                f"a readout needs weights [outputs, features] and a variance >= 0 for each feature, got {innate.shape} "
                f"and {prior.shape}"
            )
        if noise <= 0.0 or not 0.0 <= forgetting < 1.0:
            raise ModelError(f"a readout needs noise > 0 and 0 <= forgetting < 1, got {noise} and {forgetting}")
        self.innate = np.array(innate, np.float32)
        self.learned = np.zeros_like(self.innate)
        self.prior = np.array(prior, np.float64)
        self.noise, self.forgetting = noise, forgetting
        self._covariance = np.diag(self.prior)

    @property
    def weights(self) -> FloatArray:
        """What it predicts with, float32 [outputs, features]."""
        return self.innate + self.learned

    def predict(self, features: FloatArray) -> FloatArray:
        """Outputs [outputs] for `features` [features], with what was learned."""
        return np.asarray(self.weights @ features, np.float32)

    def variance(self, features: FloatArray) -> float:
        """What an error for `features` is expected to be, squared: noise and what is not known yet."""
        return float(self.noise + features @ (self._covariance @ features))

    def prior_variance(self, features: FloatArray) -> float:
        """The same before anything is learned."""
        return float(self.noise + features.astype(np.float64) ** 2 @ self.prior)

    def learn(self, features: FloatArray, error: NDArray[Any]) -> None:
        """One observation; `error` [outputs] is what happened minus what was predicted."""
        spread = self._covariance @ features
        step = spread / (self.noise + features @ spread)
        self.learned += np.outer(error, step).astype(np.float32)
        self._covariance -= np.outer(step, spread)
        if self.forgetting:
            self._covariance *= 1.0 - self.forgetting
            self._covariance[np.diag_indices_from(self._covariance)] += self.forgetting * self.prior

    def unborn(self) -> AdaptiveReadout:
        """One with the same innate weights that has learned nothing."""
        return AdaptiveReadout(self.innate, self.prior, self.noise, self.forgetting)
