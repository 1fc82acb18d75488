"""The forward pass of a router in numpy, for deciding one or a few prompts.

It computes what `router_network.RouterNet` computes, up to the rounding of float32 sums. A prompt is small, so that the
time of the torch modules goes into calls, not into sums; and between two prompts other processes use the caches of the
processor, which the code of torch has to fill again each time. Besides, importing torch takes more time and memory than
all else that a router loads.

The LIF neurons are numpy, too: compiled, a decision would take 0.05 ms less, and the start of the process 0.1 s and
60 MB more, without counting the first compilation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn.layers.chrono_mask import chrono_mask, default_tau
from brainnet.snn.neurons.lif_steps import Floats, lif_sequence

if TYPE_CHECKING:
    from brainnet.snn.models.router import RouterConfig

__all__ = ["RouterInference"]


class RouterInference:
    """The network of a router as arrays. Not thread-safe.

    Args:
        config: The configuration of the router.
        weights: By name, as `Router` checks them.
    """

    def __init__(self, config: RouterConfig, weights: Mapping[str, Floats]) -> None:
        self.config = config
        self._rates = _sigmoid(weights["encoder.embedding.weight"])
        self._input, self._input_bias = _transposed(weights["input.weight"]), weights["input.bias"]
        self._project = _transposed(weights["attention.project.weight"])
        self._output = _transposed(weights["attention.output.weight"])
        self._readout, self._readout_bias = _transposed(weights["readout.weight"]), weights["readout.bias"]
        self._memory_beta = _sigmoid(weights["decay"])
        self._attention_beta = _sigmoid(weights["attention.neurons.decay"])
        self._heads = config.heads
        self._tau = default_tau(config.steps)

    def encode(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the TAS spikes [T, B, L, D] of tokens [B, L], as `TasEncoder`; token 0 is silent.

        Raises:
            ModelError: Tokens outside the vocabulary, or more of them than the window has positions.
        """
        steps, length = self.config.steps, tokens.shape[1]
        if length > self.config.positions:
            raise ModelError(f"{length} tokens do not fit the {self.config.positions} positions of this window")
        if ((tokens < 0) | (tokens >= len(self._rates))).any():
            raise ModelError(f"tokens must be 0 to {len(self._rates) - 1}")
        phase = np.arange(length) * (steps // 2) // self.config.positions
        counts = np.rint(self._rates[tokens] * (steps - phase).astype(np.float32)[:, None])
        counts[tokens == 0] = 0
        offset = np.arange(steps)[:, None] - phase
        return (offset >= 0)[:, None, :, None] & (offset[:, None, :, None] < counts)

    def run(self, spikes: NDArray[np.bool_], membrane: Floats | None, threshold: float | None) -> tuple[Floats, Floats]:
        """Return the scores [B, N] and the membrane potential [B, D] after prompts of equal length, as `RouterNet`.

        Args:
            spikes: TAS spikes [T, B, L, D].
            membrane: The membrane potential [B, D] of each session; None for rest.
            threshold: The firing threshold of working memory; None for the base threshold.
        """
        batch, length = spikes.shape[1:3]
        width = self.config.width
        currents = _product(spikes.astype(np.float32), self._input) + self._input_bias
        start = np.zeros((batch, length, width), np.float32)
        if membrane is not None:
            start += membrane[:, None]
        memory, after = lif_sequence(
            currents, start, self._memory_beta, self.config.base_threshold if threshold is None else threshold
        )
        attended, _ = lif_sequence(self._attend(memory), np.zeros_like(start), self._attention_beta, 1.0)
        rates = np.concatenate([memory.mean(0), attended.mean(0)], axis=-1)
        vector = np.concatenate([rates.mean(1), rates.max(1)], axis=-1)
        scores = np.float32(self.config.scale) * (vector @ self._readout + self._readout_bias)
        return scores, after.mean(1)

    def _attend(self, memory: Floats) -> Floats:
        """Return the input currents [T, B, L, D] of the neurons of the attention."""
        steps, batch, length, width = memory.shape
        parts = _product(memory, self._project).reshape(steps, batch, length, 3, self._heads, width // self._heads)
        # [3, B, H, T * L, d]: a query sees the joint axis of steps and positions, the step first
        query, key, value = parts.transpose(3, 1, 4, 0, 2, 5).reshape(3, batch, self._heads, steps * length, -1)
        query *= np.float32(-1 / math.sqrt(width // self._heads))
        mask = chrono_mask(steps, length, self._tau, False)
        # One prompt after the other in the same array, which stays in the second-level cache; for all prompts together
        # it would be new memory from the system each time.
        scores, context = np.empty((self._heads, *mask.shape), np.float32), np.empty_like(value)
        for one in range(batch):
            np.matmul(query[one], key[one].transpose(0, 2, 1), out=scores)
            np.exp(scores, out=scores)
            scores += 1
            np.divide(mask, scores, out=scores)  # the sigmoid, times the mask
            np.matmul(scores, value[one], out=context[one])
        by_step = context.reshape(batch, self._heads, steps, length, -1).transpose(2, 0, 3, 1, 4)
        return _product(by_step.reshape(steps, batch, length, width), self._output)


def _product(values: Floats, weights: Floats) -> Floats:
    """Return values [..., D] @ weights [D, E] in one product; numpy would compute one for each of the first axes."""
    product: Floats = values.reshape(-1, values.shape[-1]) @ weights
    return product.reshape(*values.shape[:-1], -1)


def _transposed(weights: Floats) -> Floats:
    return np.ascontiguousarray(weights.T)


def _sigmoid(values: Floats) -> Floats:
    # In float64, so that the result is the nearest float32 on every machine.
    rates: Floats = (1.0 / (1.0 + np.exp(-values.astype(np.float64)))).astype(np.float32)
    return rates
