"""The filter bank beside those of others, and the code of audio beside a plain loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block
from brainnet.sensors.encoders.cochlea import Cochlea
from brainnet.sensors.encoders.gammatone import center_frequencies, sections
from tests.sensors.feeding import encoded, windows_of

STEPS, DT, RATE = 20, 1000, 8000


def response(coefficients: NDArray[Any], frequency: Any, rate: int) -> NDArray[Any]:
    """Return the gain of a cascade [4, 4] at frequencies."""
    z = np.exp(2j * np.pi * np.asarray(frequency) / rate)
    gain = np.ones_like(z)
    for b0, b1, a1, a2 in coefficients.tolist():
        gain = gain * (b0 + b1 / z) / (1 + a1 / z + a2 / z**2)
    return gain


def test_centre_frequencies_lie_at_equal_distances_on_the_scale_of_erbs() -> None:
    frequencies = center_frequencies(20, 80, 7000)
    assert (frequencies[0], frequencies[-1]) == pytest.approx((80, 7000), rel=1e-14)
    # the number of ERBs below a frequency: the integral of 1 / ERB
    erbs = 9.26449 * np.log(1 + frequencies / (9.26449 * 24.7))
    assert np.diff(erbs) == pytest.approx(np.full(19, (erbs[-1] - erbs[0]) / 19))
    assert center_frequencies(1, 80, 7000).tolist() == pytest.approx([80])


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_band_has_a_gain_of_one_at_its_centre_and_the_bandwidth_of_the_ear(rate: int) -> None:
    frequencies = center_frequencies(12, 100, 0.4 * rate)
    filters = sections(frequencies, rate)
    for band, frequency in enumerate(frequencies):
        coefficients = filters[:, :, band]
        assert abs(response(coefficients, frequency, rate)) == pytest.approx(1, rel=1e-9)
        erb = frequency / 9.26449 + 24.7
        grid = np.linspace(max(1, frequency - 10 * erb), min(rate / 2, frequency + 10 * erb), 4000)
        power = np.abs(response(coefficients, grid, rate)) ** 2
        assert power.sum() * (grid[1] - grid[0]) / power.max() == pytest.approx(erb, rel=0.05)


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_sections_are_those_of_the_laplace_transform_of_the_gammatone(rate: int) -> None:
    """With u = s + B the transform of t^3 exp(-B t) cos(w t) is (u^4 - 6 u^2 w^2 + w^4) / (u^2 + w^2)^4, up to scale.

    It is the third derivative of u / (u^2 + w^2). Each root of the numerator gives a section, whose response to an
    impulse, exp(-B t) (cos w t - u / w sin w t), is sampled.
    """
    frequencies = center_frequencies(7, 60, 0.45 * rate)
    filters = sections(frequencies, rate)
    for band, frequency in enumerate(frequencies):
        b0, b1, a1, a2 = filters[:, :, band].T
        w = 2 * math.pi * frequency / rate
        decay = math.exp(-2 * math.pi * 1.019 * (frequency / 9.26449 + 24.7) / rate)
        roots = np.roots([1, 0, -6, 0, 1]).real
        expected = -decay * (math.cos(w) + roots * math.sin(w))
        assert np.sort(b1 / b0) == pytest.approx(np.sort(expected), rel=1e-9)
        assert a1 == pytest.approx(np.full(4, -2 * decay * math.cos(w)), rel=1e-12)
        assert a2 == pytest.approx(np.full(4, decay**2), rel=1e-12)
        for section in filters[:, :, band]:
            assert abs(response(section[None], frequency, rate)) == pytest.approx(1, rel=1e-9)


def impulse_responses(frequencies: NDArray[np.float64], rate: int, samples: int) -> NDArray[np.float64]:
    """Return [bands, samples] of the four sections in a plain loop."""
    filters = sections(frequencies, rate)
    found = np.zeros((len(frequencies), samples))
    for band in range(len(frequencies)):
        signal = [1.0] + [0.0] * (samples - 1)
        for b0, b1, a1, a2 in filters[:, :, band].tolist():
            out: list[float] = []
            for n, x in enumerate(signal):
                before = signal[n - 1] if n else 0.0
                y1, y2 = (out[n - 1] if n else 0.0), (out[n - 2] if n > 1 else 0.0)
                out.append(b0 * x + b1 * before - a1 * y1 - a2 * y2)
            signal = out
        found[band] = signal
    return found


def test_the_filters_are_those_of_the_package_gammatone() -> None:
    filters = pytest.importorskip("gammatone.filters", reason="an independent implementation, for this test alone")
    frequencies = center_frequencies(8, 100, 6000)
    impulse = np.zeros(600)
    impulse[0] = 1
    theirs = filters.erb_filterbank(impulse, filters.make_erb_filters(16_000, frequencies))
    assert np.abs(impulse_responses(frequencies, 16_000, 600) - theirs).max() < 1e-12


def test_the_filters_are_those_of_scipy() -> None:
    signal = pytest.importorskip("scipy.signal", reason="an independent implementation, for this test alone")
    # scipy multiplies the sections out, which loses digits where the frequency is low
    for frequency in (500.0, 1000.0, 3000.0):
        b, a = signal.gammatone(frequency, "iir", fs=16_000)
        grid = np.linspace(50, 7900, 300)
        _, theirs = signal.freqz(b, a, grid, fs=16_000)
        ours = response(sections(np.array([frequency]), 16_000)[:, :, 0], grid, 16_000)
        assert np.abs(ours - theirs).max() < 1e-5


def heard(sound: NDArray[np.float64], encoder: Cochlea) -> list[tuple[int, int]]:
    """Return the spikes of 1 ms steps at `RATE`, as the docstring has them, in a plain loop."""
    bands = len(encoder.frequencies)
    responses = impulse_responses(encoder.frequencies, RATE, len(sound))
    found = []
    for band in range(bands):
        filtered = np.convolve(sound, responses[band])[: len(sound)]
        potential = 0.0
        for step in range(len(sound) // 8):
            mean = sum(max(y, 0.0) for y in filtered[8 * step : 8 * step + 8].tolist()) / 8
            potential = math.exp(-1 / 10) * potential + 0.5 * mean ** (1 / 3)
            assert abs(potential - 1) > 1e-9, "an input that rounding decides tells nothing"
            if potential >= 1:
                potential = 0.0
                found.append((step, band))
    return sorted(found)


def of_blocks(encoder: Cochlea, blocks: list[Block], steps: int) -> list[tuple[int, int]]:
    spikes = encoder.window(0, steps, blocks)
    return [(step, neuron) for step in range(steps) for neuron in spikes.in_step(step).tolist()]


def test_the_spikes_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    sound = rng.normal(size=800) * np.linspace(0, 0.5, 800)
    encoder = Cochlea(RATE, DT, bands=10)
    expected = heard(sound, encoder)
    assert len(expected) > 40
    assert of_blocks(encoder, [Block(0, sound, 0, RATE)], 100) == expected


def test_a_tone_is_heard_at_its_place() -> None:
    encoder = Cochlea(16_000, DT, bands=40)
    tone = 0.2 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    spikes = encoder.window(0, 1000, [Block(0, tone, 0, 16_000)])
    counts = np.bincount(spikes.neurons, minlength=40)
    assert abs(encoder.frequencies[counts.argmax()] / 1000 - 1) < 0.1
    assert counts[0] == counts[-1] == 0


def cut(sound: NDArray[Any], rate: int, sizes: list[int]) -> list[Block]:
    blocks: list[Block] = []
    at = 0
    for size in sizes:
        if at < len(sound):
            blocks.append(Block(round(at * 1_000_000 / rate), sound[at : at + size], len(blocks), rate))
            at += size
    return blocks


@settings(max_examples=50)
@given(st.sampled_from([8000, 11_025, 16_000, 44_100]), st.lists(st.integers(1, 400), min_size=3), windows_of(STEPS))
def test_how_audio_is_cut_into_blocks_does_not_matter(rate: int, sizes: list[int], lengths: list[int]) -> None:
    count = int(rate * STEPS * DT / 1e6)
    sound = (np.random.default_rng(0).normal(size=count) * 9000).clip(-32768, 32767).astype(np.int16)
    make: Callable[[], Cochlea] = lambda: Cochlea(rate, DT, bands=6, high_hz=3000)  # noqa: E731
    blocks = cut(sound, rate, [*sizes, count])
    assert blocks[-1].t_us < STEPS * DT
    whole = encoded(make, cut(sound, rate, [count]), [STEPS])
    assert encoded(make, blocks, lengths) == whole
    assert whole


@pytest.mark.parametrize(
    ("kind", "one", "middle"), [("u1", 128, 128), ("i2", 1 << 15, 0), ("<i4", 1 << 31, 0), ("f4", 1, 0)]
)
def test_types_of_samples_are_scaled_alike(kind: str, one: float, middle: float) -> None:
    levels = np.random.default_rng(0).integers(-100, 100, size=800).astype(np.float64)
    scaled = (levels / 128 * one + middle).astype(kind)
    spikes = of_blocks(Cochlea(RATE, DT, bands=5), [Block(0, scaled, 0, RATE)], 100)
    assert spikes == of_blocks(Cochlea(RATE, DT, bands=5), [Block(0, levels / 128, 0, RATE)], 100)
    assert spikes


def test_channels_are_heard_as_their_mean_and_gaps_are_silence() -> None:
    sound = np.random.default_rng(0).normal(size=(800, 2))
    mono = (sound[:, 0] + sound[:, 1]) / 2
    stereo = Cochlea(RATE, DT, bands=5, channels=2)
    assert of_blocks(stereo, [Block(0, sound, 0, RATE)], 100) == of_blocks(
        Cochlea(RATE, DT, bands=5), [Block(0, mono[:, None], 0, RATE)], 100
    )
    silent = mono.copy()
    silent[80:400] = 0
    gap = [Block(0, mono[:80], 0, RATE), Block(50_000, mono[400:], 2, RATE)]
    assert of_blocks(Cochlea(RATE, DT, bands=5), gap, 100) == of_blocks(
        Cochlea(RATE, DT, bands=5), [Block(0, silent, 0, RATE)], 100
    )


def test_the_defaults_are_these_and_silence_is_silent() -> None:
    sound = np.random.default_rng(0).normal(size=32_000) * 0.2
    for rate, high in ((16_000, 7200), (44_100, 8000)):
        short = Cochlea(rate, DT)
        long = Cochlea(
            rate, DT, bands=32, channels=1, low_hz=100, high_hz=high, gain_per_ms=0.5, exponent=1 / 3, tau_ms=10
        )
        assert short.frequencies.tolist() == long.frequencies.tolist()
        assert of_blocks(short, [Block(0, sound, 0, rate)], 700) == of_blocks(long, [Block(0, sound, 0, rate)], 700)
    assert Cochlea(RATE, DT).window(0, 2000, []).count == 0


def test_floats_may_be_as_loud_as_the_limit() -> None:
    encoder = Cochlea(RATE, DT, bands=3)
    with pytest.raises(SensorError):
        encoder.window(0, 10, [Block(0, np.full(8, 2.0**20 + 1), 0, RATE)])
    assert encoder.window(0, 10, [Block(0, np.full(8, 2.0**20), 0, RATE)]).count


WRONG: dict[str, Block] = {
    "another rate": Block(0, np.zeros(8), 3, 16_000),
    "no rate": Block(0, np.zeros(8), 3),
    "channels": Block(0, np.zeros((8, 2)), 3, RATE),
    "unsigned": Block(0, np.zeros(8, np.uint16), 3, RATE),
    "loud": Block(0, np.full(8, 1e300), 3, RATE),
    "no numbers": Block(0, np.full(8, math.nan), 3, RATE),
    "a list": Block(0, [0.0] * 8, 3, RATE),  # type: ignore[arg-type]
    "large": Block(0, np.zeros((1 << 23) + 1, np.int8), 3, RATE),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_audio_is_one_error_and_changes_nothing(name: str) -> None:
    encoder = Cochlea(RATE, DT, bands=3)
    before = encoder.save()
    with pytest.raises(SensorError):
        encoder.window(0, 10, [WRONG[name]])
    assert all(np.array_equal(before[key], value) for key, value in encoder.save().items())


def test_blocks_that_overlap_are_an_error() -> None:
    encoder = Cochlea(RATE, DT, bands=3)
    with pytest.raises(SensorError, match="payload 1"):
        encoder.window(0, 10, [Block(0, np.zeros(16), 0, RATE), Block(1000, np.zeros(16), 1, RATE)])


@pytest.mark.parametrize(
    "arguments",
    [
        {"rate_hz": 0}, {"rate_hz": 8000.5}, {"dt_us": 100}, {"bands": 0}, {"bands": 5000}, {"channels": 0},
        {"low_hz": 0}, {"low_hz": 3000, "high_hz": 2000}, {"high_hz": 4000}, {"high_hz": math.nan},
        {"gain_per_ms": 0}, {"exponent": math.inf}, {"tau_ms": -1},
    ],
)  # fmt: skip
def test_an_encoder_that_cannot_be_made_is_one_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(SensorError):
        Cochlea(**{"rate_hz": RATE, "dt_us": DT, **arguments})


def test_a_window_of_too_many_samples_is_an_error() -> None:
    with pytest.raises(SensorError):
        Cochlea(48_000, DT, bands=1).window(0, 1 << 20, [])
