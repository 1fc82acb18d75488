r"""ChronoSpikeAttention: causal attention over spikes in time, in its matrix form, and as a layer.

Axes: B batch, T time steps, L positions, H heads, d_k width of a head. A query at step t, position i attends to every
step t' <= t (and, with the position mask, to every position i' <= i):

.. math::
    A = \sigma(Q K^T / \sqrt{d_k}) \odot M, \qquad
    M(t, t') = e^{-(t - t') / \tau} \text{ for } t' \le t, \text{ else } 0, \qquad C = A V

There is no normalisation over keys: the mask bounds the sum over time. Without the sigmoid the mask factorises; that
variant runs in constant memory, see `brainnet.snn.layers.linear_attention`. The mask is the decay of retention (Sun et
al. 2023, *Retentive Network*), per step of time instead of per token.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, positive, real
from brainnet.snn.layers.linear_attention import linear_chrono_attention, require_parts
from brainnet.snn.neurons.lif import LIF

__all__ = ["ChronoSpikeAttention", "chrono_attention", "chrono_mask", "default_tau", "fire", "neurons"]


def default_tau(steps: int) -> float:
    """A quarter of the steps; an eighth favours the newest, a half long context."""
    return steps / 4


@lru_cache(maxsize=8)
def chrono_mask(steps: int, length: int, tau: float, causal_positions: bool) -> Tensor:
    """M over the joint axis of T * L (step, position) pairs: float32 [T * L, T * L], query rows, key columns.

    Cached; callers must not write to it.
    """
    # an inference tensor in the cache could never be trained with again
    with torch.inference_mode(False):
        step = torch.arange(steps, dtype=torch.float32)
        lag = step[:, None] - step[None, :]
        in_time = torch.where(lag >= 0, torch.exp(-lag.clamp(min=0) / tau), torch.zeros(()))
        in_place = torch.ones(length, length)
        if causal_positions:
            in_place = in_place.tril()
        return torch.kron(in_time, in_place)


def chrono_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tau: float | None = None,
    *,
    causal_positions: bool = False,
    linear: bool = False,
) -> Tensor:
    """Context [B, H, T, L, d_v] of queries and keys [B, H, T, L, d_k] and values [B, H, T, L, d_v].

    `tau` is in steps (None: `default_tau`). `linear` leaves the sigmoid out: the matrix form of
    `linear_chrono_attention`. Time and memory grow with (T * L)^2.
    Raises ModelError, naming the argument, for shapes and types that do not fit, no step, and tau not above 0.
    """
    require_parts(query, key, value, tau, axes="[batch, heads, steps, positions, width]")
    steps, length, width = query.shape[2:]
    tau = default_tau(steps) if tau is None else tau
    scores = query.flatten(2, 3) @ key.flatten(2, 3).transpose(-1, -2) / math.sqrt(width)
    weights = scores if linear else torch.sigmoid(scores)
    weights = weights * chrono_mask(steps, length, tau, causal_positions).to(query)
    return (weights @ value.flatten(2, 3)).unflatten(2, (steps, length))


class ChronoSpikeAttention(nn.Module):
    """Spikes [B, T, L, D] -> spikes [B, T, L, D]: attention over time, output projection, LIF.

    Strictly causal: what happens at step t (and position i with `causal_positions`) changes no output before
    it. Projections have no bias, so a silent position adds nothing to anyone's context.

    Its LIF neurons start with decay `beta` and learn it. `tau` is in steps; None takes the `default_tau` of each input.
    `linear` selects the variant without the sigmoid, computed recurrently in O(T). Raises ModelError, naming the
    argument, for sizes that do not fit and for spikes of another shape, type or device, or not finite.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        tau: float | None = None,
        *,
        causal_positions: bool = False,
        linear: bool = False,
        beta: float = 0.9,
    ) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise ModelError(f"width must be a multiple of heads, both at least 1, not {width} and {heads}")
        self.heads = heads
        self.tau = None if tau is None else positive("tau", tau)
        self.causal_positions = causal_positions
        self.linear = linear
        self.neurons = neurons(width, beta)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def currents(self, spikes: Tensor) -> Tensor:
        """Input currents [B, T, L, D] of the output neurons, before they spike."""
        require_sequence("spikes", spikes, self.project)
        tau = default_tau(spikes.shape[1]) if self.tau is None else self.tau
        parts = self.project(spikes).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).permute(0, 3, 1, 2, 4) for part in parts)
        if self.linear:
            context, _ = linear_chrono_attention(query, key, value, tau, causal_positions=self.causal_positions)
        else:
            context = chrono_attention(query, key, value, tau, causal_positions=self.causal_positions)
        projected: Tensor = self.output(context.permute(0, 2, 3, 1, 4).flatten(-2))
        return projected

    def forward(self, spikes: Tensor) -> Tensor:
        return fire(self.neurons, self.currents(spikes))


def neurons(width: int, beta: float) -> LIF:
    """Neurons whose decay starts at `beta` (between 0 and 1) and is learned."""
    if not 0 < beta < 1:
        raise ModelError(f"beta must be between 0 and 1, not {beta}")
    return LIF(torch.full((width,), math.log(beta / (1 - beta))))


def fire(layer: LIF, currents: Tensor) -> Tensor:
    """Spikes [B, T, ...] of currents [B, T, ...], from rest."""
    spikes: Tensor = layer(currents.transpose(0, 1))[0]
    return spikes.transpose(0, 1)


def require_sequence(name: str, values: Tensor, layer: nn.Linear) -> None:
    """Raise ModelError unless `values` are [B, T, L, D] with a step, finite, and what `layer` takes."""
    width, weight = layer.in_features, layer.weight
    if real(name, values).ndim != 4 or values.shape[-1] != width or not values.shape[1]:
        raise ModelError(f"{name} must be [batch, steps >= 1, positions, {width}], not {tuple(values.shape)}")
    if (values.dtype, values.device) != (weight.dtype, weight.device):
        found = f"{values.dtype} on {values.device}"
        raise ModelError(f"{name} must be {weight.dtype} on {weight.device} as the weights are, not {found}")
    finite(name, values)
