"""The forward pass of a router in numpy, for deciding one or a few prompts.

It computes what `RouterNet` computes, up to the rounding of float32 sums. A prompt is small, so that the time of the
torch modules goes into calls, not into sums; and between two prompts other processes use the caches of the processor,
which the code of torch has to fill again each time. In numpy and the compiled LIF kernel a decision takes a third of
the time, and cold caches cost it less.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from brainnet.errors import ModelError
from brainnet.snn import kernels
from brainnet.snn.layers.attention import chrono_mask, default_tau

if TYPE_CHECKING:
    from brainnet.snn.models.router import RouterConfig, RouterNet

Floats = NDArray[np.float32]


class RouterInference:
    """The weights of a router as arrays, as they are when it is made. Not thread-safe.

    Args:
        net: The trained network.
    """

    def __init__(self, net: RouterNet) -> None:
        def array(tensor: torch.Tensor) -> Floats:
            return tensor.detach().to("cpu", torch.float32).contiguous().numpy()

        self._net = net
        self._rates = array(torch.sigmoid(net.encoder.embedding.weight))
        self._input, self._input_bias = array(net.input.weight.T), array(net.input.bias)
        self._project = array(net.attention.project.weight.T)
        self._output = array(net.attention.output.weight.T)
        self._readout, self._readout_bias = array(net.readout.weight.T), array(net.readout.bias)
        self._memory_beta = array(net.beta)
        self._attention_beta = array(torch.sigmoid(net.attention.neurons.decay))
        self._heads = net.attention.heads
        self._tau = net.attention.tau or default_tau(net.config.steps)

    @property
    def config(self) -> RouterConfig:
        """The configuration of the network, whose scale may be fitted later."""
        return self._net.config

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
        memory, after = _lif(
            currents, start, self._memory_beta, self.config.base_threshold if threshold is None else threshold
        )
        attended, _ = _lif(self._attend(memory), np.zeros_like(start), self._attention_beta, 1.0)
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
        mask = chrono_mask(steps, length, self._tau, False).numpy()
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


def _lif(currents: Floats, start: Floats, beta: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Run LIF neurons over currents [T, B, L, D] from the potentials [B, L, D]; returns spikes and last potentials."""
    steps = currents.shape[0]
    spikes, after = np.empty_like(currents), np.empty_like(start)
    columns = start.size
    kernels.lif_forward(
        np.ascontiguousarray(currents).reshape(steps, columns),
        start.reshape(columns),
        np.tile(beta, columns // beta.size),
        np.float32(threshold),
        np.float32(threshold),
        np.float32(0.0),
        spikes.reshape(steps, columns),
        after.reshape(columns),
        0,
        columns,
    )
    return spikes, after
