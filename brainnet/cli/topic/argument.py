"""Reads the argument DATA of `brainnet topic pub`: YAML or JSON as it is typed, or `@FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from brainnet import yaml_text
from brainnet.client.arrays import read_arrays
from brainnet.errors import MessageError, TextError
from brainnet.wire import bounded, packet

_ARRAYS: Final = (".npz", ".npy")


def fields_of(data: str | None, what: str) -> dict[str, Any]:
    """Return the fields of a message; of a file of arrays, the field `data` of a SpikePacket.

    Args:
        data: DATA.
        what: The message, for errors: its name, or its name and fields.

    Raises:
        MessageError: DATA is missing, or is no map of fields; names what is wrong, in a file with its line.
    """
    if data is None:
        raise MessageError(f"DATA is missing: the fields of a {what} as YAML or JSON, or @FILE")
    name, text = "DATA", data.encode(errors="surrogateescape")
    if data.startswith("@"):
        path = Path(data[1:])
        if path.suffix in _ARRAYS:
            return {"data": _spikes(path)}
        name, text = str(path), bytes_of(path, yaml_text.MAX_BYTES)
    try:
        fields = yaml_text.parse(text, name, allow_bytes=True).value
    except TextError as error:
        raise MessageError(str(error)) from None
    if not isinstance(fields, dict):
        raise MessageError(f"{name} must be a map with the fields of a {what}, got {type(fields).__name__}")
    return fields


def bytes_of(path: Path, limit: int = bounded.MAX_BYTES) -> bytes:
    """Return what a file holds.

    Raises:
        MessageError: It cannot be read, or has more than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            found = file.read(limit + 1)  # with a limit, because it may be a device that never ends
    except (OSError, ValueError) as error:
        raise MessageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(found) > limit:
        raise MessageError(f"{path} has more than {limit} bytes, which is the most that one message may have")
    return found


def _spikes(path: Path) -> Any:
    """Return the array [neurons, steps] of a file: the only one, or the one that is called data."""
    arrays = read_arrays(path)
    if len(arrays) > 1 and "data" not in arrays:
        raise MessageError(f"{path} has the arrays {', '.join(sorted(arrays))}; call the one to send data")
    return packet.decode(arrays["data"] if len(arrays) > 1 else next(iter(arrays.values()))).data
