"""Measure what each projection of the default brain is good for, and write the page about it.

`python scripts/lesions.py` takes some minutes. It writes the table into docs/concepts/what-fires-where.md, and the
picture beside it: spikes that went over four kinds of projections meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from brainnet.wire.keys import key  # noqa: E402 (the tests are found beside this folder)
from brainnet.wire.packet import SpikePacket  # noqa: E402
from tests.lesions.study import PROJECTIONS, DefaultBrain, Projection  # noqa: E402

PAGE = ROOT / "docs" / "concepts" / "what-fires-where.md"
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- Written by `python scripts/lesions.py`. -->", "<!-- end -->"
LESIONS = (("silence", 1.0), ("shuffle", 1.0), ("drop", 0.01), ("drop", 0.2))
SHOWN = (("prefrontal", "hippocampus"), ("hippocampus", "prefrontal"), ("motor_cortex", "cerebellum"),
         ("cerebellum", "motor_cortex"))  # fmt: skip
PANEL, GAP, LEFT, TOP = (330, 190), 70, 60, 34


async def measure(folder: Path) -> tuple[dict[Projection, list[float]], dict[tuple[str, str], SpikePacket]]:
    """Return the figures of each projection, and a packet of each that fired most."""
    figures: dict[Projection, list[float]] = {}
    busiest: dict[tuple[str, str], SpikePacket] = {}
    async with DefaultBrain(folder) as brain:
        await brain.launch()
        for projection in PROJECTIONS:
            name = projection.source, projection.target
            way = key("spikes", source=name[0], target=name[1])
            if name[0] == "prefrontal":
                way = key("query", region=name[1])
            packets = brain.bus("region", "watcher").subscribe(way)
            row = [await projection.measure(brain)]
            while (received := packets.get_nowait()) is not None:
                packet: SpikePacket = received.message
                if name not in busiest or packet.data.sum() > busiest[name].data.sum():
                    busiest[name] = packet
            for kind, portion in LESIONS:
                await brain.lesion(projection, kind, portion)
                row.append(await projection.measure(brain))
                await brain.lesion(projection, "heal")
            figures[projection] = row
            print(*name, *(f"{value:.0f}" for value in row), flush=True)
    return figures, busiest


def table(figures: dict[Projection, list[float]]) -> str:
    """Return the figures as a table in Markdown."""
    names = ["intact", *(kind if kind != "drop" else f"drop {portion:.0%}" for kind, portion in LESIONS)]
    lines = [
        f"| from | to | what the spikes say | measured, % | {' | '.join(names)} |",
        "|---" * (4 + len(names)) + "|",
    ]
    for projection, row in figures.items():
        told = f"{projection.source} | {projection.target} | {projection.carries} | {projection.function}"
        lines.append(f"| {told} | {' | '.join(f'{value:.0f}' for value in row)} |")
    return "\n".join(lines)


def raster(packet: SpikePacket, x: int, y: int) -> list[str]:
    """Return the elements of one raster, with its left upper corner at a point."""
    width, height = PANEL
    fired: NDArray[np.intp] = np.argwhere(packet.data)
    neurons, steps = packet.shape
    across, down = width / steps, height / neurons
    tall = max(1.2, 0.9 * down)
    title = f"{packet.source} to {packet.metadata['to']}"
    parts = [
        f'<text x="{x}" y="{y - 10}" class="title">{title}</text>',
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" class="frame"/>',
        f'<text x="{x - 8}" y="{y + 10}" class="end">0</text>',
        f'<text x="{x - 8}" y="{y + height}" class="end">{neurons}</text>',
        f'<text x="{x}" y="{y + height + 16}">0</text>',
        f'<text x="{x + width}" y="{y + height + 16}" class="end">{steps} steps</text>',
    ]
    path = "".join(
        f"M{x + step * across + 0.15 * across:.1f} {y + neuron * down:.1f}h{0.7 * across:.1f}v{tall:.1f}"
        f"h-{0.7 * across:.1f}z"
        for neuron, step in fired.tolist()
    )
    return [*parts, f'<path d="{path}"/>']


def picture(busiest: dict[tuple[str, str], SpikePacket]) -> str:
    """Return the rasters as SVG."""
    width, height = PANEL
    parts = []
    for index, name in enumerate(SHOWN):
        packet = busiest[name]
        packet.metadata = {"to": name[1]}
        parts += raster(packet, LEFT + index % 2 * (width + GAP), TOP + index // 2 * (height + GAP))
    size = f'viewBox="0 0 {LEFT + 2 * (width + GAP) - GAP + 20} {TOP + 2 * (height + GAP) - GAP + 30}"'
    style = (
        "text{font:12px sans-serif;fill:#666}.title{font-weight:bold}.end{text-anchor:end}"
        ".frame{fill:none;stroke:#999}path{fill:#3366cc}"
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{"".join(parts)}</svg>\n'


def main() -> None:
    """Measure, and write the page's table and picture."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        figures, busiest = asyncio.run(measure(Path(folder)))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    PICTURE.write_text(picture(busiest), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
