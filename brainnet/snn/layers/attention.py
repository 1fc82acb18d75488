r"""ChronoSpikeAttention: causal attention over spikes in time, in its matrix form, and as a layer.

Axes: B batch, T time steps, L positions, H heads, d_k width of a head. A query at step t, position i attends to every
step t' <= t (and, with the position mask, to every position i' <= i):

$$
A = \sigma(Q K^T / \sqrt{d_k}) \odot M, \qquad
M(t, t') = e^{-(t - t') / \tau} \text{ for } t' \le t, \text{ else } 0, \qquad C = A V
$$

There is no softmax over keys: the mask bounds the sum over time. Without the sigmoid the mask factorises; that
variant runs in constant memory, see `brainnet.snn.layers.linear_attention`. The mask is the decay of retention (Sun et
al. 2023, *Retentive Network*), per step of time instead of per token.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import check_finite, check_float, check_positive
from brainnet.snn.layers import chrono_mask as masks
from brainnet.snn.layers.chrono_mask import default_tau
from brainnet.snn.layers.linear_attention import check_qkv, linear_chrono_attention
from brainnet.snn.neurons.lif import LIF

__all__ = ["ChronoSpikeAttention", "chrono_attention", "chrono_mask", "default_tau", "lif_layer", "spikes_from_rest"]


@lru_cache(maxsize=8)
def chrono_mask(steps: int, length: int, tau: float, causal_positions: bool) -> Tensor:
    """Return the mask M over the joint axis of (step, position) pairs: float32 [T * L, T * L], query rows, key columns.

    The result is cached; callers must not write to it.
    """
    # a tensor created in inference mode cannot take part in training later, and the cache would return it
    with torch.inference_mode(False):
        return torch.from_numpy(masks.chrono_mask(steps, length, tau, causal_positions))


def chrono_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tau: float | None = None,
    *,
    causal_positions: bool = False,
    linear: bool = False,
) -> Tensor:
    """Return the context [B, H, T, L, d_v] of causal attention over time.

    Time and memory grow with (T * L)^2.

    Args:
        query: [B, H, T, L, d_k].
        key: [B, H, T, L, d_k].
        value: [B, H, T, L, d_v].
        tau: the time constant of the mask in steps; None for `default_tau`.
        causal_positions: mask later positions, too.
        linear: omit the sigmoid; this is the matrix form of `linear_chrono_attention`.

    Raises:
        ModelError: shapes or types that do not fit, no step, or tau not above 0.
    """
    check_qkv(query, key, value, tau, axes="[batch, heads, steps, positions, width]")
    steps, length, width = query.shape[2:]
    tau = default_tau(steps) if tau is None else tau
    scores = query.flatten(2, 3) @ key.flatten(2, 3).transpose(-1, -2) / math.sqrt(width)
    weights = scores if linear else torch.sigmoid(scores)
    weights = weights * chrono_mask(steps, length, tau, causal_positions).to(query)
    return (weights @ value.flatten(2, 3)).unflatten(2, (steps, length))


class ChronoSpikeAttention(nn.Module):
    """Attention over time, output projection and LIF neurons: spikes [B, T, L, D] -> spikes [B, T, L, D].

    It is strictly causal: an input at step t (and position i with `causal_positions`) changes no earlier output. The
    projections have no bias, so a silent position adds nothing to any context. The LIF neurons learn their decay.

    Args:
        width: D.
        heads: H; must divide D.
        tau: the time constant of the mask in steps; None for the `default_tau` of each input.
        causal_positions: mask later positions, too.
        linear: omit the sigmoid; this variant is computed recurrently in O(T).
        beta: the initial decay of the neurons per step.

    Raises:
        ModelError: sizes that do not fit, or spikes of another shape, type or device, or not finite.
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
        self.tau = None if tau is None else check_positive("tau", tau)
        self.causal_positions = causal_positions
        self.linear = linear
        self.neurons = lif_layer(width, beta)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def currents(self, spikes: Tensor) -> Tensor:
        """Return the input currents [B, T, L, D] of the output neurons."""
        check_input("spikes", spikes, self.project)
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
        """Return the output spikes [B, T, L, D]."""
        return spikes_from_rest(self.neurons, self.currents(spikes))


def lif_layer(width: int, beta: float) -> LIF:
    """Return a layer of LIF neurons whose learned decay starts at `beta`.

    Raises:
        ModelError: beta is not between 0 and 1.
    """
    if not 0 < beta < 1:
        raise ModelError(f"beta must be between 0 and 1, not {beta}")
    # the decay is stored as a logit, so that training cannot leave (0, 1)
    return LIF(torch.full((width,), math.log(beta / (1 - beta))))


def spikes_from_rest(layer: LIF, currents: Tensor) -> Tensor:
    """Return the spikes [B, T, ...] of currents [B, T, ...], starting from rest."""
    spikes: Tensor = layer(currents.transpose(0, 1))[0]
    return spikes.transpose(0, 1)


def check_input(name: str, values: Tensor, layer: nn.Linear) -> None:
    """Check that `values` are a finite [B, T, L, D] that `layer` accepts.

    Raises:
        ModelError: they are not.
    """
    width, weight = layer.in_features, layer.weight
    if check_float(name, values).ndim != 4 or values.shape[-1] != width or not values.shape[1]:
        raise ModelError(f"{name} must be [batch, steps >= 1, positions, {width}], not {tuple(values.shape)}")
    if (values.dtype, values.device) != (weight.dtype, weight.device):
        actual = f"{values.dtype} on {values.device}"
        raise ModelError(f"{name} must be {weight.dtype} on {weight.device} as the weights are, not {actual}")
    check_finite(name, values)
