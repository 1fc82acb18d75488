"""Arguments and options of several verbs on topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

KeyArgument = Annotated[str, typer.Argument(help="Key or key expression, such as spikes/** or my/own/key.")]
TopicsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--topics",
        metavar="FILE",
        help="A file with topics of your own, where no launcher tells them; may be given several times.",
    ),
]
CountOption = Annotated[
    int | None, typer.Option("--count", "-n", min=1, help="End after this many messages; status 1 if fewer came.")
]
DurationOption = Annotated[float | None, typer.Option("--duration", "-d", min=0.0, help="End after this many seconds.")]
