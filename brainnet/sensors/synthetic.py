r"""Sources that need no device and no file: what they yield depends on their arguments alone.

Random numbers are hashes of the seed and of what they are for, as in `brainnet.simulation.random`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import MICROSECONDS, Block, check_rate, sample_times
from brainnet.sensors.events import EVENT, check_size
from brainnet.simulation.random import key_of, normal, uniform
from brainnet.snn.kernels import compiled

_LONGEST_S: Final = 86_400.0


class MovingBar:
    """Frames uint8 [height, width] of a bright vertical bar that moves to the right and comes back on the left.

    In frame k its left edge is at the column floor(k speed / fps + offset) modulo width, where the seed chooses the
    offset; the bar has 255 and the rest 0, plus noise.

    Args:
        height: Rows.
        width: Columns.
        fps: Frames per second.
        seconds: How long it lasts.
        speed: Columns per second; negative to the left.
        bar: Columns of the bar.
        noise: Standard deviation of the noise of a pixel, in levels of 255.
        seed: Of offset and noise.

    Raises:
        SensorError: A value that is not accepted.
    """

    modality = "image"

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        *,
        fps: float = 30.0,
        seconds: float = 1.0,
        speed: float = 32.0,
        bar: int = 4,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_size(width, height)
        self._count = _count(fps, seconds)
        _check("speed", speed, -1e6, 1e6)
        _check("noise", noise, 0, 255)
        if not 1 <= bar <= width:
            raise SensorError(f"the bar has 1 to {width} columns, not {bar}")
        self._shape, self._fps, self._speed, self._bar, self._noise = (height, width), fps, speed, bar, noise
        self._key = key_of(seed, "synthetic", "bar")

    def __iter__(self) -> Iterator[Block]:
        """Yield the frames."""
        width = self._shape[1]
        offset = uniform(self._key, -1, 0) * width
        for k in range(self._count):
            left = math.floor(k * self._speed / self._fps + offset) % width
            frame = np.zeros(self._shape)
            frame[:, (left + np.arange(self._bar)) % width] = 255.0
            if self._noise:
                noise = np.empty(frame.size)
                _normals(self._key, k, noise)
                frame += self._noise * noise.reshape(self._shape)
            yield Block(int(sample_times(k, self._fps)), np.rint(frame.clip(0, 255)).astype(np.uint8), k)


class ToneSweep:
    r"""Audio int16 [samples, 1]: a tone whose frequency rises or falls exponentially from one value to another.

    With $r = f_1 / f_0$ over T seconds the phase is $2 \pi f_0 T (r^{t / T} - 1) / \ln r$.

    Args:
        rate_hz: Samples per second.
        seconds: How long it lasts.
        from_hz: Frequency at the beginning.
        to_hz: Frequency at the end.
        amplitude: 0 to 1.
        noise: Standard deviation of white noise, where 1 is the largest amplitude.
        rows: Samples of a block.
        seed: Of the noise.

    Raises:
        SensorError: A value that is not accepted.
    """

    modality = "audio"

    def __init__(
        self,
        *,
        rate_hz: int = 16_000,
        seconds: float = 1.0,
        from_hz: float = 200.0,
        to_hz: float = 4000.0,
        amplitude: float = 0.3,
        noise: float = 0.0,
        rows: int = 1024,
        seed: int = 0,
    ) -> None:
        self.rate_hz, self._rows = rate_hz, _rows(rows)
        self._count, self._seconds = _count(rate_hz, seconds), seconds
        for name, frequency in (("from_hz", from_hz), ("to_hz", to_hz)):
            _check(name, frequency, 1e-3, rate_hz / 2)
        _check("amplitude", amplitude, 0, 1)
        _check("noise", noise, 0, 1)
        self._from, self._ratio, self._amplitude, self._noise = from_hz, to_hz / from_hz, amplitude, noise
        self._key = key_of(seed, "synthetic", "tone")

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks."""
        for number, low in enumerate(range(0, self._count, self._rows)):
            high = min(self._count, low + self._rows)
            t = np.arange(low, high) / self.rate_hz
            turns = t
            if self._ratio != 1.0:
                growth = math.log(self._ratio)
                turns = self._seconds * np.expm1(growth * t / self._seconds) / growth
            sound = self._amplitude * np.sin(2 * np.pi * self._from * turns)
            if self._noise:
                noise = np.empty((high - low, 1))
                _normal_rows(self._key, low, noise)
                sound += self._noise * noise[:, 0]
            payload = np.rint(32767 * sound.clip(-1, 1)).astype(np.int16)[:, None]
            yield Block(int(sample_times(low, self.rate_hz)), payload, number, float(self.rate_hz))


