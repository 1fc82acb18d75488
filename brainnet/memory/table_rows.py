"""How an episode stands in a row of the table, and how a row is read."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, overload

import numpy as np

from brainnet.memory.database import IS_OBJECT, is_readable
from brainnet.memory.episodes import Episode, NewEpisode
from brainnet.memory.vectors import Vector, quantize

__all__ = ["READ_COLUMNS", "SESSION", "batches", "blob_of", "episode_of", "json_of", "row_of", "session_of", "utf8"]

READ_COLUMNS: Final = "episode_id, kind, text, metadata, created_ns, importance, accesses, key"
"""The columns that `episode_of` reads, in their order."""
# Only a string is a session. `json_extract` fails on what is no JSON, so IS_OBJECT comes first.
SESSION: Final = (
    f"CASE WHEN {IS_OBJECT} THEN CASE json_type(metadata, '$.session_id')"
    " WHEN 'text' THEN json_extract(metadata, '$.session_id') END END"
)
"""The SQL expression for the session of a row; NULL without one."""
_MAX_VARIABLES = 500
# One encoder for all rows; NaN and infinity are refused, because they are not JSON.
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_MAX_COUNT: Final = 1 << 62
"""Numbers that SQLite stores as integers are below this one."""


def row_of(episode: NewEpisode, now_ns: int, vector_model: str) -> tuple[object, ...]:
    """Return key, kind, text, metadata, importance, created_ns, accesses, vector and vector_model of a new row.

    Raises:
        ValueError: The episode cannot be stored.
    """
    if not episode.text.strip() or not episode.kind:
        raise ValueError("an episode needs a text and a kind")
    if not (math.isfinite(episode.importance) and 0.0 <= episode.importance <= 1.0):
        raise ValueError(f"importance must be in [0, 1], got {episode.importance}")
    created_ns = now_ns if episode.created_ns is None else episode.created_ns
    if not (0 <= created_ns < _MAX_COUNT and 0 <= episode.accesses < _MAX_COUNT):
        raise ValueError("the time and the accesses of an episode must be whole numbers from 0 on")
    blob = None if episode.vector is None else blob_of(episode.vector)
    model = None if blob is None else vector_model
    text, metadata = utf8(episode.text), json_of(episode.metadata)
    importance = float(episode.importance)
    key, kind = utf8(episode.key), utf8(episode.kind)
    return key, kind, text, metadata, importance, created_ns, episode.accesses, blob, model


def json_of(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON.

    Raises:
        ValueError: They are not JSON.
    """
    try:
        return _JSON.encode(dict(metadata)).encode(errors="replace").decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata is not JSON: {error}") from error


def episode_of(row: Sequence[Any]) -> Episode | None:
    """Make an episode of a row of `READ_COLUMNS`; None if the row is damaged."""
    episode_id, kind, text, metadata, created_ns, importance, accesses, key = row
    if not is_readable(kind, text, created_ns):
        return None
    try:
        values = json.loads(metadata)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    return Episode(
        episode_id,
        kind,
        text,
        values,
        created_ns,
        importance if isinstance(importance, float) and 0.0 <= importance <= 1.0 else 0.5,
        accesses if isinstance(accesses, int) else 0,
        key if isinstance(key, str) else None,
    )


def batches(ids: Collection[int]) -> Iterator[tuple[int, ...]]:
    """Yield the ids in batches that SQLite accepts as the variables of one statement."""
    remaining = list(ids)
    for first in range(0, len(remaining), _MAX_VARIABLES):
        yield tuple(remaining[first : first + _MAX_VARIABLES])


@overload
def utf8(text: str) -> str: ...
@overload
def utf8(text: None) -> None: ...
def utf8(text: str | None) -> str | None:
    """Return the text as SQLite can store it: UTF-8, which has no lone surrogates."""
    return None if text is None else text.encode(errors="replace").decode()


def blob_of(vector: Vector) -> bytes:
    """Return a vector as it is stored.

    Raises:
        ValueError: It is no row of finite numbers.
    """
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError("a vector must be one row of finite numbers")
    return quantize(vector).tobytes()


def session_of(metadata: Mapping[str, Any]) -> str:
    """Return the session of an episode; empty without one."""
    session = metadata.get("session_id")
    return session if isinstance(session, str) else ""
