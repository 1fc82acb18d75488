"""Whatever a sensor sends, an encoder returns spikes or one error, and goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block
from brainnet.sensors.encoders.addresses import Addresses
from brainnet.sensors.encoders.base import Encoder
from brainnet.sensors.encoders.change import FrameChange, SampleChange
from brainnet.sensors.encoders.cochlea import Cochlea
from brainnet.sensors.encoders.latency import Latency
from brainnet.sensors.encoders.rate import Rate
from brainnet.sensors.encoders.voxels import Voxels
from brainnet.sensors.events import EVENT

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "rate": lambda: Rate((2, 2), 1000),
    "latency": lambda: Latency((3,), 1000, code_steps=5),
    "pixels": lambda: FrameChange((2, 2), 1000, threshold=1, logarithmic=True),
    "samples": lambda: SampleChange(3, 1000, threshold=0.5),
    "addresses": lambda: Addresses(5, 4, 1000),
    "cochlea": lambda: Cochlea(8000, 1000, bands=2, channels=3),
    "voxels": lambda: Voxels((0, 0, 0), (1, 1, 1), (2, 2, 2), 1000),
}
TYPES = st.one_of(
    arrays.scalar_dtypes(),
    arrays.byte_string_dtypes(),
    st.sampled_from([np.dtype(object), np.dtype(np.longdouble), np.dtype(">f8"), np.dtype(">i2"), EVENT]),
)
SHAPES = st.one_of(
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), st.sampled_from([(2, 2), (3,), (4, 3), (1, 3)])
)


@st.composite
def payloads(draw: st.DrawFn) -> Any:
    kind, shape = draw(TYPES), draw(SHAPES)
    if kind == EVENT or kind.hasobject:
        rows = st.tuples(st.integers(-5, 1 << 62), st.integers(0, 9), st.integers(0, 9), st.booleans())
        return np.array(draw(st.lists(rows, max_size=4)), kind)
    return draw(arrays.arrays(kind, shape))


@pytest.mark.parametrize("name", ENCODERS)
@given(
    payload=payloads(),
    t_us=st.integers(-10, 12_000),
    rate_hz=st.sampled_from([None, 8000, 8000.0, 999.5, 0, -1, math.nan, math.inf, 1e-3]),
)
def test_any_payload_gives_spikes_or_one_error(name: str, payload: Any, t_us: int, rate_hz: float | None) -> None:
    encoder = ENCODERS[name]()
    before = encoder.save()
    refused: SensorError | None = None
    try:
        spikes = encoder.window(0, 10, [Block(t_us, payload, 7, rate_hz)])
    except SensorError as error:
        refused = error
    if refused is not None:
        assert len(str(refused)) < 400
        assert all(np.array_equal(before[key], value, equal_nan=True) for key, value in encoder.save().items())
        spikes = encoder.window(0, 10, [])
    assert spikes.steps == 10
    assert spikes.offsets[0] == 0
    assert (np.diff(spikes.offsets) >= 0).all()
    assert spikes.neurons.size == spikes.offsets[-1]
    assert ((spikes.neurons >= 0) & (spikes.neurons < encoder.size)).all()
    saved = encoder.save()
    assert not any(value.dtype.hasobject for value in saved.values())
    encoder.load(saved)
    encoder.window(10, 10, [])
