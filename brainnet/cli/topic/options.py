"""Arguments and options of several verbs on topics."""

from __future__ import annotations

from typing import Annotated

import typer

KeyArgument = Annotated[str, typer.Argument(help="Key or key expression, such as spikes/** or my/own/key.")]
CountOption = Annotated[
    int | None, typer.Option("--count", "-n", min=1, help="End after this many messages; status 1 if fewer came.")
]
DurationOption = Annotated[float | None, typer.Option("--duration", "-d", min=0.0, help="End after this many seconds.")]
