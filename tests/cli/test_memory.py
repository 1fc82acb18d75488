"""`brainnet memory` on a brain of real processes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainnet.testing import PATIENCE_S, wait_until
from tests.support import Brain, node, write_allocation

SECRET = "The code of the safe is Quittenbrot-7731."
ALLOCATION = [
    node("prefrontal", "nodes/prefrontal/prefrontal.py"),
    node("memory_integrator", "nodes/memory_integrator/memory_integrator.py"),
    node("hippocampus", "nodes/hippocampus/hippocampus.py"),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    folder = tmp_path_factory.mktemp("brain")
    with Brain(folder) as brain:
        brain.launch(write_allocation(folder / "memory.yaml", *ALLOCATION))
        yield brain


@pytest.fixture
def brain(running: Brain) -> Brain:
    """A brain with an empty memory."""
    running.run("memory", "forget", "--all", "--yes", check=False)
    running.run("memory", "forget", "--all", "--yes", "--system", "semantic", check=False)
    return running


def rows(brain: Brain, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in brain.run("memory", *arguments, "--json").stdout.splitlines()]


def tell(brain: Brain, *statements: str) -> None:
    for statement in statements:
        brain.run("prompt", f"Remember that {statement}", "--region", "hippocampus", "--session", "s1")


def refused(brain: Brain, *arguments: str) -> str:
    done = brain.run("memory", *arguments, check=False)
    assert done.returncode != 0
    return done.stderr


def test_looks_into_memory(brain: Brain) -> None:
    tell(brain, "the blue toolbox is under the workbench.", "the saw is rusty.")
    brain.run("prompt", "How is the saw?", "--region", "hippocampus")
    found = rows(brain, "list", "--kind", "statement")
    assert [each["text"] for each in found] == ["The saw is rusty.", "The blue toolbox is under the workbench."]
    assert [each["accesses"] for each in found] == [1, 0]
    assert rows(brain, "list", "--kind", "statement", "--session", "s1", "--oldest-first", "--limit", "1") == found[1:]
    assert rows(brain, "list", "--session", "none") == []
    assert "The saw is rusty." in brain.run("memory", "list", "--limit", "50").stdout
    hits = rows(brain, "search", "blue toolbox", "--limit", "1", "--kind", "statement")
    assert [hit["text"] for hit in hits] == ["The blue toolbox is under the workbench."]
    assert "toolbox" in brain.run("memory", "search", "toolbox").stdout
    number = str(found[0]["episode_id"])
    assert rows(brain, "show", number) == found[:1]
    shown = brain.run("memory", "show", number).stdout
    assert "The saw is rusty." in shown
    assert "session_id: s1" in shown
    assert "there is no episode 9999999" in refused(brain, "show", number, "9999999")
    (stats,) = rows(brain, "stats")
    assert stats["by_kind"]["statement"] == 2
    assert "statement" in brain.run("memory", "stats").stdout
    assert rows(brain, "list", "--system", "semantic") == []


def test_forgets_and_leaves_no_byte(brain: Brain) -> None:
    tell(brain, SECRET, "the saw is rusty.")
    told = brain.run("prompt", "What is the code of the safe?", "--region", "hippocampus", "--json")
    assert json.loads(told.stdout)["text"] == SECRET
    wait_until("the exchanges", lambda: len(rows(brain, "list", "--kind", "exchange")) == 3)

    def holding() -> list[str]:
        files = [path for path in brain.home.rglob("*") if path.is_file()]
        return [path.name for path in files if b"Quittenbrot" in path.read_bytes()]

    assert len(holding()) > 0
    assert "give --yes" in refused(brain, "forget", "--text", "code safe")
    assert "no episode is like that" in refused(brain, "forget", "--text", "giraffe", "--yes")
    assert "say what" in refused(brain, "forget", "--yes")
    number = rows(brain, "search", "code of the safe", "--kind", "statement")[0]["episode_id"]
    assert rows(brain, "forget", str(number), "--yes") == [
        {"matched": 1, "deleted": 1, "repeating": 2, "kept_in": []},
    ]
    wait_until("the journal to keep nothing of it", lambda: holding() == [])
    asked = brain.run("prompt", "What is the code of the safe?", "--region", "hippocampus", "--json", check=False)
    assert json.loads(asked.stdout)["error"] is not None
    assert brain.run("memory", "forget", "--text", "saw", "--yes").stdout.startswith("deleted ")
    assert holding() == []


def test_asks_before_it_forgets(brain: Brain) -> None:
    tell(brain, "the saw is rusty.", "the lid is red.")
    for said, code, left in (("n\n", 1, 2), ("y\n", 0, 0)):
        control, terminal = pty.openpty()
        try:
            command = brain.command("memory", "forget", "--kind", "statement")
            os.write(control, said.encode())
            done = subprocess.run(
                command, stdin=terminal, capture_output=True, text=True, env=brain.env, timeout=PATIENCE_S, check=False
            )
        finally:
            os.close(control)
            os.close(terminal)
        assert done.returncode == code, done.stderr
        assert "The saw is rusty." in done.stdout
        assert "Delete 2 for good?" in done.stderr
        assert len(rows(brain, "list", "--kind", "statement")) == left
    assert done.stdout.splitlines()[-1].startswith("deleted 2")


def test_what_is_exported_comes_back_the_same(brain: Brain, tmp_path: Path) -> None:
    tell(brain, "the saw is rusty.", "the 鍵 of Zoë is in the drawer.")
    brain.run("prompt", "How is the saw?", "--region", "hippocampus")
    wait_until("the exchanges", lambda: len(rows(brain, "list", "--kind", "exchange")) == 3)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    brain.run("memory", "export", str(first))
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert [line["kind"] for line in lines].count("statement") == 2
    assert set(lines[0]) == {"text", "kind", "metadata", "key", "importance", "created_ns", "accesses"}
    assert brain.run("memory", "export", "-").stdout == first.read_text()
    assert rows(brain, "import", str(first)) == [{"episodes": 5, "new": 0}]
    brain.run("memory", "forget", "--all", "--yes")
    assert rows(brain, "list") == []
    assert rows(brain, "import", str(first)) == [{"episodes": 5, "new": 5}]
    assert brain.run("memory", "import", str(first)).stdout == "0 of 5 episodes are new\n"
    brain.run("memory", "export", str(second))
    assert second.read_text() == first.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.jsonl", "second.jsonl"]
    # lines of somebody's own, without a key
    own = tmp_path / "own.jsonl"
    own.write_text('{"text": "Anna has the car.", "created_ns": 5}\n\n{"text": "The lid is red.", "importance": 0.9}\n')
    assert rows(brain, "import", str(own)) == [{"episodes": 2, "new": 2}]
    for bad in ('{"text": 1}', "no json", '{"text": "x", "importance": 7}', "[]"):
        own.write_text('{"text": "fine"}\n' + bad)
        assert f"{own}, line 2: " in refused(brain, "import", str(own))
    assert "cannot be read" in refused(brain, "import", str(tmp_path / "missing"))
    assert "cannot be written" in refused(brain, "export", str(tmp_path / "no folder" / "x"))


def test_ingests_documents_once_and_again_when_they_change(brain: Brain, tmp_path: Path) -> None:
    manuals = tmp_path / "manuals"
    (manuals / "deep").mkdir(parents=True)
    (manuals / "pump.txt").write_text("The pump needs oil. Fill it every month. Use the red can. " * 5)
    (manuals / "deep" / "valve.md").write_text("# The valve\n\nIt opens at 3 bar. It closes at 2 bar. It is blue.\n")
    (manuals / "copy.txt").write_text((manuals / "pump.txt").read_text())
    (manuals / "bad.html").write_bytes(b"\xff\xff<p>")
    done = brain.run("memory", "ingest", str(manuals), "--json", check=False)
    assert done.returncode == 1
    assert "1 of 4 documents could not be read" in done.stderr
    states = {row["source"]: row["state"] for row in map(json.loads, done.stdout.splitlines())}
    assert states == {
        "manuals/bad.html": "failed",
        "manuals/copy.txt": "new",
        "manuals/pump.txt": "duplicate",
        "manuals/deep/valve.md": "new",
    }
    (manuals / "bad.html").unlink()
    assert {row["state"] for row in rows(brain, "ingest", str(manuals))} == {"unchanged", "duplicate"}
    found = {row["source"]: row for row in rows(brain, "sources")}
    assert found["manuals/deep/valve.md"]["title"] == "The valve"
    assert found["manuals/copy.txt"]["passages"] == found["manuals/copy.txt"]["expected"] == 3
    assert "valve.md" in brain.run("memory", "sources").stdout
    hit = rows(brain, "search", "When does the valve open?", "--limit", "1")[0]
    assert hit["text"] == "The valve It opens at 3 bar. It closes at 2 bar. It is blue."
    assert (hit["kind"], hit["metadata"]["source"]) == ("passage", "manuals/deep/valve.md")
    assert (hit["metadata"]["page"], hit["metadata"]["title"]) == (0, "The valve")
    (manuals / "deep" / "valve.md").write_text("# The valve\n\nIt opens at 5 bar. It closes at 2 bar. It is green.\n")
    assert [row["state"] for row in rows(brain, "ingest", str(manuals))] == ["unchanged", "duplicate", "changed"]
    (passage,) = rows(brain, "list", "--source", "manuals/deep/valve.md")
    assert "5 bar" in passage["text"]
    assert rows(brain, "forget", "--source", "manuals/copy.txt", "--yes")[0]["deleted"] == 3
    assert [row["source"] for row in rows(brain, "sources")] == ["manuals/deep/valve.md"]
    assert "there is no such file" in refused(brain, "ingest", str(tmp_path / "missing"))
    assert "there is no document in" in refused(brain, "ingest", str(brain.home))


def test_says_that_no_memory_answers(tmp_path: Path) -> None:
    with Brain(tmp_path) as brain:
        brain.launch(write_allocation(tmp_path / "memory.yaml", *ALLOCATION[:2]))
        assert "no region of this brain serves the episodic memory" in refused(brain, "stats")
