r"""Codes of change: a neuron fires when a value has risen, and another one when it has fallen, by a threshold.

With the reference $r$ of a value $x$ and its threshold $\theta$,

$$ n = \lfloor |x - r| / \theta \rfloor, \qquad r \leftarrow r + \operatorname{sign}(x - r) \, n \theta $$

and the neuron for rising or falling fires n times in the step of $x$. The first value is the first reference. For
samples this is send-on-delta (Miskowicz 2006, *Send-on-delta concept: an event-based data reporting strategy*, Sensors
6, 49-63). For the logarithm of brightness it is the model of an event camera (Lichtsteiner, Posch and Delbruck 2008,
IEEE Journal of Solid-State Circuits 43, 566-576; Rebecq, Gehrig and Scaramuzza 2018, *ESIM: an open event camera
simulator*).

A larger jump than `most` thresholds counts as `most` spikes, and the reference moves to the value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block, check_rate
from brainnet.sensors.encoders.base import MAX_VALUES, Encoder, spikes_at
from brainnet.sensors.encoders.rows import RowEncoder, Rows, timed_rows
from brainnet.simulation.random import log
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

Reference = Literal["tracked", "previous"]


class FrameChange(Encoder):
    """Changes of pixels, as an event camera reports them.

    Neurons 0 to n - 1 fire when the n pixels, in C order, fall (OFF), and n to 2 n - 1 when they rise (ON): the order
    of `brainnet.snn.codes.event_frames`.

    Args:
        shape: Of the frames, such as (rows, columns).
        dt_us: A step in microseconds.
        threshold: In the unit of the pixels, or of ln(1 + x) where `logarithmic` is set.
        logarithmic: Whether x is replaced by ln(1 + x); pixels must not be negative then.
        reference: "tracked" as above; "previous" compares with the last frame, and fires once where the change is at
            least the threshold.
        most: Spikes of a neuron in one step at most.

    Raises:
        SensorError: A threshold that is not positive, or another value that is not accepted.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dt_us: int,
        *,
        threshold: float,
        logarithmic: bool = False,
        reference: Reference = "tracked",
        most: int = 16,
    ) -> None:
        self._pixels = math.prod(shape)
        super().__init__(2 * self._pixels, dt_us)
        if reference not in get_args(Reference):
            raise SensorError(f"{self.name}: reference must be tracked or previous, not {reference!r}")
        self._threshold = _thresholds(self.name, threshold, self._pixels, most)
        self._shape, self._logarithmic, self._tracked, self._most = (
            tuple(shape),
            logarithmic,
            reference == "tracked",
            most,
        )
        self.state |= _no_reference(self._pixels)

    def _encode(self, first_step: int, steps: int, at: Sequence[int], payloads: Sequence[Block]) -> Spikes:
        rows = np.stack([self._levels(block) for block in payloads]) if payloads else np.zeros((0, self._pixels))
        counts = _counted(self, rows, self._threshold, self._most, self._tracked)
        return _fired(first_step, steps, np.asarray(at, np.int64), counts)

    def _levels(self, block: Block) -> NDArray[np.float64]:
        values = self.values(block, self._shape).reshape(-1)
        if self._logarithmic:
            if (values < 0).any():
                raise self.error(block, f"has a pixel of {values.min():g}, and a logarithm needs 0 or more")
            _log1p(values)
        return values


