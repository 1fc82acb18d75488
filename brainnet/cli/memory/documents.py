"""`brainnet memory ingest`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output
from brainnet.cli.memory.options import System, opened

if TYPE_CHECKING:
    from brainnet.client.ingest import Ingested


@common.takes_brain()
def ingest(
    brain: common.BrainOptions,
    paths: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Documents, and folders of documents.")],
    as_json: common.JsonOption = False,
) -> None:
    """Store documents in memory, as passages of a few sentences: text, Markdown, HTML and PDF.

    A document that is there already is left as it is; one that has changed replaces what was there. After Ctrl-C run it
    again: it goes on where it was. PDF needs `pip install 'brainnet[documents]'`.

    Example: brainnet memory ingest manuals notes.md
    """
    from brainnet.documents import find_documents
    from brainnet.errors import DocumentError

    files = find_documents(paths)
    if not files:
        raise DocumentError(f"there is no document in {', '.join(map(str, paths))}")

    async def run(settings: Any) -> list[Ingested]:
        from brainnet.client.ingest import ingest as store

        done = []
        async with opened(settings, System.episodic) as memory:
            with output.working("reading") as show:
                for number, file in enumerate(files, 1):
                    name = f"{number} of {len(files)}: {file.source}"
                    show(name)
                    result = await store(memory, file, partial(_show, show, name))
                    done.append(result)
                    if as_json:
                        output.print_json(_fields(result))
        return done

    done = common.run_async(run(brain.settings()))
    if not as_json:
        output.table(
            ["document", "state", output.Column("passages", right=True), ""],
            [(each.source, each.state, f"{each.passages:,}", each.detail) for each in done],
        )
    failed = [each for each in done if each.state == "failed"]
    if failed:
        raise DocumentError(f"{len(failed)} of {len(done)} documents could not be read, such as {failed[0].detail}")


def _show(show: Callable[[str], None], name: str, done: int, total: int) -> None:
    show(f"{name}, {done} of {total} passages")


def _fields(result: Ingested) -> dict[str, object]:
    return {
        "source": result.source,
        "state": result.state,
        "passages": result.passages,
        "detail": result.detail,
    }
