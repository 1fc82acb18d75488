"""Files that are damaged or made to do harm: one sentence, and no large allocation."""

from __future__ import annotations

import functools
import itertools
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.node import load_program
from brainnet.snn.nir.models import load
from brainnet.testing import MemoryBrain

h5py = pytest.importorskip("h5py", reason="needs brainnet[nir]")
nir = pytest.importorskip("nir", reason="needs brainnet[nir]")
PAPER = Path(__file__).parent / "golden" / "nir_paper"
Change = Callable[[Any], None]


def example(path: Path) -> Path:
    """A file of a small network that runs: Linear, CubaLIF with recurrent weights, Flatten."""
    cuba = {"tau_syn": 0.01, "tau_mem": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    nodes = {
        "input": nir.Input(np.array([3])),
        "fc": nir.Affine(np.ones((4, 3)), np.zeros(4)),
        "lif": nir.CubaLIF(**{name: np.full(4, value) for name, value in cuba.items()}),
        "w": nir.Linear(np.ones((4, 4))),
        "flat": nir.Flatten({"input": np.array([4])}, 0),
        "output": nir.Output(np.array([4])),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "flat"), ("flat", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges))
    return path


def refused(path: Path, said: str | None = None) -> None:
    """Check that a file is refused in one sentence, which names it."""
    with pytest.raises(ModelError, match=said) as caught:
        load(path, dt=1e-3, reset="value")
    told(path, caught.value)


def told(path: Path, error: ModelError) -> None:
    """Check the sentence of a refusal."""
    text = str(error)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < 700


def run_or_refused(path: Path) -> None:
    try:
        load(path, dt=1e-3, reset="value")
    except ModelError as error:
        told(path, error)


def replace(group: str, name: str, data: Any, **options: Any) -> Change:
    def change(root: Any) -> None:
        del root[group][name]
        root[group].create_dataset(name, data=data, **options)

    return change


def lie(group: str, name: str, shape: tuple[int, ...], **options: Any) -> Change:
    """A dataset that claims a shape without storing it."""

    def change(root: Any) -> None:
        del root[group][name]
        root[group].create_dataset(name, shape, "f8", **options)

    return change


@functools.cache
def compressed_zeros() -> bytes:
    return zlib.compress(bytes(1 << 28), 9)


def bomb(root: Any) -> None:
    """A small chunk that decompresses to much more than its size."""
    del root["node/nodes/fc/weight"]
    data = root.create_dataset("node/nodes/fc/weight", (4, 3), "f8", chunks=(4, 3), compression="gzip")
    data.id.write_direct_chunk((0, 0), compressed_zeros())


def external(root: Any) -> None:
    del root["node/nodes/fc/weight"]
    root["node/nodes/fc/weight"] = h5py.ExternalLink("/etc/passwd", "/x")


def outside(root: Any) -> None:
    del root["node/nodes/fc/weight"]
    root.create_dataset("node/nodes/fc/weight", (4, 3), "f8", external=[("/etc/passwd", 0, 96)])


def inside_itself(root: Any) -> None:
    root["node/nodes/fc/again"] = root["node/nodes/fc"]


def doubled(root: Any) -> None:
    """Groups that hold the next one twice: 2**60 paths in a small file."""
    above = root["node/nodes/fc"]
    for depth in range(60):
        below = root.create_group(f"hidden{depth}")
        above["a"] = below
        above["b"] = below
        above = below


def deep(root: Any) -> None:
    """Groups inside each other, more than there can be subgraphs."""
    group = root["node/nodes/fc"]
    for _ in range(200):
        group = group.create_group("a")


def absent(group: str, name: str) -> Change:
    def change(root: Any) -> None:
        del root[group][name]

    return change


def edges(*pairs: tuple[str, str]) -> Change:
    return replace("node", "edges", np.array(pairs, dtype=object), dtype=h5py.string_dtype())


def repeated(name: str, kind: str) -> Change:
    return replace(f"node/nodes/{name}", "type", kind, dtype=h5py.string_dtype())


