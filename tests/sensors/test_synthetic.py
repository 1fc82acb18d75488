"""Synthetic sources: the same for the same seed, however they are cut; each drives an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Source, in_windows
from brainnet.sensors.encoders.addresses import Addresses
from brainnet.sensors.encoders.base import Encoder
from brainnet.sensors.encoders.change import FrameChange, SampleChange
from brainnet.sensors.encoders.cochlea import Cochlea
from brainnet.sensors.encoders.latency import Latency
from brainnet.sensors.encoders.rate import Rate
from brainnet.sensors.encoders.voxels import Voxels
from brainnet.sensors.events import Events
from brainnet.sensors.synthetic import MovingBar, MovingEdge, RandomWalk, RotatingPoints, ToneSweep

SOURCES: dict[str, Callable[[int], Source]] = {
    "bar": lambda seed: MovingBar(12, 16, noise=8, seconds=0.4, seed=seed),
    "tone": lambda seed: ToneSweep(noise=0.02, seconds=0.4, seed=seed),
    "walk": lambda seed: RandomWalk(4, seconds=0.4, seed=seed),
    "points": lambda seed: RotatingPoints(60, seconds=0.4, seed=seed),
    "edge": lambda seed: MovingEdge(12, 16, seconds=0.4, seed=seed),
}
PAIRS: dict[str, tuple[str, Callable[[], Encoder]]] = {
    "rate": ("bar", lambda: Rate((12, 16), 1000)),
    "latency": ("bar", lambda: Latency((12, 16), 1000, code_steps=20, silent_below=64)),
    "pixels": ("bar", lambda: FrameChange((12, 16), 1000, threshold=0.5, logarithmic=True)),
    "cochlea": ("tone", lambda: Cochlea(16_000, 1000)),
    "samples": ("walk", lambda: SampleChange(4, 1000, threshold=0.05)),
    "voxels": ("points", lambda: Voxels((-1, -1, -1), (1, 1, 1), (5, 5, 5), 1000)),
    "addresses": ("edge", lambda: Addresses(16, 12, 1000)),
}


def all_of(source: Source) -> list[Any]:
    return [(b.t_us, b.sequence, b.rate_hz, b.dtype, b.shape, b.payload.tobytes()) for b in source]


@pytest.mark.parametrize("name", SOURCES)
def test_a_seed_gives_the_same_blocks_each_time_and_another_seed_others(name: str) -> None:
    source = SOURCES[name](3)
    blocks = all_of(source)
    assert blocks == all_of(source) == all_of(SOURCES[name](3))
    assert blocks != all_of(SOURCES[name](4))
    assert [sequence for _, sequence, *_ in blocks] == list(range(len(blocks)))
    times = [t_us for t_us, *_ in blocks]
    assert times == sorted(times)
    assert times[-1] < 400_000


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_each_encoder_gives_the_same_spikes_in_windows_of_any_length(name: str, steps: int) -> None:
    of, make = PAIRS[name]
    encoder, whole = make(), make()
    cut = [encoder.window(first, steps, blocks) for first, blocks in in_windows(SOURCES[of](0), 1000, steps)]
    total = steps * len(cut)
    at_once = whole.window(0, total, list(SOURCES[of](0)))
    assert at_once.count > 20
    assert np.concatenate([part.neurons for part in cut]).tolist() == at_once.neurons.tolist()
    assert np.concatenate([np.diff(part.offsets) for part in cut]).tolist() == np.diff(at_once.offsets).tolist()


def test_blocks_of_any_size_hold_the_same_values() -> None:
    for make in (lambda rows: ToneSweep(noise=0.1, seconds=0.2, rows=rows), lambda rows: RandomWalk(3, rows=rows)):
        first, second = (np.concatenate([b.payload for b in make(rows)]) for rows in (7, 1000))
        assert np.array_equal(first, second)


def test_what_the_sources_yield_is_what_they_say() -> None:
    for k, block in enumerate(MovingBar(5, 9, fps=10, speed=10, bar=2)):
        columns = np.flatnonzero(block.payload[0])
        assert (block.shape, block.dtype.name, len(columns)) == ((5, 9), "uint8", 2)
        assert block.t_us == 100_000 * k
        assert set(np.unique(block.payload)) == {0, 255}
    sound = np.concatenate([b.payload for b in ToneSweep(from_hz=500, to_hz=500, amplitude=1)])[:, 0]
    spectrum = np.abs(np.fft.rfft(sound))
    assert (int(spectrum.argmax()), sound.dtype.name) == (500, "int16")
    sweep = np.concatenate([b.payload for b in ToneSweep(from_hz=200, to_hz=3200)])[:, 0]
    # an octave in a quarter of a second
    for quarter in range(4):
        part = np.abs(np.fft.rfft(sweep[4000 * quarter : 4000 * quarter + 4000])) ** 2
        within = slice(50 * 2**quarter, 100 * 2**quarter)
        assert part[within].sum() > 0.9 * part.sum()
    walk = np.concatenate([b.payload for b in RandomWalk(200, rate_hz=100, deviation=3)])
    assert np.diff(walk, axis=0).std() == pytest.approx(0.3, rel=0.02)
    first, *others = (block.payload for block in RotatingPoints(300, radius=2, turns_per_s=1, fps=4))
    assert np.linalg.norm(first, axis=1).max() <= 2
    assert np.allclose(others[0][:, 0], -first[:, 1], atol=1e-5)
    assert np.allclose(others[1], first * [-1, -1, 1], atol=1e-5)
    events = [Events.of_packed(block.payload, 8, 4) for block in MovingEdge(4, 8, speed=50, noise_hz=0)]
    reached = [int(x) for part in events for x in part.x[::4]]
    assert reached == [n % 8 for n in range(50)]
    assert [int(part.t_us[0]) for part in events] == [20_000 * n for n in range(50)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: MovingBar(0, 5), lambda: MovingBar(fps=0), lambda: MovingBar(bar=99), lambda: MovingBar(noise=-1),
        lambda: MovingBar(seconds=1e9), lambda: ToneSweep(to_hz=9000), lambda: ToneSweep(amplitude=2),
        lambda: ToneSweep(rows=0), lambda: RandomWalk(0), lambda: RandomWalk(deviation=float("nan")),
        lambda: RotatingPoints(0), lambda: RotatingPoints(radius=0), lambda: MovingEdge(speed=0),
        lambda: MovingEdge(noise_hz=1e7),
    ],
)  # fmt: skip
def test_sources_that_cannot_be_made_are_one_error(make: Callable[[], Source]) -> None:
    with pytest.raises(SensorError):
        make()
