"""The journal of prompts keeps what it accepted, also across a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brainnet.errors import StoreError
from brainnet.prompts.journal import Journal
from brainnet.wire.messages import Answer, Prompt


def test_a_prompt_is_open_until_its_answer(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    prompt = Prompt(text="where?", image=b"\x00\xff")
    assert journal.accept(prompt) is None
    assert journal.accept(prompt) is None
    assert [p for p, _ in journal.open_prompts()] == [prompt]
    answer = Answer(prompt_id=prompt.prompt_id, text="there")
    assert journal.answered(answer)
    assert journal.open_prompts() == []
    assert journal.accept(prompt) == answer


def test_only_the_first_answer_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    prompt = Prompt(text="where?")
    journal.accept(prompt)
    assert journal.answered(Answer(prompt_id=prompt.prompt_id, text="first"))
    assert not journal.answered(Answer(prompt_id=prompt.prompt_id, text="second"))
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
    kept = {int(p.text) for p, _ in Journal(path).open_prompts()}
    assert set(acknowledged) <= kept


def test_a_file_that_is_no_journal_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"j\.sqlite"):
        Journal(path)
