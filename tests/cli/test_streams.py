"""What becomes of the streams of a verb: closed and full ones, readers that leave, odd encodings and terminals.

Every verb is a new process here, where a lack of an import shows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from brainnet.testing import PATIENCE_S
from tests.cli.redirected import shell

VERBS_WITHOUT_A_BRAIN = [
    ["--help"],
    ["topic", "list", "--contract"],
    ["config", "show", "--json"],
]
named = pytest.mark.parametrize("words", VERBS_WITHOUT_A_BRAIN, ids=" ".join)


# -- streams that cannot be written ------------------------------------------------------------------------------------


@named
def test_a_full_disk_is_one_sentence_and_a_failure(words: list[str]) -> None:
    done = shell(">/dev/full", *words)
    assert done.returncode == 1
    lost = "brainnet: standard output cannot be written: No space left on device"
    assert done.stderr.splitlines()[-1] == lost
    assert done.stderr.count(lost) == 1
    assert "Traceback" not in done.stderr


@named
def test_a_closed_standard_output_is_one_sentence_and_a_failure(words: list[str]) -> None:
    done = shell(">&-", *words)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "brainnet: standard output cannot be written: it is closed"
    assert "Traceback" not in done.stderr


@named
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_standard_error_that_cannot_be_written_changes_nothing_else(words: list[str], redirection: str) -> None:
    done = shell(redirection, *words)
    assert done.returncode == 0
    assert done.stdout != ""


@named
def test_all_streams_closed(words: list[str]) -> None:
    assert shell("<&- >&- 2>&-", *words).returncode == 1


@named
def test_a_reader_that_leaves_is_no_failure(words: list[str]) -> None:
    done = shell('| (exec <&-); exit "${PIPESTATUS[0]}"', *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_keeps_its_status_whatever_the_streams() -> None:
    for redirection in ("", ">&-", ">/dev/full", "2>&-", "2>/dev/full", ">&- 2>&-", '| true; exit "${PIPESTATUS[0]}"'):
        assert shell(redirection, "status", "--port", "1").returncode == 1, redirection
    for redirection in ("", ">&- 2>&-"):
        assert shell(redirection, "no-such-verb").returncode == 2, redirection


def test_a_missed_bar_is_status_1_also_for_a_reader_that_left(tmp_path: Path) -> None:
    program = tmp_path / "measured.py"
    program.write_text(
        '"""A program that measures a lot."""\n'
        "from brainnet.rows import compare\n"
        "from brainnet.training import TrainingSettings\n"
        "class Settings(TrainingSettings): pass\n"
        "def train(run): pass\n"
        "def evaluate(run):\n"
        "    for number in range(2000):\n"
        "        yield compare(f'row {number}', 1.0, 'x', limit=('value', '<=', 0.0))\n"
    )
    done = shell('--json | head -1; exit "${PIPESTATUS[0]}"', "eval", str(program))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["ok"] is False


# -- encodings and terminals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["topic", "--help"], ["topic", "list", "--contract", "--json"]], ids=" ".join)
@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "cp437"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"COLUMNS": "1", "NO_COLOR": "1", "TERM": "dumb"},
        {"FORCE_COLOR": "1", "TERM": "xterm-256color"},
    ],
    ids=str,
)
def test_any_encoding_and_any_width(words: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "brainnet", *words], capture_output=True, env={**os.environ, **env}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert b"Traceback" not in done.stderr
    if "--json" in words:
        for line in done.stdout.decode().splitlines():
            json.loads(line)


def on_terminal(words: list[str], columns: int, **env: str) -> tuple[int, str]:
    """Run a verb on a terminal of this width; returns its status and what the terminal was sent."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "brainnet", *words],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**inherited, "TERM": "xterm-256color", **env},
    )
    os.close(side)
    received = b""
    with contextlib.suppress(OSError):  # the end of the terminal's other side
        while data := os.read(main, 65536):
            received += data
    os.close(main)
    return process.wait(PATIENCE_S), received.decode()


@named
@pytest.mark.parametrize("columns", [1, 30])
def test_a_terminal_of_any_width_shows_all_words(words: list[str], columns: int) -> None:
    status, shown = on_terminal(words, columns)
    assert status == 0
    assert "Traceback" not in shown
    assert len(shown.split()) > 1


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_terminal_that_wants_no_colour_gets_none(env: dict[str, str]) -> None:
    status, shown = on_terminal(["config", "show"], 200, **env)
    assert status == 0
    assert re.search(r"\x1b\[[\d;]*3\d", shown) is None
    if env.get("TERM") == "dumb":
        assert "\x1b" not in shown
