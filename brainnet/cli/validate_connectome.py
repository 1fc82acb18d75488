"""`brainnet validate` of a connectome: its graph, and what it will need."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from brainnet.cli import output

if TYPE_CHECKING:
    from brainnet.connectome.summary import ProjectionSummary, Summary


def is_connectome(path: Path) -> bool:
    """Return whether a file is a connectome: whether it has the field `populations`, and no nodes."""
    from brainnet import yaml_text
    from brainnet.errors import TextError

    if not path.is_file():
        return False  # a pipe can be read once, and only by who uses what it holds
    try:
        value = yaml_text.read(path).value
    except (TextError, FileNotFoundError):
        return False  # what is wrong with it says who reads it next
    return isinstance(value, dict) and "populations" in value and "nodes" not in value


def show(path: Path, as_json: bool) -> None:
    """Check a connectome, and print its graph.

    Raises:
        ConnectomeError: It cannot be built; names the place in the file.
    """
    from brainnet.connectome.files import load
    from brainnet.connectome.summary import summary
    from brainnet.launcher.describe.networks import read_network

    read_network(path)  # whether it can be divided among processes and hosts
    connectome = load(path)
    found = summary(connectome)
    if as_json:
        _print_rows(found, connectome.clock.dt_ms)
        return
    _print_tables(found)
    counted = ", ".join(
        f"{count:,} {noun}{'s' * (count != 1)}"
        for count, noun in (
            (len(found.populations), "population"),
            (len(found.projections), "projection"),
        )
    )
    processes = len(found.processes)
    output.note(f"{path} is valid: {counted}, {processes:,} process{'es' * (processes != 1)}")


def _print_rows(found: Summary, dt_ms: float) -> None:
    for population in found.populations:
        fields = asdict(population)
        output.print_json({"population": fields.pop("name")} | fields)
    for projection in found.projections:
        fields = asdict(projection)
        renamed = {"projection": fields.pop("name"), "from": fields.pop("source"), "to": fields.pop("target")}
        output.print_json(renamed | {"bytes" if name == "nbytes" else name: value for name, value in fields.items()})
    for process in found.processes:
        fields = asdict(process)
        output.print_json({"process": fields.pop("name"), "bytes": fields.pop("nbytes")} | fields)
    window = found.window
    output.print_json({"window": window.steps, "window_ms": window.ms, "limit": window.limit, "dt_ms": dt_ms})


def _print_tables(found: Summary) -> None:
    output.table(
        ["population", "model", output.Column("neurons", right=True), "process"],
        [(each.name, each.model, f"{each.neurons:,}", each.process) for each in found.populations],
    )
    if found.projections:
        output.line()
        synapses = output.Column("synapses", right=True)
        output.table(
            ["projection", "from", "to", "port", "rule", synapses, "delays ms", "plasticity"],
            [
                (
                    each.name,
                    each.source,
                    each.target,
                    each.port,
                    each.rule,
                    f"{each.synapses:,}",
                    _delays(each),
                    each.plasticity or "",
                )
                for each in found.projections
            ],
        )
    output.line()
    output.table(
        ["process", *(output.Column(title, right=True) for title in ("neurons", "synapses", "memory of synapses"))],
        [
            (each.name, f"{each.neurons:,}", f"{each.synapses:,}", f"{each.nbytes / 1e6:,.1f} MB")
            for each in found.processes
        ],
    )
    output.line()
    window = found.window
    output.line(f"window {window.steps:,} step{'s' * (window.steps != 1)}, {window.ms:g} ms; limited by {window.limit}")


def _delays(projection: ProjectionSummary) -> str:
    shortest, longest = f"{projection.shortest_ms:g}", f"{projection.longest_ms:g}"
    return shortest if shortest == longest else f"{shortest}\N{EN DASH}{longest}"
