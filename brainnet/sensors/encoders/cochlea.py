r"""Cochlea-like code of audio: a gammatone filter bank, hair cells and one integrate-and-fire neuron for each band.

With the output $y_i[n]$ of the filter of band i and N samples in a step,

$$ m_i = \frac1N \sum_n \max(y_i[n], 0), \qquad v_i \leftarrow e^{-\Delta t / \tau} v_i + g \, \Delta t \, m_i^c $$

and at $v_i \ge 1$ the neuron fires and is reset to 0. The half-wave rectification and the power law stand for inner
hair cells (c = 1/3 is the exponent of loudness; Stevens 1957, *On the psychophysical law*). The filters are those of
`brainnet.sensors.encoders.gammatone`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import MICROSECONDS, Block, sample_times
from brainnet.sensors.encoders.base import MAX_PAYLOAD
from brainnet.sensors.encoders.gammatone import center_frequencies, sections
from brainnet.sensors.encoders.rows import RowEncoder, Rows, first_sample, sample_numbers, timed_rows
from brainnet.simulation.random import decay, exp, log
from brainnet.simulation.spikes import Spikes
from brainnet.snn.kernels import compiled

MAX_BANDS: Final = 4096
_LOUDEST: Final = 2.0**20
"""Of samples that are floats, so that no filter overflows."""
_TINY: Final = 1e-30
"""What is below it is silence. Filters that ring out reach denormal numbers, with which processors are slow."""


class Cochlea(RowEncoder):
    """Audio as spikes of bands of frequency.

    Takes blocks [samples] or [samples, channels] with `rate_hz`; the mean of the channels is heard. Signed integers are
    scaled to -1 to 1, as are bytes, whose middle is 128; floats are taken as they are. Samples that are missing between
    blocks are silence. How samples are cut into blocks does not matter.

    Args:
        rate_hz: Samples per second.
        dt_us: A step in microseconds; it holds at least one sample.
        bands: Neurons, from the lowest to the highest frequency.
        channels: Channels of the payloads.
        low_hz: Lowest centre frequency.
        high_hz: Highest centre frequency, below half the rate; None: 8 kHz, or 0.45 of the rate where that is less.
        gain_per_ms: g.
        exponent: c.
        tau_ms: Time constant of the membranes.

    Attributes:
        frequencies: Centre frequencies in Hz, float64 [bands].

    Raises:
        SensorError: A value that is not accepted.
    """

    def __init__(
        self,
        rate_hz: int,
        dt_us: int,
        *,
        bands: int = 32,
        channels: int = 1,
        low_hz: float = 100.0,
        high_hz: float | None = None,
        gain_per_ms: float = 0.5,
        exponent: float = 1 / 3,
        tau_ms: float = 10.0,
    ) -> None:
        super().__init__(bands, dt_us, np.zeros(0))
        if not (1 <= rate_hz <= MICROSECONDS and rate_hz == int(rate_hz)):
            raise SensorError(f"{self.name}: rate_hz must be a whole number of 1 to 1,000,000, not {rate_hz}")
        if rate_hz * dt_us < MICROSECONDS:
            raise SensorError(
                f"{self.name}: a step of {dt_us} us holds no sample at {rate_hz} Hz; it must have at least "
                f"{-(-MICROSECONDS // rate_hz)} us"
            )
        high_hz = min(8000.0, 0.45 * rate_hz) if high_hz is None else high_hz
        if not 0 < low_hz <= high_hz < rate_hz / 2:
            raise SensorError(
                f"{self.name}: frequencies must be above 0 and below half the rate, {rate_hz / 2:g} Hz, and low_hz not "
                f"above high_hz; got {low_hz:g} to {high_hz:g}"
            )
        if bands > MAX_BANDS or not 1 <= channels <= 1024:
            raise SensorError(f"{self.name}: {bands} bands of {channels} channels; {MAX_BANDS} of 1,024 are possible")
        for name, value in (("gain_per_ms", gain_per_ms), ("exponent", exponent), ("tau_ms", tau_ms)):
            if not (math.isfinite(value) and 0 < value <= 1e6):
                raise SensorError(f"{self.name}: {name} must be above 0 and at most 10^6, not {value}")
        self.frequencies = center_frequencies(bands, low_hz, high_hz)
        self._rate, self._channels = int(rate_hz), channels
        self._sections = sections(self.frequencies, int(rate_hz))
        self._leak, self._gain, self._exponent = decay(self.dt_ms, tau_ms), gain_per_ms * self.dt_ms, exponent
        self.state["filters"] = np.zeros((4, 2, bands))
        self.state["potential"] = np.zeros(bands)

    def _encode(self, first_step: int, steps: int, at: Sequence[int], payloads: Sequence[Block]) -> Spikes:
        if steps * self.dt_us * self._rate > MAX_PAYLOAD * MICROSECONDS:
            raise SensorError(f"{self.name}: a window of {steps} steps has more than {MAX_PAYLOAD} samples; shorten it")
        return super()._encode(first_step, steps, at, payloads)

    def _rows_of(self, block: Block) -> Rows:
        if block.rate_hz != self._rate:
            raise self.error(block, f"has {block.rate_hz} samples per second, and must have {self._rate}")
        flat = self._channels == 1 and np.ndim(block.payload) == 1
        values = self.values(block, (-1,) if flat else (-1, self._channels)).reshape(-1, self._channels)
        kind = block.payload.dtype
        if kind == np.uint8:
            values = (values - 128.0) / 128.0
        elif kind.kind == "i":
            values = values / -float(np.iinfo(kind).min)
        elif kind.kind != "f":
            raise self.error(block, f"is {kind}; samples are signed integers, bytes or floats")
        if np.abs(values).max(initial=0.0) > _LOUDEST:
            raise self.error(block, f"has a sample of {np.abs(values).max():g}; floats are -1 to 1")
        mono = values[:, 0].copy()
        for channel in range(1, self._channels):  # one order of addition, whatever numpy chooses for a mean
            mono += values[:, channel]
        return timed_rows(block, mono / self._channels, self._rate)

    def _encode_rows(self, first_step: int, steps: int, rows: Rows) -> Spikes:
        low = first_sample(first_step * self.dt_us, self._rate)
        high = first_sample((first_step + steps) * self.dt_us, self._rate)
        sound = np.zeros(high - low)
        sound[sample_numbers(rows.at, self._rate) - low] = rows.values
        step = sample_times(np.arange(low, high), self._rate) // self.dt_us - first_step
        ends = np.searchsorted(step, np.arange(steps), side="right")
        offsets = np.zeros(steps + 1, np.int32)
        fired: NDArray[np.int32] = np.empty(steps * self.size, np.int32)
        _hear(
            sound, ends, self._sections, self.state["filters"], self.state["potential"], self._leak, self._gain,
            self._exponent, offsets, fired,
        )  # fmt: skip
        return Spikes(first_step, offsets, fired[: offsets[-1]].copy())


@compiled
def _hear(  # type: ignore[no-untyped-def]
    sound, ends, sections, filters, potential, leak, gain, exponent, offsets, fired
):
    bands = potential.size
    total, signal = np.empty(bands), np.empty(bands)
    count = 0
    begin = 0
    for s in range(ends.size):
        total[:] = 0.0
        for n in range(begin, ends[s]):
            signal[:] = sound[n]
            for k in range(4):
                b0, b1, a1, a2 = sections[k, 0], sections[k, 1], sections[k, 2], sections[k, 3]
                first, second = filters[k, 0], filters[k, 1]
                for j in range(bands):  # transposed direct form II
                    x = signal[j]
                    y = b0[j] * x + first[j]
                    first[j] = b1[j] * x - a1[j] * y + second[j]
                    second[j] = -a2[j] * y
                    signal[j] = y
            for j in range(bands):
                total[j] += max(signal[j], 0.0)
        samples = ends[s] - begin
        begin = ends[s]
        for k in range(4):
            for i in range(2):
                for j in range(bands):
                    if abs(filters[k, i, j]) < _TINY:
                        filters[k, i, j] = 0.0
        for j in range(bands):
            mean = total[j] / samples
            drive = gain * exp(exponent * log(mean)) if mean > 0.0 else 0.0
            potential[j] = leak * potential[j] + drive
            if potential[j] >= 1.0:
                potential[j] = 0.0
                fired[count] = j
                count += 1
        offsets[s + 1] = count
