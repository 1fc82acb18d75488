"""What the commands of `brainnet memory` have in common."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common
from brainnet.texts import shorten

if TYPE_CHECKING:
    from brainnet.client.memory import Memory
    from brainnet.wire.messages import MemoryEpisode

_SHOWN = 300
"""Characters of a text in a table."""


class System(StrEnum):
    """A memory."""

    episodic = "episodic"
    semantic = "semantic"


SystemOption = Annotated[System, typer.Option("--system", help="Episodes, or facts.")]
KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only this kind: statement, exchange, passage, fact, ...; may be repeated."),
]
SessionOption = Annotated[str | None, typer.Option("--session", help="Only what belongs to this session.")]
SourceOption = Annotated[str | None, typer.Option("--source", help="Only the passages of this document.")]


@contextlib.asynccontextmanager
async def opened(settings: Any, system: System) -> AsyncIterator[Memory]:
    """Connect to a memory of the brain that the settings select."""
    from brainnet.client.memory import Memory

    async with await common.connect(settings) as bus:
        yield Memory(bus, system.value)


def rows_of(episodes: list[MemoryEpisode]) -> list[tuple[str, ...]]:
    """Return the rows of a table of episodes: id, kind, when, answers, text."""
    return [
        (str(each.episode_id), each.kind, when(each.created_ns), str(each.accesses), one_line(each.text))
        for each in episodes
    ]


def one_line(text: str) -> str:
    """Return a text as it stands in a table."""
    return shorten(" ".join(text.split()), _SHOWN)


def when(created_ns: int) -> str:
    """Return a time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(created_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # of a clock that was far off
        return "?"