class SampleChange(RowEncoder):
    """Changes of channels of samples, such as forces or EEG.

    Takes blocks [channels] of one moment, and blocks [samples, channels] with a rate. Neurons 0 to n - 1 fire when the
    n channels fall, and n to 2 n - 1 when they rise. How samples are cut into blocks does not matter.

    Args:
        channels: How many there are.
        dt_us: A step in microseconds.
        threshold: In the unit of the channels; one number, or one for each channel.
        most: Spikes of a neuron for one sample at most.

    Raises:
        SensorError: A threshold that is not positive, or a list of another length.
    """

    def __init__(self, channels: int, dt_us: int, *, threshold: float | Sequence[float], most: int = 16) -> None:
        super().__init__(2 * channels, dt_us, np.zeros((0, max(channels, 0))))
        self._threshold = _thresholds(self.name, threshold, channels, most)
        self._channels, self._most = channels, most
        self.state |= _no_reference(channels)

    def _rows_of(self, block: Block) -> Rows:
        if block.rate_hz is None:
            values = self.values(block, (self._channels,))[None]
            return Rows(np.full(1, block.t_us, np.int64), values)
        check_rate(f"{self.name}: payload {block.sequence}", block.rate_hz)
        return timed_rows(block, self.values(block, (-1, self._channels)), block.rate_hz)

    def _encode_rows(self, first_step: int, steps: int, rows: Rows) -> Spikes:
        counts = _counted(self, rows.values, self._threshold, self._most, True)
        return _fired(first_step, steps, rows.at // self.dt_us, counts)


def _thresholds(name: str, threshold: float | Sequence[float], values: int, most: int) -> NDArray[np.float64]:
    thresholds = np.asarray(threshold, np.float64)
    if thresholds.ndim and thresholds.shape != (values,):
        raise SensorError(f"{name}: there are {thresholds.size} thresholds for {values} channels")
    if not (np.isfinite(thresholds).all() and (thresholds > 0).all()):
        raise SensorError(f"{name}: a threshold must be above 0 and finite, not {threshold}")
    if not 1 <= most <= 1 << 14:
        raise SensorError(f"{name}: most must be 1 to 16,384, not {most}")
    return np.ascontiguousarray(np.broadcast_to(thresholds, (values,)))


def _no_reference(values: int) -> dict[str, NDArray[Any]]:
    return {"first": np.full(values, np.nan), "moved": np.zeros(values, np.int64)}


def _counted(
    encoder: Encoder, rows: NDArray[np.float64], threshold: NDArray[np.float64], most: int, tracked: bool
) -> NDArray[np.int16]:
    """Return how often each value of each row fires, int16 [rows, values], below 0 where it falls.

    It moves the reference of the encoder, unless there are too many spikes.
    """
    first, moved = encoder.state["first"].copy(), encoder.state["moved"].copy()
    counts = np.zeros(rows.shape, np.int16)
    spikes = _crossings(rows, first, moved, threshold, most, tracked, counts)
    if spikes > MAX_VALUES:
        raise SensorError(
            f"{encoder.name}: {spikes} spikes in one window, and {MAX_VALUES} are possible; take a larger threshold"
        )
    encoder.state |= {"first": first, "moved": moved}
    return counts


def _fired(first_step: int, steps: int, at: NDArray[np.int64], counts: NDArray[np.int16]) -> Spikes:
    row, value = np.nonzero(counts)
    n = counts[row, value]
    neuron = np.where(n > 0, counts.shape[1], 0) + value
    times = np.abs(n)
    return spikes_at(first_step, steps, np.repeat(at[row], times), np.repeat(neuron, times))


@compiled
def _crossings(rows, first, moved, threshold, most, tracked, counts):  # type: ignore[no-untyped-def]
    spikes = 0
    for k in range(rows.shape[0]):
        for j in range(first.size):
            value = rows[k, j]
            if first[j] != first[j]:  # no value has been there yet
                first[j] = value
            # In thresholds. The reference is first + moved * threshold, never a sum of thresholds: it would take up
            # rounding errors, and a value that comes back would not always find its old reference.
            change = (value - first[j]) / threshold[j] - moved[j]
            size = abs(change)
            n = 0
            if size >= 1.0:
                n = 1 if not tracked else most if size >= most else int(size)
                counts[k, j] = n if change > 0 else -n
                moved[j] += counts[k, j]
            if not tracked or size >= most + 1:
                first[j], moved[j] = value, 0
            spikes += n
    return spikes


@compiled
def _log1p(values):  # type: ignore[no-untyped-def]
    for j in range(values.size):
        values[j] = log(1.0 + values[j])
