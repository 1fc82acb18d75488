"""From the name of a program to its class, and what a program may import."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from brainnet.errors import ConfigError
from brainnet.launcher.describe.allocation import load
from brainnet.launcher.describe.programs import check_programs
from brainnet.node import load_program
from brainnet.testing import MemoryBrain
from brainnet.wire.messages import Prompt
from tests.support import write_allocation

PROGRAM = '''
from brainnet import Candidate, Partial, Query, Region
from my_words import WORD


class Speaker(Region):
    """Says a word."""

    def answer(self, query: Query) -> Partial:
        return Partial(candidates=[Candidate(text=WORD, probability=1.0)], confidence=1.0)
'''


def write_region(folder: Path, word: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "my_words.py").write_text(f"WORD = {word!r}\n")
    (folder / f"{folder.name}.py").write_text(PROGRAM)
    return folder / f"{folder.name}.py"


@pytest.fixture
def forget_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's programs leave nothing behind for the next one."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_words", raising=False)


@pytest.mark.usefixtures("forget_imports")
async def test_a_program_imports_the_files_beside_it(tmp_path: Path) -> None:
    program = load_program(str(write_region(tmp_path / "speaker", "hello")))
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(program, "speaker")
        partial = await brain.query("speaker", Prompt(text="?"))
    assert partial.best is not None
    assert partial.best.text == "hello"


def test_two_programs_may_have_helpers_of_the_same_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_region(tmp_path / name, name)
    (tmp_path / "two" / "my_words.py").write_text("WORD = 1 / 0\n")
    nodes = [{"id": name, "program": f"{name}/{name}.py"} for name in ("one", "two")]
    allocation = load(write_allocation(tmp_path / "allocation.yaml", *nodes))
    with pytest.raises(ConfigError, match=r"node two: .*ZeroDivisionError"):
        check_programs(allocation)
    # of another length: Python takes a compiled file for current by the size and the second of its source
    (tmp_path / "two" / "my_words.py").write_text("WORD = 'the second one'\n")
    assert [checked.id for checked in check_programs(allocation)] == ["one", "two"]


@pytest.mark.parametrize("named", ["regions/speaker.py", "regions/speaker", "regions/speaker/speaker.py"])
def test_a_region_that_moved_into_its_folder_is_found_under_its_old_path(tmp_path: Path, named: str) -> None:
    program = write_region(tmp_path / "regions" / "speaker", "hello")
    allocation = load(write_allocation(tmp_path / "allocation.yaml", {"id": "speaker", "program": named}))
    assert allocation.nodes[0].program == str(program)


def test_the_same_description_travels_from_the_file_to_the_child(tmp_path: Path) -> None:
    from brainnet.node import NodeSpec

    program = write_region(tmp_path / "speaker", "hello")
    node = {"id": "speaker", "program": str(program), "threads": 2, "cpu_affinity": [0], "parameters": {"a": [1, None]}}
    (entry,) = load(write_allocation(tmp_path / "allocation.yaml", node, defaults={"device": "cuda:1"})).nodes
    spec = NodeSpec(**entry.model_dump(exclude={"host"}), host="here", hub="tcp/127.0.0.1:1", data_dir=tmp_path)
    assert NodeSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec
    assert (spec.threads, spec.device, spec.cpu_affinity, spec.parameters) == (2, "cuda:1", (0,), {"a": [1, None]})
