"""`brainnet memory list`, `search`, `show`, `stats` and `sources`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output
from brainnet.cli.memory.options import (
    KindOption,
    SessionOption,
    SourceOption,
    System,
    SystemOption,
    one_line,
    opened,
    rows_of,
    when,
)
from brainnet.errors import BrainnetError

if TYPE_CHECKING:
    from brainnet.wire.messages import MemoryEpisode, MemoryHit, MemoryStats

_COLUMNS = (
    output.Column("id", right=True),
    "kind",
    output.Column("when (UTC)", whole=True),
    output.Column("answers", right=True),
    "text",
)


@common.takes_brain()
def list_episodes(
    brain: common.BrainOptions,
    kind: KindOption = None,
    session: SessionOption = None,
    source: SourceOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Episodes at most.")] = 20,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Begin with the oldest.")] = False,
    system: SystemOption = System.episodic,
    as_json: common.JsonOption = False,
) -> None:
    """List what is in memory, the newest first.

    Example: brainnet memory list --kind statement --limit 50
    """

    async def ask(settings: Any) -> tuple[list[MemoryEpisode], int]:
        from brainnet.wire.messages import MemoryList

        conditions = MemoryList(kinds=kind, session_id=session, source=source)
        async with opened(settings, system) as memory:
            request = conditions.model_copy(update={"newest_first": not oldest_first, "limit": min(limit, 500)})
            found = [episode async for episode in memory.episodes(request, limit)]
            total = (await memory.page(conditions.model_copy(update={"limit": 1}))).total
        return found, total

    episodes, total = common.run_async(ask(brain.settings()))
    if as_json:
        for episode in episodes:
            output.print_json(episode)
        return
    output.table(_COLUMNS, rows_of(episodes))
    if total > len(episodes):
        output.note(f"{len(episodes)} of {total}; --limit shows more")


@common.takes_brain()
def search(
    brain: common.BrainOptions,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Episodes at most.")] = 10,
    kind: KindOption = None,
    system: SystemOption = System.episodic,
    as_json: common.JsonOption = False,
) -> None:
    """Search memory by words and meaning, the best first.

    Example: brainnet memory search "blue toolbox"
    """

    async def ask(settings: Any) -> list[MemoryHit]:
        async with opened(settings, system) as memory:
            return await memory.search(text, limit, kind)

    hits = common.run_async(ask(brain.settings()))
    if as_json:
        for hit in hits:
            output.print_json(hit)
        return
    output.table(
        [
            output.Column("id", right=True),
            output.Column("score", right=True),
            "kind",
            output.Column("when (UTC)", whole=True),
            "text",
        ],
        [(str(hit.episode_id), f"{hit.score:.3f}", hit.kind, when(hit.created_ns), one_line(hit.text)) for hit in hits],
    )


@common.takes_brain()
def show(
    brain: common.BrainOptions,
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of episodes.")],
    system: SystemOption = System.episodic,
    as_json: common.JsonOption = False,
) -> None:
    """Show episodes with everything that is stored of them.

    Example: brainnet memory show 12 13
    """

    async def ask(settings: Any) -> list[MemoryEpisode]:
        async with opened(settings, system) as memory:
            return await memory.get(ids)

    episodes = common.run_async(ask(brain.settings()))
    for number, episode in enumerate(episodes):
        if as_json:
            output.print_json(episode)
            continue
        if number:
            output.line("")
        output.line(output.Styled(f"{episode.kind} {episode.episode_id}", "bold"), f", {when(episode.created_ns)} UTC")
        output.text(episode.text)
        for name, value in _details(episode):
            output.line(f"  {name}: {value}")
    missing = sorted(set(ids).difference(each.episode_id for each in episodes))
    if missing:
        raise BrainnetError(f"there is no episode {', '.join(map(str, missing))}", code="not_found")


def _details(episode: MemoryEpisode) -> list[tuple[str, str]]:
    metadata = [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
        for name, value in episode.metadata.items()
    ]
    key = [] if episode.key is None else [("key", episode.key)]
    return [("answers", str(episode.accesses)), ("importance", f"{episode.importance:g}"), *key, *metadata]


@common.takes_brain()
def stats(
    brain: common.BrainOptions, system: SystemOption = System.episodic, as_json: common.JsonOption = False
) -> None:
    """Show how much is in memory.

    Example: brainnet memory stats
    """
    found = common.run_async(_stats(brain.settings(), system))
    if as_json:
        output.print_json(found.model_dump(mode="json", exclude={"sources"}) | {"documents": len(found.sources)})
        return
    rows = [("episodes", f"{found.episodes:,}")]
    rows += [(f"  {kind}", f"{count:,}") for kind, count in found.by_kind.items()]
    rows += [
        ("answers given", f"{found.accesses:,}"),
        ("documents", f"{len(found.sources):,}"),
        ("used", f"{found.used_bytes / 1e6:.1f} MB of {found.limit_bytes / 1e6:,.0f} MB"),
    ]
    if found.damaged:
        rows.append(("damaged rows", f"{found.damaged:,}"))
    output.table(["memory", output.Column(system.value, right=True)], rows)


@common.takes_brain()
def sources(
    brain: common.BrainOptions, system: SystemOption = System.episodic, as_json: common.JsonOption = False
) -> None:
    """List the documents in memory.

    Example: brainnet memory sources
    """
    found = common.run_async(_stats(brain.settings(), system)).sources
    if as_json:
        for source in found:
            output.print_json(source)
        return
    output.table(
        [
            "document",
            "title",
            output.Column("passages", right=True),
            output.Column("characters", right=True),
            "when (UTC)",
        ],
        [
            (
                each.source,
                each.title,
                f"{each.passages:,}" + ("" if each.passages >= each.expected else f" of {each.expected:,}"),
                f"{each.characters:,}",
                when(each.created_ns),
            )
            for each in found
        ],
    )


async def _stats(settings: Any, system: System) -> MemoryStats:
    async with opened(settings, system) as memory:
        return await memory.stats()
