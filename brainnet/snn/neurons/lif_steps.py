r"""Leaky integrate-and-fire neurons in plain numpy, for models that run outside torch.

The same equations as `brainnet.snn.neurons.lif` with reset by subtraction:
$u_t = \beta u_{t-1} + x_t - \theta s_{t-1}$, $s_t = 1$ if $u_t > \theta$ else 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import ModelError

__all__ = ["Floats", "lif_sequence", "lif_spikes"]

Floats = NDArray[np.float32]


def lif_spikes(currents: NDArray[np.float32], beta: float, threshold: float) -> NDArray[np.float32]:
    """Return the spikes (0.0 or 1.0) of neurons that start from rest, [..., neurons, steps] as the currents.

    Args:
        currents: time is the last axis.
        beta: decay per step.
        threshold: theta.

    Raises:
        ModelError: an empty sequence, another type than floating point, or values that are not finite.
    """
    if currents.ndim == 0 or currents.shape[-1] == 0:
        raise ModelError(f"currents must be [..., steps] with at least one step, not of shape {currents.shape}")
    if not np.issubdtype(currents.dtype, np.floating):
        raise ModelError(f"currents must be of a floating-point type, not {currents.dtype}")
    # numpy scalars of float32: the same arithmetic, bit by bit, as the compiled kernels
    decay, theta = np.float32(beta), np.float32(threshold)
    spikes = np.empty(currents.shape, np.float32)
    membrane = np.zeros(currents.shape[:-1], np.float32)
    for step in range(currents.shape[-1]):
        membrane *= decay
        membrane += currents[..., step]
        if step:
            membrane -= theta * spikes[..., step - 1]
        spikes[..., step] = membrane > theta
    # NaN and infinity never decay, so those of any step still show in the last potential
    if not (np.isfinite(theta) and np.isfinite(membrane).all()):
        raise ModelError("currents, beta or threshold hold NaN or infinity (or overflow); they must be finite")
    return spikes


def lif_sequence(currents: Floats, start: Floats, beta: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Run neurons over `currents` [T, ..., D] from the potentials `start` [..., D], which stay as they are.

    The arithmetic is, bit by bit, that of `brainnet.snn.neurons.lif.lif_sequence`. Values are not checked.

    Args:
        currents: time is the first axis.
        start: the membrane potentials before the first step; above the threshold they count as a spike.
        beta: decay per step of each of the D channels.
        threshold: theta.

    Returns:
        The spikes [T, ..., D] (0.0 or 1.0), and the potentials [..., D] after the last step.
    """
    theta = np.float32(threshold)
    membrane = start.astype(np.float32).reshape(-1)
    # arrays of one axis and of one type, because for a few hundred neurons the time goes into numpy's calls
    rows, decay = currents.reshape(len(currents), -1), np.tile(beta, membrane.size // beta.size)
    spikes = np.empty(rows.shape, np.float32)
    reset = np.multiply(membrane > theta, theta)
    for row, fired in zip(rows, spikes, strict=True):
        np.multiply(membrane, decay, out=membrane)
        np.add(membrane, row, out=membrane)
        np.subtract(membrane, reset, out=membrane)
        np.greater(membrane, theta, out=fired)
        np.multiply(fired, theta, out=reset)
    return spikes.reshape(currents.shape), membrane.reshape(start.shape)
