"""What the documentation shows of a brain that runs works as it stands, on one brain for all pages."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainnet.cli import app as top
from brainnet.testing import PATIENCE_S, wait_until
from tests.docs.conftest import new_brain
from tests.docs.markdown import PAGES, ROOT, blocks
from tests.docs.pages import asks, launches, name_of, read
from tests.support import Brain


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    """Run the default brain."""
    with new_brain(tmp_path_factory.mktemp("shared")) as brain:
        brain.launch()
        yield brain


@pytest.mark.parametrize("page", [p for p in PAGES if asks(p)], ids=name_of)
def test_the_blocks_of_a_page_work_in_their_order(page: Path, folder: Path, own: Brain, shared: Brain) -> None:
    read(page, folder, own if launches(page) else shared, shared)


def test_the_region_of_the_readme_joins_a_running_brain(folder: Path, shared: Brain) -> None:
    block = next(b for b in blocks(ROOT / "README.md") if b.title == "counter.py")
    (folder / "counter.py").write_text(block.text)
    process = subprocess.Popen([sys.executable, "counter.py"], cwd=folder, env=shared.env, stderr=subprocess.DEVNULL)
    try:

        def joined() -> dict[str, Any] | None:
            return next((row for row in shared.rows("node", "list") if row["node_id"] == "counter"), None)

        assert wait_until("counter to join", joined)["answers"]
        assert shared.prompt("three short words", "--region", "counter")["text"] == "3 words"
        shared.run("node", "param", "set", "counter", "unit", "letter")
        assert shared.prompt("three short words", "--region", "counter")["text"] == "15 letters"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_the_verb_of_the_recipe_is_a_verb(
    shared: Brain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import brainnet.cli

    block = next(b for b in blocks(ROOT / "docs" / "how-to" / "verb.md") if b.title == "brainnet/cli/hosts.py")
    (tmp_path / "hosts.py").write_text(block.text)
    monkeypatch.setattr(brainnet.cli, "__path__", [*brainnet.cli.__path__, str(tmp_path)])
    monkeypatch.setitem(top.VERBS, "hosts", top.Verb("brainnet.cli.hosts", "List the hosts of the brain."))
    command = top.load_verb("hosts")
    assert command.help.splitlines()[0] == "List the hosts of the brain."
    command.main(["--port", str(shared.port)], standalone_mode=False)
    assert capsys.readouterr().out.split() == [next(iter(shared.status().values()))["host"]]
