"""`brainnet train`: make a region's weights again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output, training

if TYPE_CHECKING:
    from pathlib import Path

    from brainnet.training import Program

app = common.verb()


@app.command()
def train(
    region: Annotated[
        str | None, typer.Argument(help="A training program by name, or a .py file of your own; none lists them.")
    ] = None,
    data: training.DataOption = None,
    weights: training.WeightsOption = None,
    device: training.DeviceOption = "cpu",
    seed: training.SeedOption = 0,
    threads: training.ThreadsOption = 1,
    profile: training.ProfileOption = None,
    changes: training.SetOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of an interrupted training of these settings.")
    ] = False,
    list_settings: Annotated[
        bool, typer.Option("--list-settings", help="Show the settings of the program and train nothing.")
    ] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Train a region's model from public data, and write its weights.

    Without a region it lists the training programs. An interrupted training goes on with --resume.

    Example: brainnet train my_region.py --data ~/data --set epochs=10
    """
    if region is None:
        _list_programs(as_json)
        return
    program = training.program_of(region)
    run = training.run_of(
        program,
        data=data,
        weights=weights,
        device=device,
        seed=seed,
        threads=threads,
        profile=profile,
        changes=changes,
        resume=resume,
    )
    if list_settings:
        _list_settings(program, run.settings.model_dump(mode="json"), as_json)
        return
    begun, before = time.monotonic(), _saved(run.weights)
    try:
        program.train(run)
    except KeyboardInterrupt:
        if run.has_checkpoint():
            output.note("interrupted; the same command with --resume goes on from the last checkpoint")
        raise
    run.delete_checkpoints()
    seconds = time.monotonic() - begun
    written = [file for file, when in _saved(run.weights).items() if when != before.get(file)]
    if as_json:
        files = [{"weights": str(file), "bytes": file.stat().st_size} for file in written]
        output.print_json({"written": files, "seconds": round(seconds, 1)})
    else:
        for file in written:
            output.line(f"wrote {file} ({file.stat().st_size / 1e6:.2f} MB)")
        output.line(f"trained {region} in {seconds:.0f} s; `brainnet eval {region}` measures it")


def _saved(weights: Path) -> dict[Path, int]:
    """Return the weights in the folder of `weights`, baselines included, and when each was written.

    A program may write several files, or none of the name `weights`; a changed time shows which it wrote.
    """
    folders = (weights.parent, weights.parent / "baselines")
    return {file: file.stat().st_mtime_ns for folder in folders for file in sorted(folder.glob("*.safetensors"))}


def _list_programs(as_json: bool) -> None:
    from brainnet.training.program import profiles, summaries

    named = profiles()
    programs = [(name, list(named.get(name, {})), about) for name, about in summaries().items()]
    if as_json:
        for name, known, about in programs:
            output.print_json({"program": name, "about": about, "profiles": known})
        return
    output.table(
        ["program", "profiles", "what it trains"], [(name, " ".join(known), about) for name, known, about in programs]
    )


def _list_settings(program: Program, values: dict[str, object], as_json: bool) -> None:
    if as_json:
        output.print_json(values)
        return
    output.table(
        ["setting", "value", "meaning"],
        [(name, str(values[name]), field.description or "") for name, field in program.settings.model_fields.items()],
    )