class RandomWalk:
    """Samples float64 [samples, channels] whose steps are independent normal numbers, such as a drifting force.

    Args:
        channels: How many there are.
        rate_hz: Samples per second.
        seconds: How long it lasts.
        deviation: Standard deviation of the change in one second.
        rows: Samples of a block; the values do not depend on it.
        seed: Of the steps.

    Raises:
        SensorError: A value that is not accepted.
    """

    modality = "samples"

    def __init__(
        self,
        channels: int = 6,
        *,
        rate_hz: float = 1000.0,
        seconds: float = 1.0,
        deviation: float = 1.0,
        rows: int = 256,
        seed: int = 0,
    ) -> None:
        if not 1 <= channels <= 1 << 16:
            raise SensorError(f"samples have 1 to 65,536 channels, not {channels}")
        self.rate_hz, self._rows = rate_hz, _rows(rows)
        self._count = _count(rate_hz, seconds)
        _check("deviation", deviation, 0, 1e12)
        self._channels, self._step = channels, deviation / math.sqrt(rate_hz)
        self._key = key_of(seed, "synthetic", "walk")

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks."""
        place = np.zeros(self._channels)
        for number, low in enumerate(range(0, self._count, self._rows)):
            steps = np.empty((min(self._count, low + self._rows) - low, self._channels))
            _normal_rows(self._key, low, steps)
            # one sum after the other from the last place on, so that blocks of any size add in the same order
            walk = np.cumsum(np.concatenate([place[None], steps * self._step]), axis=0)[1:]
            place = walk[-1]
            yield Block(int(sample_times(low, self.rate_hz)), walk, number, float(self.rate_hz))


class RotatingPoints:
    """Clouds float32 [points, 3] of points in a ball, which turns about the z axis.

    Args:
        points: How many there are.
        radius: Of the ball, in metres.
        turns_per_s: Turns in a second.
        fps: Clouds per second.
        seconds: How long it lasts.
        seed: Of the points.

    Raises:
        SensorError: A value that is not accepted.
    """

    modality = "points"

    def __init__(
        self,
        points: int = 500,
        *,
        radius: float = 1.0,
        turns_per_s: float = 0.5,
        fps: float = 10.0,
        seconds: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not 1 <= points <= 1 << 22:
            raise SensorError(f"a cloud has 1 to 4,194,304 points, not {points}")
        self._count, self._fps = _count(fps, seconds), fps
        _check("radius", radius, 1e-9, 1e9)
        _check("turns_per_s", turns_per_s, -1e6, 1e6)
        self._turns = turns_per_s
        key = key_of(seed, "synthetic", "points")
        direction, depth = np.empty((points, 3)), np.empty(points)
        _normal_rows(key, 0, direction)
        _uniforms(key_of(seed, "synthetic", "depth"), 0, depth)
        # a direction from three normal numbers, and the cube root of a uniform one: evenly spread in the ball
        length = np.linalg.norm(direction, axis=1, keepdims=True)
        self._points = radius * np.cbrt(depth)[:, None] * direction / length

    def __iter__(self) -> Iterator[Block]:
        """Yield the clouds."""
        for k in range(self._count):
            angle = 2 * math.pi * self._turns * k / self._fps
            c, s = math.cos(angle), math.sin(angle)
            turned = self._points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
            yield Block(int(sample_times(k, self._fps)), turned.astype(np.float32), k)


class MovingEdge:
    """Events of a bright vertical edge that moves to the right over a sensor, and of noise.

    Where the edge reaches a new column, each pixel of it has an event: ON in odd passes, OFF in even ones. Noise events
    have random places and polarities. A block holds the events of one millisecond, and there is none without events.

    Args:
        height: Rows.
        width: Columns.
        seconds: How long it lasts.
        speed: Columns per second, at most 1,000,000.
        noise_hz: Noise events of the whole sensor in a second, at most one in a microsecond.
        seed: Of the noise.

    Raises:
        SensorError: A value that is not accepted.
    """

    modality = "events"

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        *,
        seconds: float = 1.0,
        speed: float = 100.0,
        noise_hz: float = 1000.0,
        seed: int = 0,
    ) -> None:
        check_size(width, height)
        _check("speed", speed, 1e-3, 1e6)
        _check("noise_hz", noise_hz, 0, 1e6)
        self.width, self.height = width, height
        self._blocks, self._speed, self._noise = _count(1000.0, seconds), speed, noise_hz / MICROSECONDS
        self._keys = [key_of(seed, "synthetic", "edge", name) for name in ("when", "x", "y", "polarity")]

    def __iter__(self) -> Iterator[Block]:
        """Yield the events."""
        number = 0
        for k in range(self._blocks):
            parts = [self._edge(1000 * k), self._noise_events(1000 * k)]
            events = np.concatenate(parts)
            if events.size:
                events = events[np.argsort(events["t_us"], kind="stable")]
                yield Block(int(events["t_us"][0]), events, number)
                number += 1

    def _edge(self, start: int) -> NDArray[Any]:
        # column n is reached in the first microsecond at or after n / speed
        low, high = (math.ceil(t * self._speed / MICROSECONDS) for t in (start, start + 1000))
        reached = np.arange(low, high)
        times = np.ceil(reached * MICROSECONDS / self._speed).astype(np.int64).clip(start, start + 999)
        events = np.empty((reached.size, self.height), EVENT)
        events["t_us"], events["x"] = times[:, None], (reached % self.width)[:, None]
        events["y"], events["polarity"] = np.arange(self.height), (reached // self.width % 2 == 0)[:, None]
        return events.reshape(-1)

    def _noise_events(self, start: int) -> NDArray[Any]:
        drawn = np.empty((4, 1000))
        for key, row in zip(self._keys, drawn, strict=True):
            _uniforms(key, start, row)
        chosen = np.flatnonzero(drawn[0] < self._noise)
        events = np.empty(chosen.size, EVENT)
        events["t_us"] = start + chosen
        events["x"], events["y"] = drawn[1, chosen] * self.width, drawn[2, chosen] * self.height
        events["polarity"] = drawn[3, chosen] < 0.5
        return events


def _check(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise SensorError(f"{name} must be {low:g} to {high:g}, not {value}")


def _rows(rows: int) -> int:
    if not 1 <= rows <= 1 << 20:
        raise SensorError(f"a block has 1 to 1,048,576 samples, not {rows}")
    return rows


def _count(rate_hz: float, seconds: float) -> int:
    check_rate("a synthetic source", rate_hz)
    _check("seconds", seconds, 0, _LONGEST_S)
    return math.floor(rate_hz * seconds + 0.5)


@compiled
def _normals(key, first, values):  # type: ignore[no-untyped-def]
    for j in range(values.size):
        values[j] = normal(key, first, j)


@compiled
def _normal_rows(key, first, values):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            values[i, j] = normal(key, first + i, j)


@compiled
def _uniforms(key, first, values):  # type: ignore[no-untyped-def]
    for j in range(values.size):
        values[j] = uniform(key, first + j, 0)
