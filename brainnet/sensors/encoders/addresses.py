"""Address events: each event of a camera is a spike of the neuron of its pixel and polarity.

Step k holds the events with k dt <= time < (k + 1) dt, as in `brainnet.snn.codes.event_frames`.
"""

from __future__ import annotations

import numpy as np

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block
from brainnet.sensors.encoders.base import spikes_at
from brainnet.sensors.encoders.rows import RowEncoder, Rows
from brainnet.sensors.events import EVENT, Events, check_size
from brainnet.simulation.spikes import Spikes


class Addresses(RowEncoder):
    """Events of a camera as spikes.

    With H' = ceil(height / pool) and W' = ceil(width / pool), an event at column x and row y is a spike of the neuron
    (polarity H' + y div pool) W' + x div pool. How events are cut into blocks does not matter. Event i of a payload has
    the time t_us of its block, plus its own time, minus that of the first one.

    Args:
        width: Columns of the sensor.
        height: Rows of the sensor.
        dt_us: A step in microseconds.
        pool: Columns, and rows, of pixels that share a neuron.
        once: Whether a neuron fires at most once in a step, however many events it has; else it fires for each.

    Raises:
        SensorError: A sensor without pixels, or a pool that is not positive.
    """

    def __init__(self, width: int, height: int, dt_us: int, *, pool: int = 1, once: bool = True) -> None:
        check_size(width, height)
        if pool < 1:
            raise SensorError(f"pool must be at least 1 pixel, not {pool}")
        self._rows, self._columns = -(-height // pool), -(-width // pool)
        super().__init__(2 * self._rows * self._columns, dt_us, np.zeros(0, np.int64))
        self._width, self._height, self._pool, self._once = width, height, pool, once

    def _rows_of(self, block: Block) -> Rows:
        if not isinstance(block.payload, np.ndarray) or block.payload.dtype != EVENT:
            kind = getattr(block.payload, "dtype", type(block.payload))
            raise self.error(block, f"must hold events, [E] of {EVENT}, not {kind}")
        try:
            events = Events.of_packed(block.payload, self._width, self._height)
        except SensorError as error:
            raise self.error(block, f"cannot be used: {error}") from None
        if not len(events):
            return Rows(events.t_us, np.zeros(0, np.int64))
        x, y = events.x.astype(np.int64) // self._pool, events.y.astype(np.int64) // self._pool
        neurons = (events.polarity * self._rows + y) * self._columns + x
        return Rows(events.t_us - events.t_us[0] + block.t_us, neurons)

    def _encode_rows(self, first_step: int, steps: int, rows: Rows) -> Spikes:
        at, neurons = rows.at // self.dt_us, rows.values
        if self._once and at.size:
            # one number for step and neuron: sorting it is much faster than sorting pairs
            both = np.unique((at - first_step) * self.size + neurons)
            at, neurons = both // self.size + first_step, both % self.size
        return spikes_at(first_step, steps, at, neurons)
