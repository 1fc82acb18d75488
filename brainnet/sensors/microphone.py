"""A microphone of the computer, read by python-sounddevice (PortAudio), which the extra `microphone` installs.

It is written after the library's documentation, and was tried without a microphone: the tests put an object in the
place of the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from brainnet.errors import SensorError
from brainnet.sensors.blocks import Block, check_rate, sample_times
from brainnet.texts import printable, shorten


class Microphone:
    """Sound as it comes, int16 [samples, channels], a source of audio that does not end.

    Samples that the computer was too slow to take are lost: the number of the next block then leaves one out.

    Args:
        device: Its number or a part of its name, as `python -m sounddevice` lists them; None for the default.
        rate_hz: Samples per second.
        channels: How many there are.
        rows: Samples of a block.

    Raises:
        SensorError: There is no such microphone, or not with these values; or sounddevice or PortAudio is not
            installed.
    """

    modality = "audio"
    live = True

    def __init__(
        self, device: str | int | None = None, *, rate_hz: int = 16_000, channels: int = 1, rows: int = 320
    ) -> None:
        check_rate("a microphone", rate_hz)
        if not (1 <= channels <= 256 and 1 <= rows <= 1 << 20):
            raise SensorError(
                f"a microphone has 1 to 256 channels and blocks of 1 to 1,048,576, not {channels}, {rows}"
            )
        self.name = "the default microphone" if device is None else f"the microphone {device!r}"
        self.rate_hz, self._rows = rate_hz, rows
        self._asked = {"device": device, "samplerate": rate_hz, "channels": channels, "dtype": "int16"}
        try:
            import sounddevice
        except ImportError:
            raise SensorError(
                f"{self.name}: sound is read by sounddevice, which is not installed: pip install 'brainnet[microphone]'"
            ) from None
        except OSError as error:  # it looks for the library when it is imported
            raise SensorError(
                f"{self.name}: sounddevice does not find PortAudio ({error}): install it, on Debian libportaudio2"
            ) from None
        self._library: Any = sounddevice
        try:
            sounddevice.check_input_settings(**self._asked)
        except (sounddevice.PortAudioError, ValueError) as error:
            raise self._unusable(error) from None

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks.

        Raises:
            SensorError: The microphone is gone, or cannot be opened.
        """
        read = number = 0
        try:
            with self._library.InputStream(blocksize=self._rows, **self._asked) as stream:
                while True:
                    sound, overflowed = stream.read(self._rows)
                    number += bool(overflowed)
                    yield Block(int(sample_times(read, self.rate_hz)), np.array(sound), number, float(self.rate_hz))
                    read, number = read + len(sound), number + 1
        except (self._library.PortAudioError, ValueError) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: BaseException) -> SensorError:
        reason = shorten(printable(" ".join(str(error).split())), 200)
        return SensorError(
            f"{self.name} cannot be used: {reason}; `python -m sounddevice` lists the devices of this computer"
        )
