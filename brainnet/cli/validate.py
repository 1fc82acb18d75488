"""`brainnet validate`: check an allocation without starting anything."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from brainnet.cli import common, output

app = common.verb()


@app.command()
def validate(
    allocation: common.AllocationArgument = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Check what only a host can tell for this one of the allocation.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Check an allocation: its fields, programs and checkpoints, and every parameter against its program.

    CPUs, devices and ports are checked for the nodes that would run on this host. The programs are imported in a
    process of their own. The first mistake is named with file, line and field.

    Example: brainnet validate my_allocation.yaml
    """
    from brainnet import settings
    from brainnet.launcher.describe.allocation import load
    from brainnet.launcher.describe.here import check_here
    from brainnet.launcher.describe.programs import check_programs

    found = settings.load({"allocation": allocation})
    path = found.settings.allocation or settings.config_dir() / "node_allocation.yaml"
    loaded = load(path)
    if host is not None or len(loaded.hosts) < 2 or found.settings.host in loaded.hosts:  # else: another host's file
        here = loaded.choose_host(host, found.settings.host)
        port = found.settings.port if found.origins["port"].is_explicit else loaded.port or found.settings.port
        check_here(loaded, here, loaded.placed_on(here), port)
    checked = check_programs(loaded)
    if as_json:
        for node, program in zip(loaded.nodes, checked, strict=True):
            output.print_json({**node.model_dump(mode="json"), "line": loaded.lines[node.id], **asdict(program)})
        return
    output.table(
        ["node", "host", "program", "role", "what it does"],
        [
            (node.id, node.host or "this one", node.program, program.role, program.about)
            for node, program in zip(loaded.nodes, checked, strict=True)
        ],
    )
    output.note(f"{path} is valid: {len(checked)} nodes")
