"""The report of all benchmarks: a page with the machine that they ran on, and the figures that other pages quote.

The figures are kept as JSON beside the page. The page, and every section between markers in README.md, follow from that
file alone, so no figure is written by hand:

    <!-- figures: bus round_trip_p50 stream -->
    ...
    <!-- end of figures -->

The first word is the group; the others are the names of the rows that are shown, all without them.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
from pydantic import BaseModel, Field, ValidationError

from brainnet import __version__
from brainnet.bench import boot, bus, memory, prompt, snn, streams
from brainnet.errors import ConfigError
from brainnet.paths import share_dir
from brainnet.rows import Row

PACKAGES: Final = (
    "eclipse-zenoh",
    "torch",
    "numba",
    "numpy",
    "snntorch",
    "norse",
    "spikingjelly",
    "pydantic",
    "msgpack",
)
"""Packages whose versions the report names, where they are installed."""
ABOUT: Final = {
    "bus": "SpikePackets between two processes, beside plain zenoh-python with the same bytes.",
    "prompt": (
        "Prompts to the default brain, from a client and back, by kind and by the number of clients that each wait for "
        "an answer. The baseline is a plain Zenoh query with the same bytes to another process through the same hub. "
        "The stages are the medians of what the answers report, for one client."
    ),
    "boot": "From the launch of the default brain until every node is ready, and the memory that it takes (PSS).",
    "memory": "The episodic store, beside SQLite's FTS5 with the same texts. Each single episode is on the disk.",
    "streams": (
        "Networks of populations divided between two processes, beside the same network in one process: simulated time "
        "by time on the wall, and how long after their end the windows come in real time."
    ),
    "snn": "LIF layers over time, beside the libraries that are installed.",
}
"""The groups, in their order, and what each measures."""
_SECTION: Final = re.compile(r"(<!-- figures: ([^\n]+?) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


class Machine(BaseModel):
    """What a benchmark ran on."""

    cpu: str
    cores: int = Field(description="that this process may use")
    memory_gb: float
    kernel: str
    python: str
    packages: dict[str, str]
    brainnet: str
    commit: str
    date: str
    load: float = Field(description="average number of running processes in the minute before")


class Report(BaseModel):
    """The rows of every group, and the machine."""

    machine: Machine
    quick: bool
    groups: dict[str, list[Row]]


def measure(quick: bool, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Run every benchmark, which takes some minutes; call it from the main thread.

    Args:
        quick: A fraction of the work; noisier.
        progress: Called with a description of each step.

    Raises:
        BrainnetError: One of them cannot run.
    """
    import asyncio

    machine = describe()  # before the load that the benchmarks are themselves
    groups: dict[str, list[Row]] = {}

    def told(group: str) -> Callable[[str], None]:
        return lambda what: progress(f"{group}: {what}")

    groups["bus"] = asyncio.run(bus.measure(bus.Plan.quick() if quick else bus.Plan(), told("bus")))
    groups["prompt"] = prompt.measure(prompt.Plan.quick() if quick else prompt.Plan(), told("prompt"))
    groups["boot"] = boot.measure(boot.Plan.quick() if quick else boot.Plan(), told("boot"))
    groups["memory"] = memory.measure(memory.Plan.quick() if quick else memory.Plan(), told("memory"))
    groups["streams"] = streams.measure(streams.Plan.quick() if quick else streams.Plan(), told("streams"))
    groups["snn"] = snn.measure(snn.Plan.quick() if quick else snn.Plan(), told("snn"))
    return Report(machine=machine, quick=quick, groups=groups)


