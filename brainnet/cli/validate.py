"""`brainnet validate`: check an allocation without starting anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from brainnet.cli import common

app = common.verb()


@app.command()
def validate(
    allocation: Annotated[
        Path | None, typer.Argument(help="A node_allocation file; default is config/node_allocation.yaml.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Check an allocation: its fields, programs and checkpoints, and every parameter against its program.

    The programs are imported in a process of their own. The first mistake is named with file, line and field.

    Example: brainnet validate my_allocation.yaml
    """
    from brainnet import settings
    from brainnet.launcher.describe.allocation import load
    from brainnet.launcher.describe.programs import check_programs

    loaded_settings = settings.load({"allocation": allocation}).settings
    path = loaded_settings.allocation or settings.config_dir() / "node_allocation.yaml"
    loaded = load(path)
    checked = check_programs(loaded)
    if as_json:
        for node, program in zip(loaded.nodes, checked, strict=True):
            common.print_json({**node.model_dump(mode="json"), "line": loaded.lines[node.id], **asdict(program)})
        return
    from rich.table import Table

    table = Table("node", "host", "program", "role", "what it does", box=None, pad_edge=False)
    for node, program in zip(loaded.nodes, checked, strict=True):
        table.add_row(node.id, node.host or "this one", node.program, program.role, program.about)
    common.console().print(table)
    common.note(f"{path} is valid: {len(checked)} nodes")
