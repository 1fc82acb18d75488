"""Arrays of a file, as a prompt carries them."""

from __future__ import annotations

import math
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from brainnet.array_files import UNREADABLE
from brainnet.errors import MessageError, PacketError
from brainnet.texts import shorten
from brainnet.wire.messages import MAX_PROMPT_BYTES
from brainnet.wire.packet import MAX_ELEMENTS, SpikePacket

_EXACT: Final = 1 << 24
"""Whole numbers up to this one are float32 numbers, too."""


def read_arrays(path: Path) -> dict[str, bytes]:
    """Read an npz file, or an npy file, whose array gets the name of the file; return SpikePackets by name.

    Arrays are [neurons, steps]. Whole numbers from 0 to 255 become uint8, other numbers float32. A shape is checked
    before its array is read, so that a small file cannot claim much memory.

    Raises:
        MessageError: The file cannot be read, is no npz or npy file, or an array cannot be sent; names both.
    """
    try:
        if not path.is_file():
            raise MessageError(f"arrays {path}: {'it is no file' if path.exists() else 'there is no such file'}")
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                return _of_npz(path, file)
            file.seek(0)
            return {path.stem: _packet(f"arrays {path}", _read(path, "", file))}
    except OSError as error:
        raise MessageError(f"arrays {path} cannot be read: {error.strerror or error}") from None


def _of_npz(path: Path, file: IO[bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                name = member.removesuffix(".npy")
                with archive.open(member) as opened:
                    array = _read(path, name, opened)
                found[name] = _packet(f"arrays {path}, {name}", array)
                total += len(found[name])
                if total > MAX_PROMPT_BYTES:
                    raise MessageError(
                        f"arrays {path} are too large: {total} bytes up to {name}, and a prompt may have "
                        f"{MAX_PROMPT_BYTES}; send fewer steps, or several prompts"
                    )
    except UNREADABLE as error:
        raise _no_file_of_arrays(path, error) from None
    if not found:
        raise MessageError(f"arrays {path}: the file holds no array")
    return found


def _read(path: Path, name: str, file: IO[bytes]) -> NDArray[Any]:
    """Read one array, after a look at its type and shape."""
    where = f"arrays {path}, {name}" if name else f"arrays {path}"
    try:
        header = _header(file)
        shape, _, kind = header
        if kind.hasobject or kind.kind not in "biuf":
            what = "objects" if kind.hasobject else f"{kind}"
            raise MessageError(f"{where}: holds {what}; an array of a prompt holds numbers or truth values")
        if len(shape) != 2:
            raise MessageError(f"{where}: has the shape {list(shape)}; it must be [neurons, steps]")
        if math.prod(shape) > MAX_ELEMENTS:
            raise MessageError(
                f"{where}: is too large: {math.prod(shape)} values, and {MAX_ELEMENTS} are possible; send fewer steps"
            )
        return _values(file, *header)
    except UNREADABLE as error:
        raise _no_file_of_arrays(path, error) from None


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    try:
        return npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    except (SyntaxError, TypeError, tokenize.TokenError) as error:  # it is read as Python's text
        raise ValueError(f"the header of an array is damaged: {error}") from None


def _values(file: IO[bytes], shape: tuple[int, ...], in_columns: bool, kind: np.dtype[Any]) -> NDArray[Any]:
    size = math.prod(shape)
    data = file.read(size * kind.itemsize)
    if len(data) < size * kind.itemsize:
        raise EOFError(f"it ends after {len(data)} of {size * kind.itemsize} bytes of an array")
    return np.frombuffer(data, kind).reshape(shape, order="F" if in_columns else "C")


def _packet(where: str, array: NDArray[Any]) -> bytes:
    try:
        payload = SpikePacket(_sendable(where, array)).encode()
    except PacketError as error:
        raise MessageError(f"{where}: {error}") from None
    if len(payload) > MAX_PROMPT_BYTES:
        raise MessageError(
            f"{where}: is too large: {len(payload)} bytes, and a prompt may have {MAX_PROMPT_BYTES}; send fewer steps"
        )
    return payload


def _sendable(where: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in a type that packets have."""
    kind = array.dtype.newbyteorder("=")
    if kind in (np.dtype(bool), np.dtype(np.uint8), np.dtype(np.float16), np.dtype(np.float32)):
        return array.astype(kind, copy=False)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(np.float32)  # what becomes infinite is refused with the packet
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if 0 <= low <= high <= 255:
        return array.astype(np.uint8)
    if -_EXACT <= low <= high <= _EXACT:
        return array.astype(np.float32)
    raise MessageError(f"{where}: has whole numbers from {low} to {high}; {_EXACT} is the largest that can be sent")


def _no_file_of_arrays(path: Path, error: Exception) -> MessageError:
    reason = shorten(" ".join(str(error).split()), 200)
    return MessageError(f"arrays {path} is no npz or npy file that can be read: {reason}")
