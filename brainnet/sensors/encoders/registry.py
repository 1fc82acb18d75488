"""Finds the encoder that a description names, and makes it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from brainnet.errors import BrainnetError, SensorError
from brainnet.imports import find_class
from brainnet.sensors.encoders.base import Encoder
from brainnet.texts import did_you_mean, shorten

ENTRY_POINT_GROUP: Final = "brainnet.encoders"

ENCODERS: Final = {
    "rate": "rate:Rate",
    "latency": "latency:Latency",
    "frame_change": "change:FrameChange",
    "sample_change": "change:SampleChange",
    "addresses": "addresses:Addresses",
    "cochlea": "cochlea:Cochlea",
    "voxels": "voxels:Voxels",
}
"""The encoders of this package by their short names; each is imported when it is used."""


def encoder_class(name: str, folder: Path | None = None) -> type[Encoder]:
    """Return the class of an encoder.

    Args:
        name: One of `ENCODERS`; `FILE.py:Class`, `package.module:Class`, or an entry point of `brainnet.encoders`.
            Without `:Class` a file or module must define exactly one.
        folder: Where relative paths of files begin.

    Raises:
        ConfigError: There is no such encoder, or it cannot be imported.
    """
    if name in ENCODERS:
        module, _, wanted = ENCODERS[name].partition(":")
        found: type[Encoder] = getattr(importlib.import_module(f"brainnet.sensors.encoders.{module}"), wanted)
        return found
    accepted = ", ".join([*ENCODERS, "FILE.py:Class", "module:Class"])
    hint = f"{did_you_mean(name, ENCODERS)}; encoders are {accepted}"
    # mypy takes an abstract class as an argument for `type` only with this
    base: Any = Encoder
    return find_class(name, base, "encoder", ENTRY_POINT_GROUP, folder, hint)


def make_encoder(kind: type[Encoder], dt_us: int, options: Mapping[str, Any], known: Mapping[str, Any]) -> Encoder:
    """Return an encoder.

    Args:
        kind: Its class.
        dt_us: A step in microseconds.
        options: Its arguments by name.
        known: What is known of the source, the seed and the like: used for arguments of these names that `options`
            leaves out.

    Raises:
        SensorError: An argument is unknown, is missing, or has a value that is not accepted.
    """
    parameters = inspect.signature(kind).parameters
    accepted = [name for name in parameters if name != "dt_us"]
    for name in options:
        if name not in accepted:
            hint = did_you_mean(str(name), accepted)
            raise SensorError(f"{kind.__name__} has no option {name!r}{hint}; there are {', '.join(accepted)}")
    given = {name: known[name] for name in accepted if name in known} | dict(options)
    missing = [name for name in accepted if name not in given and _is_needed(parameters[name])]
    if missing:
        raise SensorError(f"{kind.__name__} needs the option {', '.join(missing)}, which its source does not say")
    try:
        return kind(dt_us=dt_us, **given)
    except BrainnetError:
        raise
    except Exception as error:  # values of other types, and whatever a class of a user's own raises
        reason = shorten(" ".join(str(error).split()), 200) or type(error).__name__
        raise SensorError(f"{kind.__name__} does not accept these options: {reason}") from error


def _is_needed(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variadic
