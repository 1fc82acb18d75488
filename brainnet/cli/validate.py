"""`brainnet validate`: check an allocation, or a connectome, without starting anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.wire.extension import Extension

app = common.verb()


@app.command()
def validate(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A node_allocation file, or a connectome file; default is config/node_allocation.yaml.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Check what only a host can tell for this one of the allocation.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Check an allocation: its fields, programs and checkpoints, and every parameter against its program.

    CPUs, devices and ports are checked for the nodes that would run on this host. The programs are imported in a
    process of their own. The first mistake is named with file, line and field.

    A file with the field populations is a connectome. Its models, their parameters, ports, weights, delays and files
    are checked without making synapses, and its graph is shown: populations, projections with the synapses that are
    expected, the memory of each process, and the window that the delays allow. A delay is one step or more, so no loop
    is without one. The network that an allocation names is checked and shown in the same way, and so are the topics of
    the brain's own, which are compared with the contract.

    Example: brainnet validate my_allocation.yaml
    """
    from brainnet import settings
    from brainnet.cli import validate_connectome
    from brainnet.launcher.describe.allocation import load
    from brainnet.launcher.describe.here import check_here
    from brainnet.launcher.describe.programs import check_programs

    if file is not None and validate_connectome.is_connectome(file):
        if host is not None:
            raise typer.BadParameter(f"--host is for allocations, and {file} is a connectome")
        validate_connectome.show(file, as_json)
        return
    found = settings.load({"allocation": file})
    path = found.settings.allocation or settings.config_dir() / "node_allocation.yaml"
    loaded = load(path)
    if host is not None or len(loaded.hosts) < 2 or found.settings.host in loaded.hosts:  # else: another host's file
        here = loaded.choose_host(host, found.settings.host)
        port = found.settings.port if found.origins["port"].is_explicit else loaded.port or found.settings.port
        check_here(loaded, here, loaded.placed_on(here), port)
    checked = check_programs(loaded)
    if as_json:
        for node, program in zip(loaded.nodes, checked, strict=True):
            output.print_json({**node.model_dump(mode="json"), "line": loaded.lines.get(node.id), **asdict(program)})
    else:
        output.table(
            ["node", "host", "program", "role", "what it does"],
            [
                (node.id, node.host or "this one", node.program, program.role, program.about)
                for node, program in zip(loaded.nodes, checked, strict=True)
            ],
        )
    _show_topics(loaded.extension, as_json)
    if loaded.network is not None:
        if not as_json:
            output.line()
        validate_connectome.show(loaded.network.file, as_json)
    if not as_json:
        output.note(f"{path} is valid: {len(checked)} nodes")


def _show_topics(extension: Extension, as_json: bool) -> None:
    """Show the topics of the brain's own, if there are any."""
    if as_json:
        for row in extension.rows():
            output.print_json({"topic": row})
    elif extension.topics:
        output.line()
        output.table(
            ["topic", "key", "payload", "from", "to"],
            [
                (t.name, t.key, t.describe_payload(), ", ".join(t.publishers), ", ".join(t.subscribers))
                for t in extension.topics
            ],
        )
