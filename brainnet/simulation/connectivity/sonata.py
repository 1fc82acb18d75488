"""Reading of SONATA edges files (Dai et al. 2020), which are HDF5."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.connectivity.base import Ends


@dataclass(frozen=True, slots=True)
class Edges:
    """Synapses as a file lists them, in any order.

    Attributes:
        sources: int64 [synapses].
        targets: int64 [synapses].
        weights: In the unit of the model; None where the file holds none.
        delays_ms: Milliseconds; None where the file holds none.
    """

    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[Any] | None
    delays_ms: NDArray[Any] | None


def _h5py(ends: Ends) -> Any:
    try:
        import h5py
    except ImportError:
        raise ends.error("file", "SONATA files need h5py: install brainnet[sonata]") from None
    return h5py


def _opened(ends: Ends, path: Path) -> Any:
    h5py = _h5py(ends)
    if not path.is_file():
        raise ends.error("file", f"there is no file {path}")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ends.error("file", f"{path} is no HDF5 file that can be read: {error}") from None


def _population(ends: Ends, path: Path, opened: Any, population: str | None) -> Any:
    h5py = _h5py(ends)
    edges = opened.get("edges")
    names = sorted(edges) if isinstance(edges, h5py.Group) else []
    if not names:
        raise ends.error("file", f"{path} has no /edges/POPULATION, so it is no SONATA edges file")
    if population is None and len(names) > 1:
        raise ends.error("population", f"{path} has several, name one of them: {', '.join(names)}")
    name = names[0] if population is None else population
    if name not in names:
        raise ends.error("population", f"{path} has no population {name}; it has {', '.join(names)}")
    group = edges[name]
    if not isinstance(group, h5py.Group):
        raise ends.error("file", f"{path}: /edges/{name} is no group")
    for needed in ("source_node_id", "target_node_id"):
        if not isinstance(group.get(needed), h5py.Dataset) or group[needed].ndim != 1:
            raise ends.error("file", f"{path}: /edges/{name}/{needed} is missing, or has not one axis")
    return group


def size_of_edges(ends: Ends, path: Path, population: str | None) -> int:
    """Return how many edges a population has.

    Raises:
        ModelError: The file cannot be used.
    """
    with _opened(ends, path) as opened:
        return int(_population(ends, path, opened, population)["target_node_id"].shape[0])


def read_edges(ends: Ends, path: Path, population: str | None, edge_types: Path | None) -> Edges:
    """Return the edges of a population.

    Raises:
        ModelError: The file cannot be used, or holds weights or delays of a part of its edges only.
    """
    with _opened(ends, path) as opened:
        group = _population(ends, path, opened, population)
        try:
            sources = _whole(ends, path, group, "source_node_id")
            targets = _whole(ends, path, group, "target_node_id", sources.size)
            of_types = _read_types(ends, edge_types) if edge_types is not None else {}
            values = _Values(ends, path, group, sources.size, of_types)
            weights, delays = values.of("syn_weight"), values.of("delay")
            times = values.of("nsyns", needed=False)
        except (OSError, KeyError) as error:
            raise ends.error("file", f"{path} cannot be read: {error}") from None
    if weights is not None and times is not None:
        weights = weights * times
    return Edges(sources, targets, weights, delays)


def _whole(ends: Ends, path: Path, group: Any, name: str, size: int | None = None) -> NDArray[np.int64]:
    values = group[name][...]
    if values.dtype.kind not in "iu" or values.ndim != 1 or (size is not None and values.size != size):
        expected = "" if size is None else f" of {size} edges"
        raise ends.error(
            "file", f"{path}: {name} must be whole numbers{expected}, found {values.dtype} {list(values.shape)}"
        )
    whole: NDArray[np.int64] = values.astype(np.int64)
    return whole


class _Values:
    """Attributes of edges: of their groups, and else of their types."""

    def __init__(self, ends: Ends, path: Path, group: Any, size: int, of_types: dict[str, dict[int, float]]) -> None:
        self._ends, self._path, self._group, self._size, self._of_types = ends, path, group, size, of_types
        self._groups = _whole(ends, path, group, "edge_group_id", size) if "edge_group_id" in group else None
        self._index = _whole(ends, path, group, "edge_group_index", size) if "edge_group_index" in group else None
        self._types = _whole(ends, path, group, "edge_type_id", size) if "edge_type_id" in group else None

    def of(self, name: str, needed: bool = True) -> NDArray[np.float64] | None:
        """Return an attribute of all edges; None where the file has it for none."""
        result = np.full(self._size, np.nan)
        known = np.zeros(self._size, bool)
        by_type = self._of_types.get(name)
        if by_type and self._types is not None:
            ids = np.array(sorted(by_type), np.int64)
            place = np.minimum(np.searchsorted(ids, self._types), ids.size - 1)
            known = ids[place] == self._types
            result[known] = np.array([by_type[int(i)] for i in ids])[place][known]
        for member in self._group:
            holder = self._group[member]
            if not (member.isdigit() and hasattr(holder, "keys") and name in holder):
                continue
            of_group = holder[name][...]
            if of_group.ndim != 1 or of_group.dtype.kind not in "fiu":
                raise self._ends.error("file", f"{self._path}: group {member}: {name} must be numbers of one axis")
            chosen = np.ones(self._size, bool) if self._groups is None else self._groups == int(member)
            index = np.arange(self._size)[chosen] if self._index is None else self._index[chosen]
            if index.size and not 0 <= index.min() <= index.max() < of_group.size:
                raise self._ends.error(
                    "file",
                    f"{self._path}: group {member} has {of_group.size} values of {name}, and its edges name those from "
                    f"{index.min()} to {index.max()}",
                )
            result[chosen] = of_group[index]
            known |= chosen
        if known.all() and self._size:
            return result
        if known.any():
            if not needed:
                return np.where(known, result, 1.0)
            raise self._ends.error(
                "file",
                f"{self._path}: {name} is given for {int(known.sum())} of {self._size} edges; give it for all or none",
            )
        return None


def _read_types(ends: Ends, path: Path) -> dict[str, dict[int, float]]:
    """Return by attribute the values of edge types; those that are empty or NULL are left out."""
    found: dict[str, dict[int, float]] = {"syn_weight": {}, "delay": {}, "nsyns": {}}
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file, delimiter=" ", skipinitialspace=True)
            if "edge_type_id" not in (rows.fieldnames or ()):
                raise ends.error(
                    "edge_types", f"{path} has no column edge_type_id; its columns are separated by spaces"
                )
            for row in rows:
                for name, values in found.items():
                    text = row.get(name)
                    if text and text != "NULL":
                        values[int(row["edge_type_id"])] = float(text)
    except FileNotFoundError:
        raise ends.error("edge_types", f"there is no file {path}") from None
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ends.error("edge_types", f"{path} cannot be read: {error}") from None
    return found
