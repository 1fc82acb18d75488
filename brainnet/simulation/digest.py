"""One number that says whether two runs gave the same spikes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.spikes import Spikes

_BLOCK_STEPS = 1024


class SpikeDigest:
    """The SHA-256 of the spikes of one population, whatever windows they come in.

    It is a chain over blocks of 1,024 steps: the hash of a block covers the hash before it and every (step, neuron) of
    the block. So its state between two windows is a hash and the spikes of a part of a block, which can be saved.
    """

    def __init__(self) -> None:
        self._chain = bytes(32)
        self._pending: list[NDArray[np.uint32]] = []
        self._next_step = 0

    def add(self, spikes: Spikes) -> None:
        """Take the next window in.

        Raises:
            ValueError: It is not the next one.
        """
        if spikes.first_step != self._next_step:
            raise ValueError(f"the digest is at step {self._next_step}, and the window begins with {spikes.first_step}")
        step, end_step = spikes.first_step, spikes.end_step
        while step < end_step:
            end = min(end_step, (step // _BLOCK_STEPS + 1) * _BLOCK_STEPS)
            low, high = spikes.offsets[step - spikes.first_step], spikes.offsets[end - spikes.first_step]
            if low < high:
                pairs = np.empty((high - low, 2), np.uint32)
                if end == step + 1:
                    pairs[:, 0] = step % (1 << 32)
                else:
                    counts = np.diff(spikes.offsets[step - spikes.first_step : end - spikes.first_step + 1])
                    pairs[:, 0] = np.repeat(np.arange(step, end) % (1 << 32), counts)
                pairs[:, 1] = spikes.neurons[low:high]
                self._pending.append(pairs)
            step = end
            if end % _BLOCK_STEPS == 0:
                self._chain = self._closed()
                self._pending = []
        self._next_step = end_step

    def _closed(self) -> bytes:
        block = hashlib.sha256(self._chain)
        for pairs in self._pending:
            block.update(pairs.astype("<u4").tobytes())
        return block.digest()

    def hexdigest(self) -> str:
        """Return the digest of all that was added, as 64 hexadecimal digits."""
        return self._closed().hex()

    def save(self) -> dict[str, NDArray[np.generic]]:
        """Return its state as arrays."""
        pending = np.concatenate(self._pending) if self._pending else np.zeros((0, 2), np.uint32)
        return {"chain": np.frombuffer(self._chain, np.uint8), "pending": pending, "next": np.array([self._next_step])}

    def load(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore a state that `save` returned."""
        self._chain = state["chain"].tobytes()
        self._pending = [state["pending"].astype(np.uint32)]
        self._next_step = int(state["next"][0])


def combined(digests: Mapping[str, str]) -> str:
    """Return the digest of a network from those of its populations by name."""
    lines = "".join(f"{name}:{digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()
