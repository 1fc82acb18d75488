"""Linear ChronoSpikeAttention: the recurrence against the matrix form and against its formula written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.layers.attention import chrono_attention
from brainnet.snn.layers.linear_attention import LinearAttentionState, linear_chrono_attention, linear_chrono_step

quick = settings(deadline=None, max_examples=25)
SHAPES = st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(1, 5))


def random_parts(shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, steps, length = shape
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, batch, 2, steps, length, 3, generator=generator)
    return query, key, torch.randn(batch, 2, steps, length, 4, generator=generator)


@quick
@given(shape=SHAPES, seed=st.integers(0, 2**31), tau=st.floats(0.5, 8), causal=st.booleans(), split=st.integers(1, 5))
def test_the_recurrent_form_equals_the_matrix_form(
    shape: tuple[int, int, int], seed: int, tau: float, causal: bool, split: int
) -> None:
    query, key, value = random_parts(shape, seed)
    matrix = chrono_attention(query, key, value, tau, causal_positions=causal, linear=True)
    recurrent, _ = linear_chrono_attention(query, key, value, tau, causal_positions=causal)
    assert torch.allclose(recurrent, matrix, atol=1e-4)
    # In two halves with the state carried over, too.
    halves, state = [], None
    for half in (slice(None, split), slice(split, None)):
        if query[:, :, half].shape[2]:
            context, state = linear_chrono_attention(
                query[:, :, half], key[:, :, half], value[:, :, half], tau, causal_positions=causal, state=state
            )
            halves.append(context)
    assert torch.allclose(torch.cat(halves, 2), matrix, atol=1e-4)


@quick
@given(shape=SHAPES, seed=st.integers(0, 2**31), tau=st.floats(0.5, 8), causal=st.booleans())
def test_step_by_step_equals_the_whole_with_a_state_that_does_not_grow(
    shape: tuple[int, int, int], seed: int, tau: float, causal: bool
) -> None:
    query, key, value = random_parts(shape, seed)
    whole, last = linear_chrono_attention(query, key, value, tau, causal_positions=causal)
    state = None
    for t in range(shape[1]):
        context, state = linear_chrono_step(
            query[:, :, t], key[:, :, t], value[:, :, t], state, tau, causal_positions=causal
        )
        assert state.memory.shape == (shape[0], 2, shape[2] if causal else 1, 3, 4)
        assert torch.equal(context, whole[:, :, t])
    assert state is not None
    assert torch.equal(state.memory, last.memory)


@quick
@given(shape=SHAPES, seed=st.integers(0, 2**31), data=st.data())
def test_a_change_reaches_no_earlier_step_and_no_earlier_position(
    shape: tuple[int, int, int], seed: int, data: st.DataObject
) -> None:
    parts, others = random_parts(shape, seed), random_parts(shape, seed + 1)
    step, position = data.draw(st.integers(0, shape[1] - 1)), data.draw(st.integers(0, shape[2] - 1))
    before, _ = linear_chrono_attention(*parts, 2.0, causal_positions=True)
    late = [torch.cat([old[:, :, :step], new[:, :, step:]], 2) for old, new in zip(parts, others, strict=True)]
    after, _ = linear_chrono_attention(late[0], late[1], late[2], 2.0, causal_positions=True)
    assert torch.equal(after[:, :, :step], before[:, :, :step])
    far = [
        torch.cat([old[..., :position, :], new[..., position:, :]], -2) for old, new in zip(parts, others, strict=True)
    ]
    after, _ = linear_chrono_attention(far[0], far[1], far[2], 2.0, causal_positions=True)
    assert torch.equal(after[..., :position, :], before[..., :position, :])


def test_is_the_formula_written_out() -> None:
    query, key, value = random_parts((1, 4, 3), 0)
    context, state = linear_chrono_attention(query, key, value, 2.5)
    for t in range(4):
        for i in range(3):
            expected = torch.zeros(1, 2, 4)
            for past in range(t + 1):
                for j in range(3):
                    score = (query[:, :, t, i] * key[:, :, past, j]).sum(-1) / math.sqrt(3)
                    expected += (score * math.exp(-(t - past) / 2.5))[..., None] * value[:, :, past, j]
            assert torch.allclose(context[:, :, t, i], expected, atol=1e-5)
    memory = sum(
        math.exp(-(3 - t) / 2.5) * torch.einsum("bhik,bhiv->bhkv", key[:, :, t], value[:, :, t]) for t in range(4)
    )
    assert torch.allclose(state.memory[:, :, 0], torch.as_tensor(memory), atol=1e-5)


def test_gradients_equal_those_of_the_matrix_form() -> None:
    found = []
    for linear_form in (False, True):
        query, key, value = (part.requires_grad_() for part in random_parts((2, 5, 3), 4))
        if linear_form:
            context, _ = linear_chrono_attention(query, key, value, 2.0)
        else:
            context = chrono_attention(query, key, value, 2.0, linear=True)
        found.append(torch.autograd.grad((context**2).sum(), (query, key, value)))
    for matrix, recurrent in zip(*found, strict=True):
        torch.testing.assert_close(recurrent, matrix, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_a_state_of_another_layer_is_refused(causal: bool) -> None:
    query, key, value = random_parts((1, 2, 3), 0)
    wrong = LinearAttentionState(torch.zeros(1, 2, 1 if causal else 3, 3, 4))
    with pytest.raises(ModelError, match="state must be of shape"):
        linear_chrono_attention(query, key, value, 2.0, causal_positions=causal, state=wrong)
    with pytest.raises(ModelError, match="state must be of shape"):
        linear_chrono_step(query[:, :, 0], key[:, :, 0], value[:, :, 0], wrong, 2.0, causal_positions=causal)


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (torch.zeros(1, 2, 1, 3, 4).double(), r"state is torch\.float64 on cpu, query torch\.float32 on cpu"),
        (torch.zeros(1, 2, 1, 3, 4, device="meta"), r"state is torch\.float32 on meta"),
        (torch.full((1, 2, 1, 3, 4), math.nan), "state must be finite"),
    ],
)
def test_a_state_of_another_type_or_device_or_not_finite_is_refused(memory: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        linear_chrono_attention(*random_parts((1, 2, 3), 0), 2.0, state=LinearAttentionState(memory))


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_a_tau_that_is_no_time_is_refused(tau: float) -> None:
    query, key, value = (part[:, :, 0] for part in random_parts((1, 2, 3), 0))
    with pytest.raises(ModelError, match="tau must be a finite number above 0"):
        linear_chrono_step(query, key, value, None, tau)


def test_no_step_is_refused_and_no_position_is_not() -> None:
    query, key, value = random_parts((1, 2, 3), 0)
    with pytest.raises(ModelError, match=r"query must be .* with at least one step, not of shape \(1, 2, 0, 3, 3\)"):
        linear_chrono_attention(query[:, :, :0], key[:, :, :0], value[:, :, :0], 2.0)
    context, _ = linear_chrono_attention(query[:, :, :, :0], key[:, :, :, :0], value[:, :, :, :0], 2.0)
    assert context.shape == (1, 2, 2, 0, 4)


def test_a_step_takes_four_axes() -> None:
    with pytest.raises(ModelError, match=r"query must be \[batch, heads, positions, width\]"):
        linear_chrono_step(*random_parts((1, 2, 3), 0), None, 2.0)