FC, LIF, FLAT = "node/nodes/fc", "node/nodes/lif", "node/nodes/flat"
HOSTILE: dict[str, tuple[Change, str]] = {
    "huge weights": (lie(FC, "weight", (1 << 30, 1 << 30)), r"node/nodes/fc/weight claims 9\d+ bytes"),
    "huge weights in chunks": (lie(FC, "weight", (1 << 30, 1 << 20), chunks=(1024, 1024)), "weight claims"),
    "huge chunk": (lie(FC, "weight", (4, 3), chunks=(1 << 15, 1 << 15), maxshape=(None, None)), "weight claims"),
    "gzip bomb": (bomb, "node/nodes/fc/weight decompresses to more than the 96 bytes"),
    "another filter": (lie(FC, "weight", (64, 64), chunks=(64, 64), scaleoffset=2), "compressed in a way"),
    "huge input": (replace("node/nodes/input", "shape", [1 << 40]), r"input .*must have 1 to 8 axes, each of 1 to"),
    "many inputs": (replace("node/nodes/input", "shape", [1 << 20, 1 << 20]), "has 1099511627776 values; at most"),
    "endless input": (replace("node/nodes/input", "shape", [1e300] * 4), "must have 1 to 8 axes, each of 1 to"),
    "negative input": (replace("node/nodes/input", "shape", [-3]), "must have 1 to 8 axes, each of 1 to"),
    "link": (external, "node/nodes/fc/weight is a link to elsewhere, which is not followed"),
    "data elsewhere": (outside, "has its data in other files"),
    "inside itself": (inside_itself, "the group .* stands in another place too"),
    "deep": (deep, "nested too deeply"),
    "doubled": (doubled, "the group .* stands in another place too"),
    "not a number": (replace(FC, "weight", np.full((4, 3), np.nan)), r"node fc \(Affine\): weight holds NaN"),
    "too large": (replace(FC, "weight", np.full((4, 3), 1e300)), r"too large for float32"),
    "text": (replace(FC, "weight", "no", dtype=h5py.string_dtype()), r"node fc \(Affine\) cannot be read"),
    "texts": (
        replace(FC, "weight", np.full((4, 3), "x", object), dtype=h5py.string_dtype()),
        r"node fc \(Affine\): weight must be numbers",
    ),
    "complex": (replace(LIF, "r", np.ones(4, complex)), "node/nodes/lif/r is of type complex128"),
    "parameters differ": (replace(LIF, "r", np.ones(3)), r"node lif \(CubaLIF\): parameters differ in shape"),
    "tau of zero": (replace(LIF, "tau_mem", np.zeros(4)), r"node lif \(CubaLIF\): tau_mem must be above 0"),
    "missing": (absent(FC, "bias"), r"node fc \(Affine\) lacks bias; export"),
    "missing type": (absent(FC, "type"), "node fc is of type None, which NIR"),
    "missing nodes": (absent("node", "nodes"), "needs nodes and edges"),
    "missing edges": (absent("node", "edges"), "needs nodes and edges"),
    "unknown type": (repeated("fc", "Softmax"), "node fc is of type Softmax, which NIR .* does not have; known are"),
    "odd type": (repeated("fc", "__class__"), "node fc is of type __class__"),
    "graph as node": (repeated("fc", "NIRGraph"), "node fc .*needs nodes and edges"),
    "no edges": (replace("node", "edges", np.zeros((0, 2))), "gets nothing from the input"),
    "edges of numbers": (replace("node", "edges", np.zeros((5, 2))), "edges must be pairs of names"),
    "edges in threes": (
        replace("node", "edges", np.full((2, 3), "fc", object), dtype=h5py.string_dtype()),
        "edges must be pairs of names",
    ),
    "disconnected": (edges(("input", "fc"), ("fc", "lif"), ("lif", "output")), "node flat gets nothing"),
    "algebraic cycle": (
        edges(("input", "fc"), ("fc", "lif"), ("lif", "w"), ("w", "flat"), ("flat", "w"), ("w", "output")),
        "the nodes flat, w form a cycle without a neuron",
    ),
    "shapes": (replace(FC, "weight", np.ones((5, 3))), r"node fc \(Affine\): bias is of shape \[4\]"),
    "dims": (replace(FLAT, "start_dim", 5), r"node flat \(Flatten\): start_dim 5 and end_dim"),
    "odd dims": (replace(FLAT, "start_dim", [1, 2]), r"node flat \(Flatten\)"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_cannot_be_run_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    change, said = HOSTILE[name]
    path = example(tmp_path / "net.nir")
    with h5py.File(path, "r+") as root:
        change(root)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, said)
    # kilobytes: the most memory that this process ever had may not grow by what the file claims
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_files_that_are_no_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    refused(path, "there is no such file; check the name")
    path.touch()
    refused(path, "the file is empty; export")
    path.write_bytes(b"\x89PNG" * 100)
    refused(path, "it is not HDF5; export the network again with nir.write")
    content = example(path).read_bytes()
    for length in (1, 8, 96, 512, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path)
    path.unlink()
    with h5py.File(path, "w") as root:
        root["other"] = 1
    refused(path, "without the group 'node', so not a NIR file")
    refused(tmp_path, "there is no such file")


def test_a_graph_with_too_many_nodes_or_too_much_work(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    # a few bytes of a file can ask for any size of output
    wide = nir.Conv2d((4, 4), np.ones((1, 1, 1, 1)), (1, 1), (1 << 20, 1 << 20), (1, 1), 1, np.zeros(1))
    nodes = {"input": nir.Input(np.array([1, 4, 4])), "c": wide, "output": nir.Output({"output": None})}
    graph = nir.NIRGraph(nodes, [("input", "c"), ("c", "output")], type_check=False)
    nodes["output"] = nir.Output(np.array([1]))
    nir.write(path, graph)
    refused(path, r"node c \(Conv2d\): its output of shape .* has too many values; at most")
    # each of these takes less than the limit of a node, together they take more
    heavy = nir.Conv2d((4, 4), np.ones((1, 1, 1800, 1800)), (1, 1), (2100, 2100), (1, 1), 1, np.zeros(1))
    graph.nodes["c"] = heavy
    nir.write(path, graph)
    refused(path, r"node c \(Conv2d\): a step takes \d+ products; at most")
    graph.nodes["c"] = nir.Conv2d((4, 4), np.ones((1, 1, 300, 300)), (1, 1), (300, 300), (1, 1), 1, np.zeros(1))
    pools = {f"p{n}": nir.AvgPool2d(np.array([301, 301]), np.array([1, 1]), np.array([150, 150])) for n in range(4)}
    graph.nodes |= pools
    nodes["output"] = graph.nodes["output"] = nir.Output(np.array([1, 305, 305]))
    names = ["input", "c", *pools, "output"]
    graph.edges = list(itertools.pairwise(names))
    nir.write(path, graph)
    refused(path, r"a step of the graph takes \d+ products; at most")


async def test_a_region_does_not_start_with_such_a_file(tmp_path: Path) -> None:
    path = example(tmp_path / "net.nir")
    with h5py.File(path, "r+") as root:
        bomb(root)
    async with MemoryBrain(tmp_path) as brain:
        with pytest.raises(ModelError, match=r"net\.nir: node/nodes/fc/weight decompresses to more"):
            await brain.start(load_program(f"nir:{path}"), "reflex", parameters={"dt_s": 1e-3, "reset": "value"})


ORIGINALS = [PAPER / name for name in ("lif_norse.nir", "braille_noDelay_bias_zero_subgraph.nir")]


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_bytes_are_changed_the_file_is_run_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(ORIGINALS)).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.binary(min_size=1, max_size=8))
        content[place : place + len(change)] = change
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    path = tmp_path / "mutated.nir"
    path.write_bytes(content)
    run_or_refused(path)


