"""Quantisation against torch's own, training through rounding, and int8 activations as spikes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.codes.quantization import (
    Bits,
    fake_quantize,
    pack_int4,
    quantize,
    quantized_linear,
    quantized_weights,
    spiking_linear,
    train_quantized,
    unpack_int4,
)
from brainnet.snn.codes.spike_codes import SpikeCode

BITS: list[Bits] = [8, 4]
LIMIT = {8: 127, 4: 7}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", BITS)
def test_equals_torch_quantisation_with_the_largest_value_at_the_limit(bits: Bits) -> None:
    weight = random(5, 40)
    limit = LIMIT[bits]
    found = quantize(weight, bits)
    assert torch.equal(found.scale[:, 0], weight.abs().amax(1) / limit)
    assert found.values.abs().amax(1).tolist() == [limit] * 5
    zeros = torch.zeros(5, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(weight, found.scale[:, 0], zeros, 0, -limit, limit)
    torch.testing.assert_close(found.dequantize(), theirs, rtol=1e-6, atol=0)


@given(seed=st.integers(0, 2**31), bits=st.sampled_from(BITS), size=st.floats(1e-30, 1e30))
@settings(deadline=None, max_examples=40)
def test_no_value_moves_by_more_than_half_a_scale(seed: int, bits: Bits, size: float) -> None:
    x = random(3, 17, seed=seed) * size
    found = quantize(x, bits)
    assert ((found.dequantize() - x).abs() <= found.scale * 0.5000001).all()


def test_one_scale_for_each_slice_that_is_asked_for() -> None:
    x = random(2, 3, 4)
    assert quantize(x, 8).scale.shape == (2, 1, 1)
    assert quantize(x, 8, axes=(-1,)).scale.shape == (2, 3, 1)
    assert quantize(x, 8, axes=(0, 1, 2)).scale.shape == (1, 1, 1)


def test_ties_round_to_even_and_scales_are_float32() -> None:
    found = quantize(torch.tensor([[127.0, 0.5, 1.5, -2.5, 126.5]], dtype=torch.float64), 8)
    assert found.values.tolist() == [[127, 0, 2, -2, 126]]
    assert (found.values.dtype, found.scale.dtype, found.scale.item()) == (torch.int8, torch.float32, 1.0)
    assert quantize(torch.tensor([[7.0, 3.5, -6.6]]), 4).values.tolist() == [[7, 4, -7]]


def test_numbers_below_the_normal_ones_do_not_divide_by_nothing() -> None:
    tiny = torch.finfo(torch.float32).tiny
    found = quantize(torch.full((1, 3), tiny / 4), 8)
    assert found.scale.item() == tiny
    assert not found.values.any()


def test_zeros_stay_zero() -> None:
    found = quantize(torch.zeros(2, 3), 4)
    assert not found.values.any()
    assert not found.dequantize().any()


@given(st.lists(st.integers(-8, 7), min_size=1, max_size=9))
def test_packed_int4_comes_back(values: list[int]) -> None:
    tensor = torch.tensor([values, values[::-1]], dtype=torch.int8)
    packed = pack_int4(tensor)
    assert packed.shape == (2, (len(values) + 1) // 2)
    assert torch.equal(unpack_int4(packed, len(values)), tensor)


def test_a_row_alone_is_packed_and_multiplied() -> None:
    assert unpack_int4(pack_int4(torch.tensor([3, -8])), 2).tolist() == [3, -8]
    assert unpack_int4(torch.zeros(2, 0, dtype=torch.uint8), 0).shape == (2, 0)
    weight = quantize(torch.tensor([[127.0, 1.0], [0.0, -127.0]]), 8)
    assert quantized_linear(torch.tensor([2.0, 1.0]), weight).tolist() == [255.0, -127.0]


def test_packed_int4_has_the_first_value_in_the_low_half() -> None:
    assert pack_int4(torch.tensor([1, -1, 7])).tolist() == [0xF1, 0x07]


@pytest.mark.parametrize("bits", BITS)
def test_the_gradient_passes_straight_through(bits: Bits) -> None:
    x, weights = random(3, 8).requires_grad_(), random(3, 8, seed=1)
    rounded = fake_quantize(x, bits)
    assert torch.equal(rounded, quantize(x, bits).dequantize())
    assert not torch.equal(rounded, x)
    assert torch.equal(torch.autograd.grad(rounded, x, weights)[0], weights)


@pytest.mark.parametrize("bits", BITS)
def test_training_sees_the_rounding_and_ends_on_rounded_weights(bits: Bits) -> None:
    torch.manual_seed(0)
    x = random(64, 10)
    target = x @ random(10, 3, seed=2)
    model = train_quantized(nn.Sequential(nn.Linear(10, 3)), bits)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(300):
        loss = F.mse_loss(model(x), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    found = quantized_weights(model)
    assert list(found) == ["0"]
    bias: Any = model.get_parameter("0.bias")
    torch.testing.assert_close(quantized_linear(x, found["0"], bias), model(x))


def test_convolutions_are_quantised_once() -> None:
    model = train_quantized(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), 4)
    assert quantized_weights(model)["0"].scale.shape == (3, 1, 1, 1)
    with pytest.raises(ModelError, match="not yet quantised"):
        train_quantized(model, 4)


@pytest.mark.parametrize("code", [SpikeCode("ternary", 127), SpikeCode("bitwise", 8, twos_complement=True)])
@pytest.mark.parametrize("bits", BITS)
def test_activations_as_spikes_give_the_product_of_the_rounded_matrices(code: SpikeCode, bits: Bits) -> None:
    x, weight, bias = random(2, 5, 30), quantize(random(7, 30, seed=1), bits), random(7, seed=2)
    rounded = quantize(x, 8, axes=(-1,)).dequantize().double()
    expected = rounded @ weight.dequantize().double().T + bias
    torch.testing.assert_close(spiking_linear(x, weight, code, bias).double(), expected, rtol=1e-5, atol=1e-5)


def test_input_that_does_not_fit_is_refused() -> None:
    x = random(2, 3)
    refused: list[tuple[Any, str]] = [
        (lambda: quantize(x, 3), "bits must be 8 or 4, got 3"),  # type: ignore[arg-type]
        (lambda: quantize(x.long(), 8), "x must be of a floating-point type"),
        (lambda: quantize(torch.tensor([1.0, float("inf")]), 8), "x must be finite"),
        (lambda: quantize(torch.zeros(0, 3), 8), "at least one value"),
        (lambda: pack_int4(torch.tensor([8])), "from -8 to 7"),
        (lambda: pack_int4(x), "values must be of an integer type"),
        (lambda: unpack_int4(torch.zeros(2, dtype=torch.uint8), 5), r"packed must be uint8 \[..., 3\]"),
        (lambda: quantized_linear(x.long(), quantize(x, 8)), "x must be of a floating-point type"),
        (lambda: spiking_linear(x, quantize(x, 8), SpikeCode("binary", 127)), "values must be 0 to 127"),
        (lambda: train_quantized(nn.ReLU(), 8), "at least one Linear"),
        (lambda: quantize(torch.tensor(1.0), 8, axes=(0,)), "at least one value|axes must be"),
        (lambda: quantize(x, 8, axes=(2,)), r"axes must be among those of x \(2, 3\), got \(2,\)"),
        (lambda: quantize(x, 8, axes=(-3,)), "axes must be among"),
        (lambda: quantize(torch.tensor([1e300], dtype=torch.float64), 8), "x must be finite"),
        (lambda: fake_quantize(x * float("nan"), 8), "x must be finite"),
        (lambda: pack_int4(torch.tensor([-9])), "from -8 to 7"),
        (lambda: unpack_int4(torch.zeros(0, dtype=torch.uint8), -1), "count must be 0 or more, not -1"),
        (lambda: unpack_int4(torch.zeros(3), 5), "packed must be uint8"),
        (lambda: quantized_linear(x, quantize(random(4, 5), 8)), r"x must be \[..., 5\] on cpu, not \(2, 3\)"),
        (lambda: quantized_linear(x.to("meta"), quantize(x, 8)), r"x must be .* on cpu, not \(2, 3\) on meta"),
        (lambda: quantized_linear(x * float("inf"), quantize(x, 8)), "x must be finite"),
        (lambda: quantized_linear(x, quantize(x, 8), random(3)), r"bias must be \[2\] on cpu, not \(3,\)"),
        (
            lambda: quantized_linear(x, quantize(x, 8, axes=(0, 1))),
            r"with a scale \[out, 1\], not \(2, 3\) with \(1, 1\)",
        ),
        (lambda: quantized_linear(x, quantize(random(3), 8)), r"weight must be \[out, in\]"),
        (lambda: spiking_linear(x, quantize(random(4, 5), 8), SpikeCode("ternary", 127)), r"x must be \[..., 5\]"),
        (lambda: spiking_linear(x.long(), quantize(x, 8), SpikeCode("ternary", 127)), "x must be of a floating-point"),
        (lambda: spiking_linear(x, quantize(x, 8), SpikeCode("ternary", 127), random(3)), r"bias must be \[2\]"),
    ]
    for call, said in refused:
        with pytest.raises(ModelError, match=said):
            call()
