"""The datasets of an HDF5 file, read in a process of its own: `python -m brainnet.snn.nir.hdf5 FILE BYTES SECONDS`.

HDF5 can declare arrays of any size in a few bytes, store them so that they decompress to any size, and link to other
files; so every dataset is checked before it is read. And some damaged files make the HDF5 library run for ever or end
the process. Therefore a process of its own reads the file, with a limit of memory and of processor time, and writes
what it found in msgpack: `{"error": TEXT}`, or `{"values": GROUP}` as `pack` makes it.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np

from brainnet.errors import ModelError
from brainnet.snn.nir.graph import MAX_DEPTH, shown

MAX_ITEMS: Final = 50_000
"""The most groups and datasets of one file."""
AGAIN: Final = "export the network again"
_OVERHEAD: Final = 2 << 30
"""Bytes of address space beyond the arrays, for Python, numpy and HDF5."""
_GZIP, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000
_PIPELINE: Final = (_SHUFFLE, _GZIP, _LZF, _CHECKSUM)


def contents(path: Path, limit: int) -> dict[str, Any]:
    """Return the group `node` of a file: groups as dictionaries, datasets as arrays, text or None.

    Args:
        path: the file.
        limit: the most bytes that all arrays together may have.

    Raises:
        ModelError: it is no such file, or holds something that no NIR file needs; names the dataset and the remedy.
    """
    import h5py

    if not h5py.is_hdf5(path):
        raise ModelError(f"not a readable NIR file: it is not HDF5; {AGAIN} with nir.write")
    try:
        opened = h5py.File(path, "r")
    except Exception as error:  # h5py raises many kinds for a damaged file
        raise ModelError(f"not a readable NIR file, it may be truncated ({one_line(error)}); {AGAIN}") from error
    with opened as file:
        if not isinstance(file.get("node"), h5py.Group):
            raise ModelError(f"HDF5 without the group 'node', so not a NIR file; {AGAIN} with nir.write")
        return _Reader(limit).group(file["node"], "node", 0)


def pack(values: Any) -> Any:
    """Return what `contents` found in types of msgpack."""
    if isinstance(values, dict):
        return {"group": {key: pack(value) for key, value in values.items()}}
    if values is None or isinstance(values, str):
        return values
    array = np.asarray(values)
    if array.dtype.kind in "OS":
        return {"text": [as_text(value) for value in array.reshape(-1)], "shape": list(array.shape)}
    return {"data": array.tobytes(), "type": array.dtype.str, "shape": list(array.shape)}


def unpack(values: Any) -> Any:
    """Return what `pack` was given, with text in arrays of objects."""
    if not isinstance(values, dict):
        return values
    if "group" in values:
        return {key: unpack(value) for key, value in values["group"].items()}
    if "text" in values:
        return np.array(values["text"], object).reshape(values["shape"])
    return np.frombuffer(values["data"], values["type"]).reshape(values["shape"]).copy()


def as_text(value: Any) -> str:
    """Return bytes from a file as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def one_line(error: BaseException) -> str:
    """Return kind and text of an error of a library, as it may stand in a message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {shown(text)}" if text else type(error).__name__


class _Reader:
    """Reads groups as dictionaries, within a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit
        self.items = 0
        self.seen: set[tuple[int, int]] = set()

    def group(self, group: Any, name: str, depth: int) -> dict[str, Any]:
        import h5py

        # A group may be a member of itself, or of two others: then neither depth nor number is bounded by the size of
        # the file.
        place = h5py.h5o.get_info(group.id)
        if (place.fileno, place.addr) in self.seen:
            raise ModelError(f"the group {shown(name)} stands in another place too; {AGAIN} with nir.write")
        self.seen.add((place.fileno, place.addr))
        if depth > 2 * MAX_DEPTH + 2:
            raise ModelError(f"groups of {shown(name)} are nested too deeply; at most {MAX_DEPTH} subgraphs are read")
        found: dict[str, Any] = {}
        for key in group:
            here = f"{name}/{key}"
            self.items += 1
            if self.items > MAX_ITEMS:
                raise ModelError(f"the file has more than {MAX_ITEMS} groups and datasets; {AGAIN}")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise ModelError(f"{shown(here)} is a link to elsewhere, which is not followed; {AGAIN} with nir.write")
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
            raise ModelError(f"{name} has its data in other files, which are not read; {AGAIN} with nir.write")
        if data.chunks:
            self.check_chunks(data, name, chunk)
        value = data[()]
        if isinstance(value, bytes | np.bytes_):
            return as_text(bytes(value))
        return value

    def check_chunks(self, data: Any, name: str, chunk: int) -> None:
        """Refuse chunks that decompress to more than their size: HDF5 would allocate all of it."""
        pipeline = data.id.get_create_plist()
        filters = [pipeline.get_filter(index)[0] for index in range(pipeline.get_nfilters())]
        if filters != [known for known in _PIPELINE if known in filters] or {_GZIP, _LZF} <= set(filters):
            raise ModelError(f"{name} is compressed in a way that is not read; {AGAIN} with nir.write")
        for offset, stored in _stored_chunks(data):
            # LZF cannot expand more than this; with gzip every byte is counted
            if _LZF in filters and stored > chunk + 1024:
                raise ModelError(f"{name} is damaged: a chunk of {chunk} bytes is stored in {stored}; {AGAIN}")
            if _GZIP in filters:
                _, raw = data.id.read_direct_chunk(offset)
                if len(zlib.decompressobj().decompress(raw, chunk + 1)) > chunk:
                    raise ModelError(f"{name} decompresses to more than the {chunk} bytes of a chunk; {AGAIN}")


def _stored_chunks(data: Any) -> Iterator[tuple[tuple[int, ...], int]]:
    found: list[tuple[tuple[int, ...], int]] = []
    data.id.chunk_iter(lambda chunk: found.append((tuple(chunk.chunk_offset), int(chunk.size))))
    yield from found


def main(arguments: list[str]) -> None:
    """Read a file within limits, and write the result to the standard output."""
    path, limit, seconds = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limits
        pass
    else:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (3 * limit + _OVERHEAD, 3 * limit + _OVERHEAD))
    try:
        result = {"values": pack(contents(path, limit))}
    except ModelError as error:
        result = {"error": str(error)}
    except Exception as error:
        result = {"error": f"damaged ({one_line(error)}); {AGAIN}"}
    sys.stdout.buffer.write(msgpack.packb(result, unicode_errors="replace"))


if __name__ == "__main__":
    main(sys.argv[1:])
