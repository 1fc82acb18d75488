r"""Values of a controller as the spikes of populations: signed rates of many neurons over a short window.

Each value v has two populations of N neurons, one for each sign, as ON and OFF cells are. With the largest value s, the
one of its sign fires $k = \operatorname{round}(N T \sqrt{\min(1, |v| / s)})$ spikes in T steps, spread evenly over
steps and neurons; the other one is silent. Read out from the rate, $\hat v = \pm s (k / (N T))^2$. The root gives
small values, on which a movement ends, more of the range, as sensory cells do: with x = |v| / s no value within
$\pm s$ is off by more than $s (\sqrt x + 1 / (4 N T)) / (N T)$. Silence is 0, and lost spikes make a value smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError
from brainnet.wire.packet import SpikePacket


@dataclass(frozen=True)
class ValueCode:
    """Writes and reads the values of some channels.

    Attributes:
        largest: The largest magnitude of each channel, > 0; values beyond it are cut.
        neurons: Neurons of each population, N.
        steps: Steps of the window, T.
    """

    largest: tuple[float, ...]
    neurons: int = 64
    steps: int = 16

    @property
    def size(self) -> int:
        """Neurons of all populations: channel by channel, first those of positive values."""
        return 2 * self.neurons * len(self.largest)

    def rounded(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values [channels] that `decode` reads from what `encode` writes."""
        counts, _ = self._counts(values)
        return self._values(np.copysign(counts, values))

    def encode(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return values [channels] as spikes, uint8 [size, steps]."""
        places = self.neurons * self.steps
        counts, positive = self._counts(values)
        fired = np.zeros((len(counts), 2, places), np.uint8)
        for channel, count in enumerate(counts.tolist()):
            # of k spikes, number j is where the running sum of k / places first reaches j
            reached = -(-np.arange(places, places * count + 1, places) // max(1, count))
            fired[channel, 0 if positive[channel] else 1, reached - 1] = 1
        # places run through all neurons of a step before the next step
        return np.ascontiguousarray(
            fired.reshape(-1, self.steps, self.neurons).transpose(0, 2, 1).reshape(self.size, self.steps)
        )

    def _counts(self, values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return how many spikes say each value, and which are positive."""
        exact = np.asarray(values, np.float64)
        share = np.minimum(1.0, np.abs(exact) / np.asarray(self.largest))
        return np.rint(np.sqrt(share) * (self.neurons * self.steps)).astype(np.int64), exact > 0

    def _values(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values that signed counts of spikes say."""
        rates = counts / (self.neurons * self.steps)
        values: NDArray[np.float64] = rates * np.abs(rates) * np.asarray(self.largest)
        return values

    def decode(self, packet: SpikePacket) -> NDArray[np.float64]:
        """Return the values [channels] of a packet.

        Raises:
            PacketError: The data are no spikes of this size.
        """
        if packet.shape != (self.size, self.steps) or not packet.is_spikes:
            raise PacketError(
                f"{len(self.largest)} values are spikes [{self.size}, {self.steps}], "
                f"got {packet.data.dtype} {list(packet.shape)} from {packet.source!r}"
            )
        counts = packet.data.sum(axis=1, dtype=np.int64).reshape(-1, 2, self.neurons).sum(axis=-1)
        return self._values(counts[:, 0] - counts[:, 1])


CONFIDENCE: Final = ValueCode((1.0,))
"""How sure a region is of its answer, 0 to 1: what it tells the router's working memory."""
