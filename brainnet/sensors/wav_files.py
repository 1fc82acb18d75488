"""Audio of WAV files (RIFF, PCM), read block by block with the standard library."""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block, check_rate, sample_times
from brainnet.sensors.columns import check_file, unreadable

_UNREADABLE: Final = (wave.Error, EOFError, OSError, struct.error, ValueError, RuntimeError)
"""What `wave` raises for damaged files."""
MAX_ROWS: Final = 1 << 22
"""Samples of one block."""


class WavFile:
    """A WAV file as blocks int16 [samples, channels], a source of audio.

    Samples of 8 bits are scaled to 16, of 24 and 32 bits the upper 16 are kept. Block k has the time of its first
    sample n, round(n 10^6 / rate).

    Args:
        path: The file.
        rows: Samples of a block; the last one may have fewer.

    Attributes:
        rate_hz: Samples per second of each channel.
        channels: How many there are.
        samples: Of each channel.

    Raises:
        SensorError: The file cannot be read, or is no PCM.
    """

    modality = "audio"

    def __init__(self, path: Path, rows: int = 1024) -> None:
        if not 1 <= rows <= MAX_ROWS:
            raise SensorError(f"a block has 1 to {MAX_ROWS} samples, not {rows}")
        self.path, self.rows = check_file(Path(path)), rows
        with self._opened() as file:
            self.rate_hz, self.channels, self.samples = file.getframerate(), file.getnchannels(), file.getnframes()
            self._width = file.getsampwidth()
        check_rate(str(path), self.rate_hz)
        if not (self.channels and 1 <= self._width <= 4):
            raise SensorError(f"{path}: {self.channels} channels of {self._width} bytes; samples have 1 to 4 bytes")

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks.

        Raises:
            SensorError: The file ends before its header says so.
        """
        with self._opened() as file:
            read = number = 0
            while read < self.samples:
                try:
                    data = file.readframes(min(self.rows, self.samples - read))
                except _UNREADABLE as error:
                    raise unreadable(self.path, error) from None
                whole = len(data) // (self._width * self.channels)
                if whole < min(self.rows, self.samples - read):
                    raise SensorError(
                        f"{self.path} is cut off: it ends after {read + whole} samples, and its header says "
                        f"{self.samples}; copy it again"
                    )
                payload = self._int16(data).reshape(whole, self.channels)
                yield Block(int(sample_times(read, self.rate_hz)), payload, number, float(self.rate_hz))
                read, number = read + whole, number + 1

    def _opened(self) -> wave.Wave_read:
        try:
            return wave.open(str(self.path), "rb")
        except _UNREADABLE as error:
            raise SensorError(
                f"{self.path} is no WAV file with PCM that can be read ({str(error) or 'its parts do not fit'}); save "
                "it as 16-bit PCM"
            ) from None

    def _int16(self, data: bytes) -> NDArray[Any]:
        if self._width == 1:  # the only width without a sign
            return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8
        of_bytes = np.frombuffer(data, np.uint8).reshape(-1, self._width)
        return np.ascontiguousarray(of_bytes[:, -2:]).view("<i2").astype(np.int16, copy=False).reshape(-1)
