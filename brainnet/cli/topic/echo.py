"""`brainnet topic echo`: print messages, or draw their spikes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output
from brainnet.cli.topic.options import CountOption, DurationOption, KeyArgument, TopicsOption

if TYPE_CHECKING:
    from brainnet.bus import Sample
    from brainnet.observe.reading import DecodedSample
    from brainnet.wire.topics import Contract


@common.takes_brain()
def echo(
    brain: common.BrainOptions,
    key: KeyArgument,
    count: CountOption = None,
    duration: DurationOption = None,
    raster: Annotated[
        bool, typer.Option("--raster", help="Draw spikes: neurons down, steps across. On a terminal it updates live.")
    ] = False,
    rows: Annotated[int, typer.Option("--rows", min=1, max=200, help="Lines of one raster.")] = 12,
    data: Annotated[
        bool,
        typer.Option(
            "--data", help="Show the values of packets, the neurons that fired by step, and lists of numbers in full."
        ),
    ] = False,
    topics: TopicsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print what comes on a key: packets in summary, typed messages by field, foreign payloads as text, JSON or hex.

    A raster is not drawn for a packet without spikes.

    Example: brainnet topic echo --raster 'stream/**' --duration 10

    Example: brainnet topic echo --data --json stream/v1 -n 100
    """
    from brainnet.cli.topic import listening

    settings = brain.settings()
    printer: _Printer
    if as_json:
        printer = _JsonPrinter(settings.namespace, data)
    elif raster and output.is_terminal():
        printer = _LiveRasterPrinter(settings.namespace, rows)
    elif raster:
        printer = _RasterPrinter(settings.namespace, rows)
    else:
        printer = _Printer(settings.namespace, data)
    with output.endless(), printer:
        losses = common.run_async(
            listening.listen(settings, key, printer, topics=topics, count=count, duration=duration)
        )
    listening.check_count(losses, count)


class _Printer:
    """Prints each message as lines of text; the base class of the other printers."""

    def __init__(self, namespace: str, data: bool = False) -> None:
        self.namespace = namespace
        self.data = data
        self.contract: Contract | None = None

    def take(self, sample: Sample) -> None:
        from brainnet.observe import reading

        self.show(reading.read(sample, self.namespace, self.contract))

    def show(self, decoded: DecodedSample) -> None:
        from brainnet.observe import reading

        for line in reading.as_lines(decoded, data=self.data):
            output.line(line)

    def __enter__(self) -> _Printer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _JsonPrinter(_Printer):
    def show(self, decoded: DecodedSample) -> None:
        from brainnet.observe import reading

        output.print_json(reading.as_json(decoded, data=self.data))


class _RasterPrinter(_Printer):
    """Prints a caption and a raster for every packet, one below the other."""

    def __init__(self, namespace: str, rows: int) -> None:
        super().__init__(namespace)
        self.rows = rows
        self.width = 100

    def show(self, decoded: DecodedSample) -> None:
        if _is_empty(decoded):
            return
        for line in self.lines(decoded):
            output.line(line)

    def lines(self, decoded: DecodedSample) -> list[str]:
        from brainnet.observe import raster, reading

        if decoded.packet is None:
            return [f"{reading.headline(decoded)}: no spikes to draw"]
        return [_caption(decoded), *raster.draw(decoded.packet.data, self.width, self.rows)]


class _LiveRasterPrinter(_RasterPrinter):
    """Shows the newest raster of each key, updated in place."""

    def __init__(self, namespace: str, rows: int) -> None:
        super().__init__(namespace, rows)
        self._screen = output.Screen()
        self._newest: dict[str, DecodedSample] = {}
        self._counts: dict[str, int] = {}
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._drawn = 0.0

    def show(self, decoded: DecodedSample) -> None:
        if _is_empty(decoded):
            return
        self._newest.pop(decoded.key, None)  # inserted again below, so that the dict is ordered by time
        self._newest[decoded.key] = decoded
        self._counts[decoded.key] = self._counts.get(decoded.key, 0) + 1
        self._last[decoded.key] = time.monotonic()
        self._first.setdefault(decoded.key, self._last[decoded.key])
        if time.monotonic() - self._drawn >= 0.1:  # 10 Hz: drawing at every packet would slow down the listener
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self.width, height = self._screen.size
        fitting = max(1, height // (self.rows + 2))
        lines: list[str] = []
        for key in sorted(list(self._newest)[-fitting:]):
            drawn = self.lines(self._newest[key])
            span = self._last[key] - self._first[key]
            rate = f"  {(self._counts[key] - 1) / span:.1f} Hz seen" if span > 0 and self._counts[key] > 1 else ""
            lines += [drawn[0] + rate, *drawn[1:]]
        self._screen.show(*lines)

    def __enter__(self) -> _Printer:
        self._screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._newest:
            self._draw()
        self._screen.__exit__()


def _is_empty(decoded: DecodedSample) -> bool:
    return decoded.packet is not None and not decoded.packet.data.any()


def _caption(decoded: DecodedSample) -> str:
    packet: Any = decoded.packet
    neurons, steps = packet.shape
    window_ms = steps * packet.dt_us / 1000
    return (
        f"{decoded.key}  {packet.source} #{packet.seq}  {packet.modality}  "
        f"{neurons} neurons x {steps} steps ({window_ms:g} ms)  density {packet.density:.2%}"
    )
