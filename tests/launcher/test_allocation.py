"""The allocation file: what it becomes, and what it says of each mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import AllocationError
from brainnet.launcher.describe.allocation import Allocation, load
from brainnet.launcher.describe.programs import check_programs
from brainnet.limits import MAX_NAME, NAME_PATTERN
from tests.support import PROGRAMS, node, write_allocation

ECHO = PROGRAMS / "echo.py"


def parsed(tmp_path: Path, text: str) -> Allocation:
    path = tmp_path / "allocation.yaml"
    path.write_text(text.replace("ECHO", str(ECHO)))
    return load(path)


MISTAKES = {
    "no nodes": ("version: 1", 1, ["nodes", "is missing"]),
    "empty": ("", None, ["version and nodes"]),
    "not YAML": ("version: 1\nnodes: [", 3, ["not YAML"]),
    "newer version": ("version: 2\nnodes:\n  - {id: a, program: ECHO}", 1, ["version", "1", "got 2"]),
    "key twice": ("version: 1\nport: 1\nport: 2", 3, ["port", "line 2"]),
    "misspelled field": (
        "version: 1\nnodes:\n  - id: a\n    progam: ECHO",
        4,
        ["nodes[0].progam", "did you mean program?", "checkpoint"],
    ),
    "misspelled top field": ("version: 1\nnods: []", 2, ["nods", "did you mean nodes?"]),
    "same id": (
        "version: 1\nnodes:\n  - {id: a, program: ECHO}\n  - {id: a, program: ECHO}",
        4,
        ["nodes[1].id", "'a'", "line 3"],
    ),
    "id with a blank": ("version: 1\nnodes:\n  - {id: a b, program: ECHO}", 3, ["nodes[0].id", "letters", "'a b'"]),
    "unknown program": (
        "version: 1\nnodes:\n  - id: a\n    program: nodes/nowhere.py",
        4,
        ["nodes/nowhere.py does not exist", "looked in"],
    ),
    "unknown module": (
        "version: 1\nnodes:\n  - id: a\n    program: no_such_module:Olfactory",
        4,
        ["no_such_module", "entry point of brainnet.nodes"],
    ),
    "missing checkpoint": (
        "version: 1\nnodes:\n  - id: a\n    program: ECHO\n    checkpoint: w.safetensors",
        5,
        ["nodes[0].checkpoint", "w.safetensors does not exist"],
    ),
    "host without hosts": ("version: 1\nnodes:\n  - {id: a, program: ECHO, host: b}", 3, ["'b'", "no `hosts:`"]),
    "unknown host": (
        "version: 1\nhosts: {board: {}, desk: {}}\nnodes:\n  - {id: a, program: ECHO, host: bord}",
        4,
        ["did you mean board?", "board, desk"],
    ),
    "no host of several": (
        "version: 1\nhosts: {board: {}, desk: {}}\nnodes:\n  - {id: a, program: ECHO}",
        4,
        ["nodes[0].host", "board, desk"],
    ),
    "policy": (
        "version: 1\nnodes:\n  - id: a\n    program: ECHO\n    restart:\n      policy: sometimes",
        6,
        ["nodes[0].restart.policy", "'always', 'on-failure' or 'never'", "'sometimes'"],
    ),
    "field of restart": (
        "version: 1\ndefaults:\n  restart: {backoff: 1}\nnodes:\n  - {id: a, program: ECHO}",
        3,
        ["did you mean backoff_s?"],
    ),
    "device": ("version: 1\nnodes:\n  - {id: a, program: ECHO, device: gpu}", 3, ["cpu, cuda or cuda:N", "'gpu'"]),
    "threads": ("version: 1\nnodes:\n  - {id: a, program: ECHO, threads: 0}", 3, ["nodes[0].threads", "got 0"]),
    "port": ("version: 1\nport: 99999\nnodes:\n  - {id: a, program: ECHO}", 2, ["port", "65535", "99999"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_place(tmp_path: Path, name: str) -> None:
    text, line, said = MISTAKES[name]
    with pytest.raises(AllocationError) as caught:
        parsed(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "allocation.yaml") in message
    if line is not None:
        assert f"line {line}" in message
    for part in said:
        assert part in message


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AllocationError, match=r"nowhere\.yaml does not exist"):
        load(tmp_path / "nowhere.yaml")


def test_defaults_are_merged_field_by_field(tmp_path: Path) -> None:
    loaded = parsed(
        tmp_path,
        """
        version: 1
        defaults: {threads: 2, environment: {A: x, B: x}, restart: {policy: on-failure, max_restarts: 9}}
        nodes:
          - {id: a, program: ECHO, threads: 3, environment: {B: y}, restart: {policy: never}}
          - {id: b, program: ECHO}
        """,
    )
    a, b = loaded.nodes
    assert (a.threads, b.threads) == (3, 2)
    assert a.environment == {"A": "x", "B": "y"}
    assert (a.restart.policy, a.restart.max_restarts) == ("never", 9)
    assert (b.restart.policy, b.restart.max_restarts) == ("on-failure", 9)


def test_programs_are_found_from_the_project_above_the_allocation(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "nodes").mkdir()
    program = tmp_path / "nodes" / "mine.py"
    program.touch()
    (tmp_path / "deploy" / "desk").mkdir(parents=True)
    path = write_allocation(tmp_path / "deploy" / "desk" / "a.yaml", {"id": "a", "program": "nodes/mine.py"})
    assert load(path).nodes[0].program == str(program)


def test_a_class_is_kept_with_its_file(tmp_path: Path) -> None:
    loaded = parsed(tmp_path, "version: 1\nnodes:\n  - {id: a, program: 'ECHO:Echo'}")
    assert loaded.nodes[0].program == f"{ECHO}:Echo"


def test_programs_of_the_installation_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(write_allocation(tmp_path / "a.yaml", {"id": "a", "program": "nodes/memory_integrator.py"}))
    assert Path(loaded.nodes[0].program).is_file()


class TestHosts:
    TEXT = """
    version: 1
    hosts:
      desk: {listen: [tcp/10.0.0.1:7447]}
      board: {connect: [tcp/10.0.0.1:7447]}
    nodes:
      - {id: a, program: ECHO, host: desk}
      - {id: b, program: ECHO, host: board}
      - {id: c, program: ECHO, host: board}
    """

    def test_each_host_gets_its_nodes(self, tmp_path: Path) -> None:
        loaded = parsed(tmp_path, self.TEXT)
        assert [n.id for n in loaded.placed_on("desk")] == ["a"]
        assert [n.id for n in loaded.placed_on("board")] == ["b", "c"]
        assert [n.id for n in loaded.placed_on("board", ["c"])] == ["c"]

    def test_the_host_is_named_or_this_machine(self, tmp_path: Path) -> None:
        loaded = parsed(tmp_path, self.TEXT)
        assert loaded.choose_host("board", "desk") == "board"
        assert loaded.choose_host(None, "desk") == "desk"
        with pytest.raises(AllocationError, match=r"desk, board.*--host"):
            loaded.choose_host(None, "laptop")
        with pytest.raises(AllocationError, match="no host 'laptop'"):
            loaded.choose_host("laptop", "desk")

    def test_only_names_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(AllocationError, match="no node 'a' on board"):
            parsed(tmp_path, self.TEXT).placed_on("board", ["a"])

    def test_without_hosts_everything_runs_here(self, tmp_path: Path) -> None:
        loaded = parsed(tmp_path, "version: 1\nnodes:\n  - {id: a, program: ECHO}")
        assert loaded.choose_host(None, "laptop") == "laptop"
        assert [n.id for n in loaded.placed_on("laptop")] == ["a"]


names = st.from_regex(re.compile(NAME_PATTERN, re.ASCII), fullmatch=True).filter(lambda name: len(name) <= MAX_NAME)
entries = st.fixed_dictionaries(
    {"id": names},
    optional={
        "threads": st.integers(1, 64),
        "device": st.sampled_from(["cpu", "cuda", "cuda:1"]),
        "cpu_affinity": st.lists(st.integers(0, 63), min_size=1, max_size=4),
        "parameters": st.dictionaries(
            st.text(max_size=8),
            st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.text(),
            max_size=3,
        ),
        "environment": st.dictionaries(names, st.text(max_size=8).filter(lambda text: "\0" not in text), max_size=3),
    },
)


@settings(deadline=None)
@given(st.lists(entries, min_size=1, max_size=5, unique_by=lambda e: e["id"]))
def test_what_is_written_is_what_runs(tmp_path_factory: pytest.TempPathFactory, nodes: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("allocations") / "a.yaml"
    loaded = load(write_allocation(path, *({**n, "program": str(ECHO)} for n in nodes)))
    assert [n.id for n in loaded.nodes] == [n["id"] for n in nodes]
    for given_, placed in zip(nodes, loaded.nodes, strict=True):
        for name, value in given_.items():
            found = getattr(placed, name)
            assert (list(found) if isinstance(found, tuple) else found) == value


class TestPrograms:
    def test_programs_and_parameters_that_fit(self, tmp_path: Path) -> None:
        (found,) = check_programs(load(write_allocation(tmp_path / "a.yaml", node("one", parameters={"gain": 0.5}))))
        assert (found.id, found.role, found.about) == ("one", "region", "Says what it was asked.")
        assert found.parameters == {"prefix": "", "gain": 0.5}

    @pytest.mark.parametrize(
        ("parameters", "said"),
        [
            ({"gain": "loud"}, "gain: Input should be a valid number"),
            ({"gain": 2.0}, "gain: Input should be less than or equal to 1"),
            ({"gian": 0.5}, "no parameter 'gian'; it has: prefix, gain"),
        ],
    )
    def test_a_parameter_that_does_not(self, tmp_path: Path, parameters: dict[str, object], said: str) -> None:
        loaded = load(write_allocation(tmp_path / "a.yaml", node("good"), node("one", parameters=parameters)))
        with pytest.raises(AllocationError, match="node one") as caught:
            check_programs(loaded)
        assert said in str(caught.value)
        line = int(re.search(r"line (\d+)", str(caught.value))[1])  # type: ignore[index]
        assert "parameters" in (tmp_path / "a.yaml").read_text().splitlines()[line - 1]

    def test_a_program_that_does_not_import(self, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text("import no_such_library\n")
        loaded = load(write_allocation(tmp_path / "a.yaml", node("one", "./broken.py")))
        with pytest.raises(AllocationError, match=r"fails to import.*no_such_library"):
            check_programs(loaded)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("launch/*/node_allocation.yaml")), ids=str)
def test_the_ready_deployments_load(path: Path) -> None:
    loaded = load(path)
    for host in loaded.hosts or ["here"]:
        assert loaded.placed_on(host)
    assert yaml.safe_load(path.read_text())["version"] == 1
