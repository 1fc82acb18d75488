"""`brainnet simulate`: compute a connectome in one process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from brainnet.cli import common, output

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
    as_json: common.JsonOption = False,
) -> None:
    """Compute a network of populations in one process, as fast as it goes, and print how much each of them fired.

    The same file and seed give the same spikes, bit by bit, as a run that is divided among processes and hosts. The
    digest is of all spikes, also of those that --skip-ms leaves out.

    Example: brainnet simulate config/connectome_config.yaml --steps 1000 --digest

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
    longest = window or PART
    network = build(described)
    fired = dict.fromkeys(network.populations, 0)
    started = time.perf_counter()
    with output.progress("steps", total) as advance:
        done = 0
        while done < total:
            part = min((total if done >= skipped else skipped) - done, longest)
            for name, spikes in network.advance(part).items():
                fired[name] += spikes.count if done >= skipped else 0
            done += part
            advance(part)
    seconds = time.perf_counter() - started
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
