"""The root of the command line: the table of verbs, and the handling of their errors.

A verb is a module with `app`, a `typer.Typer` (`common.verb` makes one). With one command it is that command, with
several it is a group. A module is imported when its verb is called, so that `brainnet --help` is fast; the modules in
turn import large packages (zenoh, pydantic, numpy) inside their functions.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from brainnet.cli import output
from brainnet.collector import collect_rarely, end_uncollected
from brainnet.errors import BrainnetError
from brainnet.texts import shorten

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, by the shell's convention: 128 plus the number of SIGINT."""


class Verb(NamedTuple):
    """The module of a verb, and its line in `brainnet --help`."""

    module: str
    summary: str


VERBS: Final = {
    "launch": Verb("brainnet.cli.launch", "Start the nodes of an allocation and watch over them."),
    "status": Verb("brainnet.cli.status", "Show every node of the brain, on all hosts."),
    "stop": Verb("brainnet.cli.stop", "Stop this host's part of the brain."),
    "validate": Verb("brainnet.cli.validate", "Check an allocation or a connectome without starting anything."),
    "simulate": Verb("brainnet.cli.simulate", "Compute a network of populations in one process."),
    "clock": Verb("brainnet.cli.clock", "Show how far a running network is; pause, step and resume it."),
    "weights": Verb("brainnet.cli.weights", "Show, save and set the weights of a network that runs."),
    "prompt": Verb("brainnet.cli.prompt", "Ask the brain."),
    "memory": Verb("brainnet.cli.memory", "Look into memory, correct it, save it, and fill it with documents."),
    "stop-motors": Verb("brainnet.cli.stop_motors", "Stop everything that moves, at once; or release it."),
    "topic": Verb("brainnet.cli.topic", "List, watch, measure and publish topics."),
    "node": Verb("brainnet.cli.node", "List, inspect, restart and stop nodes; read and set their parameters."),
    "logs": Verb("brainnet.cli.logs", "Show what the nodes have logged."),
    "config": Verb("brainnet.cli.config", "Show the effective settings and where each comes from."),
    "train": Verb("brainnet.cli.train", "Train a region's model from public data."),
    "eval": Verb("brainnet.cli.evaluate", "Measure a region's model on held-out data, beside its baselines."),
    "bench": Verb("brainnet.cli.bench", "Measure this installation."),
    "chaos": Verb("brainnet.cli.chaos", "Inject faults into a brain, and count what becomes of its prompts."),
}


class LazyGroup(TyperGroup):
    """A group that knows its verbs by name and summary, and imports the module of a verb when it is called."""

    def __init__(self, **attributes: Any) -> None:
        attributes["commands"] = {name: TyperCommand(name=name, help=verb.summary) for name, verb in VERBS.items()}
        super().__init__(**attributes)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Import the verb that was named, and return its command."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if name is None or command is None else load_verb(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; turn its exceptions into one line on standard error and an exit status."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except output.OutputEnded:
            raise typer.Exit(0) from None  # `output.finish` makes it 1 where a failure ended the verb
        except BrainnetError as error:
            if ctx.params.get("debug"):
                raise
            output.note(f"brainnet: {error}")
            raise typer.Exit(1) from None
        except Exception as error:
            if ctx.params.get("debug") or type(error).__module__.partition(".")[0] in ("typer", "click"):
                raise
            output.note(
                f"brainnet: internal error: {type(error).__name__}: {shorten(str(error), 500)}; "
                "`brainnet --debug ...` shows where"
            )
            raise typer.Exit(1) from None


def load_verb(name: str) -> Any:
    """Import a verb and return its command."""
    command = typer.main.get_command(importlib.import_module(VERBS[name].module).app)
    command.name = name
    return command


app = typer.Typer(
    name="brainnet",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from brainnet import __version__

        output.line(f"brainnet {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run a distributed spiking brain: launch it, prompt it, look inside.

    Example: brainnet launch --detach && brainnet prompt "hello" && brainnet stop
    """


def main() -> None:
    """Run the command line; the exit status is 0 only when the verb succeeded and its output was written."""
    collect_rarely()
    output.prepare()
    status = 0
    try:
        typer.main.get_command(app)(prog_name="brainnet")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    status = output.finish(status)
    end_uncollected()
    sys.exit(status)
