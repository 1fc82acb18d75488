"""Shared by all verbs: their options, settings and the connection to a brain; `brainnet.cli.output` prints."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

if TYPE_CHECKING:
    from brainnet.bus import Bus, Endpoint
    from brainnet.settings import LoadedSettings, Settings

__all__ = [
    "AllocationArgument",
    "BrainOptions",
    "JsonOption",
    "connect",
    "endpoint_of",
    "run_async",
    "takes_brain",
    "verb",
]
T = TypeVar("T")

AllocationArgument = Annotated[
    Path | None, typer.Argument(help="A node_allocation file; default is config/node_allocation.yaml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

_PANEL = "Which brain"
_BRAIN_OPTIONS: Final = {
    "namespace": Annotated[
        str | None, typer.Option("--namespace", help="Namespace of the brain.", rich_help_panel=_PANEL)
    ],
    "port": Annotated[int | None, typer.Option("--port", help="TCP port of this host's hub.", rich_help_panel=_PANEL)],
    "hub": Annotated[
        str | None,
        typer.Option(
            "--hub", help="Zenoh endpoint of a hub elsewhere, such as tcp/192.168.1.20:7447.", rich_help_panel=_PANEL
        ),
    ],
}


@dataclass(frozen=True, slots=True)
class BrainOptions:
    """The options that select a brain; None where an option was not given."""

    namespace: str | None = None
    port: int | None = None
    hub: str | None = None

    def load(self) -> LoadedSettings:
        """Return the effective settings and their origins, with these options as the last source."""
        from brainnet import settings

        return settings.load(asdict(self))

    def settings(self) -> Settings:
        """Return the effective settings, with these options as the last source."""
        return self.load().settings


def takes_brain(*, hub: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare the options that select a brain on a verb, which gets their values as its argument `brain`.

    Args:
        hub: Declare `--hub`, too; without it the verb is for this host only.
    """
    names = [name for name in _BRAIN_OPTIONS if hub or name != "hub"]

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def command(**arguments: Any) -> None:
            verb(brain=BrainOptions(**{name: arguments.pop(name) for name in names}), **arguments)

        # Typer declares options by the signature of a function and by its annotations, so both have to be those of the
        # verb with the options in place of `brain`. Keyword-only, because an option may follow an argument with a
        # default. Annotations are evaluated here, with the globals of the verb's module.
        parameters = dict(inspect.signature(verb, eval_str=True).parameters)
        del parameters["brain"]
        for name in names:
            parameters[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_BRAIN_OPTIONS[name]
            )
        command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        command.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
        return command

    return decorate


def verb(help: str | None = None, **settings: Any) -> typer.Typer:
    """Make the Typer of one verb or of a group of verbs, with the settings that all have in common."""
    return typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False, **settings)


async def connect(settings: Settings, *, timeout: float = 3.0, topics: bool = False) -> Bus:
    """Join the brain that the settings select, as a client; see `brainnet.client.connect`.

    Args:
        settings: Select the brain.
        timeout: Seconds to wait for the hub.
        topics: Learn the topics that the brain has of its own; only the verbs on topics need them.

    Raises:
        ConnectError: No brain answers there.
        LaunchError: The launcher of this host is frozen; says what to do.
    """
    from brainnet import client

    check_launcher(settings)
    return await client.connect(endpoint_of(settings), timeout=timeout, topics=topics)


def check_launcher(settings: Settings) -> None:
    """Check that the launcher of this host, where it is the one that the settings select, is not frozen.

    Raises:
        LaunchError: It is; says what to do.
    """
    from brainnet.launcher.run.lock import check_replies

    if settings.hub is None:
        check_replies(settings.state)


def endpoint_of(settings: Settings) -> Endpoint:
    """Return the endpoint of the brain that the settings select."""
    from brainnet.bus import Endpoint

    return Endpoint(settings.namespace, settings.endpoint)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine of a verb; Ctrl-C cancels it, waits for its clean-up, and exits with status 130."""
    return asyncio.run(work)
