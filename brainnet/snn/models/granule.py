r"""Adaptive prediction: a sparse random expansion by granule cells, and a linear readout that learns online.

Each granule cell receives a few inputs through fixed random weights and fires only when those agree. So any smooth
function of the inputs becomes nearly linear in the firing rates (Marr 1969; Albus 1971). A linear readout y = W phi of
the rates learns online; its error e has the role of the climbing fibres:

$$
k = \frac{P \phi}{r + \phi^T P \phi}, \qquad W \leftarrow W + e \, k^T, \qquad P \leftarrow P - k \, (P \phi)^T.
$$

This is recursive least squares (Plackett 1950): P is the covariance of the uncertainty of a row of W, and r the
variance of the noise. Every observation is used once and completely. A constant multiple of the identity as P would
give the normalised delta rule. Without forgetting, P shrinks and learning ends; therefore P returns slowly to its
initial value, which also bounds it (stabilised forgetting, Kulhavy and Zarrop 1993).
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
        sources: the inputs of each cell, integer [cells, fan_in].
        weights: the weight of each input, float32 [cells, fan_in].
        bias: the constant current of each cell, float32 [cells].
        steps: spike time steps per input.
        beta: membrane decay per step.

    Raises:
        ModelError: shapes that do not fit, or constants out of range.
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
        """The number of granule cells."""
        return self.sources.shape[0]

    @classmethod
    def random(
        cls, samples: NDArray[Any], cells: int, rng: np.random.Generator, fan_in: int = 4, active: float = 0.2
    ) -> GranuleLayer:
        """Return cells with random inputs, each with a bias such that it fires for a fraction of the samples.

        Args:
            samples: typical inputs [n, inputs].
            cells: the number of cells.
            rng: the random generator.
            fan_in: inputs per cell; biological granule cells have about four dendrites.
            active: the fraction of samples for which a cell fires. The bias stands for the inhibition by Golgi cells,
                which keeps the layer sparse.

        Raises:
            ModelError: fewer inputs than `fan_in`.
        """
        inputs = samples.shape[1]
        if fan_in > inputs:
            raise ModelError(f"granule cells with {fan_in} inputs each need that many inputs, got {inputs}")
        # each row is a random permutation cut to fan_in, so the inputs of a cell are distinct
        sources = rng.permuted(np.tile(np.arange(inputs), (cells, 1)), axis=1)[:, :fan_in]
        weights = rng.normal(0.0, 1.0 / np.sqrt(fan_in), sources.shape).astype(np.float32)
        drive = (np.asarray(samples, np.float32)[:, sources] * weights).sum(-1)
        layer = cls(sources.astype(np.int32), weights, np.zeros(cells, np.float32))
        # after `steps` steps a constant current x gives x (1 - beta^steps) / (1 - beta); a cell fires if that exceeds 1
        gain = (1.0 - layer.beta**layer.steps) / (1.0 - layer.beta)
        bias = 1.0 / gain - np.quantile(drive, 1.0 - active, axis=0)
        return cls(layer.sources, weights, bias.astype(np.float32))

    def spikes(self, inputs: NDArray[Any]) -> FloatArray:
        """Return the spikes 0.0/1.0 [..., cells, steps] for `inputs` [..., inputs], constant for all steps."""
        drive = (np.asarray(inputs, np.float32)[..., self.sources] * self.weights).sum(-1) + self.bias
        # a view: the current does not change over the steps
        currents = np.broadcast_to(drive[..., None], (*drive.shape, self.steps))
        return lif_spikes(currents, self.beta, 1.0)


class AdaptiveReadout:
    """A linear readout [outputs, features] that learns online and keeps its initial weights.

    Args:
        initial: float [outputs, features], the trained weights to start from.
        prior: float [features], the variance of the change of each weight; 0 for weights that never change.
        noise: r, the variance that no weights can explain.
        forgetting: the fraction by which P returns to `prior` at each observation.

    Raises:
        ModelError: shapes that do not fit, or constants out of range.
    """

    def __init__(
        self, initial: NDArray[Any], prior: NDArray[Any], noise: float = 1e-4, forgetting: float = 0.0
    ) -> None:
        if initial.ndim != 2 or prior.shape != initial.shape[1:] or not (prior >= 0).all():
            raise ModelError(
                f"a readout needs weights [outputs, features] and a variance >= 0 for each feature, got "
                f"{initial.shape} and {prior.shape}"
            )
        if noise <= 0.0 or not 0.0 <= forgetting < 1.0:
            raise ModelError(f"a readout needs noise > 0 and 0 <= forgetting < 1, got {noise} and {forgetting}")
        self.initial = np.array(initial, np.float32)
        self.learned = np.zeros_like(self.initial)
        # float64: P is a running difference, and float32 would make it lose symmetry and positive definiteness
        self.prior = np.array(prior, np.float64)
        self.noise, self.forgetting = noise, forgetting
        self._covariance = np.diag(self.prior)

    @property
    def weights(self) -> FloatArray:
        """The weights of the prediction, float32 [outputs, features]."""
        return self.initial + self.learned

    def predict(self, features: FloatArray) -> FloatArray:
        """Return the outputs [outputs] for `features` [features]."""
        return np.asarray(self.weights @ features, np.float32)

    def variance(self, features: FloatArray) -> float:
        """Return the expected squared error for `features`: noise plus the uncertainty of the weights."""
        return float(self.noise + features @ (self._covariance @ features))

    def prior_variance(self, features: FloatArray) -> float:
        """Return the expected squared error for `features` before any learning."""
        return float(self.noise + features.astype(np.float64) ** 2 @ self.prior)

    def learn(self, features: FloatArray, error: NDArray[Any]) -> None:
        """Learn from one observation.

        Args:
            features: [features].
            error: [outputs], the observed minus the predicted values.
        """
        projected = self._covariance @ features
        gain = projected / (self.noise + features @ projected)
        self.learned += np.outer(error, gain).astype(np.float32)
        self._covariance -= np.outer(gain, projected)
        if self.forgetting:
            self._covariance *= 1.0 - self.forgetting
            self._covariance[np.diag_indices_from(self._covariance)] += self.forgetting * self.prior

    def initial_copy(self) -> AdaptiveReadout:
        """Return a readout with the same initial weights and without any learning."""
        return AdaptiveReadout(self.initial, self.prior, self.noise, self.forgetting)
