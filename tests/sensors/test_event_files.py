"""Files of events: what is written comes back, however it is read, and what is damaged is one error."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import SensorError
from brainnet.sensors.event_files import EventFile, write_events
from brainnet.sensors.events import EVENT, Events

DIGESTS = {
    "evt2.raw": (
        (640, 480),
        "9855ba39c1baea316ae623b72466e420df60a7510248391856eb4eaf",
        "93fc6cff19b483fd48ca53345c6c1cf05123681d7b7272a1717e9303",
        "07cfaef58e5fa71ce9910ed5b88fb7e9fcf71e4a8654cc2c4666f1ae",
        "d2b5e9c4047f4c431937b24cd46c8b504e055372b0ded1df77f0ffa1",
    ),
    "dvs.es": (
        None,
        "6f3f9af2e99d83707fd74fef3486abdd9f2f81680d3c4fcc306b1965",
        "976eab4dc499e350481c3f568f71b2713e3ffa944bc1866f31448460",
        "6ccc2ff279b4fb7f87b37d128d84da6771df6b40b624bf3cd4e6622a",
        "6f3c58f949e7c11c55707d11f739d98669882d551403c79482ab81f9",
    ),
}
"""SHA3-224 of times, columns, rows and polarities, as the tests of faery have them; neuromorphicsystems/faery."""


def events_of(rows: list[tuple[int, int, int, bool]], width: int = 40, height: int = 30) -> Events:
    return Events.of_packed(np.array(sorted(rows, key=lambda row: row[0]), EVENT), width, height)


ROWS = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 39), st.integers(0, 29), st.booleans()), max_size=50)


def joined(parts: list[Events]) -> np.ndarray[Any, Any]:
    return np.concatenate([np.zeros(0, EVENT), *(part.packed() for part in parts)])


def write_csv(path: Path, events: Events) -> None:
    lines = [
        f"{t},{x},{y},{int(on)}" for t, x, y, on in zip(events.t_us, events.x, events.y, events.polarity, strict=True)
    ]
    path.write_text("\n".join(["t_us,x,y,polarity", *lines]) + "\n")


@given(ROWS, st.integers(1, 60))
def test_what_is_written_comes_back_however_much_is_read_at_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, bool]], at_once: int
) -> None:
    folder, events = tmp_path_factory.mktemp("events"), events_of(rows)
    write_events(folder / "e.npz", events)
    write_csv(folder / "e.csv", events)
    of_npz = EventFile(folder / "e.npz", rows=at_once)
    of_csv = EventFile(folder / "e.csv", 40, 30, rows=at_once)
    assert (of_npz.width, of_npz.height) == (of_csv.width, of_csv.height) == (40, 30)
    for file in (of_npz, of_csv):
        parts = list(file.events())
        assert all(len(part) <= at_once for part in parts)
        assert np.array_equal(joined(parts), events.packed())
        blocks = list(file)
        assert [block.sequence for block in blocks] == list(range(len(parts)))
        assert [block.t_us for block in blocks] == [part.t_us[0] for part in parts]
        assert all(
            block.dtype == EVENT and block.shape == (len(part),) for block, part in zip(blocks, parts, strict=True)
        )


@pytest.mark.parametrize("name", DIGESTS)
def test_recordings_decode_to_the_published_digests(data_folder: Path, name: str) -> None:
    pytest.importorskip("faery", reason="needs brainnet[events]")
    size, *digests = DIGESTS[name]
    hashes = [hashlib.sha3_224() for _ in range(4)]
    for part in EventFile(data_folder / "events" / name, *(size or ())).events():
        for hash_, values in zip(hashes, (part.t_us.astype("<u8"), part.x, part.y, part.polarity), strict=True):
            hash_.update(values.tobytes())
    assert [hash_.hexdigest() for hash_ in hashes] == digests


def evt2(rows: list[tuple[int, int, int, bool]], header: bytes = b"% evt 2.0\n% geometry 40x30\n% end\n") -> bytes:
    """Write events as EVT 2.0: docs.prophesee.ai, "EVT 2.0 Format"; a word is type 4 bits, time 6, x 11, y 11."""
    words, high = [], -1
    for t, x, y, on in rows:
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 28 | high)
        words.append(int(on) << 28 | (t & 63) << 22 | x << 11 | y)
    return header + struct.pack(f"<{len(words)}I", *words)


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 39), st.integers(0, 29), st.booleans()), min_size=1))
def test_a_file_that_is_written_by_hand_in_evt2_decodes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, bool]]
) -> None:
    pytest.importorskip("faery", reason="needs brainnet[events]")
    path = tmp_path_factory.mktemp("evt2") / "e.raw"
    rows = sorted(rows, key=lambda row: row[0])
    path.write_bytes(evt2(rows, b"% evt 2.0\n% end\n"))
    assert joined(list(EventFile(path, 40, 30).events())).tolist() == rows


GOOD = events_of([(5, 1, 2, True), (5, 3, 4, False), (9, 39, 29, True)])


def npz(path: Path, **changed: Any) -> None:
    arrays: dict[str, Any] = {
        "t_us": GOOD.t_us, "x": GOOD.x, "y": GOOD.y, "polarity": GOOD.polarity, "width": 40, "height": 30,
    }  # fmt: skip
    np.savez(path, **{name: value for name, value in (arrays | changed).items() if value is not None})


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"x": None}, "x"),
    "lengths": ({"y": np.zeros(7, np.uint16)}, "y"),
    "floats": ({"t_us": np.zeros(3)}, "t_us"),
    "objects": ({"x": np.array([None] * 3)}, "npz"),
    "two axes": ({"x": np.zeros((3, 1), np.uint16)}, "x"),
    "back": ({"t_us": np.array([5, 4, 9])}, "4"),
    "outside": ({"x": np.array([1, 3, 40])}, "40"),
    "negative": ({"x": np.array([1, 3, -1])}, "-1"),
    "polarity": ({"polarity": np.array([0, 1, 2])}, "polarity"),
    "late": ({"t_us": np.array([0, 1, 1 << 63], np.uint64)}, "time"),
    "no size": ({"width": None}, "width"),
    "sizes": ({"width": np.array([1, 2])}, "width"),
    "empty sensor": ({"width": 0}, "sensor"),
    "text": ({"t_us": np.array(["a", "b", "c"])}, "t_us"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_an_npz_is_one_error_that_names_file_and_array(tmp_path: Path, name: str) -> None:
    changed, named = MISTAKES[name]
    npz(tmp_path / "walk.npz", **changed)
    with pytest.raises(SensorError) as caught:
        list(EventFile(tmp_path / "walk.npz").events())
    assert "walk.npz" in str(caught.value)
    assert named in str(caught.value)
    assert caught.value.code == "sensor"


LINES = {
    "no header": "1,2,3,1\n",
    "column missing": "t_us,x,y\n1,2,3\n",
    "short": "t_us,x,y,polarity\n1,2,3,1\n1,2,3\n",
    "long": "t_us,x,y,polarity\n1,2,3,1,1\n",
    "fraction": "t_us,x,y,polarity\n1.5,2,3,1\n",
    "words": "t_us,x,y,polarity\n1,2,three,1\n",
    "huge": f"t_us,x,y,polarity\n{10**30},2,3,1\n",
    "back": "t_us,x,y,polarity\n5,2,3,1\n4,2,3,1\n",
    "outside": "t_us,x,y,polarity\n5,2,30,1\n",
    "endless line": "t_us,x,y,polarity\n" + "1" * 200_000,
    "twice": "t_us,x,x,y,polarity\n1,1,1,1,1\n",
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("at_once", [1, 1000])
def test_a_mistake_in_a_csv_is_one_error_that_names_the_file(tmp_path: Path, name: str, at_once: int) -> None:
    path = tmp_path / "walk.csv"
    path.write_text(LINES[name])
    with pytest.raises(SensorError, match=r"walk\.csv"):
        list(EventFile(path, 40, 30, rows=at_once).events())


def test_the_line_of_a_mistake_is_named(tmp_path: Path) -> None:
    path = tmp_path / "walk.csv"
    path.write_text("t_us,x,y,polarity\n\n1,2,3,1\n2,2,x,1\n")
    with pytest.raises(SensorError, match="line 4"):
        list(EventFile(path, 40, 30).events())


@given(st.data())
def test_a_damaged_file_is_an_error_or_other_events_but_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    kind = data.draw(st.sampled_from(["npz", "csv"]))
    path = folder / f"e.{kind}"
    if kind == "npz":
        npz(path)
    else:
        write_csv(path, GOOD)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(SensorError):
        list(EventFile(path, 40, 30).events())


def damaged(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SensorError) as caught:
        list(EventFile(path, 40, 30).events())
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["raw", "es", "aedat4", "dat", "npz", "csv"])
def test_files_that_are_missing_empty_or_of_another_kind_are_errors(tmp_path: Path, suffix: str) -> None:
    if suffix not in ("npz", "csv"):
        pytest.importorskip("faery", reason="needs brainnet[events]")
    path = tmp_path / f"e.{suffix}"
    damaged(path, None)
    damaged(path, b"")
    damaged(path, bytes(range(256)) * 40)
    damaged(path, b"nonsense\n" * 40)
    path.unlink()
    path.mkdir()
    damaged(path, None)


def test_damaged_evt2_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("faery", reason="needs brainnet[events]")
    rows = [(100, 1, 2, True), (150, 39, 29, False)]
    path = tmp_path / "e.raw"
    damaged(path, evt2(rows, b"% end\n"))  # no version
    damaged(path, evt2(rows)[:-1])  # cut off
    damaged(path, evt2([(100, 700, 2, True)], b"% evt 2.0\n% end\n"))  # beside the sensor
    path.write_bytes(evt2(rows, b"% evt 2.0\n% end\n"))
    with pytest.raises(SensorError, match="width and height"):
        EventFile(path)


@given(st.data())
def test_damage_in_files_of_cameras_is_an_error_or_other_events(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pytest.importorskip("faery", reason="needs brainnet[events]")
    suffix = data.draw(st.sampled_from(["raw", "es", "aedat4", "dat"]))
    beginning = {
        "raw": evt2([(100, 1, 2, True), (9000, 39, 29, False)]),
        "es": b"Event Stream\x02\x00\x00\x01\x28\x00\x1e\x00" + bytes(range(64)),
        "aedat4": b"#!AER-DAT4.0\r\n" + bytes(range(64)),
        "dat": b"% Version 2\n% Width 40\n% Height 30\n\x00\x08" + bytes(range(64)),
    }[suffix]
    content = bytearray(beginning)
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / f"e.{suffix}"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(SensorError):
        list(EventFile(path, 40, 30).events())


def test_without_faery_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faery", None)
    path = tmp_path / "e.raw"
    path.write_bytes(evt2([(100, 1, 2, True)]))
    with pytest.raises(SensorError, match=r"pip install 'brainnet\[events\]'"):
        EventFile(path, 40, 30)


def test_an_unknown_suffix_and_wrong_arguments_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SensorError, match=r"\.npz"):
        EventFile(tmp_path / "e.txt")
    npz(tmp_path / "e.npz")
    for arguments in [(40,), (39, 30), (0, 0)]:
        with pytest.raises(SensorError):
            EventFile(tmp_path / "e.npz", *arguments)
    with pytest.raises(SensorError):
        EventFile(tmp_path / "e.npz", rows=0)
    with pytest.raises(SensorError):
        write_events(tmp_path / "e.raw", GOOD)
    with pytest.raises(SensorError):
        write_events(tmp_path / "nowhere" / "e.npz", GOOD)


def test_the_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Events of 20 MB are read with less than a quarter of that."""
    n = 1_500_000
    still = np.zeros(n, np.uint16)
    np.savez_compressed(
        tmp_path / "e.npz", t_us=np.arange(n), x=still, y=still, polarity=still.astype(bool), width=1, height=1
    )
    tracemalloc.start()
    try:
        assert sum(len(part) for part in EventFile(tmp_path / "e.npz").events()) == n
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_an_array_that_claims_more_rows_than_it_has_is_an_error(tmp_path: Path) -> None:
    npz(tmp_path / "e.npz")
    content = (tmp_path / "e.npz").read_bytes().replace(b"(3,), }          ", b"(3000000000,), } ")
    assert b"3000000000" in content
    (tmp_path / "big.npz").write_bytes(content)
    with pytest.raises(SensorError, match=r"big\.npz"):
        list(EventFile(tmp_path / "big.npz").events())


def test_events_are_cut_by_time_and_given_to_frames() -> None:
    assert GOOD.between(5, 9).packed().tolist() == GOOD.packed()[:2].tolist()
    assert len(GOOD.between(10, 20)) == 0
    assert GOOD.stream().polarity.tolist() == [1, 0, 1]
    with pytest.raises(SensorError):
        Events(GOOD.t_us, GOOD.x, GOOD.y, GOOD.polarity.astype(np.uint8), 40, 30)
    with pytest.raises(SensorError):
        Events.of_packed(np.zeros(3), 40, 30)