def describe() -> Machine:
    """Return what this process runs on."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=packages,
        brainnet=__version__,
        commit=_commit(),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        load=round(os.getloadavg()[0], 1),
    )


def _cpu() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit of the checkout, marked when files differ from it; empty for an installed wheel."""
    git = ["git", "-C", str(share_dir()), "describe", "--always", "--dirty", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    return ""


# -- pages -----------------------------------------------------------------------------------------------------------


def write(report: Report, page: Path) -> list[Path]:
    """Write the page, its data beside it, and the sections of a README.md one folder above.

    Returns:
        The files that were written.

    Raises:
        ConfigError: A file cannot be written, or a section of the README names a group that there is not.
    """
    written = {page: render(report), page.with_suffix(".json"): report.model_dump_json(indent=1) + "\n"}
    readme = page.resolve().parent.parent / "README.md"
    if readme.is_file() and _SECTION.search(readme.read_text()):
        written[readme] = fill(readme.read_text(), report)
    try:
        for path, text in written.items():
            path.write_text(text)
    except OSError as error:
        raise ConfigError(f"the report cannot be written to {error.filename}: {error.strerror}") from None
    return list(written)


def read(data: Path) -> Report:
    """Read the data of a report.

    Raises:
        ConfigError: The file holds none.
    """
    try:
        return Report.model_validate_json(data.read_text())
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{data} holds no report of `brainnet bench all`: {error}") from None


def render(report: Report) -> str:
    """Return the page of a report."""
    machine = report.machine
    rows = {
        "processor": f"{machine.cpu}, {machine.cores} cores",
        "memory": f"{machine.memory_gb:g} GB",
        "system": machine.kernel,
        "Python": machine.python,
        "packages": ", ".join(f"{name} {version}" for name, version in machine.packages.items()),
        "brainnet": f"{machine.brainnet}{f', commit {machine.commit}' if machine.commit else ''}",
        "date": machine.date,
        "load before": f"{machine.load:g} processes",
    }
    parts = [
        "# Benchmarks",
        "",
        "<!-- Written by `brainnet bench all --report docs/benchmarks.md`. -->",
        "",
        "`brainnet bench all --report FILE` measured these figures in one run, and wrote this page. Each baseline was",
        "measured in the same run as the value beside it. A ratio is the value over the baseline.",
        "" if not report.quick else "\nThis was a quick run, with a fraction of the work: the figures are noisy.\n",
        "| measured on | |",
        "|---|---|",
        *(f"| {name} | {_escaped(value)} |" for name, value in rows.items()),
    ]
    for group, about in ABOUT.items():
        if group in report.groups:
            parts += ["", f"## {group}", "", f"`brainnet bench {group}`. {about}", ""]
            parts.append(table(report.groups[group]))
    return "\n".join(parts) + "\n"


def table(rows: list[Row]) -> str:
    """Return rows as a table in Markdown."""
    lines = ["| measure | value | baseline | its value | ratio | bar |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = {True: ": holds", False: ": missed", None: ""}[row.ok]
        bar = "" if row.bar is None else row.bar + verdict
        cells = [
            f"`{row.name}`",
            f"{_number(row.value)} {row.unit}",
            row.rival or "",
            "" if row.rival_value is None else _number(row.rival_value),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            bar,
        ]
        lines.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
    return "\n".join(lines)


def fill(text: str, report: Report) -> str:
    """Return a page with its marked sections written anew.

    Raises:
        ConfigError: A section names a group that the report does not have, or rows that the group does not have.
    """

    def section(match: re.Match[str]) -> str:
        group, *names = match[2].split()
        rows = report.groups.get(group)
        if rows is None:
            raise ConfigError(
                f"figures: {match[2]}: the report has no group {group}; it has {', '.join(report.groups)}"
            )
        missing = set(names) - {row.name for row in rows}
        if missing:
            raise ConfigError(f"figures: {match[2]}: group {group} has no row {', '.join(sorted(missing))}")
        # A baseline that is not installed has no value, and says nothing beside ours.
        compared = (row for row in rows if row.rival is None or row.rival_value is not None)
        shown = [row for row in compared if not names or row.name in names]
        return f"{match[1]}{table(shown)}\n{match[3]}"

    return _SECTION.sub(section, text)


def unmarked(text: str) -> str:
    """Return a page without its marked sections."""
    return _SECTION.sub("", text)


def _number(value: float) -> str:
    """Return a number with three significant digits; large ones with a comma at the thousands."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.{digits}f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<=", "≤").replace(">=", "≥").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":  # write the pages again from the data, without a measurement
    for path in write(read(Path(sys.argv[1])), Path(sys.argv[1]).with_suffix(".md")):
        print(f"wrote {path}")
