"""Reading of arrays of npz files, with errors that name projection, field and file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.array_files import UNREADABLE
from brainnet.simulation.connectivity.base import Ends


def _opened(ends: Ends, field: str, path: Path) -> Any:
    try:
        opened = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ends.error(field, f"there is no file {path}") from None
    except UNREADABLE as error:
        raise ends.error(field, f"{path} is no npz file that can be read: {error}") from None
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise ends.error(field, f"{path} holds a single array; an npz file with named arrays is needed")
    return opened


def names_of(ends: Ends, field: str, path: Path) -> set[str]:
    """Return the names of the arrays of a file.

    Raises:
        ModelError: There is no such file, or it is no npz file.
    """
    with _opened(ends, field, path) as opened:
        return set(opened.files)


def read_arrays(ends: Ends, field: str, path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return arrays of a file.

    Raises:
        ModelError: There is no such file, it is no npz file, or it lacks one of the arrays.
    """
    with _opened(ends, field, path) as opened:
        missing = [name for name in names if name not in opened.files]
        if missing:
            raise ends.error(field, f"{path} has no array {', '.join(missing)}; it has {', '.join(opened.files)}")
        try:
            return {name: opened[name] for name in names}
        except UNREADABLE as error:
            raise ends.error(field, f"{path} cannot be read: {error}") from None


def shape_of(ends: Ends, field: str, path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of an array of a file without reading its values.

    Raises:
        ModelError: There is no such file, it is no npz file, or it lacks the array.
    """
    with _opened(ends, field, path) as opened:
        if name not in opened.files:
            raise ends.error(field, f"{path} has no array {name}; it has {', '.join(opened.files)}")
        try:
            with opened.zip.open(f"{name}.npy") as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape: tuple[int, ...] = read(member)[0]
                return shape
        except UNREADABLE as error:
            raise ends.error(field, f"{path} cannot be read: {error}") from None
