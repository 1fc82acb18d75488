"""`brainnet simulate`: compute a connectome in one process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output
from brainnet.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from brainnet.connectome import Connectome
    from brainnet.simulation.network import Network
    from brainnet.simulation.spikes import Spikes

app = common.verb()

PART = 100
"""Steps between two looks at the progress; the network itself divides them as its delays allow."""


@app.command()
def simulate(
    connectome: Annotated[Path, typer.Argument(help="A connectome file.")],
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps to compute.")] = None,
    duration_ms: Annotated[
        float | None,
        typer.Option("--duration-ms", min=0.001, help="Time to compute, in place of steps."),
    ] = None,
    skip_ms: Annotated[
        float,
        typer.Option("--skip-ms", min=0.0, help="Time at the beginning whose spikes do not count in spikes and rates."),
    ] = 0.0,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="In place of that of the file.")] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Print the SHA-256 of all spikes.")] = False,
    window: Annotated[
        int | None, typer.Option("--window", min=1, help="Steps computed at once; the spikes do not depend on it.")
    ] = None,
    save_spikes: Annotated[
        Path | None,
        typer.Option("--save-spikes", metavar="FILE.npz", help="Write step and neuron of every spike, by population."),
    ] = None,
    save_weights: Annotated[
        Path | None,
        typer.Option("--save-weights", metavar="FOLDER", help="Write the weights at the end, a file a projection."),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Compute a network of populations in one process, as fast as it goes, and print how much each of them fired.

    The same file and seed give the same spikes, bit by bit, as a run that is divided among processes and hosts. The
    digest is of all spikes, also of those that --skip-ms leaves out.

    Example: brainnet simulate config/connectome_config.yaml --steps 1000 --digest

    The file of spikes holds for each population the arrays NAME.steps and NAME.neurons, and dt_ms. A file of weights,
    such as a.to.b.npz, is what `connect: explicit` reads, so a network can begin with what another one has learned.

    Example: brainnet simulate config/connectome_config.yaml --steps 1000 --save-spikes spikes.npz

    Example: brainnet simulate launch/microcircuit/microcircuit.yaml --duration-ms 2000 --skip-ms 500
    """
    from brainnet.connectome import build, load

    if (steps is None) == (duration_ms is None):
        raise typer.BadParameter("say how long, either with --steps or with --duration-ms")
    described = load(connectome).with_seed(seed)
    dt_ms = described.clock.dt_ms
    total = steps if steps is not None else max(1, round((duration_ms or 0.0) / dt_ms))
    skipped = round(skip_ms / dt_ms)
    if skipped >= total:
        raise typer.BadParameter(
            f"{skip_ms:g} ms leaves nothing of the {total * dt_ms:g} ms that are computed", param_hint="--skip-ms"
        )
    _check_outputs(save_spikes, save_weights)
    longest = window or PART
    network = build(described)
    fired = dict.fromkeys(network.populations, 0)
    kept: dict[str, list[Spikes]] = {name: [] for name in network.populations}
    started = time.perf_counter()
    with output.progress("steps", total) as advance:
        done = 0
        while done < total:
            part = min((total if done >= skipped else skipped) - done, longest)
            for name, spikes in network.advance(part).items():
                fired[name] += spikes.count if done >= skipped else 0
                if save_spikes is not None:
                    kept[name].append(spikes)
            done += part
            advance(part)
    seconds = time.perf_counter() - started
    if save_spikes is not None:
        _write_spikes(save_spikes, kept, dt_ms)
    if save_weights is not None:
        _write_weights(save_weights, described, network)
    biological_s = total * dt_ms / 1000
    counted_s = (total - skipped) * dt_ms / 1000
    digests = network.digests()
    sizes = {name: population.model.setting.size for name, population in network.populations.items()}
    rows = [(name, size, fired[name], fired[name] / size / counted_s) for name, size in sizes.items()]
    if as_json:
        for name, size, spikes_, rate in rows:
            line = {"population": name, "neurons": size, "spikes": spikes_, "rate_hz": rate}
            output.print_json(line | ({"digest": digests[name]} if digest else {}))
        end = {"steps": total, "skipped_steps": skipped, "dt_ms": dt_ms}
        end |= {"seconds": seconds, "real_time_factor": biological_s / seconds}
        output.print_json(end | ({"digest": network.digest()} if digest else {}))
        return
    output.table(
        ["population", *(output.Column(title, right=True) for title in ("neurons", "spikes", "rate Hz"))],
        [(name, f"{size:,}", f"{spikes_:,}", f"{rate:.3f}") for name, size, spikes_, rate in rows],
    )
    if digest:
        output.line(f"digest {network.digest()}")
    output.note(f"{total:,} steps of {dt_ms:g} ms in {seconds:.2f} s: {biological_s / seconds:.2f} times real time")


def _check_outputs(spikes: Path | None, weights: Path | None) -> None:
    """Find out before anything is computed that the results cannot be written."""
    try:
        if spikes is not None:
            spikes.open("ab").close()
        if weights is not None:
            weights.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the results cannot be written: {error.filename}: {error.strerror}") from None


def _write_spikes(path: Path, kept: dict[str, list[Spikes]], dt_ms: float) -> None:
    import numpy as np

    arrays = {"dt_ms": np.array(dt_ms)}
    for name, windows in kept.items():
        steps = [np.repeat(np.arange(w.first_step, w.end_step), np.diff(w.offsets)) for w in windows]
        arrays[f"{name}.steps"] = np.concatenate(steps)
        arrays[f"{name}.neurons"] = np.concatenate([w.neurons for w in windows])
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise ConfigError(f"the results cannot be written: {path}: {error.strerror}") from None
    output.note(f"wrote {path}")


def _write_weights(folder: Path, connectome: Connectome, network: Network) -> None:
    from brainnet.connectome import rows_of
    from brainnet.simulation.weights_file import save_weights

    for projection in connectome.projections:
        try:
            weights = network.populations[projection.entry.target].weights(projection.name)
        except ModelError as error:  # of synapses that are not stored
            output.note(str(error))
            continue
        rows = rows_of(connectome, projection)
        path = folder / (projection.name.replace("->", ".to.").replace("#", ".") + ".npz")
        save_weights(path, rows.start, rows.targets, weights, rows.delays * connectome.clock.dt_ms)
        output.note(f"wrote {path}")
