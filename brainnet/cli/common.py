"""What the verbs share: their options, settings, the connection to a brain, and how they print.

Tables and text for people go to stdout through `console`; JSON for programs goes to stdout through `print_json`, one
object a line; everything else that a verb has to say goes to stderr through `note`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from brainnet.bus import Bus, Endpoint
    from brainnet.settings import LoadedSettings, Settings

T = TypeVar("T")

_BRAIN = "Which brain"
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", help="Namespace of the brain.", rich_help_panel=_BRAIN)
]
PortOption = Annotated[int | None, typer.Option("--port", help="TCP port of this host's hub.", rich_help_panel=_BRAIN)]
HubOption = Annotated[
    str | None,
    typer.Option(
        "--hub", help="Zenoh endpoint of a hub elsewhere, such as tcp/192.168.1.20:7447.", rich_help_panel=_BRAIN
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def verb(help: str | None = None, **settings: Any) -> typer.Typer:
    """A Typer for one verb or a group of them, set up like all others."""
    return typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False, **settings)


def load(namespace: str | None = None, port: int | None = None, hub: str | None = None, **more: Any) -> LoadedSettings:
    """Effective settings with their origins, these options on top; None means not given."""
    from brainnet import settings

    return settings.load({"namespace": namespace, "port": port, "hub": hub, **more})


async def connect(settings: Settings, *, timeout: float = 3.0) -> Bus:
    """Join the brain that the settings name, as a client; see `brainnet.client.connect`."""
    from brainnet import client

    return await client.connect(endpoint_of(settings), timeout=timeout)


def endpoint_of(settings: Settings) -> Endpoint:
    """The brain that the settings name."""
    from brainnet.bus import Endpoint

    return Endpoint(settings.namespace, settings.endpoint)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a verb's coroutine; Ctrl-C cancels it, lets it clean up, and ends the command with status 130."""
    return asyncio.run(work)


def print_json(value: Any) -> None:
    """Print a message, a pydantic model, a dataclass-free map or a list as one line of JSON, at once."""
    if hasattr(value, "model_dump_json"):
        line = value.model_dump_json()
    else:
        line = json.dumps(value, default=_plain, ensure_ascii=False)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def note(text: str) -> None:
    """Say something to the person, beside the output."""
    typer.echo(text, err=True)


def console() -> Console:
    """Where tables go. Not truncated when the output is not a terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)
