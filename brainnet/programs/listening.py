"""The samples of sensors, as they come on a topic, as blocks that encoders take."""

from __future__ import annotations

import numpy as np

from brainnet.errors import BrainnetError, SensorError
from brainnet.sensors.blocks import Block
from brainnet.sensors.events import EVENT
from brainnet.wire.messages import SensorSample


def block_of(sample: SensorSample) -> Block:
    """Return a sample as a block, whose time are microseconds since 1970.

    Raw samples are arrays as they are, events become arrays of `EVENT`, and pictures, such as those of the formats
    "jpeg" and "png", frames uint8 [rows, columns, 3].

    Raises:
        SensorError: It is of another format, or damaged.
    """
    if sample.format == "raw":
        payload = sample.array()
    elif sample.format == "events":
        if len(sample.data) % EVENT.itemsize:
            raise SensorError(f"a list of events has {EVENT.itemsize} bytes for each, and there are {len(sample.data)}")
        payload = np.frombuffer(sample.data, EVENT)
    else:
        # Imported here: the reader of pictures is not loaded where none comes.
        from brainnet.snn.models.pictures import decode_picture

        try:
            payload = decode_picture(sample.data)
        except BrainnetError as error:
            raise SensorError(f"a sample of format {sample.format!r} is {error}") from error
    return Block(sample.timestamp_ns // 1000, payload, sample.sequence, sample.rate_hz)
