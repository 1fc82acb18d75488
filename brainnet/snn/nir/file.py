"""Reading of NIR files, which come from anywhere: nothing in a file makes the reader allocate more than its limits.

A NIR file is HDF5: the group `node` holds the graph, and each node is a group of datasets. HDF5 can declare arrays of
any size in a few bytes, store them so that they decompress to any size, and link to other files. So every dataset is
checked before it is read: `nir.read` does not check.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from brainnet.errors import ModelError
from brainnet.snn.nir.graph import KINDS, MAX_DEPTH, import_nir, shown

MAX_BYTES: Final = 1 << 30
"""The most bytes that the arrays of one file may have."""
SMALL_BYTES: Final = 1 << 26
"""Arrays of this many bytes together are read from a file of any size; more only if the file can hold them."""
MAX_RATIO: Final = 1100
"""A file holds at most this many bytes of arrays per byte: DEFLATE compresses up to 1032 to 1."""
MAX_ITEMS: Final = 100_000
"""The most groups and datasets of one file."""
_GZIP, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000
_PIPELINE: Final = (_SHUFFLE, _GZIP, _LZF, _CHECKSUM)
_AGAIN: Final = "export the network again"


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
    except Exception as error:  # h5py raises many kinds for a damaged file
        raise ModelError(f"{path} is damaged ({_one_line(error)}); {_AGAIN}") from error


def _contents(path: Path) -> dict[str, Any]:
    import h5py

    if not path.is_file():
        raise ModelError("there is no such file; check the name")
    size = path.stat().st_size
    if not size:
        raise ModelError(f"the file is empty; {_AGAIN}")
    if not h5py.is_hdf5(path):
        raise ModelError(f"not a readable NIR file: it is not HDF5; {_AGAIN} with nir.write")
    try:
        opened = h5py.File(path, "r")
    except Exception as error:
        raise ModelError(f"not a readable NIR file, it may be truncated ({_one_line(error)}); {_AGAIN}") from error
    with opened as file:
        reader = _Reader(min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * size)))
        if not isinstance(file.get("node"), h5py.Group):
            raise ModelError(f"HDF5 without the group 'node', so not a NIR file; {_AGAIN} with nir.write")
        return reader.group(file["node"], "node", 0)


class _Reader:
    """Reads groups as dictionaries, within a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit
        self.items = 0

    def group(self, group: Any, name: str, depth: int) -> dict[str, Any]:
        import h5py

        # a group may be a member of itself, so neither depth nor number is bounded by the size of the file
        if depth > 2 * MAX_DEPTH + 2:
            raise ModelError(f"groups of {shown(name)} are nested too deeply; at most {MAX_DEPTH} subgraphs are read")
        found: dict[str, Any] = {}
        for key in group:
            here = f"{name}/{key}"
            self.items += 1
            if self.items > MAX_ITEMS:
                raise ModelError(f"the file has more than {MAX_ITEMS} groups and datasets; {_AGAIN}")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ModelError(
                    f"{shown(here)} is a link to elsewhere, which is not followed; {_AGAIN} with nir.write"
                )
            item = group[key]
            if isinstance(item, h5py.Group):
                found[key] = self.group(item, here, depth + 1)
            elif isinstance(item, h5py.Dataset):
                found[key] = self.dataset(item, shown(here))
        return found

    def dataset(self, data: Any, name: str) -> Any:
        kind, shape = data.dtype, data.shape
        if shape is None:  # an empty dataset stands for None
            return None
        text = kind.kind == "O" and kind.metadata is not None and kind.metadata.get("vlen") in (str, bytes)
        if kind.kind not in "fiubS" and not text:
            raise ModelError(f"{name} is of type {kind}; numbers or text are expected")
        width = max(kind.itemsize, 1)
        size = math.prod(shape) * width
        chunk = math.prod(data.chunks) * width if data.chunks else 0
        if max(size, chunk) > self.left:
            raise ModelError(
                f"{name} claims {max(size, chunk)} bytes of shape {list(shape)}; {self.limit} bytes can be read"
            )
        self.left -= size
        if data.external or data.is_virtual:
            raise ModelError(f"{name} has its data in other files, which are not read; {_AGAIN} with nir.write")
        if data.chunks:
            self.check_chunks(data, name, chunk)
        value = data[()]
        if isinstance(value, bytes | np.bytes_):
            return bytes(value).decode("utf-8", "replace")
        return value

    def check_chunks(self, data: Any, name: str, chunk: int) -> None:
        """Refuse chunks that decompress to more than their size: HDF5 would allocate all of it."""
        pipeline = data.id.get_create_plist()
        filters = [pipeline.get_filter(index)[0] for index in range(pipeline.get_nfilters())]
        if filters != [known for known in _PIPELINE if known in filters] or {_GZIP, _LZF} <= set(filters):
            raise ModelError(f"{name} is compressed in a way that is not read; {_AGAIN} with nir.write")
        for offset, stored in _stored_chunks(data):
            # LZF cannot expand more than this; with gzip every byte is counted
            if _LZF in filters and stored > chunk + 1024:
                raise ModelError(f"{name} is damaged: a chunk of {chunk} bytes is stored in {stored}; {_AGAIN}")
            if _GZIP in filters:
                _, raw = data.id.read_direct_chunk(offset)
                if len(zlib.decompressobj().decompress(raw, chunk + 1)) > chunk:
                    raise ModelError(f"{name} decompresses to more than the {chunk} bytes of a chunk; {_AGAIN}")


