"""Opens what yields blocks by name: a file, a folder of pictures, or a signal that is computed."""

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
_SUFFIXES: Final[dict[str, Kind]] = {".wav": "audio", ".es": "events", ".raw": "events", ".aedat4": "events"}
"""Files whose kind follows from their name; npz and csv may hold any of three kinds."""


def open_source(file: Path | None, kind: str, options: dict[str, Any]) -> Source:
    """Open a recording, or a signal.

    Args:
        file: A file, or a folder of pictures; None for a signal that is computed.
        kind: What the file holds, or the name of the signal.
        options: Further arguments of the source.

    Raises:
        SensorError: It cannot be read, or an option has a value that is not accepted.
        ConfigError: There is no such kind or option.
    """
    make = _signal(kind) if file is None else _reader(file, kind)
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


def _signal(name: str) -> Callable[..., Source]:
    from brainnet.sensors import synthetic

    known = {n: c for n, c in vars(synthetic).items() if isinstance(c, type) and c.__module__ == synthetic.__name__}
    if name not in known:
        said = f"there is no signal {name!r}{did_you_mean(name, known)}" if name else "no signal is named"
        raise ConfigError(f"kind: {said}; it is one of {', '.join(known)}, and a file is named as program: sensor:FILE")
    return known[name]


def _reader(file: Path, kind: str) -> Callable[..., Source]:
    found = kind or ("images" if file.is_dir() else _SUFFIXES.get(file.suffix.lower(), ""))
    if found not in get_args(Kind):
        said = f"there is no kind {kind!r}" if kind else f"{file.name} does not say what it holds"
        raise ConfigError(f"kind: {said}; it is one of {', '.join(get_args(Kind))}")
    module, name = _READERS[found]
    reader: Callable[..., Source] = getattr(importlib.import_module(f"brainnet.sensors.{module}"), name)
    return reader
