"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brainnet import Prompt, Region
from brainnet.node import load_program
from brainnet.testing import MemoryBrain
from brainnet.wire.topics import contract
from tests.docs.markdown import blocks

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def region_file(tmp_path: Path) -> Path:
    """The README's region, saved outside the tree."""
    path = tmp_path / "counter.py"
    path.write_text(next(block.text for block in blocks(ROOT / "README.md") if block.title == "counter.py"))
    return path


async def test_the_region_of_the_readme_answers(region_file: Path, tmp_path: Path) -> None:
    code = [line for line in region_file.read_text().splitlines() if line.strip()]
    assert len(code) <= 32
    program = load_program(str(region_file))
    assert issubclass(program, Region)
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program, "counter", parameters={"unit": "letter"})
        partial = await brain.query("counter", Prompt(text="three short words"))
    assert partial.best is not None
    assert partial.best.text == "15 letters"


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    table = README[README.index("## What it needs") :]
    for requirement in named:
        package = re.split(r"[<>=\[]", requirement)[0]
        assert re.search(rf"^\|[^|]*\b{package}\b", table, re.MULTILINE), package


def test_the_table_of_topics_is_the_contract() -> None:
    table = README[README.index("## Topics") : README.index("## Numbers")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([^`]+)`", "".join(rows))) == sorted(topic.key for topic in contract().topics)