VALUES = st.one_of(
    st.integers(-(1 << 62), 1 << 62),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.floats(), max_size=6),
    st.lists(st.integers(-10, 1 << 40), max_size=6),
    st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), max_size=4),
)


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_field_holds_the_file_is_run_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = example(tmp_path / "net.nir")
    with h5py.File(path, "r+") as root:
        names: list[str] = []
        root["node"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for _ in range(data.draw(st.integers(1, 3))):
            name = data.draw(st.sampled_from(names))
            value = data.draw(VALUES)
            del root["node"][name]
            try:
                root["node"][name] = value
            except (TypeError, ValueError):  # this value cannot be stored
                root["node"][name] = 0
    run_or_refused(path)


def test_the_process_that_reads_a_file_stays_small(tmp_path: Path) -> None:
    changes: list[Change] = [bomb, lie(FC, "weight", (1 << 30, 1 << 30)), doubled]
    paths = [example(tmp_path / f"{index}.nir") for index in range(len(changes))]
    for path, change in zip(paths, changes, strict=True):
        with h5py.File(path, "r+") as root:
            change(root)
    program = (
        "import resource, sys\n"
        "from brainnet.snn.nir import file\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        file.read(path)\n"
        "    except file.ModelError:\n        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", program, *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    largest = list(map(int, result.stdout.split()))  # the most memory that any of the processes had so far
    assert len(largest) == len(paths)
    assert 0 < min(largest) <= max(largest) < 200_000  # kilobytes; the bomb alone is 262,144


def test_a_file_that_the_hdf5_library_never_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainnet.snn.nir.file.PROCESSOR_S", 1)  # of processor time, so on a busy machine as well
    content = bytearray((PAPER / "lif_norse.nir").read_bytes())
    for place in (2312, 2320, 2328, 2336, 2344, 2352, 2364):
        content[place] = 0
    content[2359:2364] = b"SNOD\x01"
    content[2365], content[2367] = 3, 24
    path = tmp_path / "endless.nir"
    path.write_bytes(content)
    refused(path, "the HDF5 library did not finish reading it")
