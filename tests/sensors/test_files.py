"""Pictures, WAV files and tables as blocks: what was written comes back, and what is damaged is one error."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from brainnet.errors import SensorError
from brainnet.sensors.image_files import ImageSequence
from brainnet.sensors.table_files import PointFile, SampleFile
from brainnet.sensors.wav_files import WavFile


def save(path: Path, pixels: Any) -> None:
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def test_pictures_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (12, 6, 8, 3), np.uint8)
    for k, frame in enumerate(frames):
        save(tmp_path / f"frame_{k}.png", frame)
    (tmp_path / "notes.txt").write_text("no picture")
    blocks = list(ImageSequence(tmp_path, fps=15))
    assert [block.t_us for block in blocks] == [round(k * 1e6 / 15) for k in range(12)]
    assert [block.sequence for block in blocks] == list(range(12))
    assert np.array_equal([block.payload for block in blocks], frames)
    named = list(ImageSequence([tmp_path / "frame_3.png"], fps=1))
    assert np.array_equal(named[0].payload, frames[3])
    grey = next(iter(ImageSequence(tmp_path, fps=15, grey=True, size=(3, 4))))
    assert (grey.shape, grey.dtype.name) == ((3, 4), "uint8")
    luma = frames[0] @ [0.299, 0.587, 0.114]
    assert np.abs(luma.reshape(3, 2, 4, 2).mean((1, 3)) - grey.payload).max() <= 1.5


def test_pictures_that_cannot_be_used_are_errors_that_name_the_file(tmp_path: Path) -> None:
    save(tmp_path / "1.png", np.zeros((4, 5, 3)))
    save(tmp_path / "2.png", np.zeros((5, 5, 3)))
    with pytest.raises(SensorError, match=r"2\.png"):
        list(ImageSequence(tmp_path, fps=15))
    assert len(list(ImageSequence(tmp_path, fps=15, size=(4, 4)))) == 2
    for content in (b"", b"no picture", (tmp_path / "1.png").read_bytes()[:40]):
        (tmp_path / "3.png").write_bytes(content)
        with pytest.raises(SensorError, match=r"3\.png"):
            list(ImageSequence(tmp_path, fps=15, size=(4, 4)))
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "1.png", tmp_path / "empty"):
        with pytest.raises(SensorError, match=folder.name):
            ImageSequence(folder, fps=15)
    with pytest.raises(SensorError):
        list(ImageSequence([tmp_path / "gone.png"], fps=15))
    for wrong in (0, -1, float("nan")):
        with pytest.raises(SensorError):
            ImageSequence(tmp_path, fps=wrong)
    with pytest.raises(SensorError):
        ImageSequence(tmp_path, fps=15, size=(0, 4))
    with pytest.raises(SensorError):
        ImageSequence([], fps=15)


def write_wav(path: Path, rate: int, width: int, channels: int, data: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)


@given(
    st.lists(st.integers(-32768, 32767), max_size=60), st.integers(1, 3), st.integers(1, 40),
    st.sampled_from([8000, 44_100]),
)  # fmt: skip
def test_audio_comes_back_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, samples: list[int], channels: int, rows: int, rate: int
) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    sound = np.array(samples[: len(samples) // channels * channels], "<i2").reshape(-1, channels)
    write_wav(path, rate, 2, channels, sound.tobytes())
    file = WavFile(path, rows)
    assert (file.rate_hz, file.channels, file.samples) == (rate, channels, len(sound))
    blocks = list(file)
    assert np.array_equal(np.concatenate([np.zeros((0, channels)), *(b.payload for b in blocks)]), sound)
    assert [b.t_us for b in blocks] == [round(k * rows * 1e6 / rate) for k in range(len(blocks))]
    assert all(b.dtype == np.int16 and b.rate_hz == rate and b.sequence == k for k, b in enumerate(blocks))


def test_other_widths_become_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    levels = np.array([-32768, -256, 0, 256, 32512])
    for width, data in {
        1: (levels // 256 + 128).astype(np.uint8).tobytes(),
        2: levels.astype("<i2").tobytes(),
        3: b"".join(int(v * 256 + 255).to_bytes(3, "little", signed=True) for v in levels),
        4: (levels * 65536 + 65535).astype("<i4").tobytes(),
    }.items():
        write_wav(path, 8000, width, 1, data)
        (block,) = WavFile(path)
        assert block.payload[:, 0].tolist() == levels.tolist()


def test_damaged_audio_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wav(path, 8000, 2, 1, bytes(2000))
    good = path.read_bytes()
    as_float = good[:20] + b"\x03\x00" + good[22:]
    cut_off, in_a_sample, in_the_header, silent = good[:1000], good[:-1], good[:30], good[:24] + bytes(4) + good[28:]
    for content in (cut_off, in_a_sample, in_the_header, silent, as_float, b"", b"RIFF", b"nonsense" * 100):
        path.write_bytes(content)
        with pytest.raises(SensorError, match=r"a\.wav"):
            list(WavFile(path))
    path.unlink()
    with pytest.raises(SensorError, match=r"a\.wav"):
        WavFile(path)
    with pytest.raises(SensorError):
        WavFile(path, rows=0)


@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_bytes_in_a_wav_are_an_error_or_audio(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    write_wav(path, 8000, 2, 1, bytes(100))
    content = path.read_bytes()
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])
    try:
        read = sum(len(block.payload) for block in WavFile(path))
    except SensorError:
        return
    assert read <= len(content)


VALUES = st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=1, max_size=30)


@given(VALUES, st.integers(1, 40))
def test_samples_with_a_rate_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], at_once: int
) -> None:
    folder, values = tmp_path_factory.mktemp("samples"), np.array(rows)
    np.savez(folder / "s.npz", values=values)
    (folder / "s.csv").write_text("left,right\n" + "\n".join(f"{a!r},{b!r}" for a, b in rows))
    of_npz, of_csv = (SampleFile(folder / name, rate_hz=250, rows=at_once) for name in ("s.npz", "s.csv"))
    assert (of_npz.channels, of_csv.channels) == (["0", "1"], ["left", "right"])
    for file in (of_npz, of_csv):
        blocks = list(file)
        assert np.array_equal(np.concatenate([block.payload for block in blocks]), values)
        assert [block.t_us for block in blocks] == [4000 * k * at_once for k in range(len(blocks))]
        assert all(b.rate_hz == 250 and b.dtype == np.float64 and b.sequence == k for k, b in enumerate(blocks))


@given(VALUES)
def test_samples_with_times_are_blocks_of_one_moment(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    folder, values = tmp_path_factory.mktemp("samples"), np.array(rows)
    times = [k**2 for k in range(len(rows))]
    np.savez(folder / "s.npz", values=values, t_us=np.array(times))
    lines = [f"{a!r},{t},{b!r}" for t, (a, b) in zip(times, rows, strict=True)]
    (folder / "s.csv").write_text("\n".join(["x,t_us,y", *lines]))
    for name in ("s.npz", "s.csv"):
        blocks = list(SampleFile(folder / name))
        assert np.array_equal([block.payload for block in blocks], values)
        assert [(b.t_us, b.sequence, b.rate_hz) for b in blocks] == [(t, k, None) for k, t in enumerate(times)]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 7))
def test_points_of_one_time_are_one_cloud(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("points")
    times = np.repeat(np.arange(len(sizes)) * 100_000, sizes)
    points = np.arange(3 * len(times), dtype=np.float32).reshape(-1, 3)
    np.savez(folder / "p.npz", t_us=times, points=points)
    lines = [f"{t},{x},{y},{z}" for t, (x, y, z) in zip(times, points.tolist(), strict=True)]
    (folder / "p.csv").write_text("\n".join(["t_us,x,y,z", *lines]))
    for name in ("p.npz", "p.csv"):
        blocks = list(PointFile(folder / name, at_once))
        assert [len(block.payload) for block in blocks] == sizes
        assert [(block.t_us, block.sequence) for block in blocks] == [(100_000 * k, k) for k in range(len(sizes))]
        assert np.array_equal(np.concatenate([block.payload for block in blocks]), points)
        assert all(block.dtype == np.float32 for block in blocks)


def test_long_rows_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    values = np.arange(1100 * 1000, dtype=np.float64).reshape(1100, 1000) % 10
    np.savez_compressed(tmp_path / "s.npz", values=values)
    lines = [",".join(f"{v:.3f}" for v in row) for row in values]
    (tmp_path / "s.csv").write_text("\n".join([",".join(f"c{k}" for k in range(1000)), *lines]))
    for name in ("s.npz", "s.csv"):
        blocks = list(SampleFile(tmp_path / name, 1000, rows=65_536))
        assert max(block.payload.nbytes for block in blocks) < 16 << 20
        assert len(blocks) > 1
        assert [block.t_us for block in blocks[:2]] == [0, 1000 * len(blocks[0].payload)]
        assert np.array_equal(np.concatenate([block.payload for block in blocks]), values)


def times(*values: int) -> Any:
    return np.array(values)


BAD_SAMPLES: dict[str, dict[str, Any]] = {
    "no values": {"other": np.zeros((3, 2))},
    "one axis": {"values": np.zeros(3)},
    "no channel": {"values": np.zeros((3, 0))},
    "text": {"values": np.array([["a", "b"]])},
    "lengths": {"values": np.zeros((3, 2)), "t_us": times(1, 2)},
    "back": {"values": np.zeros((3, 2)), "t_us": times(1, 3, 2)},
    "negative": {"values": np.zeros((3, 2)), "t_us": times(-1, 3, 4)},
    "fractions": {"values": np.zeros((3, 2)), "t_us": np.array([0.5, 1, 2])},
    "far": {"values": np.zeros((2, 2)), "t_us": np.array([0, 1 << 63], np.uint64)},
    "by columns": {"values": np.asfortranarray(np.zeros((3, 2))), "t_us": times(1, 2, 3)},
    "wide": {"values": np.zeros((1, 10_000)), "t_us": times(1)},
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
def test_samples_that_cannot_be_used_are_one_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    arrays = BAD_SAMPLES[name]
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(SensorError, match=r"s\.npz"):
        list(SampleFile(tmp_path / "s.npz", None if "t_us" in arrays else 100))


BAD_LINES = {
    "time alone": "t_us\n1\n",
    "back": "t_us,a\n5,1\n4,1\n",
    "fraction": "t_us,a\n0.5,1\n",
    "no number": "t_us,a\nnan,1\n",
    "word": "t_us,a\n1,one\n",
    "short": "t_us,a,b\n1,2\n",
    "names": "1,2\n3,4\n",
    "binary": "t_us,a\n\0,\udcff\n",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_lines_that_cannot_be_used_are_one_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(BAD_LINES[name].encode(errors="surrogateescape"))
    with pytest.raises(SensorError, match=r"s\.csv"):
        list(SampleFile(path))


def test_a_file_has_times_or_a_rate_is_given(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("t_us,a\n1,2\n")
    with pytest.raises(SensorError):
        SampleFile(path, rate_hz=100)
    path.write_text("a\n1\n")
    with pytest.raises(SensorError):
        SampleFile(path)
    for rate in (0, -1, float("nan"), 1e9):
        with pytest.raises(SensorError):
            SampleFile(path, rate)
    with pytest.raises(SensorError):
        SampleFile(path, 100, rows=0)
    for other in (tmp_path / "s.txt", tmp_path / "gone.csv", tmp_path / "gone.npz", tmp_path):
        with pytest.raises(SensorError, match=other.name):
            SampleFile(other, 100)


def test_points_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", t_us=times(1, 2), points=np.zeros((2, 2)))
    with pytest.raises(SensorError, match=r"p\.npz"):
        PointFile(tmp_path / "p.npz")
    (tmp_path / "p.csv").write_text("t_us,x,y\n1,2,3\n")
    with pytest.raises(SensorError, match="z"):
        PointFile(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("t_us,x,y,z\n5,2,3,4\n4,2,3,4\n")
    with pytest.raises(SensorError, match=r"p\.csv"):
        list(PointFile(tmp_path / "p.csv"))
    with pytest.raises(SensorError):
        PointFile(tmp_path / "p.csv", rows=0)