def _stored_chunks(data: Any) -> Iterator[tuple[tuple[int, ...], int]]:
    found: list[tuple[tuple[int, ...], int]] = []
    data.id.chunk_iter(lambda chunk: found.append((tuple(chunk.chunk_offset), int(chunk.size))))
    yield from found


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
        raise ModelError(f"{name} ({kind}) {problem}; {_AGAIN} with nir {nir.version}")
    try:
        return cls(**_same_shape(name, kind, values))
    except ModelError:
        raise
    except Exception as error:  # the package asserts, and indexes what it was given
        raise ModelError(f"{name} ({kind}) cannot be read ({_one_line(error)}); {_AGAIN}") from error


def _same_shape(name: str, kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """Broadcast the parameters of a neuron against each other: some exporters write one number for all neurons."""
    if kind not in ("LIF", "LI", "IF", "CubaLIF", "CubaLI"):
        return values
    arrays = {key: np.asarray(value) for key, value in values.items() if key != "metadata" and value is not None}
    wrong = [key for key, value in arrays.items() if value.dtype.kind not in "fiub"]
    if wrong:
        raise ModelError(f"{name} ({kind}): {wrong[0]} is not a number; {_AGAIN}")
    shapes = {value.shape for value in arrays.values()}
    if len(shapes) > 1:
        shape = max(shapes, key=lambda each: (math.prod(each), len(each)))
        try:
            arrays = {key: np.broadcast_to(value, shape).copy() for key, value in arrays.items()}
        except ValueError:
            given = ", ".join(f"{key} {list(value.shape)}" for key, value in arrays.items())
            raise ModelError(f"{name} ({kind}): parameters differ in shape: {given}; {_AGAIN}") from None
    return values | arrays


def _graph(name: str, values: dict[str, Any]) -> Any:
    nir = import_nir()
    nodes, edges = values.get("nodes"), values.get("edges")
    if not isinstance(nodes, dict) or edges is None:
        raise ModelError(f"{name} (NIRGraph) needs nodes and edges; {_AGAIN} with nir.write")
    built = {}
    for key, value in nodes.items():
        if not isinstance(value, dict):
            raise ModelError(f"node {shown(key)} is a dataset, not a group; {_AGAIN} with nir.write")
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
        raise ModelError(f"{name}: edges must be pairs of names, found shape {list(array.shape)}; {_AGAIN}")
    return [(_text(source), _text(target)) for source, target in array]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
