"""Saved states of one process of a network, on disk: the last one, replaced as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import StoreError

_FORMAT: Final = 1
_IDENTITY: Final = "identity"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a state belongs to: a state of anything else is of no use.

    Attributes:
        run: The run of the network.
        network: The digest of its description.
        process: The process.
    """

    run: str
    network: str
    process: str


class SavedStates:
    """The last saved state of one process.

    Guarantees: what `load` returns was written whole, for the same process of the same run of the same network; a
    process that ends while it writes leaves the state before.

    Args:
        folder: Where it lies; it is made.
        identity: What the states belong to.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.path = folder / f"{identity.process}.npz"
        self._identity = identity

    def save(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the saved state.

        Raises:
            StoreError: It cannot be written; the state before is still there.
        """
        about = json.dumps({"format": _FORMAT, **_fields(self._identity)}).encode()
        new = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                np.savez(file, **arrays, **{_IDENTITY: np.frombuffer(about, np.uint8)})  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            raise StoreError(f"the state of the network cannot be saved: {self.path}: {error.strerror}") from error

    def load(self) -> dict[str, NDArray[Any]] | None:
        """Return the saved state; None when there is none of this run.

        Raises:
            StoreError: It is damaged, or belongs to this run and to another network.
        """
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(arrays.pop(_IDENTITY).tobytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StoreError(f"the saved state {self.path} is damaged: {error}; remove it and begin anew") from error
        if not isinstance(about, dict) or about.get("run") != self._identity.run:
            return None
        if about != {"format": _FORMAT, **_fields(self._identity)}:
            raise StoreError(
                f"the saved state {self.path} belongs to another network: the description has changed since this run "
                "began; launch it anew"
            )
        return arrays


def _fields(identity: Identity) -> dict[str, str]:
    return {"run": identity.run, "network": identity.network, "process": identity.process}
