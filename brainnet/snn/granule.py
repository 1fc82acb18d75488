r"""Adaptive prediction: a sparse random expansion into granule cells, and a readout that learns from its errors.

Granule cells each see a few inputs through fixed random weights and fire only when those agree, so that any smooth
function of the inputs becomes nearly linear in their firing rates (Marr 1969; Albus 1971). A linear readout of the
rates learns online by the normalised delta rule (Widrow & Hoff 1960; Nagumo & Noda 1967),

.. math:: \Delta W = \eta \, \frac{e \, \phi^T}{\epsilon + \lVert \phi \rVert^2},

where the error e plays the part of the climbing fibres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.lif_steps import lif_spikes

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
        """Cells with random input, each biased to fire for the fraction ``active`` of ``samples`` [n, inputs].

        Real granule cells have about four dendrites, hence the default ``fan_in``; the bias stands for the inhibition
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
        """Spikes 0.0/1.0 [..., cells, steps] for ``inputs`` [..., inputs], held for all steps."""
        drive = (np.asarray(inputs, np.float32)[..., self.sources] * self.weights).sum(-1) + self.bias
        currents = np.broadcast_to(drive[..., None], (*drive.shape, self.steps))
        return lif_spikes(currents, self.beta, 1.0)


class DeltaReadout:
    """A linear readout [outputs, features] that learns online and remembers what it was born with.

    Args:
        innate: float [outputs, features], the weights to start from.
        rate: step size of the delta rule, in (0, 2) for stability; 1 removes the whole error of a sample at once.
        forgetting: fraction of what was learned that is lost per update.
    """

    def __init__(self, innate: NDArray[Any], rate: float = 0.1, forgetting: float = 0.0) -> None:
        if innate.ndim != 2 or not 0.0 < rate < 2.0 or not 0.0 <= forgetting < 1.0:
            raise ModelError(
                f"a readout needs weights [outputs, features] and 0 < rate < 2, got {innate.shape}, {rate}"
            )
        self.innate = np.array(innate, np.float32)
        self.learned = np.zeros_like(self.innate)
        self.rate = rate
        self.forgetting = forgetting

    def predict(self, features: FloatArray) -> FloatArray:
        """Outputs [outputs] for ``features`` [features], with what was learned."""
        return np.asarray((self.innate + self.learned) @ features, np.float32)

    def predict_innate(self, features: FloatArray) -> FloatArray:
        """Outputs as they were before any learning."""
        return np.asarray(self.innate @ features, np.float32)

    def learn(self, features: FloatArray, error: NDArray[Any]) -> None:
        """One step of the normalised delta rule; ``error`` [outputs] is what happened minus what was predicted."""
        step = self.rate * np.asarray(error, np.float32) / (1e-6 + features @ features)
        self.learned *= 1.0 - self.forgetting
        self.learned += np.outer(step, features)

    def forget(self) -> None:
        """Return to the innate weights."""
        self.learned[:] = 0.0
