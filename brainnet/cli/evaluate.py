"""`brainnet eval`: measure a region's weights."""

from __future__ import annotations

from typing import Annotated

import typer

from brainnet.cli import common, training
from brainnet.cli.rows import report

app = common.verb()


@app.command()
def evaluate(
    region: Annotated[str, typer.Argument(help="A training program by name, or a .py file of your own.")],
    data: training.DataOption = None,
    weights: training.WeightsOption = None,
    device: training.DeviceOption = "cpu",
    seed: training.SeedOption = 0,
    threads: training.ThreadsOption = 1,
    profile: training.ProfileOption = None,
    changes: training.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Measure a region's model on held-out data, each figure beside its baseline in the same run.

    Needs no running brain. Exits with status 1 when a bar is missed.

    Example: brainnet eval my_region.py --data ~/data --json
    """
    from brainnet.errors import TrainingError

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
    )
    if weights is not None and not weights.is_file():
        raise TrainingError(f"there are no weights at {weights}; `brainnet train {region}` makes them")
    report(program.evaluate(run), as_json)
