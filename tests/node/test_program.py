"""From the name of a program to its class, and what a program may import."""

from __future__ import annotations

import inspect
import json
import subprocess
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
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
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


@pytest.mark.usefixtures("forget_imports")
def test_two_programs_of_one_name_are_two_in_one_process(tmp_path: Path) -> None:
    """Each gets the helper beside it, and the weights beside it, also when the other is imported later."""
    for name in ("one", "two"):
        program = write_region(tmp_path / name / "speaker", name)
        program.write_text(program.read_text() + "\n    default_checkpoint = 'w.bin'\n    word = WORD\n")
    one, two = (load_program(str(tmp_path / name / "speaker" / "speaker.py")) for name in ("one", "two"))
    assert [vars(kind)["word"] for kind in (one, two)] == ["one", "two"]
    for kind, name in ((one, "one"), (two, "two")):
        assert Path(inspect.getfile(kind)) == tmp_path / name / "speaker" / "speaker.py"


@pytest.mark.usefixtures("forget_imports")
def test_a_program_imports_relative_to_itself(tmp_path: Path) -> None:
    program = write_region(tmp_path / "speaker", "hello")
    text = program.read_text().replace(
        "from my_words import WORD", "from . import my_words\nfrom .my_words import WORD"
    )
    program.write_text(text + "\n    word = my_words.WORD + WORD\n")
    assert vars(load_program(str(program)))["word"] == "hellohello"


@pytest.mark.usefixtures("forget_imports")
def test_files_beside_a_program_come_before_the_current_folder_and_after_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_region(tmp_path / "speaker", "hello")
    (tmp_path / "speaker" / "colorsys.py").write_text("raise SystemExit('hides a module of Python')\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "my_words.py").write_text("WORD = 'wrong'\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    program.write_text(program.read_text() + "\n    word = WORD\n")
    assert vars(load_program(str(program)))["word"] == "hello"
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)


@pytest.mark.usefixtures("forget_imports")
@pytest.mark.parametrize("line", ["from random import WORD", "import random; WORD = random.WORD"])
def test_a_file_with_the_name_of_a_module_of_python_is_named(tmp_path: Path, line: str) -> None:
    program = write_region(tmp_path / "speaker", "hello")
    (tmp_path / "speaker" / "random.py").write_text("WORD = 'hello'\n")
    program.write_text(program.read_text().replace("from my_words import WORD", line))
    with pytest.raises(ConfigError, match=r"speaker\.py fails to import: .*; rename random\.py beside it") as caught:
        load_program(str(program))
    assert str(caught.value).isprintable()


@pytest.mark.usefixtures("forget_imports")
def test_a_program_with_the_name_of_a_library_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_region(tmp_path / "pyaml_env", "hello")
    library = tmp_path / "library"
    library.mkdir()
    (library / "pyaml_env.py").write_text("VALUE = 3\n")
    monkeypatch.syspath_prepend(str(library))
    program.write_text("import pyaml_env\n" + program.read_text() + "\n    value = pyaml_env.VALUE\n")
    assert vars(load_program(str(program)))["value"] == 3
    monkeypatch.delitem(sys.modules, "pyaml_env")


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "needs.py").write_text("import no_such_library.part\n")
    with pytest.raises(ConfigError, match="install the package that has the module no_such_library"):
        load_program(str(tmp_path / "needs.py"))


class TestByHand:
    """`python file.py`, as a person starts a program."""

    def started(self, program: Path, *arguments: str) -> str:
        program.write_text(program.read_text() + "\n\nfrom brainnet import main\n\nmain(Speaker)\n")
        done = subprocess.run(
            [sys.executable, str(program), "--port", "1", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        return done.stderr

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--id", "a b"], "id: should be a name"),
            (["--id", "launcher"], "id: 'launcher' is no id"),
            (["--device", "gpu"], "device: should be cpu, cuda or cuda:N"),
            (["--hub", "localhost"], "setting hub from option: is not a Zenoh endpoint"),
            (["--host", ".."], "setting host from option: should be a name"),
            (["--param", "x=["], "--param x, line 2, column 1: neither YAML nor JSON"),
            (["--param", "x=.nan"], "--param x, line 1, column 1: .nan is not a finite number"),
        ],
    )
    def test_a_mistake_is_one_line(self, tmp_path: Path, arguments: list[str], says: str) -> None:
        said = self.started(write_region(tmp_path / "speaker", "hello"), *arguments)
        assert said.count("\n") == 1, said
        assert says in said

    def test_the_name_of_a_file_that_is_no_id(self, tmp_path: Path) -> None:
        program = write_region(tmp_path / "my speaker", "hello")
        assert "id: should be a name" in self.started(program)


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
