r"""Texts as TAS spikes over one vocabulary that all processes share: the 256 bytes of UTF-8.

It is the code of `brainnet.snn.codes.tas`, in numpy, for a fixed embedding: each byte is four digits in base 4, and
digit d of it the firing rate $\lambda = (2 d + 1) / 8$ of one of the four neurons of its position. Position p of L has
the phase $\phi = \lfloor 5 p / L \rfloor$ of a window of T = 10 steps; its neurons fire
$n = \operatorname{round}(\lambda (T - \phi))$ times, in consecutive steps from $\phi$ on. The four counts of a phase
differ from each other, so that every text comes back exactly; neurons that lost spikes give the digit whose count is
nearest. Four neurons and ten steps a byte: 5 bytes as bits, and the longest text of a prompt fits into one packet.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError
from brainnet.wire.packet import SpikePacket

STEPS: Final = 10
"""Steps of the window, T."""
WIDTH: Final = 4
"""Neurons of one position, each for two bits of its byte; the first neuron has the highest ones."""
MODALITY: Final = "text"
"""Modality of packets that hold a text."""
_PHASES: Final = STEPS // 2
_LEVELS: Final = 4
RATES: Final = (2 * np.arange(_LEVELS) + 1) / (2 * _LEVELS)
"""Firing rates of the four digits."""
DIGITS: Final[NDArray[np.intp]] = np.arange(256)[:, None] >> np.array([6, 4, 2, 0]) & 3
"""The digits of each byte, [256, WIDTH]."""


def _counts() -> NDArray[np.int64]:
    """Return how often a neuron fires, [phases, digits]."""
    left = STEPS - np.arange(_PHASES)
    return np.rint(left[:, None] * RATES).astype(np.int64)


def _spikes() -> NDArray[np.uint8]:
    """Return the spikes of each byte at each phase, [phases, 256, WIDTH, STEPS]."""
    offset = np.arange(STEPS) - np.arange(_PHASES)[:, None, None, None]
    fires: NDArray[np.bool_] = (offset >= 0) & (offset < _counts()[:, DIGITS][..., None])
    return fires.astype(np.uint8)


def _digits() -> NDArray[np.uint8]:
    """Return the digit whose count is nearest, [phases, counts received].

    Of equals the higher one: spikes get lost on the way, and none is added.
    """
    distance = np.abs(np.arange(STEPS + 1)[None, :, None] - _counts()[:, None, ::-1])
    nearest: NDArray[np.intp] = _LEVELS - 1 - distance.argmin(-1)
    return nearest.astype(np.uint8)


_SPIKES: Final = _spikes()
_DIGITS: Final = _digits()


def _phases(length: int) -> NDArray[np.intp]:
    return np.arange(length) * _PHASES // max(1, length)


def encode(text: str) -> NDArray[np.uint8]:
    """Return a text as spikes, uint8 [WIDTH * bytes, STEPS]; neuron = position * WIDTH + digit."""
    # A text of Python may hold half of a surrogate pair, which has no UTF-8; it comes back as it was.
    data = np.frombuffer(text.encode(errors="surrogatepass"), np.uint8)
    return _SPIKES[_phases(data.size), data].reshape(-1, STEPS)


def decode(packet: SpikePacket) -> str:
    """Return the text of a packet.

    Guarantee: `decode` of what `encode` made is the text itself. A position without any spike is left out; bytes that
    are no UTF-8, as lost spikes leave them, become U+FFFD.

    Raises:
        PacketError: The data are no spikes, or have another number of steps or of neurons than a text.
    """
    neurons, steps = packet.shape
    if not neurons:
        return ""
    if steps != STEPS or neurons % WIDTH or not packet.is_spikes:
        raise PacketError(
            f"a text is spikes [{WIDTH} n, {STEPS}], got {packet.data.dtype} {[neurons, steps]} from {packet.source!r}"
        )
    counts = packet.data.sum(axis=1, dtype=np.intp).reshape(-1, WIDTH)
    digits = _DIGITS[_phases(len(counts))[:, None], counts]
    fired = counts.any(axis=1)
    data: bytes = (digits @ np.array([64, 16, 4, 1], np.uint8))[fired].tobytes()
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode(errors="replace")
