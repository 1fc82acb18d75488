"""`brainnet memory forget`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output
from brainnet.cli.memory.options import (
    KindOption,
    SessionOption,
    SourceOption,
    System,
    SystemOption,
    opened,
    rows_of,
)
from brainnet.errors import BrainnetError

if TYPE_CHECKING:
    from brainnet.client.memory import Memory
    from brainnet.wire.messages import MemoryDelete, MemoryDeleted, MemoryEpisode

_PREVIEW = 10
"""Episodes that are shown before somebody confirms."""


@common.takes_brain()
def forget(
    brain: common.BrainOptions,
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID...]", help="Ids of episodes.")] = None,
    text: Annotated[str, typer.Option("--text", help="All episodes that contain these words.")] = "",
    source: SourceOption = None,
    kind: KindOption = None,
    session: SessionOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All episodes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    system: SystemOption = System.episodic,
    as_json: common.JsonOption = False,
) -> None:
    """Delete episodes for good, with the answered prompts that repeat them.

    Shows what would be deleted, and asks, unless --yes is given. Nothing of it stays in the files of the brain.

    Example: brainnet memory forget 12 13

    Example: brainnet memory forget --text "door code" --yes

    Example: brainnet memory forget --source manuals/pump.pdf
    """
    from brainnet.wire.messages import MAX_BATCH, MemoryDelete

    conditions = bool(text.strip() or source is not None or kind or session is not None)
    if not ids and not conditions and not everything:
        raise typer.BadParameter("say what: ids, --text, --source, --kind, --session or --all", param_hint="ID")
    if (ids and (conditions or everything)) or (conditions and everything):
        raise typer.BadParameter("give ids alone, --all alone, or other conditions", param_hint="ID")
    if ids and len(ids) > MAX_BATCH:
        raise typer.BadParameter(f"give at most {MAX_BATCH} ids", param_hint="ID")
    request = MemoryDelete(
        ids=ids or None, text=text.strip(), kinds=kind or None, session_id=session, source=source, everything=everything
    )
    if not yes and not sys.stdin.isatty():
        raise BrainnetError("nobody can be asked here whether it shall be deleted; give --yes", code="config")

    async def look(settings: Any) -> tuple[list[MemoryEpisode], int]:
        async with opened(settings, system) as memory:
            return await _matching(memory, request)

    async def delete(settings: Any, count: int) -> MemoryDeleted:
        async with opened(settings, system) as memory:
            return await memory.forget(request.model_copy(update={"confirm": None if ids else count}))

    episodes, count = common.run_async(look(brain.settings()))
    if not count:
        raise BrainnetError("no episode is like that; nothing was deleted", code="not_found")
    if not yes:
        output.table([output.Column("id", right=True), "kind", "when (UTC)", "answers", "text"], rows_of(episodes))
        if count > len(episodes):
            output.note(f"... and {count - len(episodes)} more")
        if not _agreed(f"Delete {count} for good? [y/N]"):
            raise typer.Exit(1)
    deleted = common.run_async(delete(brain.settings(), count))
    if deleted.deleted != deleted.matched:
        raise BrainnetError(
            f"there are now {deleted.matched} instead of {count}, so nothing was deleted; look at them and try again",
            code="refused",
        )
    if as_json:
        output.print_json(deleted.model_dump(mode="json", include={"matched", "deleted", "repeating", "kept_in"}))
    else:
        others = f", and {deleted.repeating} that repeated them" if deleted.repeating else ""
        output.line(f"deleted {deleted.deleted}{others}")
    if deleted.kept_in:
        output.note(
            f"these damaged copies beside the memory may still hold them; delete them: {', '.join(deleted.kept_in)}"
        )


def _agreed(question: str) -> bool:
    """Ask on standard error, so that standard output holds the result alone; anything but yes is no."""
    output.note(question)
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


async def _matching(memory: Memory, request: MemoryDelete) -> tuple[list[MemoryEpisode], int]:
    """Return the first of the episodes that would be deleted, and the number of all."""
    if request.ids is not None:
        found = await memory.get(request.ids)
        missing = sorted(set(request.ids).difference(each.episode_id for each in found))
        if missing:
            raise BrainnetError(f"there is no episode {', '.join(map(str, missing))}", code="not_found")
        return found[:_PREVIEW], len(found)
    seen = await memory.forget(request)  # without a confirmation nothing is deleted
    return seen.episodes[:_PREVIEW], seen.matched
