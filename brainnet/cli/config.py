"""`brainnet config`: the effective settings."""

from __future__ import annotations

from brainnet.cli import common, output

app = common.verb("Show the effective settings and where each comes from.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show the effective settings and where each comes from."""


@app.command()
@common.takes_brain()
def show(
    brain: common.BrainOptions,
    as_json: common.JsonOption = False,
) -> None:
    """Show each setting, its value, and the file, variable or option that set it.

    Example: BRAINNET_PORT=7500 brainnet config show
    """
    loaded = brain.load()
    values = loaded.settings.model_dump(mode="json")
    fields = type(loaded.settings).model_fields
    if as_json:
        for name, value in values.items():
            output.print_json({"name": name, "value": value, "origin": str(loaded.origins[name])})
        return
    output.table(
        ["setting", "value", "from", "meaning"],
        [
            (
                name,
                "" if value is None else str(value),
                str(loaded.origins[name]),
                output.Styled(fields[name].description or "", "dim"),
            )
            for name, value in values.items()
        ],
    )
