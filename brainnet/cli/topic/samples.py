"""Makes samples of sensors from the argument DATA of `brainnet topic pub`: fields, arrays, pictures, any file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.array_files import UNREADABLE
from brainnet.cli.topic.argument import bytes_of, fields_of
from brainnet.errors import MessageError
from brainnet.wire.declared import describe
from brainnet.wire.messages import SensorSample

_TEXTS: Final = (".yaml", ".yml", ".json")
_ARRAYS: Final = (".npz", ".npy")
_NARROWER: Final = {np.dtype(np.float64): np.dtype(np.float32)}
_NAMES: Final = {"jpg": "jpeg", "tif": "tiff"}


def sample_fields(data: str | None) -> dict[str, Any]:
    """Return the fields of a sample.

    Args:
        data: Fields as YAML or JSON, in which `data` may be numbers, row by row; or @FILE of such, of an array, or of
            a picture or sound, whose format is the end of its name.

    Raises:
        MessageError: It cannot be a sample; says why.
    """
    if data is not None and data.startswith("@") and Path(data[1:]).suffix.lower() not in _TEXTS:
        path = Path(data[1:])
        if path.suffix.lower() in _ARRAYS:
            return _of_array(_array(path))
        ending = path.suffix.lower().removeprefix(".")
        return {"format": _NAMES.get(ending, ending) or "bytes", "data": bytes_of(path)}
    fields = fields_of(data, describe(SensorSample))
    if not isinstance(fields.get("data"), list | int | float):
        return fields
    try:
        array = np.asarray(fields["data"], fields.get("dtype"))
        if array.dtype.kind not in "buif":
            raise ValueError("a value is no number")
    except (ValueError, TypeError, OverflowError) as error:
        raise MessageError(f"field data: rows of equal length with numbers are needed ({error})") from None
    if "dtype" not in fields and array.dtype in _NARROWER:  # what people write is rarely meant to have 64 bits
        array = array.astype(_NARROWER[array.dtype])
    return {**fields, **_of_array(array)}


def _array(path: Path) -> NDArray[Any]:
    """Return the array of a file: the only one, or the one that is called data."""
    bytes_of(path)  # for its errors, and its limit
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as arrays:
            if len(arrays.files) > 1 and "data" not in arrays.files:
                raise MessageError(f"{path} has the arrays {', '.join(arrays.files)}; call the one to send data")
            found: NDArray[Any] = arrays["data" if len(arrays.files) > 1 else arrays.files[0]]
            return found
    except UNREADABLE as error:
        raise MessageError(f"{path} is no array file that can be read: {error}") from None


def _of_array(array: NDArray[Any]) -> dict[str, Any]:
    return SensorSample.of(array).model_dump(include={"dtype", "shape", "data"})
