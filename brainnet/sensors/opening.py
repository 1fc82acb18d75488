"""Opens what yields blocks by name: a file, a folder of pictures, a signal that is computed, or a device."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, get_args

from brainnet.errors import ConfigError
from brainnet.sensors.blocks import Source
from brainnet.texts import did_you_mean

Kind = Literal["images", "audio", "samples", "points", "events"]
_READERS: Final = {
    "images": ("image_files", "ImageSequence"),
    "audio": ("wav_files", "WavFile"),
    "samples": ("table_files", "SampleFile"),
    "points": ("table_files", "PointFile"),
    "events": ("event_files", "EventFile"),
}
_DEVICES: Final = {"camera": ("camera", "Camera"), "microphone": ("microphone", "Microphone")}
_SUFFIXES: Final[dict[str, Kind]] = {".wav": "audio", ".es": "events", ".raw": "events", ".aedat4": "events"}
"""Files whose kind follows from their name; npz and csv may hold any of three kinds."""


def open_source(file: Path | None, kind: str, options: dict[str, Any], *, devices: bool = False) -> Source:
    """Open a recording, a signal, or a device.

    Args:
        file: A file, or a folder of pictures; None for a signal that is computed, or a device.
        kind: What the file holds, or the name of the signal or device.
        options: Further arguments of the source.
        devices: Whether a device of this computer may be opened: it gives something else each time.

    Raises:
        SensorError: It cannot be read, or an option has a value that is not accepted.
        ConfigError: There is no such kind or option.
    """
    make = _signal(kind, devices) if file is None else _reader(file, kind)
    accepted = [name for name in inspect.signature(make).parameters if name not in ("path", "pictures")]
    for option in options:
        if option not in accepted:
            hint = did_you_mean(option, accepted)
            raise ConfigError(f"options: there is no {option!r}{hint}; there are {', '.join(accepted)}")
    try:
        opened: Source = make(**options) if file is None else make(file, **options)
    except TypeError as error:
        raise ConfigError(f"options: {error}") from None
    return opened


def _signal(name: str, devices: bool) -> Callable[..., Source]:
    from brainnet.sensors import synthetic

    if devices and name in _DEVICES:
        return _class(*_DEVICES[name])

    known = {n: c for n, c in vars(synthetic).items() if isinstance(c, type) and c.__module__ == synthetic.__name__}
    if name not in known:
        names = [*known, *(_DEVICES if devices else ())]
        said = f"there is no signal {name!r}{did_you_mean(name, names)}" if name else "no signal is named"
        raise ConfigError(f"kind: {said}; it is one of {', '.join(names)}, and a file is named as program: sensor:FILE")
    return known[name]


def _reader(file: Path, kind: str) -> Callable[..., Source]:
    found = kind or ("images" if file.is_dir() else _SUFFIXES.get(file.suffix.lower(), ""))
    if found not in get_args(Kind):
        said = f"there is no kind {kind!r}" if kind else f"{file.name} does not say what it holds"
        raise ConfigError(f"kind: {said}; it is one of {', '.join(get_args(Kind))}")
    return _class(*_READERS[found])


def _class(module: str, name: str) -> Callable[..., Source]:
    found: Callable[..., Source] = getattr(importlib.import_module(f"brainnet.sensors.{module}"), name)
    return found
