"""ChronoSpikeAttention: causal attention over spikes in time, and its recurrent linear variant.

Axes: B batch, T time steps, L positions, H heads, d_k width of a head. A query at step t, position i attends
to every step t' <= t (and, with the position mask, every position i' <= i):

    A = sigmoid(Q K^T / sqrt(d_k)) * M,   M(t, t') = exp(-(t - t') / tau) for t' <= t, else 0

There is no normalisation over keys: the mask bounds the sum over time. Without the sigmoid the mask
factorises, exp(-(t - t') / tau) = exp(-1 / tau)^(t - t'), so the same sum is a decaying running state
(retention) of constant size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from brainnet.snn.lif import LIF

__all__ = [
    "ChronoSpikeAttention",
    "LinearAttentionState",
    "SpikingTransformerBlock",
    "chrono_attention",
    "chrono_mask",
    "linear_chrono_attention",
    "linear_chrono_step",
]


@lru_cache(maxsize=8)
def chrono_mask(steps: int, length: int, tau: float, causal_positions: bool) -> Tensor:
    """M over the joint axis of T * L (step, position) pairs: float32 [T * L, T * L], query rows, key columns.

    Cached; callers must not write to it.
    """
    step = torch.arange(steps, dtype=torch.float32)
    lag = step[:, None] - step[None, :]
    in_time = torch.where(lag >= 0, torch.exp(-lag.clamp(min=0) / tau), torch.zeros(()))
    in_place = torch.ones(length, length)
    if causal_positions:
        in_place = in_place.tril()
    return torch.kron(in_time, in_place)


def chrono_attention(
    query: Tensor, key: Tensor, value: Tensor, tau: float, *, causal_positions: bool = False, linear: bool = False
) -> Tensor:
    """Context [B, H, T, L, d_v] of queries and keys [B, H, T, L, d_k] and values [B, H, T, L, d_v].

    `linear` leaves the sigmoid out: the matrix form of `linear_chrono_attention`. Time and memory grow
    with (T * L)^2.
    """
    steps, length, width = query.shape[2:]
    scores = query.flatten(2, 3) @ key.flatten(2, 3).transpose(-1, -2) / math.sqrt(width)
    weights = scores if linear else torch.sigmoid(scores)
    weights = weights * chrono_mask(steps, length, tau, causal_positions).to(query)
    return (weights @ value.flatten(2, 3)).unflatten(2, (steps, length))


@dataclass(frozen=True, slots=True)
class LinearAttentionState:
    """What linear attention remembers of the past: `memory` [B, H, L or 1, d_k, d_v], fixed in size.

    The third axis is L with the position mask (each position sees another past) and 1 without.
    """

    memory: Tensor


def linear_chrono_step(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    state: LinearAttentionState | None,
    tau: float,
    *,
    causal_positions: bool = False,
) -> tuple[Tensor, LinearAttentionState]:
    """One time step of linear attention: q, k [B, H, L, d_k], v [B, H, L, d_v] -> context [B, H, L, d_v], state.

    S <- exp(-1 / tau) S + sum_i k_i v_i^T;  context = q S / sqrt(d_k).
    """
    outer = key.unsqueeze(-1) * value.unsqueeze(-2)
    added = outer.cumsum(2) if causal_positions else outer.sum(2, keepdim=True)
    memory = added if state is None else math.exp(-1.0 / tau) * state.memory + added
    context = (query.unsqueeze(-2) @ memory).squeeze(-2) / math.sqrt(query.shape[-1])
    return context, LinearAttentionState(memory)


def linear_chrono_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tau: float,
    *,
    causal_positions: bool = False,
    state: LinearAttentionState | None = None,
) -> tuple[Tensor, LinearAttentionState]:
    """Linear attention over a sequence, shapes as `chrono_attention`; returns the context and the state after it."""
    contexts = []
    for q, k, v in zip(query.unbind(2), key.unbind(2), value.unbind(2), strict=True):
        context, state = linear_chrono_step(q, k, v, state, tau, causal_positions=causal_positions)
        contexts.append(context)
    if state is None:
        raise ValueError("the sequence has no time step")
    return torch.stack(contexts, dim=2), state


class ChronoSpikeAttention(nn.Module):
    """Spikes [B, T, L, D] -> spikes [B, T, L, D]: attention over time, output projection, LIF.

    Strictly causal: what happens at step t (and position i with `causal_positions`) changes no output before
    it. Projections have no bias, so a silent position adds nothing to anyone's context.

    Its LIF neurons start with decay `beta` and learn it.

    `tau` is in steps; steps / 4 is the usual choice, steps / 8 favours the newest, steps / 2 long context.
    `linear` selects the variant without the sigmoid, computed recurrently in O(T).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        tau: float,
        *,
        causal_positions: bool = False,
        linear: bool = False,
        beta: float = 0.9,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        if not tau > 0:
            raise ValueError(f"tau must be positive, got {tau}")
        self.heads = heads
        self.tau = tau
        self.causal_positions = causal_positions
        self.linear = linear
        self.neurons = _neurons(width, beta)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def currents(self, spikes: Tensor) -> Tensor:
        """Input currents [B, T, L, D] of the output neurons, before they spike."""
        parts = self.project(spikes).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).permute(0, 3, 1, 2, 4) for part in parts)
        if self.linear:
            context, _ = linear_chrono_attention(query, key, value, self.tau, causal_positions=self.causal_positions)
        else:
            context = chrono_attention(query, key, value, self.tau, causal_positions=self.causal_positions)
        projected: Tensor = self.output(context.permute(0, 2, 3, 1, 4).flatten(-2))
        return projected

    def forward(self, spikes: Tensor) -> Tensor:
        return _fire(self.neurons, self.currents(spikes))


class SpikingTransformerBlock(nn.Module):
    """ChronoSpikeAttention and a spiking feed-forward, each behind a norm and a LIF, around a float residual.

    Float membrane currents [B, T, L, D] -> the same shape: x += attention(LIF(norm(x))), then
    x += W2 LIF(norm(W1 LIF(norm(x)))). Every projection sees spikes. Causal as its attention.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        tau: float,
        *,
        expansion: int = 4,
        causal_positions: bool = True,
        linear: bool = False,
        beta: float = 0.9,
    ) -> None:
        super().__init__()
        self.attention = ChronoSpikeAttention(
            width, heads, tau, causal_positions=causal_positions, linear=linear, beta=beta
        )
        self.attention_norm, self.attention_neurons = nn.RMSNorm(width), _neurons(width, beta)
        self.input_norm, self.input_neurons = nn.RMSNorm(width), _neurons(width, beta)
        self.hidden_norm, self.hidden_neurons = nn.RMSNorm(width * expansion), _neurons(width * expansion, beta)
        self.expand = nn.Linear(width, width * expansion, bias=False)
        self.contract = nn.Linear(width * expansion, width, bias=False)

    def forward(self, currents: Tensor) -> Tensor:
        currents = currents + self.attention(_fire(self.attention_neurons, self.attention_norm(currents)))
        hidden = self.expand(_fire(self.input_neurons, self.input_norm(currents)))
        update: Tensor = self.contract(_fire(self.hidden_neurons, self.hidden_norm(hidden)))
        return currents + update


def _neurons(width: int, beta: float) -> LIF:
    return LIF(torch.full((width,), math.log(beta / (1 - beta))))


def _fire(neurons: LIF, currents: Tensor) -> Tensor:
    """Spikes [B, T, ...] of currents [B, T, ...], from rest."""
    spikes: Tensor = neurons(currents.transpose(0, 1))[0]
    return spikes.transpose(0, 1)
