"""Reading of NIR files, which come from anywhere: nothing in a file can do harm to the process that reads it.

A NIR file is HDF5: the group `node` holds the graph, and each node is a group of datasets. `brainnet.snn.nir.hdf5`
reads the datasets in a process of its own; here they become nodes of the package nir. `nir.read` has none of these
checks.
"""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np

from brainnet.errors import ModelError
from brainnet.snn.nir.graph import KINDS, import_nir, shown
from brainnet.snn.nir.hdf5 import AGAIN, as_text, one_line, unpack

MAX_BYTES: Final = 1 << 30
"""The most bytes that the arrays of one file may have."""
SMALL_BYTES: Final = 1 << 26
"""Arrays of this many bytes together are read from a file of any size; more only if the file can hold them."""
MAX_RATIO: Final = 1100
"""A file holds at most this many bytes of arrays per byte: DEFLATE compresses up to 1032 to 1."""
PROCESSOR_S: Final = 20
"""Seconds of processor time for a file, and one more for each `BYTES_PER_S` of it; on a small board HDF5 takes most of
a millisecond for a group."""
BYTES_PER_S: Final = 1 << 22


def read(path: Path | str) -> Any:
    """Return the `nir.NIRGraph` of a file, without checks between nodes: see `brainnet.snn.nir.graph.flatten`.

    Raises:
        ModelError: there is no such file, it is no NIR file, it holds something that no NIR file needs (links, external
            data, other filters), it is larger than the limits of this module, or a node lacks a field or has one too
            many; names the file, the node and the remedy.
    """
    import_nir()
    path = Path(path)
    try:
        return _node("the graph", _contents(path))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _contents(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError("there is no such file; check the name")
    size = path.stat().st_size
    if not size:
        raise ModelError(f"the file is empty; {AGAIN}")
    limit = min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * size))
    seconds = PROCESSOR_S + size // BYTES_PER_S
    command = [sys.executable, "-m", "brainnet.snn.nir.hdf5", str(path.absolute()), str(limit), str(seconds)]
    # the package may have been found in another way than a new process finds it
    found = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
    finished = subprocess.run(command, env=os.environ | {"PYTHONPATH": found}, capture_output=True, check=False)
    try:
        result = msgpack.unpackb(finished.stdout, strict_map_key=False)
        error, values = result.get("error"), unpack(result.get("values"))
    except Exception:  # it ended before it had written everything
        raise ModelError(
            f"the file is damaged: the HDF5 library did not finish reading it (status {finished.returncode}); {AGAIN}"
        ) from None
    if error is not None or not isinstance(values, dict):
        raise ModelError(str(error))
    return values


def _node(name: str, values: dict[str, Any]) -> Any:
    nir = import_nir()
    kind = values.pop("type", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelError(
            f"{name} is of type {shown(str(kind))}, which NIR {nir.version} does not have; known are {', '.join(KINDS)}"
        )
    if kind == "NIRGraph":
        return _graph(name, values)
    if kind in ("Input", "Output"):
        values[f"{kind.lower()}_type"] = {kind.lower(): values.pop("shape", None)}
    if kind == "Flatten":
        values["input_type"] = {"input": values.get("input_type")}
    if kind in ("Conv1d", "Conv2d"):
        values.setdefault("input_shape", None)
    cls = getattr(nir, kind)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    missing = [
        field.name
        for field in fields.values()
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING
    ]
    unknown = [key for key in values if key not in fields]
    if missing or unknown:
        problem = f"lacks {', '.join(missing)}" if missing else f"has the unknown field {shown(unknown[0])}"
        raise ModelError(f"{name} ({kind}) {problem}; {AGAIN} with nir {nir.version}")
    try:
        return cls(**_same_shape(name, kind, values))
    except ModelError:
        raise
    except Exception as error:  # the package asserts, and indexes what it was given
        raise ModelError(f"{name} ({kind}) cannot be read ({one_line(error)}); {AGAIN}") from error


def _same_shape(name: str, kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """Broadcast the parameters of a neuron against each other: some exporters write one number for all neurons."""
    if kind not in ("LIF", "LI", "IF", "CubaLIF", "CubaLI"):
        return values
    arrays = {key: np.asarray(value) for key, value in values.items() if key != "metadata" and value is not None}
    wrong = [key for key, value in arrays.items() if value.dtype.kind not in "fiub"]
    if wrong:
        raise ModelError(f"{name} ({kind}): {wrong[0]} is not a number; {AGAIN}")
    shapes = {value.shape for value in arrays.values()}
    if len(shapes) > 1:
        shape = max(shapes, key=lambda each: (math.prod(each), len(each)))
        try:
            arrays = {key: np.broadcast_to(value, shape).copy() for key, value in arrays.items()}
        except ValueError:
            given = ", ".join(f"{key} {list(value.shape)}" for key, value in arrays.items())
            raise ModelError(f"{name} ({kind}): parameters differ in shape: {given}; {AGAIN}") from None
    return values | arrays


def _graph(name: str, values: dict[str, Any]) -> Any:
    nir = import_nir()
    nodes, edges = values.get("nodes"), values.get("edges")
    if not isinstance(nodes, dict) or edges is None:
        raise ModelError(f"{name} (NIRGraph) needs nodes and edges; {AGAIN} with nir.write")
    built = {}
    for key, value in nodes.items():
        if not isinstance(value, dict):
            raise ModelError(f"node {shown(key)} is a dataset, not a group; {AGAIN} with nir.write")
        built[key] = _node(f"node {shown(key)}", value)
    metadata = values.get("metadata")
    return nir.NIRGraph(
        nodes=built,
        edges=_edges(name, edges),
        metadata=metadata if isinstance(metadata, dict) else {},
        type_check=False,
    )


def _edges(name: str, edges: Any) -> list[tuple[str, str]]:
    array = np.asarray(edges)
    if not array.size:
        return []
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "OSU":
        raise ModelError(f"{name}: edges must be pairs of names, found shape {list(array.shape)}; {AGAIN}")
    return [(as_text(source), as_text(target)) for source, target in array]
