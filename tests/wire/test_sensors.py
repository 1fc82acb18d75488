"""Samples of sensors: what is packed is what is read, and what cannot be one is refused with the reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from brainnet.errors import MessageError
from brainnet.wire.messages import SensorSample, decode, encode

TYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64"]
ARRAYS = npst.arrays(st.sampled_from(TYPES), npst.array_shapes(min_dims=0, max_dims=8, max_side=3))


@given(ARRAYS, st.booleans())
def test_an_array_of_any_type_and_shape_arrives_as_it_was(array: NDArray[Any], as_json: bool) -> None:
    sample = SensorSample.of(array, source="front", sequence=3, rate_hz=16000.0, metadata={"gain": 2})
    encoding = "application/json" if as_json else ""
    back = decode(SensorSample, encode(sample, as_json=as_json), encoding)
    assert back == sample
    assert back.array().dtype == array.dtype
    np.testing.assert_array_equal(back.array(), array)


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3).T, np.arange(6, dtype=">i4"), np.arange(6)[::2]])
def test_the_order_in_memory_does_not_matter(array: NDArray[Any]) -> None:
    np.testing.assert_array_equal(SensorSample.of(array).array(), array)


def test_encoded_bytes_need_no_shape_and_are_no_array() -> None:
    back = decode(SensorSample, encode(SensorSample(source="front", format="jpeg", data=b"\xff\xd8")))
    assert (back.format, back.data, back.shape) == ("jpeg", b"\xff\xd8", [])
    with pytest.raises(MessageError, match="the sample of 'front' is jpeg, not raw"):
        back.array()


@pytest.mark.parametrize("dtype", ["complex64", "U3", "O", "M8[s]"])
def test_elements_that_cannot_be_sent(dtype: str) -> None:
    with pytest.raises(MessageError, match=r"a sensor cannot send elements of type .*; it may be bool, uint8"):
        SensorSample.of(np.zeros(2, dtype))


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [2, 2], "data": b"abc"},
        {"shape": [1 << 32] * 8, "data": b""},
        {"shape": [-1], "data": b""},
        {"shape": [1] * 9, "data": b"a"},
        {"shape": [2], "dtype": "float32", "data": b"ab"},
        {"shape": [1], "dtype": "object", "data": b"a"},
        {"rate_hz": 0.0, "shape": [0]},
        {"rate_hz": math.inf, "shape": [0]},
        {"sequence": -1, "shape": [0]},
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_cannot_be_a_sample_is_refused(fields: dict[str, Any], as_json: bool) -> None:
    import json

    import msgpack

    if as_json:
        fields = {name: value.decode() if isinstance(value, bytes) else value for name, value in fields.items()}
        payload = json.dumps(fields).encode()
    else:
        payload = msgpack.packb(fields)
    with pytest.raises(MessageError):
        decode(SensorSample, payload, "application/json" if as_json else "")
