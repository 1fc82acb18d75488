"""`brainnet simulate`: compute a connectome in one process."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from brainnet.cli import common, output

app = common.verb()


@app.command()
def simulate(
    connectome: Annotated[Path, typer.Argument(help="A connectome file.")],
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps to compute.")] = None,
    duration_ms: Annotated[
        float | None,
        typer.Option("--duration-ms", min=0.001, help="Time to compute, in place of steps."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="In place of that of the file.")] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Print the SHA-256 of all spikes.")] = False,
    window: Annotated[
        int | None, typer.Option("--window", min=1, help="Steps computed at once; the spikes do not depend on it.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Compute a network of populations in one process, as fast as it goes, and print how much each of them fired.

    The same file and seed give the same spikes, bit by bit, as a run that is divided among processes and hosts.

    Example: brainnet simulate config/connectome_config.yaml --steps 1000 --digest
    """
    from brainnet.connectome import build, load, window_of

    if (steps is None) == (duration_ms is None):
        raise typer.BadParameter("say how long, either with --steps or with --duration-ms")
    described = load(connectome).with_seed(seed)
    dt_ms = described.clock.dt_ms
    total = steps if steps is not None else max(1, round((duration_ms or 0.0) / dt_ms))
    longest = min(window or sys.maxsize, window_of(described, described.projections))
    network = build(described)
    fired = dict.fromkeys(network.populations, 0)
    started = time.perf_counter()
    with output.progress("steps", total) as advance:
        left = total
        while left:
            part = min(left, longest)
            for name, spikes in network.advance(part).items():
                fired[name] += spikes.count
            left -= part
            advance(part)
    seconds = time.perf_counter() - started
    biological_s = total * dt_ms / 1000
    digests = network.digests()
    rows = [
        (name, population.model.setting.size, fired[name], fired[name] / population.model.setting.size / biological_s)
        for name, population in network.populations.items()
    ]
    if as_json:
        for name, size, spikes_, rate in rows:
            line = {"population": name, "neurons": size, "spikes": spikes_, "rate_hz": rate}
            output.print_json(line | ({"digest": digests[name]} if digest else {}))
        end = {"steps": total, "dt_ms": dt_ms, "seconds": seconds, "real_time_factor": biological_s / seconds}
        output.print_json(end | ({"digest": network.digest()} if digest else {}))
        return
    output.table(
        ["population", *(output.Column(title, right=True) for title in ("neurons", "spikes", "rate Hz"))],
        [(name, f"{size:,}", f"{spikes_:,}", f"{rate:.3f}") for name, size, spikes_, rate in rows],
    )
    if digest:
        output.line(f"digest {network.digest()}")
    output.note(f"{total:,} steps of {dt_ms:g} ms in {seconds:.2f} s: {biological_s / seconds:.2f} times real time")
