"""The journal of prompts keeps what it accepted, also across a kill, and within its limits."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainnet.errors import StoreError
from brainnet.prompts import journal as journal_module
from brainnet.prompts.journal import Journal
from brainnet.wire.messages import Answer, Prompt


def test_a_prompt_is_open_until_its_answer(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    prompt = Prompt(text="where?", image=b"\x00\xff", deadline_ms=600_000)
    assert journal.accept(prompt) is None
    assert journal.accept(prompt) is None
    (left,) = journal.left_open()
    assert (left.prompt.prompt_id, left.prompt.image, left.expired) == (prompt.prompt_id, b"\x00\xff", False)
    answer = Answer(prompt_id=prompt.prompt_id, text="there")
    journal.answer(answer)
    assert journal.left_open() == []
    assert journal.accept(prompt) == answer


def test_only_the_first_answer_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    prompt = Prompt(text="where?")
    journal.accept(prompt)
    journal.answer(Answer(prompt_id=prompt.prompt_id, text="first"))
    journal.answer(Answer(prompt_id=prompt.prompt_id, text="second"))
    kept = journal.accept(prompt)
    assert kept is not None
    assert kept.text == "first"


def test_what_was_accepted_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from brainnet.prompts.journal import Journal\nfrom brainnet.wire.messages import Prompt\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for i in range(100000):\n    journal.accept(Prompt(text=f'{i}'))\n    print(i, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [int(next(child.stdout)) for _ in range(50)]
        child.send_signal(signal.SIGKILL)
    kept = {int(left.prompt.text) for left in Journal(path).left_open()}
    assert set(acknowledged) <= kept


def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    for number in (1, 2):
        path.write_bytes(b"not a database" * 100)
        journal = Journal(path)
        assert journal.moved_to == tmp_path / f"j.sqlite.damaged-{number}"
        assert journal.moved_to.read_bytes() == b"not a database" * 100
        journal.accept(Prompt(text="where?"))
        journal.close()


def test_a_file_of_another_format_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    journal.accept(Prompt(text="where?"))
    journal.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    journal = Journal(path)
    assert journal.left_open() == []
    assert journal.moved_to is not None
    with contextlib.closing(sqlite3.connect(journal.moved_to)) as db:
        assert db.execute("SELECT count(*) FROM prompt").fetchone() == (1,)
    assert journal.accept(Prompt(text="there?")) is None


def test_a_damaged_row_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    for text in ("first", "second", "third"):
        journal.accept(Prompt(text=text))
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE prompt SET prompt = x'c1ff' WHERE rowid = 2")
    again = Journal(path)
    assert [left.prompt.text for left in again.left_open()] == ["first", "third"]
    assert again.damaged_rows == 1
    assert len(again.left_open()) == 2
    assert again.damaged_rows == 1


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_the_wall_clock_does_not_move_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: int) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.accept(Prompt(text="where?", deadline_ms=600_000))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + step_s)
    (left,) = journal.left_open()
    assert not left.expired
    assert 1 <= left.prompt.deadline_ms <= 600_000
    assert Prompt.model_validate(left.prompt.model_dump()) == left.prompt


def test_a_prompt_of_before_the_last_boot_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal(tmp_path / "j.sqlite").accept(Prompt(text="where?", deadline_ms=600_000))
    other = tmp_path / "boot_id"
    other.write_text("another")
    monkeypatch.setattr(journal_module, "_BOOT_ID", other)
    (left,) = Journal(tmp_path / "j.sqlite").left_open()
    assert left.expired


def test_a_locked_file_is_an_error_at_once_and_works_again_later(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        journal.accept(Prompt(text="where?"))
    other.execute("ROLLBACK")
    assert journal.accept(Prompt(text="where?")) is None


def test_answers_beyond_the_limits_are_removed_and_open_prompts_stay(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    for number in range(600):
        prompt = Prompt(prompt_id=str(number), text="x" * 1000)
        journal.accept(prompt)
        if number % 2:
            journal.answer(Answer(prompt_id=prompt.prompt_id, text="y" * 1000))
    before = journal.bytes()
    assert before > 600_000
    assert journal.prune(3600, before) == 0
    while journal.prune(3600, 400_000):
        pass
    assert journal.bytes() <= 400_000 or len(journal.left_open()) == 300
    assert len(journal.left_open()) == 300
    while journal.prune(-1.0, before):
        pass
    assert journal.accept(Prompt(prompt_id="599", text="x")) is None


def holding(folder: Path, *parts: bytes) -> list[str]:
    return [each.name for each in folder.iterdir() if any(part in each.read_bytes() for part in parts)]


def test_of_what_is_redacted_nothing_stays_but_the_id(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    prompts = [Prompt(text=f"my code is quince {number} {'x' * (number * 97 % 9000)}") for number in range(60)]
    for prompt in prompts:
        journal.accept(prompt)
        journal.answer(Answer(prompt_id=prompt.prompt_id, text=f"I keep quince {prompt.text[:60]}", prompt=prompt.text))
    other, still_open = Prompt(text="where is the pear?"), Prompt(text="where is the plum?")
    for each in (other, still_open):
        journal.accept(each)
    journal.answer(Answer(prompt_id=other.prompt_id, text="the pear is here"))
    ids = [prompt.prompt_id for prompt in prompts]
    assert holding(tmp_path, b"quince") != []
    asked = [*ids, "never seen", still_open.prompt_id]
    assert sorted(journal.redact(asked)) == sorted([*ids, "never seen"])
    assert holding(tmp_path, b"quince") == []
    for prompt in prompts:
        known = journal.accept(prompt)
        assert known is not None
        assert (known.code, known.text, known.prompt, known.stopped_by) == ("forgotten", "", "", "error")
    assert holding(tmp_path, b"quince") == []
    kept = journal.accept(other)
    assert kept is not None
    assert kept.text == "the pear is here"
    assert [left.prompt.text for left in journal.left_open()] == ["where is the plum?"]
    journal.answer(Answer(prompt_id=still_open.prompt_id, text="there"))
    assert journal.redact([still_open.prompt_id]) == [still_open.prompt_id]
    assert holding(tmp_path, b"plum") == []


def test_what_was_removed_before_it_is_forgotten_leaves_no_bytes_either(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.with_name("j.sqlite.damaged-1").write_bytes(b"quince of a damaged one")
    journal = Journal(path)
    for _ in range(20):
        prompt = Prompt(text="quince " * 2000)
        journal.accept(prompt)
        journal.answer(Answer(prompt_id=prompt.prompt_id, text="quince"))
    assert journal.prune(0.0, 0) == 20
    assert journal.redact([prompt.prompt_id]) == [prompt.prompt_id]
    assert holding(tmp_path, b"quince") == []


def test_while_another_program_reads_it_redacting_fails_and_works_later(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    prompt = Prompt(text="quince")
    journal.accept(prompt)
    journal.answer(Answer(prompt_id=prompt.prompt_id, text="quince"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM prompt").fetchone()
        with pytest.raises(StoreError):
            journal.redact([prompt.prompt_id])
    assert journal.redact([prompt.prompt_id]) == [prompt.prompt_id]
    assert holding(tmp_path, b"quince") == []
