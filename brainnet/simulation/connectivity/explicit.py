"""Synapses that a file lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.simulation.connectivity.base import (
    Delays,
    Ends,
    Estimate,
    Pairs,
    SynapseRule,
    check_values,
    delays_of,
    drawn_delays,
    drawn_weights,
    fixed_delays,
    fixed_weights,
)
from brainnet.simulation.connectivity.npz import names_of, read_arrays, shape_of
from brainnet.simulation.connectivity.sonata import Edges, read_edges, size_of_edges
from brainnet.simulation.connectivity.values import Drawn, Value
from brainnet.simulation.rows import Rows

_HDF5 = {".h5", ".hdf5", ".sonata"}
_OF_SCIPY = {"start": "indptr", "targets": "indices", "weights": "data"}
"""Where `scipy.sparse.save_npz` puts the rows of a matrix in CSR form: sources are rows, targets are columns."""


class Explicit(SynapseRule):
    """The synapses of an npz file, or of a SONATA edges file (HDF5).

    An npz file holds `targets` with either `sources`, of the same length, or `start` [sources + 1], where the targets
    of source i are `targets[start[i] : start[i + 1]]`; and, where the rule gives none, `weights` in the unit of the
    target model and `delays` in milliseconds, of the length of `targets`. Or it is a matrix of weights [sources,
    targets] in CSR form, as `scipy.sparse.save_npz` writes it.

    A SONATA file holds `/edges/POPULATION/source_node_id` and `target_node_id`. Weights are `syn_weight` and delays
    `delay` of the edges' groups, or else of their types in the CSV file `edge_types`; `nsyns` multiplies weights.

    What the rule gives and the file holds too is an error.
    """

    connect: Literal["explicit"] = "explicit"
    file: Path = Field(description="FILE.npz, or a SONATA edges file FILE.h5")
    population: str | None = Field(
        None, description="of a SONATA file: the population of edges; may be left out where there is one"
    )
    edge_types: Path | None = Field(None, description="of a SONATA file: its CSV file of edge types")
    weight: Value | None = Field(None, description="of all synapses, where the file has no weights")  # type: ignore[assignment]
    delay_ms: Value | None = Field(None, description="of all synapses, where the file has no delays")  # type: ignore[assignment]

    @property
    def _is_sonata(self) -> bool:
        return self.file.suffix.lower() in _HDF5

    def expected(self, ends: Ends) -> float:
        """Return the number of synapses in the whole file, in proportion for a part of the targets."""
        if self._is_sonata:
            count = size_of_edges(ends, self.file, self.population)
        else:
            shape = shape_of(ends, "file", self.file, _names(ends, self.file).get("targets", "targets"))
            if len(shape) != 1:
                raise ends.error("file", f"{self.file}: targets must have one axis, found {list(shape)}")
            count = shape[0]
        return count * (ends.high - ends.low) / ends.targets

    def estimate(self, ends: Ends) -> Estimate:
        """Return the number of synapses and the bytes of their arrays."""
        count = round(self.expected(ends))
        varied = sum(value is None or isinstance(value, Drawn) for value in (self.weight, self.delay_ms))
        return Estimate(count, 8 * (ends.sources + 1) + (4 + 4 * varied) * count + 4 * (2 - varied))

    def pairs(self, ends: Ends) -> Pairs:
        """Return which neurons are connected."""
        edges = self._edges(ends)
        start, targets, _ = _in_rows(ends, edges.sources, edges.targets)
        return start, targets

    def check(self, ends: Ends) -> Delays:
        """Read the file and check what it holds, and return between what the delays lie.

        Raises:
            ModelError: As for `synapses`.
        """
        edges, _, delays = self._read(ends)
        if delays is None:
            assert self.delay_ms is not None
            return delays_of(self.delay_ms, ends.dt_ms)
        return Delays(int(delays.min()), int(delays.max())) if edges.targets.size else Delays(1, 1)

    def synapses(self, ends: Ends) -> Rows:
        """Return the synapses of the file.

        Raises:
            ModelError: The file cannot be used, or what it holds does not fit the populations.
        """
        edges, weights, delays = self._read(ends)
        start, targets, order = _in_rows(ends, edges.sources, edges.targets)
        if weights is None:
            assert self.weight is not None
            weights = drawn_weights(ends, (start, targets), self.weight)
        else:
            weights = weights[order]
        if delays is None:
            assert self.delay_ms is not None
            delays = drawn_delays(ends, (start, targets), self.delay_ms)
        else:
            delays = delays[order]
        return Rows(start, targets, weights, delays)

    def _read(self, ends: Ends) -> tuple[Edges, NDArray[np.int32] | None, NDArray[np.int32] | None]:
        """Return the edges of the file, with their weights and delays as the network has them, where it holds some."""
        check_values(ends, self.weight, self.delay_ms)
        edges = self._edges(ends)
        for field, given, found in (
            ("weight", self.weight, edges.weights),
            ("delay_ms", self.delay_ms, edges.delays_ms),
        ):
            if given is None and found is None:
                raise ends.error(field, f"{self.file} holds none, so the rule must give it")
            if given is not None and found is not None:
                raise ends.error(field, f"{self.file} holds it too; leave it out here")
        file = f"file {self.file}"
        weights = None if edges.weights is None else fixed_weights(ends, file, edges.weights)
        return edges, weights, None if edges.delays_ms is None else fixed_delays(ends, file, edges.delays_ms)

    def _edges(self, ends: Ends) -> Edges:
        if self._is_sonata:
            edges = read_edges(ends, self.file, self.population, self.edge_types)
        else:
            for field, given in (("population", self.population), ("edge_types", self.edge_types)):
                if given is not None:
                    raise ends.error(field, f"is for SONATA files ({', '.join(sorted(_HDF5))}), got {self.file}")
            edges = _read_npz(ends, self.file)
        count = edges.targets.size
        for name, values, size in (("source", edges.sources, ends.sources), ("target", edges.targets, ends.targets)):
            if values.size != count:
                raise ends.error("file", f"{self.file} has {values.size} {name}s for {count} targets")
            if count and not 0 <= values.min() <= values.max() < size:
                raise ends.error(
                    "file",
                    f"{self.file} has {name}s from {values.min()} to {values.max()}; 0 to {size - 1} are possible",
                )
        return edges


def _in_rows(ends: Ends, sources: NDArray[Any], targets: NDArray[Any]) -> tuple[Any, Any, Any]:
    """Return start and targets of the part, and which synapse of the file each of them is."""
    from brainnet.simulation.connectivity.kernels import ordered

    # By target first, then by source: those of one pair stay in the order of the file.
    order = np.arange(targets.size, dtype=np.int64)
    if (ends.low, ends.high) != (0, ends.targets):
        order = order[(targets >= ends.low) & (targets < ends.high)]
    order = ordered(sources, ends.sources, ordered(targets, ends.targets, order)) if targets.size else order
    start = np.zeros(ends.sources + 1, np.int64)
    np.cumsum(np.bincount(sources[order], minlength=ends.sources), out=start[1:])
    return start, (targets[order] - ends.low).astype(np.int32), order


def _names(ends: Ends, path: Path) -> dict[str, str]:
    """Return how the file calls those of our arrays that it has."""
    names = names_of(ends, "file", path)
    if "format" not in names:
        return {name: name for name in ("sources", "start", "targets", "weights", "delays") if name in names}
    found = read_arrays(ends, "file", path, ["format", "shape"])
    form = found["format"].tolist()
    if form not in (b"csr", "csr"):
        raise ends.error(
            "file",
            f"{path} is a sparse matrix in the form {form!r}; save it with scipy.sparse.save_npz(FILE, matrix.tocsr())",
        )
    if found["shape"].tolist() != [ends.sources, ends.targets]:
        raise ends.error(
            "file",
            f"{path} is a matrix of shape {found['shape'].tolist()}; [{ends.sources}, {ends.targets}] is needed: a row "
            "for each source neuron and a column for each target",
        )
    return _OF_SCIPY


def _read_npz(ends: Ends, path: Path) -> Edges:
    called = _names(ends, path)
    if "targets" not in called or ("sources" in called) == ("start" in called):
        raise ends.error(
            "file",
            f"{path} must hold targets with either sources or start, or a matrix of scipy.sparse.save_npz; found "
            f"{', '.join(sorted(names_of(ends, 'file', path)))}",
        )
    which = "sources" if "sources" in called else "start"
    optional = [name for name in ("weights", "delays") if name in called]
    read = read_arrays(ends, "file", path, [called[name] for name in (which, "targets", *optional)])
    arrays = {name: read[called[name]] for name in (which, "targets", *optional)}
    for name, values in arrays.items():
        kinds = "iu" if name in ("sources", "start", "targets") else "fiu"
        if values.ndim != 1 or (values.dtype.kind not in kinds and values.size):
            what = "whole numbers" if kinds == "iu" else "numbers"
            raise ends.error(
                "file", f"{path}: {name} must be {what} of one axis, found {values.dtype} {list(values.shape)}"
            )
    targets = arrays["targets"].astype(np.int64)
    for name in optional:
        if arrays[name].size != targets.size:
            raise ends.error("file", f"{path} has {arrays[name].size} {name} for {targets.size} targets")
    if which == "sources":
        sources = arrays["sources"].astype(np.int64)
    else:
        start = arrays["start"].astype(np.int64)
        if start.size != ends.sources + 1 or start[0] != 0 or start[-1] != targets.size or (np.diff(start) < 0).any():
            raise ends.error(
                "file",
                f"{path}: start must rise from 0 to {targets.size} in {ends.sources + 1} numbers, one for each source "
                "neuron and one more",
            )
        sources = np.repeat(np.arange(ends.sources), np.diff(start))
    return Edges(sources, targets, arrays.get("weights"), arrays.get("delays"))
