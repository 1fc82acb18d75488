"""Synapses that npz and SONATA files list, and files that cannot be used."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.simulation.connectivity import build, estimate, rule_of
from brainnet.simulation.rows import Rows

Synapse = tuple[int, int, float, float]


def made(file: Path, sources: int, targets: int, part: tuple[int, int] | None = None, **fields: Any) -> Rows:
    rule = rule_of({"connect": "explicit", "file": str(file)} | fields, "a->b")
    rows = build(rule, sources, targets, 1, "a->b", 0.5, part)
    assert isinstance(rows, Rows)
    return rows


def listed(rows: Rows) -> list[tuple[int, int, int, int]]:
    source = np.repeat(np.arange(rows.sources), np.diff(rows.start))
    columns = (np.broadcast_to(values, (rows.count,)) for values in (source, rows.targets, rows.weights, rows.delays))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def expected(synapses: list[Synapse]) -> list[tuple[int, int, int, int]]:
    """The synapses by source and target, those of one pair in the order of the file."""
    fixed = [(i, j, round(w * 65536), round(d * 2)) for i, j, w, d in synapses]
    return sorted(fixed, key=lambda synapse: synapse[:2])


SYNAPSES = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 6), st.integers(-99, 99).map(lambda n: n / 4), st.sampled_from([0.5, 2])
    ),
    min_size=1,
    max_size=40,
)


def columns(synapses: list[Synapse]) -> dict[str, Any]:
    names = ("sources", "targets", "weights", "delays")
    return dict(zip(names, (np.array(values) for values in zip(*synapses, strict=True)), strict=True))


@given(SYNAPSES, st.data())
def test_lists_and_rows_of_an_npz_file(
    tmp_path_factory: pytest.TempPathFactory, synapses: list[Synapse], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("npz")
    np.savez(folder / "lists.npz", **columns(synapses))
    by_source = sorted(synapses, key=lambda synapse: synapse[0])
    start = np.searchsorted([i for i, *_ in by_source], np.arange(6))
    rest = {name: values for name, values in columns(by_source).items() if name != "sources"}
    np.savez_compressed(folder / "rows.npz", start=start, **rest)
    low = data.draw(st.integers(0, 7))
    high = data.draw(st.integers(low, 7))
    for name in ("lists.npz", "rows.npz"):
        rows = made(folder / name, 5, 7)
        assert listed(rows) == expected(synapses)
        part = listed(made(folder / name, 5, 7, (low, high)))
        assert [(i, j + low, w, d) for i, j, w, d in part] == [s for s in listed(rows) if low <= s[1] < high]
        rule = rule_of({"connect": "explicit", "file": str(folder / name)}, "x")
        found = estimate(rule, 5, 7)
        assert found.synapses == rows.count
        assert found.nbytes == 8 * 6 + 12 * rows.count


def test_what_the_file_lacks_the_rule_gives(tmp_path: Path) -> None:
    file = tmp_path / "pairs.npz"
    np.savez(file, sources=[1, 0], targets=[0, 2])
    assert listed(made(file, 2, 3, weight=2, delay_ms=1)) == [(0, 2, 1 << 17, 2), (1, 0, 1 << 17, 2)]
    drawn = made(file, 2, 3, weight={"uniform": [1, 2]}, delay_ms={"uniform": [1, 9]})
    assert drawn.weights.size == drawn.delays.size == 2
    assert estimate(rule_of({"connect": "explicit", "file": str(file), "weight": 2, "delay_ms": 1}, "x"), 2, 3) == (
        2,
        40,
    )
    np.savez(file, sources=np.zeros(0, int), targets=np.zeros(0, int))
    assert made(file, 2, 3, weight=2, delay_ms=1).count == 0


# As scipy.sparse.save_npz (1.17) writes a csr_matrix or csr_array.
SCIPY: dict[str, Any] = {
    "indptr": np.array([0, 2, 3], np.int32),
    "indices": np.array([0, 2, 1], np.int32),
    "format": np.array(b"csr"),
    "shape": np.array([2, 3]),
    "data": np.array([1.0, 2.0, 3.0]),
}


def test_a_sparse_matrix_of_scipy(tmp_path: Path) -> None:
    file = tmp_path / "matrix.npz"
    np.savez_compressed(file, **SCIPY, _is_array=np.array(True))
    assert listed(made(file, 2, 3, delay_ms=1)) == [(0, 0, 1 << 16, 2), (0, 2, 2 << 16, 2), (1, 1, 3 << 16, 2)]
    assert estimate(rule_of({"connect": "explicit", "file": str(file), "delay_ms": 1}, "x"), 2, 3).synapses == 3
    changes: list[tuple[dict[str, Any], list[str]]] = [
        ({"format": np.array(b"csc")}, ["csc", "tocsr"]),
        ({"format": np.array([1.5])}, ["1.5", "tocsr"]),
        ({"shape": np.array([3, 2])}, ["[3, 2]", "[2, 3]", "row"]),
        ({"indices": np.array([0, 3, 1])}, ["targets", "0 to 2"]),
        ({"indptr": None}, ["indptr"]),
    ]
    for change, words in changes:
        changed = {name: values for name, values in (SCIPY | change).items() if values is not None}
        np.savez(file, **changed)
        with pytest.raises(ModelError) as caught:
            made(file, 2, 3, delay_ms=1)
        assert [word for word in [str(file), *words] if word not in str(caught.value)] == []


GOOD: dict[str, Any] = {"sources": [0, 1], "targets": [0, 2], "weights": [1.0, 2.0], "delays": [1.0, 0.5]}


@pytest.mark.parametrize(
    ("change", "fields", "words"),
    [
        ({"targets": None}, {}, ["targets"]),
        ({"sources": None}, {}, ["sources", "start"]),
        ({"start": [0, 1, 2]}, {}, ["sources", "start"]),
        ({"sources": None, "start": [0, 2]}, {}, ["start", "3 numbers"]),
        ({"sources": None, "start": [0, 3, 2]}, {}, ["start", "rise"]),
        ({"sources": None, "start": [0, 1, 1]}, {}, ["start", "rise"]),
        ({"sources": [0, 2]}, {}, ["sources", "0 to 1"]),
        ({"targets": [0, 3]}, {}, ["targets", "0 to 2"]),
        ({"targets": [-1, 0]}, {}, ["targets", "-1"]),
        ({"sources": [0]}, {}, ["1 sources", "2 targets"]),
        ({"targets": [0.0, 1.0]}, {}, ["targets", "whole numbers", "float64"]),
        ({"targets": [[0, 1]]}, {}, ["targets", "one axis"]),
        ({"weights": [1.0]}, {}, ["1 weights"]),
        ({"weights": ["a", "b"]}, {}, ["weights", "numbers"]),
        ({"weights": [1.0, np.nan]}, {}, ["finite"]),
        ({"weights": [1.0, 40000.0]}, {}, ["40000", "32768"]),
        ({"weights": [1e-7, 0.0]}, {}, ["smallest"]),
        ({"delays": [1.0, 0.1]}, {}, ["0.1 ms", "0.5 ms"]),
        ({"delays": [1.0, np.inf]}, {}, ["finite"]),
        ({"weights": None}, {}, ["weight", "holds none"]),
        ({"delays": None}, {}, ["delay_ms", "holds none"]),
        ({}, {"weight": 1.0}, ["weight", "leave it out"]),
        ({}, {"delay_ms": 1.0}, ["delay_ms", "leave it out"]),
        ({}, {"population": "x"}, ["population", "SONATA"]),
        ({}, {"edge_types": "x.csv"}, ["edge_types", "SONATA"]),
    ],
)
def test_npz_files_that_do_not_fit(
    tmp_path: Path, change: dict[str, Any], fields: dict[str, Any], words: list[str]
) -> None:
    file = tmp_path / "bad.npz"
    np.savez(file, **{name: values for name, values in (GOOD | change).items() if values is not None})
    with pytest.raises(ModelError) as caught:
        made(file, 2, 3, **fields)
    text = str(caught.value)
    assert text.startswith("projection 'a->b', ")
    assert str(file) in text
    assert [word for word in words if word not in text] == []


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no zip")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "single.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", sources=np.array([{}]), targets=np.array([{}]))
    np.savez(tmp_path / "whole.npz", **GOOD)
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[len(content) // 3] ^= 255
    (tmp_path / "flipped.npz").write_bytes(content)
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.h5").write_text("no HDF5")
    for name in (
        *("missing.npz", "text.npz", "empty.npz", "single.npy", "objects.npz", "flipped.npz", "cut.npz"),
        *("missing.h5", "text.h5", ""),
    ):
        rule = rule_of({"connect": "explicit", "file": str(tmp_path / name)}, "a->b")
        with pytest.raises(ModelError, match="projection 'a->b', file: "):
            build(rule, 2, 3, 1, "a->b", 0.5)
        if name not in ("objects.npz", "flipped.npz"):
            with pytest.raises(ModelError, match="projection 'a->b', file: "):
                estimate(rule, 2, 3, "a->b")


def sonata(path: Path, synapses: list[Synapse], **changes: Any) -> None:
    """Write an edges file of two groups: the first half of the edges is in group 1, backwards, the rest in group 0."""
    h5py = pytest.importorskip("h5py", reason="needs brainnet[sonata]")
    count = len(synapses)
    half = count // 2
    group = np.array([1] * half + [0] * (count - half))
    index = np.array([*range(half - 1, -1, -1), *range(count - half)], np.int64)
    with h5py.File(path, "w") as file:
        edges = file.create_group("edges/a_to_b")
        edges["source_node_id"] = np.array([s[0] for s in synapses], np.uint64)
        edges["target_node_id"] = np.array([s[1] for s in synapses], np.uint64)
        edges["edge_type_id"] = np.full(count, 100)
        edges["edge_group_id"] = group
        edges["edge_group_index"] = index
        for number, members in ((1, synapses[:half][::-1]), (0, synapses[half:])):
            edges.create_group(str(number))
            edges[f"{number}/syn_weight"] = np.array([s[2] for s in members], np.float64)
            edges[f"{number}/delay"] = np.array([s[3] for s in members], np.float64)
        for name, values in changes.items():
            if name in edges:
                del edges[name]
            if values is not None:
                edges[name] = values


@given(SYNAPSES)
def test_edges_of_sonata(tmp_path_factory: pytest.TempPathFactory, synapses: list[Synapse]) -> None:
    file = tmp_path_factory.mktemp("sonata") / "edges.h5"
    sonata(file, synapses)
    rows = made(file, 5, 7)
    assert listed(rows) == expected(synapses)
    assert listed(made(file, 5, 7, population="a_to_b")) == expected(synapses)
    assert estimate(rule_of({"connect": "explicit", "file": str(file)}, "x"), 5, 7).synapses == rows.count
    part = listed(made(file, 5, 7, (2, 5)))
    assert [(i, j + 2, w, d) for i, j, w, d in part] == [s for s in listed(rows) if 2 <= s[1] < 5]


FOUR: list[Synapse] = [(0, 0, 1.0, 1.0), (1, 2, 2.0, 1.0), (1, 0, 3.0, 0.5), (0, 1, 4.0, 2.0)]


def test_values_of_types_stand_where_groups_have_none(tmp_path: Path) -> None:
    file, types = tmp_path / "edges.h5", tmp_path / "types.csv"
    sonata(file, FOUR, edge_type_id=[100, 101, 100, 102], **{"0/delay": None, "1/delay": None, "0/syn_weight": None})
    types.write_text(
        "edge_type_id target_query syn_weight delay\n100 \"pop=='b'\" 7.0 1.5\n101 NULL NULL 2.5\n102 x 8 0.5\n"
    )
    rows = made(file, 2, 3, edge_types=str(types))
    assert [(i, j, w / 65536, d) for i, j, w, d in listed(rows)] == [
        (0, 0, 1.0, 3),
        (0, 1, 8.0, 1),
        (1, 0, 7.0, 3),
        (1, 2, 2.0, 5),
    ]


def test_the_number_of_synapses_of_an_edge_multiplies_its_weight(tmp_path: Path) -> None:
    file = tmp_path / "edges.h5"
    sonata(file, FOUR, **{"0/nsyns": np.array([3, 1])})
    assert [w / 65536 for _, _, w, _ in listed(made(file, 2, 3))] == [1.0, 4.0, 9.0, 2.0]


def test_edges_without_groups_take_the_values_of_the_rule(tmp_path: Path) -> None:
    file = tmp_path / "edges.h5"
    sonata(file, FOUR, edge_group_id=None, edge_group_index=None, **{"0": None, "1": None})
    assert {s[2:] for s in listed(made(file, 2, 3, weight=-1, delay_ms=1))} == {(-65536, 2)}


@pytest.mark.parametrize(
    ("change", "fields", "words"),
    [
        ({"source_node_id": None}, {}, ["source_node_id"]),
        ({"target_node_id": [0, 1, 2]}, {}, ["target_node_id", "4 edges"]),
        ({"target_node_id": [0.0, 1.0, 2.0, 0.0]}, {}, ["target_node_id", "whole numbers"]),
        ({"target_node_id": [0, 1, 2, 3]}, {}, ["targets", "0 to 2"]),
        ({"source_node_id": [0, 1, 2, 1]}, {}, ["sources", "0 to 1"]),
        ({"edge_group_index": [0, 1, 0, 2]}, {}, ["group 0", "2 values"]),
        ({"0/syn_weight": None}, {}, ["syn_weight", "2 of 4", "all or none"]),
        ({"0/syn_weight": ["a", "b"]}, {}, ["group 0", "syn_weight"]),
        ({"0/syn_weight": [1.0, np.nan]}, {}, ["finite"]),
        ({"0/delay": [0.25, 1.0]}, {}, ["0.25 ms"]),
        ({}, {"population": "b_to_a"}, ["population", "b_to_a", "a_to_b"]),
        ({}, {"weight": 1}, ["weight", "leave it out"]),
        ({}, {"edge_types": "no.csv"}, ["edge_types", "no.csv"]),
    ],
)
def test_sonata_files_that_do_not_fit(
    tmp_path: Path, change: dict[str, Any], fields: dict[str, Any], words: list[str]
) -> None:
    file = tmp_path / "edges.h5"
    sonata(file, FOUR, **change)
    with pytest.raises(ModelError) as caught:
        made(file, 2, 3, **fields)
    text = str(caught.value)
    assert text.startswith("projection 'a->b', ")
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "edge_type_id syn_weight\nx 1\n", "edge_type_id syn_weight\n1 heavy\n", ""]
)
def test_types_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    sonata(tmp_path / "edges.h5", FOUR)
    (tmp_path / "types.csv").write_text(text)
    with pytest.raises(ModelError, match=r"projection 'a->b', edge_types: .*types\.csv"):
        made(tmp_path / "edges.h5", 2, 3, edge_types=str(tmp_path / "types.csv"))


def test_several_populations_need_a_name(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs brainnet[sonata]")
    sonata(tmp_path / "edges.h5", FOUR)
    with h5py.File(tmp_path / "edges.h5", "a") as file:
        file.create_group("edges/other")
    with pytest.raises(ModelError, match=r"population: .*a_to_b, other"):
        made(tmp_path / "edges.h5", 2, 3)
    with pytest.raises(ModelError, match="source_node_id"):
        made(tmp_path / "edges.h5", 2, 3, population="other")
    with h5py.File(tmp_path / "nodes.h5", "w") as file:
        file.create_group("nodes/a")
    with pytest.raises(ModelError, match="no SONATA edges file"):
        made(tmp_path / "nodes.h5", 2, 3)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"brainnet\[sonata\]"):
        made(tmp_path / "edges.h5", 2, 3)
