"""Log files stay within their limit, and a reader follows them across every cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.launcher.run.log_files import LogReader, cut, older

LIMIT = 4000


def test_a_small_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    path.write_text("line\n" * 10)
    assert not cut(path, LIMIT)
    assert path.read_text() == "line\n" * 10
    assert not older(path).exists()


def test_a_file_that_is_not_there_is_not_cut(tmp_path: Path) -> None:
    assert not cut(tmp_path / "none.log", LIMIT)


def test_the_last_whole_lines_are_kept_and_writers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    with path.open("a") as writer:
        for number in range(1000):
            writer.write(f"line {number}\n")
        writer.flush()
        assert cut(path, LIMIT)
        kept = older(path).read_text().splitlines()
        assert kept[-1] == "line 999"
        assert all(line.startswith("line ") for line in kept)
        assert older(path).stat().st_size <= LIMIT // 2
        writer.write("after\n")
    assert path.read_text() == "after\n"


def test_a_past_that_cannot_be_kept_does_not_stop_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    path.write_bytes(b"line\n" * LIMIT)
    older(path).with_name(older(path).name + ".partial").mkdir()  # where the copy would be written
    assert cut(path, LIMIT)
    assert path.stat().st_size == 0


@given(steps=st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=30))
def test_a_reader_sees_every_line_once_and_in_order(steps: list[tuple[int, bool, bool]]) -> None:
    """At most one cut lies between two reads, and what was written since then fits into what a cut keeps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.log"
        path.touch()
        reader, seen, written = LogReader(path), b"", 0
        for lines, whole, is_cut in steps:
            with path.open("ab") as writer:
                for _ in range(lines):
                    writer.write(b"%06d some text of a line\n" % written)
                    written += 1
                if not whole:
                    writer.write(b"%06d some" % written)
            if is_cut:
                cut(path, LIMIT)
            seen += reader.read()
            if not whole:
                with path.open("ab") as writer:
                    writer.write(b" text of a line\n")
                written += 1
        seen += reader.read()
        assert [int(line.split()[0]) for line in seen.splitlines()] == list(range(written))
        assert all(line.endswith(b"some text of a line") for line in seen.splitlines())


def test_a_file_that_has_grown_again_beyond_the_position_is_known_to_be_another(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    path.write_bytes(b"first line\n")
    reader = LogReader(path)
    assert reader.read() == b"first line\n"
    os.truncate(path, 0)
    with path.open("ab") as writer:
        writer.write(b"a second line that is longer\n")
    assert reader.read() == b"a second line that is longer\n"


@pytest.mark.parametrize("past", [b"", b"before\n"])
def test_the_first_read_returns_all_that_is_kept(tmp_path: Path, past: bytes) -> None:
    path = tmp_path / "one.log"
    older(path).write_bytes(past)
    path.write_bytes(b"now\n")
    assert LogReader(path).read() == past + b"now\n"
