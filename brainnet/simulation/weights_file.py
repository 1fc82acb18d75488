"""The synapses of a projection as a file that `connect: explicit` reads, so that what was learned can be used again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainnet.errors import ModelError


def save_weights(
    path: Path, start: NDArray[np.int64], targets: NDArray[np.int32], weights: ArrayLike, delays_ms: ArrayLike
) -> None:
    """Write the synapses of a projection as an npz file for `{connect: explicit, file: FILE}`; replaces it as a whole.

    Args:
        path: The file.
        start: [sources + 1], where the synapses of each source neuron begin.
        targets: [synapses].
        weights: [synapses] in the unit of the target's model, or one for all.
        delays_ms: [synapses], or one for all.

    Raises:
        ModelError: It cannot be written.
    """
    count = targets.size
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            np.savez(
                file,
                start=start,
                targets=targets,
                weights=np.broadcast_to(np.asarray(weights, np.float64), (count,)),
                delays=np.broadcast_to(np.asarray(delays_ms, np.float64), (count,)),
            )
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ModelError(f"the weights cannot be written: {path}: {os.strerror(error.errno or 0)}") from None


def read_weights(path: Path) -> NDArray[np.float64]:
    """Return the weights of such a file [synapses].

    Raises:
        ModelError: It cannot be read, or holds no weights.
    """
    try:
        with np.load(path, allow_pickle=False) as opened:
            weights = np.asarray(opened["weights"])
    except KeyError:
        raise ModelError(f"{path} holds no weights; one that `brainnet weights PROJECTION --save` wrote does") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # whatever numpy and zipfile raise for a file that is broken or of another kind
        raise ModelError(f"{path} is no npz file that can be read: {error}") from None
    if weights.ndim != 1 or weights.dtype.kind not in "fiu" or not weights.size:
        raise ModelError(f"{path}: weights must be numbers of one axis, found {weights.dtype} {list(weights.shape)}")
    return weights.astype(np.float64)
