"""`brainnet weights`: the weights of a network that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.wire.messages import ProjectionWeights, Weights

app = common.verb()


@app.command()
@common.takes_brain()
def weights(
    brain: common.BrainOptions,
    projection: Annotated[
        str | None, typer.Argument(metavar="PROJECTION", help="Its name, such as 'a->b'; all without one.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE.npz", help="Write the synapses with their weights.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option("--load", metavar="FILE.npz", help="Set the weights to those of such a file.")
    ] = None,
    value: Annotated[float | None, typer.Option("--set", help="Set all weights to this one.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show how strong the projections of a network are now; save the weights of one, or set them where it learns.

    A saved file is what `connect: explicit` reads, so a network can begin with what another one has learned. Weights
    that are set hold from the next step of their process on: pause the network before with `brainnet clock pause`, if
    it has to be the same step each time.

    Example: brainnet weights

    Example: brainnet weights 'a->b' --save learned.npz

    Example: brainnet weights 'a->b' --set 0.5
    """
    if projection is None and (save is not None or load is not None or value is not None):
        raise typer.BadParameter("name the projection whose weights are saved or set", param_hint="PROJECTION")
    if load is not None and value is not None:
        raise typer.BadParameter("give either a file or one weight for all", param_hint="--set")
    new = None if load is None and value is None else _new(load, value)

    async def ask(settings: Any) -> list[tuple[Weights, ProjectionWeights]]:
        from brainnet.client.weights import all_weights, weights_of

        async with await common.connect(settings) as bus:
            if projection is None:
                return [(reply, found) for reply in await all_weights(bus) for found in reply.projections]
            return [await weights_of(bus, projection, with_synapses=save is not None, new=new)]

    found = common.run_async(ask(brain.settings()))
    if save is not None:
        from brainnet.client.weights import save as save_file

        save_file(save, *found[0])
    for reply, each in found if as_json else []:
        output.print_json(
            {
                "projection": each.projection,
                "from": each.source,
                "to": reply.population,
                "step": reply.step,
                "learns": each.learns,
                "synapses": each.synapses,
                "mean": each.mean,
                "deviation": each.deviation,
                "smallest": each.smallest,
                "largest": each.largest,
            }
        )
    if not as_json:
        numbers = ("synapses", "mean", "deviation", "smallest", "largest", "before step")
        output.table(
            ["projection", "learns", *(output.Column(title, right=True) for title in numbers)],
            [
                (
                    each.projection,
                    "yes" if each.learns else "no",
                    "not stored" if each.synapses is None else f"{each.synapses:,}",
                    *("" if number is None else f"{number:.6g}" for number in _numbers(each)),
                    f"{reply.step:,}",
                )
                for reply, each in found
            ],
        )
    if save is not None:
        output.note(f"wrote {save}")


def _numbers(each: ProjectionWeights) -> tuple[float | None, ...]:
    return each.mean, each.deviation, each.smallest, each.largest


def _new(load: Path | None, value: float | None) -> Any:
    """Return the weights to set."""
    import numpy as np

    from brainnet.simulation.weights_file import read_weights

    return np.array([value]) if load is None else read_weights(load)
