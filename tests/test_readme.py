"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from brainnet import Prompt, Region
from brainnet.node import load_program
from brainnet.testing import MemoryBrain
from brainnet.wire.topics import contract

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def region_file(tmp_path: Path) -> Path:
    """The README's region, saved outside the tree."""
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class Counter" in b)
    path = tmp_path / "counter.py"
    path.write_text(block)
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


def test_every_topic_is_listed() -> None:
    table = README[README.index("## Topics") : README.index("## Numbers")]
    for topic in contract().topics:
        first, last = topic.key.split("/")[0], topic.key.split("/")[-1]
        assert re.search(rf"`[^`]*{first}/[^`]*`", table), topic.key
        assert last.startswith("{") or last in table, topic.key


def test_the_allocation_of_the_readme_is_yaml_with_the_fields_of_an_allocation() -> None:
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "nodes:" in b)
    loaded = yaml.safe_load(block)
    assert {n["id"] for n in loaded["nodes"]} == {"prefrontal", "memory_integrator", "vision"}
