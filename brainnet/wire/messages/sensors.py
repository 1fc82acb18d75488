"""What sensors send, as it is, and what regions perceive in it."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainnet.errors import MessageError
from brainnet.wire.messages.codec import ErrorText, Id, Message, Probability
from brainnet.wire.messages.prompts import Candidate

MAX_DIMENSIONS: Final = 8
MAX_SENSOR_BYTES: Final = 64 << 20
"""Bytes of one sample: a frame of 21 million pixels in three colours."""
DType = Literal["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64"]
Length = Annotated[int, Field(ge=0, le=1 << 32)]


class SensorSample(Message):
    """One sample of a sensor: a frame, a block of sound, a list of events, a cloud of points, forces, EEG.

    With `format` "raw" the data are an array, row by row, little-endian. Any other format names what the bytes are,
    such as "jpeg" or "png"; then dtype and shape may be left out.

    Attributes:
        source: The sensor.
        sequence: Counts its samples; a gap is a loss.
        timestamp_ns: When it was taken, nanoseconds since 1970.
        format: "raw", or the name of an encoding.
        dtype: Type of the elements.
        shape: Lengths of the axes: [height, width, channels] of a frame, [samples, channels] of sound, forces and EEG,
            [points, coordinates] of a cloud.
        rate_hz: Samples along the first axis for each second; None where the axis is not time.
        data: The bytes.
        metadata: Anything else.
    """

    source: Id = ""
    sequence: int = Field(0, ge=0, le=1 << 62)
    timestamp_ns: int = Field(default_factory=time.time_ns, ge=0, le=1 << 62)
    format: Id = "raw"
    dtype: DType = "uint8"
    shape: list[Length] = Field(default_factory=list, max_length=MAX_DIMENSIONS)
    rate_hz: float | None = Field(None, gt=0.0)
    data: bytes = Field(b"", max_length=MAX_SENSOR_BYTES)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.format == "raw":
            expected = math.prod(self.shape) * np.dtype(self.dtype).itemsize
            if len(self.data) != expected:
                raise ValueError(
                    f"{self.dtype} of shape {self.shape} has {expected} bytes, and there are {len(self.data)}"
                )
        return self

    @classmethod
    def of(cls, array: NDArray[Any], **fields: Any) -> Self:
        """Make the sample of an array.

        Args:
            array: The values, in any order in memory.
            fields: Further fields.

        Raises:
            MessageError: Elements of this type cannot be sent.
        """
        array = np.asarray(array)
        if array.dtype.name not in DType.__args__:  # type: ignore[attr-defined]
            raise MessageError(
                f"a sensor cannot send elements of type {array.dtype}; it may be {', '.join(DType.__args__)}"  # type: ignore[attr-defined]
            )
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        return cls(dtype=array.dtype.name, shape=list(array.shape), data=data, **fields)

    def array(self) -> NDArray[Any]:
        """Return the values of a raw sample; read-only, without a copy.

        Raises:
            MessageError: The sample is in another format.
        """
        if self.format != "raw":
            raise MessageError(f"the sample of {self.source!r} is {self.format}, not raw; decode its data")
        return np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


class Percept(Message):
    """What a region perceives in one sample of a sensor.

    Attributes:
        region: Who perceives.
        source: Key of the sample, such as `input/audio/desk`.
        sequence: Of the sample.
        timestamp_ns: When the sample was taken.
        candidates: What it may be, the most probable first.
        confidence: How probable the first is.
        error: Why nothing was perceived.
        latency_ms: From the arrival of the sample to this percept.
    """

    region: Id
    source: Annotated[str, Field(max_length=1024)]
    sequence: int = Field(0, ge=0, le=1 << 62)
    timestamp_ns: int = Field(0, ge=0, le=1 << 62)
    candidates: list[Candidate] = Field(default_factory=list)
    confidence: Probability = 0.0
    error: ErrorText | None = None
    latency_ms: float = Field(0.0, ge=0.0)
