r"""ChronoSpikeAttention without the sigmoid, as a recurrence whose state does not grow.

The exponential mask factorises, $e^{-(t - t') / \tau} = (e^{-1 / \tau})^{t - t'}$, so the sum over the past is a
decaying running state (retention, Sun et al. 2023, *Retentive Network*; linear attention, Katharopoulos et al. 2020):

$$
S_t = e^{-1 / \tau} S_{t-1} + \sum_i k_{t,i} v_{t,i}^T, \qquad c_{t,i} = q_{t,i} S_t / \sqrt{d_k}
$$

With the position mask the inner sum stops at the query's own position. Time grows with T, memory not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import check_finite, check_float, check_positive


@dataclass(frozen=True, slots=True)
class LinearAttentionState:
    """The state of linear attention, fixed in size.

    Attributes:
        memory: [B, H, L or 1, d_k, d_v], the decayed sum of outer products of keys and values. The third axis is L with
            the position mask, because each position has another past, and 1 without.
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
    """Run one time step of linear attention.

    Args:
        query: [B, H, L, d_k].
        key: [B, H, L, d_k].
        value: [B, H, L, d_v].
        state: the state after the previous step; None for no past.
        tau: the time constant in steps.
        causal_positions: mask later positions, too.

    Returns:
        The context [B, H, L, d_v] and the state after the step.

    Raises:
        ModelError: parts or a state that do not fit each other.
    """
    check_qkv(query, key, value, tau, axes="[batch, heads, positions, width]")
    _check_state(state, query, value, causal_positions)
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
    """Run linear attention over a sequence.

    Two halves with the state carried over give the same result as the whole sequence.

    Args:
        query: [B, H, T, L, d_k].
        key: [B, H, T, L, d_k].
        value: [B, H, T, L, d_v].
        tau: the time constant in steps.
        causal_positions: mask later positions, too.
        state: the state to continue from; None for no past.

    Returns:
        The context [B, H, T, L, d_v] and the state after the last step.

    Raises:
        ModelError: parts or a state that do not fit each other.
    """
    check_qkv(query, key, value, tau, axes="[batch, heads, steps, positions, width]")
    _check_state(state, query, value, causal_positions)
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
    # with the position mask every position sees the keys up to its own: a prefix sum over positions
    added = outer.cumsum(2) if causal_positions else outer.sum(2, keepdim=True)
    memory = added if state is None else math.exp(-1.0 / tau) * state.memory + added
    context = (query.unsqueeze(-2) @ memory).squeeze(-2) / math.sqrt(query.shape[-1])
    return context, LinearAttentionState(memory)


def _check_state(state: LinearAttentionState | None, query: Tensor, value: Tensor, causal_positions: bool) -> None:
    if state is None:
        return
    memory = state.memory
    expected = (*query.shape[:2], query.shape[-2] if causal_positions else 1, query.shape[-1], value.shape[-1])
    if memory.shape != expected:
        raise ModelError(f"state must be of shape {expected}, not {tuple(memory.shape)}")
    if memory.dtype != query.dtype or memory.device != query.device:
        raise ModelError(f"state is {memory.dtype} on {memory.device}, query {query.dtype} on {query.device}")
    check_finite("state", memory)


def check_qkv(query: Tensor, key: Tensor, value: Tensor, tau: float | None, *, axes: str) -> None:
    """Check that queries, keys and values fit each other, have a step and are finite.

    Raises:
        ModelError: they do not.
    """
    if tau is not None:
        check_positive("tau", tau)
    count = axes.count(",") + 1
    for name, part in (("query", query), ("key", key), ("value", value)):
        check_float(name, part)
        if part.ndim != count or (count == 5 and not part.shape[2]):
            raise ModelError(f"{name} must be {axes} with at least one step, not of shape {tuple(part.shape)}")
        if part.dtype != query.dtype or part.device != query.device:
            raise ModelError(f"{name} is {part.dtype} on {part.device}, query {query.dtype} on {query.device}")
        check_finite(name, part)
    if key.shape != query.shape:
        raise ModelError(f"key must be of the query's shape {tuple(query.shape)}, not {tuple(key.shape)}")
    if value.shape[:-1] != query.shape[:-1]:
        raise ModelError(f"value must be {(*query.shape[:-1], 'any width')}, not {tuple(value.shape)}")
