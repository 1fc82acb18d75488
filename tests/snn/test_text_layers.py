"""The language model's fused operations: values and gradients against plain torch in float64, and refusals."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.models.text_control import normalized_silu
from brainnet.snn.models.text_kernels import exponential
from brainnet.snn.models.text_layers import gated_recurrence, linear, next_token_loss, normalized_lif

sizes = st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(4, 40))
seeds = st.integers(0, 10_000)


def results(operation: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Outputs, then the gradients of all inputs for a fixed random weighting of the outputs."""
    given_ = [x.detach().clone().to(dtype).requires_grad_() for x in inputs]
    outputs = operation(*given_)
    generator = torch.Generator().manual_seed(1)
    weighted = [(y * torch.randn(y.shape, generator=generator, dtype=torch.float64).to(dtype)).sum() for y in outputs]
    torch.stack(weighted).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [x.grad for x in given_]
    return [y.detach().double() for y in (*outputs, *(g for g in gradients if g is not None))]


def assert_equal_to_reference(operation: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor]) -> None:
    """On CPU, float32 takes the compiled path and float64 the torch one."""
    compiled, reference = results(operation, inputs, torch.float32), results(operation, inputs, torch.float64)
    assert len(compiled) == len(reference)
    for found, expected in zip(compiled, reference, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4 * max(1.0, float(expected.abs().max())))


def random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


@given(size=sizes, each=st.integers(1, 3), seed=seeds)
@settings(max_examples=20, deadline=None)
def test_neurons(size: tuple[int, int, int], each: int, seed: int) -> None:
    """`each` neurons a channel, with gains of both signs."""
    g = torch.Generator().manual_seed(seed)
    steps, streams, width = size
    count = each * width
    beta = torch.rand(count, generator=g)
    constants = [2 * random(g, count), random(g, count) / 4, beta]
    inputs = [random(g, steps, streams, width), *constants, random(g, streams, count)]
    with torch.no_grad():
        x, gain, bias, beta, membrane = (part.double() for part in inputs)
        # one step apart from a threshold in float32 decides a spike, and with it all that follows
        trace = [normalized_lif(x[: t + 1], gain, bias, beta, membrane)[1] for t in range(steps)]
    if all(float((u - 1).abs().min()) > 1e-4 for u in trace):
        assert_equal_to_reference(normalized_lif, inputs)


@given(size=sizes, each=st.integers(1, 3), seed=seeds)
@settings(max_examples=20, deadline=None)
def test_units_of_the_control(size: tuple[int, int, int], each: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    count = each * size[-1]
    inputs = [random(g, *size), 2 * random(g, count), random(g, count)]
    assert_equal_to_reference(lambda x, gain, bias: (normalized_silu(x, gain, bias),), inputs)


@given(size=sizes, seed=seeds)
@settings(max_examples=25, deadline=None)
def test_memory(size: tuple[int, int, int], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    steps, streams, width = size
    projected = 3 * random(g, steps, streams, 3 * width)
    assert_equal_to_reference(
        gated_recurrence, [projected, random(g, width), 1 + random(g, width) / 4, random(g, streams, width)]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_spike_cost_is_as_a_term_of_the_loss(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    gain, bias, beta = (random(g, 8).to(dtype).requires_grad_() for _ in range(3))
    x, membrane = random(g, 6, 2, 4).to(dtype).requires_grad_(), torch.zeros(2, 8, dtype=dtype)
    weights = random(g, 6, 2, 8).to(dtype)

    def gradients(spike_cost: float, term: float) -> tuple[Tensor, ...]:
        spikes, _ = normalized_lif(x, gain, bias, torch.sigmoid(beta), membrane, spike_cost)
        return torch.autograd.grad((spikes * weights).sum() + term * spikes.sum(), (x, gain, bias, beta))

    for found, expected, free in zip(gradients(0.3, 0), gradients(0, 0.3), gradients(0, 0), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, free, rtol=1e-2)


def test_products_of_spikes_in_half_precision_round_only_the_weights() -> None:
    g = torch.Generator().manual_seed(0)
    spikes = (random(g, 5, 3, 40) > 1).float().requires_grad_()
    weight = random(g, 24, 40).requires_grad_()
    results_ = [linear(spikes, weight, half) for half in (False, True)]
    assert results_[1].dtype == torch.float32
    torch.testing.assert_close(results_[1], results_[0], rtol=1e-2, atol=3e-2)
    outer = random(g, 5, 3, 24)
    exact, short = (torch.autograd.grad(result, (spikes, weight), outer) for result in results_)
    for found, expected in zip(short, exact, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=0.1)


@given(rows=st.integers(1, 1100), classes=st.integers(1, 70), seed=seeds)
@settings(max_examples=15, deadline=None)
def test_loss(rows: int, classes: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (rows,), generator=g)
    assert_equal_to_reference(
        lambda x, e: (next_token_loss(x, e, targets),), [4 * random(g, rows, 12), random(g, classes, 12)]
    )


@given(x=st.floats(-87, 87, width=32))
@settings(deadline=None)
def test_exponential(x: float) -> None:
    assert exponential(np.float32(x)) == pytest.approx(np.exp(np.float64(x)), rel=3e-7)


def test_exponential_of_anything_finite_is_finite() -> None:
    assert exponential(np.float32(1e30)) == pytest.approx(np.exp(87.0), rel=1e-4)
    assert 0 < exponential(np.float32(-1e30)) < 1e-37


def test_values_that_are_not_finite_are_refused() -> None:
    x = torch.zeros(3, 1, 4)
    x[1, 0, 2] = torch.nan
    with pytest.raises(ModelError, match="finite"):
        normalized_lif(x, torch.ones(4), torch.zeros(4), torch.full((4,), 0.5), torch.zeros(1, 4))
