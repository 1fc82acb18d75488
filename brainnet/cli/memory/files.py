"""`brainnet memory export` and `import`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from brainnet.cli import common, output
from brainnet.cli.memory.options import KindOption, System, SystemOption, opened
from brainnet.errors import BrainnetError


@common.takes_brain()
def export(
    brain: common.BrainOptions,
    file: Annotated[Path, typer.Argument(help="The file to write; - is standard output.")],
    kind: KindOption = None,
    system: SystemOption = System.episodic,
) -> None:
    """Save memory as JSON Lines: one episode a line, the oldest first, without vectors.

    A file that is there is replaced when all is written.

    Example: brainnet memory export memory.jsonl --kind statement
    """
    part = file.with_name(f".{file.name}.part")

    async def run(settings: Any) -> int:
        async with opened(settings, system) as memory:
            by_kind = (await memory.stats()).by_kind
            total = sum(count for name, count in by_kind.items() if not kind or name in kind)
            count = 0
            if str(file) == "-":
                async for fields in memory.export(kind):
                    output.print_json(fields)
                    count += 1
                return count
            with output.progress("episodes", total) as advance, part.open("w", encoding="utf-8") as written:
                async for fields in memory.export(kind):
                    written.write(json.dumps(fields, ensure_ascii=False) + "\n")
                    advance(1)
                    count += 1
            part.replace(file)
            return count

    try:
        count = common.run_async(run(brain.settings()))
    except OSError as error:
        raise BrainnetError(f"{file} cannot be written: {error.strerror}", code="config") from None
    finally:
        if str(file) != "-":
            part.unlink(missing_ok=True)
    if str(file) != "-":
        output.note(f"wrote {count:,} episodes to {file}")


@common.takes_brain()
def load(
    brain: common.BrainOptions,
    file: Annotated[Path, typer.Argument(help="A file that `brainnet memory export` wrote.")],
    system: SystemOption = System.episodic,
    as_json: common.JsonOption = False,
) -> None:
    """Store the episodes of a file; those that are in memory already are left as they are.

    Each line is a JSON object with `text`, and what else is known: kind, metadata, key, importance, created_ns,
    accesses. All lines are checked first. After Ctrl-C run it again: it goes on where it was.

    Example: brainnet memory import memory.jsonl
    """
    from brainnet.client.memory import read_items

    total = sum(1 for _ in read_items(file))

    async def run(settings: Any) -> int:
        new = 0
        async with opened(settings, system) as memory:
            with output.progress("episodes", total) as advance:
                async for count, added in memory.load(read_items(file)):
                    advance(count)
                    new += added
        return new

    new = common.run_async(run(brain.settings()))
    if as_json:
        output.print_json({"episodes": total, "new": new})
    else:
        output.line(f"{new:,} of {total:,} episodes are new")
