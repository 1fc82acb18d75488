"""Spike codes: the integer comes back, and products with spikes equal integer products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.snn.codes.spike_codes import Kind, SpikeCode, decode, encode, spike_matmul
from brainnet.snn.synops import activation_sparsity

quick = settings(deadline=None, max_examples=60)
CODES = st.builds(
    lambda kind, steps, signed: SpikeCode(kind, steps, signed and kind == "bitwise"),
    st.sampled_from(["binary", "ternary", "bitwise"]),
    st.integers(1, 20),
    st.booleans(),
)


@st.composite
def coded(draw: st.DrawFn, size: int | None = None) -> tuple[SpikeCode, list[int]]:
    code = draw(CODES)
    values = st.integers(*code.range) | st.sampled_from(code.range)
    return code, draw(st.lists(values, min_size=size or 0, max_size=size or 30))


@quick
@given(coded())
def test_the_weighted_sum_over_time_is_the_integer(case: tuple[SpikeCode, list[int]]) -> None:
    code, values = case
    spikes = encode(torch.tensor(values, dtype=torch.int64), code)
    assert spikes.shape == (code.steps, len(values))
    assert spikes.dtype == torch.int8
    assert decode(spikes, code).tolist() == values


def test_each_code_written_out() -> None:
    def rows(kind: Kind, values: list[int], steps: int, signed: bool = False) -> Any:
        return encode(torch.tensor(values), SpikeCode(kind, steps, signed)).T.tolist()

    assert rows("binary", [0, 2, 3], 3) == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert rows("ternary", [-2, 0, 1], 3) == [[-1, -1, 0], [0, 0, 0], [1, 0, 0]]
    assert rows("bitwise", [5, 6], 3) == [[1, 0, 1], [0, 1, 1]]
    assert rows("bitwise", [-4, -1, 3], 3, True) == [[0, 0, 1], [1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (SpikeCode("binary", 9), (0, 9)),
        (SpikeCode("ternary", 127), (-127, 127)),
        (SpikeCode("bitwise", 8), (0, 255)),
        (SpikeCode("bitwise", 62), (0, 2**62 - 1)),
        (SpikeCode("bitwise", 8, twos_complement=True), (-128, 127)),
    ],
)
def test_the_range_is_what_fits_and_no_more(code: SpikeCode, expected: tuple[int, int]) -> None:
    assert code.range == expected
    assert decode(encode(torch.tensor(expected), code), code).tolist() == list(expected)
    for outside in (expected[0] - 1, expected[1] + 1):
        with pytest.raises(ModelError, match=f"values must be {expected[0]} to {expected[1]}"):
            encode(torch.tensor([outside]), code)


@quick
@given(coded(size=6), st.integers(1, 4), st.integers(0, 2**31), st.sampled_from([8, 16, 31]))
def test_spike_matmul_equals_the_integer_product(
    case: tuple[SpikeCode, list[int]], columns: int, seed: int, bits: int
) -> None:
    code, values = case
    extreme = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0, 1, -1]
    weight = np.random.default_rng(seed).choice(extreme, (6, columns))
    product = spike_matmul(torch.tensor([values, values[::-1]]), torch.from_numpy(weight), code)
    exact = np.array([values, values[::-1]], dtype=object) @ weight.astype(object)
    assert product.tolist() == exact.tolist()


@quick
@given(coded(size=5), st.data(), st.integers(2, 40), st.sampled_from([torch.int64, torch.int32]))
def test_spike_matmul_equals_the_integer_product_for_any_weight(
    case: tuple[SpikeCode, list[int]], data: st.DataObject, bits: int, kind: torch.dtype
) -> None:
    code, values = case
    bits = min(bits, torch.iinfo(kind).bits)
    weight = data.draw(
        st.lists(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), min_size=15, max_size=15).map(
            lambda numbers: np.array(numbers, dtype=np.int64).reshape(5, 3)
        )
    )
    product = spike_matmul(torch.tensor([[values]]), torch.from_numpy(weight).to(kind), code)
    assert product.dtype == torch.int64
    assert product.tolist() == [[(np.array(values, dtype=object) @ weight.astype(object)).tolist()]]


@pytest.mark.parametrize(
    "code",
    [
        SpikeCode("binary", 3),
        SpikeCode("ternary", 7),
        SpikeCode("bitwise", 8),
        SpikeCode("bitwise", 62),
        SpikeCode("bitwise", 62, twos_complement=True),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_products_up_to_the_edge_of_64_bits_are_exact_and_beyond_are_refused(code: SpikeCode, sign: int) -> None:
    largest = (2**63 - 1) // sum(abs(weight) for weight in code.weights)
    for value in code.range:
        product = spike_matmul(torch.tensor([value]), torch.tensor([[sign * largest]]), code)
        assert product.item() == value * sign * largest
    with pytest.raises(ModelError, match="weight is too large for this code"):
        spike_matmul(torch.tensor([0]), torch.tensor([[sign * (largest + 1)]]), code)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.uint32, torch.uint64])
def test_integers_of_every_type_are_taken(kind: torch.dtype) -> None:
    code, numbers = SpikeCode("bitwise", 7), torch.tensor([[0, 127, 5]])
    assert decode(encode(numbers.to(kind), code), code).tolist() == numbers.tolist()
    assert spike_matmul(numbers.to(kind), numbers.T.to(kind), code).item() == 127**2 + 25
    assert spike_matmul(numbers, torch.full((3, 1), -128, dtype=torch.int8), code).item() == -128 * 132


@pytest.mark.parametrize("kind", ["ternary", "bitwise"])
def test_the_whole_of_int8_times_int8(kind: Kind) -> None:
    code = SpikeCode("ternary", 128) if kind == "ternary" else SpikeCode("bitwise", 8, twos_complement=True)
    low, high = -128, 127
    values = torch.arange(low, high + 1).view(-1, 1)
    weight = torch.arange(-128, 128, dtype=torch.int8).view(1, -1)
    assert torch.equal(spike_matmul(values, weight, code), values @ weight.long())


def test_weights_beyond_float_precision_stay_exact() -> None:
    values, weight = torch.tensor([[3, 1]]), torch.tensor([[2**54 + 1], [-(2**53) + 1]])
    assert spike_matmul(values, weight, SpikeCode("binary", 3)).item() == 3 * (2**54 + 1) - 2**53 + 1
    # 2^53 + 1 is the first integer that float64 does not have
    weight = torch.tensor([[2**52 + 1], [2**52]])
    assert spike_matmul(torch.tensor([[1, 1]]), weight, SpikeCode("binary", 1)).item() == 2**53 + 1


def test_a_single_integer_is_coded_too() -> None:
    code = SpikeCode("bitwise", 3)
    assert encode(torch.tensor(5), code).tolist() == [1, 0, 1]
    assert decode(torch.tensor([1, 0, 1]), code).item() == 5


def test_sparsity_is_what_a_code_leaves_silent() -> None:
    values = torch.arange(-127, 128)
    # as many spikes as the magnitude says, and as many as bits are set
    assert activation_sparsity([encode(values, SpikeCode("ternary", 127))]) == 1 - (2 * 127 * 128 / 2) / (127 * 255)
    bits = sum(bin(value & 255).count("1") for value in range(-127, 128))
    assert activation_sparsity([encode(values, SpikeCode("bitwise", 8, True))]) == 1 - bits / (8 * 255)


def test_no_rows_and_no_columns_make_an_empty_product() -> None:
    code = SpikeCode("binary", 3)
    assert spike_matmul(torch.zeros(0, 4, dtype=torch.int64), torch.ones(4, 2, dtype=torch.int8), code).shape == (0, 2)
    assert spike_matmul(torch.ones(2, 4, dtype=torch.int64), torch.ones(4, 0, dtype=torch.int8), code).shape == (2, 0)
    assert spike_matmul(torch.ones(2, 0, dtype=torch.int64), torch.ones(0, 3, dtype=torch.int8), code).tolist() == [
        [0, 0, 0],
        [0, 0, 0],
    ]


def test_input_that_does_not_fit_is_refused() -> None:
    code, ones = SpikeCode("binary", 3), torch.ones(2, 4, dtype=torch.int64)
    refused: list[tuple[Any, str]] = [
        (lambda: SpikeCode("unary", 3), "kind must be one of"),  # type: ignore[arg-type]
        (lambda: SpikeCode("binary", 0), "steps must be at least 1"),
        (lambda: SpikeCode("bitwise", 63), "at most 62"),
        (lambda: SpikeCode("ternary", 3, twos_complement=True), "twos_complement"),
        (lambda: encode(torch.ones(3), code), "values must be of an integer type"),
        (lambda: decode(torch.ones(3), code), "spikes must be of an integer type"),
        (lambda: decode(ones, code), r"spikes must be \[3, ...\]"),
        (lambda: spike_matmul(ones, torch.ones(3, 2, dtype=torch.int8), code), r"values \(2, 4\) and weight \(3, 2\)"),
        (lambda: spike_matmul(ones, torch.ones(4, 2), code), "weight must be of an integer type"),
        (lambda: spike_matmul(ones, torch.full((4, 2), 2**60), code), "weight is too large"),
        (
            lambda: spike_matmul(ones, torch.ones(4, 2, dtype=torch.int8, device="meta"), code),
            "values are on cpu, weight",
        ),
        (lambda: spike_matmul(ones[0, 0], ones.T, code), r"values \(\) and weight"),
        (lambda: spike_matmul(ones, ones[0], code), r"weight \(4,\) must be"),
        (lambda: spike_matmul(ones.float(), ones.T, code), "values must be of an integer type"),
        (
            lambda: spike_matmul(4 * ones, ones.T, code),
            "values must be 0 to 3 for binary spikes of 3 steps, got 4 to 4",
        ),
        (lambda: decode(torch.tensor(1), code), r"spikes must be \[3, ...\]"),
        (lambda: encode(torch.tensor([True]), code), "values must be of an integer type"),
        (lambda: encode(torch.tensor([2**63], dtype=torch.uint64), code), r"values must be below 2\^63"),
    ]
    for call, said in refused:
        with pytest.raises(ModelError, match=said):
            call()
