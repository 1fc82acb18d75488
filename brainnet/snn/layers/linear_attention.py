r"""ChronoSpikeAttention without the sigmoid, as a recurrence whose state does not grow.

The exponential mask factorises, :math:`e^{-(t - t') / \tau} = (e^{-1 / \tau})^{t - t'}`, so the sum over the past is a
decaying running state (retention, Sun et al. 2023, *Retentive Network*; linear attention, Katharopoulos et al. 2020):

.. math:: S_t = e^{-1 / \tau} S_{t-1} + \sum_i k_{t,i} v_{t,i}^T, \qquad c_{t,i} = q_{t,i} S_t / \sqrt{d_k}

With the position mask the inner sum stops at the query's own position. Time grows with T, memory not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, positive, real


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

    Raises ModelError for parts or a state that do not fit one another.
    """
    require_parts(query, key, value, tau, axes="[batch, heads, positions, width]")
    _require_state(state, query, value, causal_positions)
    return _step(query, key, value, state, tau, causal_positions)


def linear_chrono_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tau: float,
    *,
    causal_positions: bool = False,
    state: LinearAttentionState | None = None,
) -> tuple[Tensor, LinearAttentionState]:
    """Linear attention over a sequence: the context and the state after it.

    Queries and keys [B, H, T, L, d_k], values [B, H, T, L, d_v] -> context [B, H, T, L, d_v]; `state` None starts
    with no past. Two halves with the state carried over equal the whole. Raises ModelError as `linear_chrono_step`.
    """
    require_parts(query, key, value, tau, axes="[batch, heads, steps, positions, width]")
    _require_state(state, query, value, causal_positions)
    contexts = []
    for q, k, v in zip(query.unbind(2), key.unbind(2), value.unbind(2), strict=True):
        context, state = _step(q, k, v, state, tau, causal_positions)
        contexts.append(context)
    assert state is not None
    return torch.stack(contexts, dim=2), state


def _step(
    query: Tensor, key: Tensor, value: Tensor, state: LinearAttentionState | None, tau: float, causal_positions: bool
) -> tuple[Tensor, LinearAttentionState]:
    outer = key.unsqueeze(-1) * value.unsqueeze(-2)
    added = outer.cumsum(2) if causal_positions else outer.sum(2, keepdim=True)
    memory = added if state is None else math.exp(-1.0 / tau) * state.memory + added
    context = (query.unsqueeze(-2) @ memory).squeeze(-2) / math.sqrt(query.shape[-1])
    return context, LinearAttentionState(memory)


def _require_state(state: LinearAttentionState | None, query: Tensor, value: Tensor, causal_positions: bool) -> None:
    if state is None:
        return
    memory = state.memory
    expected = (*query.shape[:2], query.shape[-2] if causal_positions else 1, query.shape[-1], value.shape[-1])
    if memory.shape != expected:
        raise ModelError(f"state must be of shape {expected}, not {tuple(memory.shape)}")
    if memory.dtype != query.dtype or memory.device != query.device:
        raise ModelError(f"state is {memory.dtype} on {memory.device}, query {query.dtype} on {query.device}")
    finite("state", memory)


def require_parts(query: Tensor, key: Tensor, value: Tensor, tau: float | None, *, axes: str) -> None:
    """Raise ModelError unless queries, keys and values fit one another, have a step, and are finite."""
    if tau is not None:
        positive("tau", tau)
    count = axes.count(",") + 1
    for name, part in (("query", query), ("key", key), ("value", value)):
        real(name, part)
        if part.ndim != count or (count == 5 and not part.shape[2]):
            raise ModelError(f"{name} must be {axes} with at least one step, not of shape {tuple(part.shape)}")
        if part.dtype != query.dtype or part.device != query.device:
            raise ModelError(f"{name} is {part.dtype} on {part.device}, query {query.dtype} on {query.device}")
        finite(name, part)
    if key.shape != query.shape:
        raise ModelError(f"key must be of the query's shape {tuple(query.shape)}, not {tuple(key.shape)}")
    if value.shape[:-1] != query.shape[:-1]:
        raise ModelError(f"value must be {(*query.shape[:-1], 'any width')}, not {tuple(value.shape)}")
