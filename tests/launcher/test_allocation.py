"""The allocation file: what it becomes, and what it says of what cannot be."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import AllocationError
from brainnet.launcher.describe.allocation import AllocationFile, Host, load
from brainnet.launcher.describe.here import check_here
from brainnet.launcher.describe.programs import check_programs
from brainnet.limits import MAX_NAME, NAME_PATTERN
from brainnet.node.spec import NodeEntry, NodeSpec, Restart
from brainnet.texts import printable
from tests.launcher.allocations import ECHO, parsed
from tests.support import node, write_allocation


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AllocationError, match=r"nowhere\.yaml does not exist"):
        load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("w.safetensors", b"", "is empty"),
        ("w.safetensors", b"no weights at all", "is no safetensors file"),
        ("w.bin", b"", "is empty"),
    ],
)
def test_a_checkpoint_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AllocationError, match=rf"line 3.*nodes\[0\]\.checkpoint: .*{says}"):
        parsed(tmp_path, f"version: 1\nnodes:\n  - {{id: a, program: ECHO, checkpoint: {name}}}")


@pytest.mark.parametrize("content", [b"", None])
def test_a_file_of_another_format_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "net.nir").write_bytes(content)
    with pytest.raises(AllocationError, match=r"line 3.*nodes\[0\]\.program: .*(is empty|does not exist)"):
        parsed(tmp_path, "version: 1\nnodes:\n  - {id: a, program: 'nir:net.nir'}")


def test_what_is_typed_once_is_merged(tmp_path: Path) -> None:
    loaded = parsed(
        tmp_path,
        """
        version: 1
        nodes:
          - &base {id: a, program: ECHO, threads: 2, parameters: {gain: 1e-4}}
          - {<<: *base, id: b, threads: 3}
        """,
    )
    assert [(n.id, n.threads, n.parameters) for n in loaded.nodes] == [
        ("a", 2, {"gain": 1e-4}),
        ("b", 3, {"gain": 1e-4}),
    ]


def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "mine.py").touch()
    (folder / "w.bin").write_bytes(b"x")
    for field, text in (("program", "program: mine.py"), ("checkpoint", "program: ECHO, checkpoint: w.bin")):
        (folder / "a.yaml").write_text(f"version: 1\nnodes:\n  - {{id: a, {text}}}".replace("ECHO", str(ECHO)))
        with pytest.raises(AllocationError, match=rf"nodes\[0\]\.{field}: .*UTF-8; rename"):
            load(folder / "a.yaml")


def test_texts_are_as_they_are_written(tmp_path: Path) -> None:
    text = "version: 1\nnodes:\n  - {id: 007, program: ECHO, environment: {LEVEL: 1, RATE: 1.50, ON: yes, OFF: false}}"
    (node,) = parsed(tmp_path, text).nodes
    assert node.id == "007"
    assert node.environment == {"LEVEL": "1", "RATE": "1.50", "ON": "yes", "OFF": "false"}


def test_hosts_may_listen_on_the_same_wildcard(tmp_path: Path) -> None:
    text = (
        "version: 1\nhosts: {a: {listen: [tcp/0.0.0.0:7447]}, b: {listen: ['tcp/[::]:7447', udp/0.0.0.0:7447]}}\n"
        "nodes:\n  - {id: a, program: ECHO, host: a}"
    )
    assert len(parsed(tmp_path, text).hosts["b"].listen) == 2


@pytest.mark.parametrize(
    "text",
    ["version: 1\nnodes: [{id: a, program: ECHO}]", '{"version":\t1, "nodes": [{"id": "a", "program": "ECHO"}]}'],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_and_a_byte_order_mark_are_read(tmp_path: Path, text: str, mark: str) -> None:
    assert parsed(tmp_path, mark + text).nodes[0].id == "a"


@pytest.mark.parametrize("codec", ["latin-1", "utf-16"])
def test_another_encoding_is_named_with_its_remedy(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "allocation.yaml"
    path.write_bytes("version: 1  # é".encode(codec))
    with pytest.raises(AllocationError, match="iconv -f") as caught:
        load(path)
    assert caught.value.path == path


def test_a_folder_is_no_allocation(tmp_path: Path) -> None:
    with pytest.raises(AllocationError, match="is a folder"):
        load(tmp_path)


class TestHere:
    """What only the host itself can say."""

    def refused(self, tmp_path: Path, text: str, host: str = "desk", port: int = 7447) -> str:
        loaded = parsed(tmp_path, text)
        with pytest.raises(AllocationError) as caught:
            check_here(loaded, host, loaded.placed_on(host), port)
        return str(caught.value)

    def test_a_cpu_that_is_not_there(self, tmp_path: Path) -> None:
        said = self.refused(tmp_path, "version: 1\nnodes:\n  - {id: a, program: ECHO, cpu_affinity: [0, 8000]}")
        assert "line 3" in said
        assert "nodes[0].cpu_affinity" in said
        assert "no CPU 8000" in said

    def test_the_cpus_that_are_there(self, tmp_path: Path) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        loaded = parsed(tmp_path, f"version: 1\nnodes:\n  - {{id: a, program: ECHO, cpu_affinity: {cpus}}}")
        check_here(loaded, "desk", loaded.nodes, 7447)
        assert sorted(os.sched_getaffinity(0)) == cpus

    def test_a_device_that_is_not_there(self, tmp_path: Path) -> None:
        said = self.refused(tmp_path, "version: 1\nnodes:\n  - {id: a, program: ECHO, device: 'cuda:900'}")
        assert "nodes[0].device" in said
        assert "cuda:900" in said

    def test_an_endpoint_at_the_port_of_the_hub(self, tmp_path: Path) -> None:
        text = "version: 1\nhosts: {desk: {listen: [tcp/localhost:7500]}}\nnodes:\n  - {id: a, program: ECHO}"
        assert "hosts.desk.listen[0]" in self.refused(tmp_path, text, port=7500)
        loaded = parsed(tmp_path, text)
        check_here(loaded, "desk", loaded.nodes, 7501)

    def test_a_wildcard_takes_the_place_of_the_hub_port(self, tmp_path: Path) -> None:
        text = "version: 1\nhosts: {desk: {listen: [tcp/0.0.0.0:7500]}}\nnodes:\n  - {id: a, program: ECHO}"
        loaded = parsed(tmp_path, text)
        check_here(loaded, "desk", loaded.nodes, 7500)

    def test_nodes_of_other_hosts_are_not_checked(self, tmp_path: Path) -> None:
        text = (
            "version: 1\nhosts: {desk: {}, board: {}}\nnodes:\n  - {id: a, program: ECHO, host: desk}\n"
            "  - {id: b, program: ECHO, host: board, cpu_affinity: [8000], device: 'cuda:900'}"
        )
        loaded = parsed(tmp_path, text)
        check_here(loaded, "desk", loaded.placed_on("desk"), 7447)


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
        for wrong in ("x/y", "..", "a" * 65, "a\n"):
            with pytest.raises(AllocationError, match="name of a host should be a name of at most 64"):
                loaded.choose_host(wrong, "laptop")
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


FIELDS = sorted({*AllocationFile.model_fields, *NodeEntry.model_fields, *Host.model_fields, *Restart.model_fields})
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([str(ECHO), "cuda:1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(AllocationFile.model_fields)), values), values)
def test_whatever_is_written_is_an_allocation_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, top: dict[str, object], entry: object
) -> None:
    path = tmp_path_factory.mktemp("allocations") / "a.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "nodes": [entry, {"id": "a", "program": str(ECHO)}], **top}))
    refusal = ""
    try:
        loaded = load(path)
    except AllocationError as error:
        refusal = str(error)
    else:
        for node in loaded.nodes:
            assert NodeSpec.model_validate_json(NodeSpec(**node.model_dump(exclude={"host"})).model_dump_json()).id
    assert refusal == printable(refusal)


class TestPrograms:
    def test_a_role_that_the_contract_does_not_know(self, tmp_path: Path) -> None:
        (tmp_path / "odd.py").write_text("from brainnet import Node\n\n\nclass Odd(Node):\n    role = 'observer'\n")
        loaded = load(write_allocation(tmp_path / "a.yaml", node("one", "./odd.py")))
        with pytest.raises(AllocationError, match=r"role 'observer'.*one of region, router"):
            check_programs(loaded)

    def test_a_nir_file_that_is_none(self, tmp_path: Path) -> None:
        pytest.importorskip("nir", reason="needs brainnet[nir]")
        (tmp_path / "net.nir").write_bytes(b"no network")
        loaded = load(write_allocation(tmp_path / "a.yaml", {"id": "one", "program": "nir:net.nir"}))
        with pytest.raises(AllocationError, match=r"nodes\[0\]\.program: node one: .*net\.nir: not a readable"):
            check_programs(loaded)

    def test_a_default_checkpoint_that_is_missing(self, tmp_path: Path) -> None:
        program = "from brainnet import Node\n\n\nclass Odd(Node):\n    default_checkpoint = 'w.safetensors'\n"
        (tmp_path / "odd.py").write_text(program)
        loaded = load(write_allocation(tmp_path / "a.yaml", node("one", "./odd.py")))
        with pytest.raises(AllocationError, match=r"w\.safetensors cannot be read"):
            check_programs(loaded)

    @pytest.mark.parametrize(
        "text", ["raise SystemExit(3)", "import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)"]
    )
    def test_a_program_that_ends_the_process_that_imports_it(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "ends.py").write_text(text)
        loaded = load(write_allocation(tmp_path / "a.yaml", node("good"), node("one", "./ends.py"), node("next")))
        with pytest.raises(AllocationError, match=r"nodes\[1\]\.program: node one: .*ends\.py end") as caught:
            check_programs(loaded)
        assert "\n" not in str(caught.value)

    def test_a_module_to_preload_that_does_not_import(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "broken_library.py").write_text("import no_such_library\n")
        loaded = load(write_allocation(tmp_path / "a.yaml", node("one"), preload=["json", "broken_library"]))
        with pytest.raises(AllocationError, match=r"preload\[1\]: cannot import broken_library: .*no_such_library"):
            check_programs(loaded)

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
        assert caught.value.field == "nodes[1].parameters"
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
