"""`brainnet memory`: look into the memory of a brain, correct it, save it and fill it."""

from __future__ import annotations

from brainnet.cli import common
from brainnet.cli.memory import changing, documents, files, looking

app = common.verb("Look into memory, correct it, save it, and fill it with documents.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look into memory, correct it, save it, and fill it with documents.

    The episodic memory holds what was told (statement), what was asked and answered (exchange), and documents
    (passage); the semantic memory holds facts: what was told or needed several times.
    """


app.command("list")(looking.list_episodes)
app.command("search")(looking.search)
app.command("show")(looking.show)
app.command("stats")(looking.stats)
app.command("sources")(looking.sources)
app.command("forget")(changing.forget)
app.command("export")(files.export)
app.command("import")(files.load)
app.command("ingest")(documents.ingest)
