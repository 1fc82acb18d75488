"""`brainnet logs`: the logs of the processes of a brain."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from brainnet.cli import common

if TYPE_CHECKING:
    from brainnet.settings import Settings

app = common.verb()
_POLL_S = 0.2
_STYLE = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red", "critical": "bold red"}


class Line(NamedTuple):
    """One line of a log: a structured record, or text that a library or program printed."""

    time_ns: int
    node: str
    record: dict[str, Any]


@app.command()
@common.takes_brain()
def logs(
    brain: common.BrainOptions,
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this node; `launcher` is the launcher.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the past lines; 0 for all.")] = 100,
    as_json: common.JsonOption = False,
) -> None:
    """Show the logs of this host's nodes; with --hub and --follow, those of the whole brain as they come.

    With --json, one record a line: time_ns, node, level, event, and what else it holds.

    Example: brainnet logs -f my_region
    """
    from brainnet.errors import LaunchError

    settings = brain.settings()
    show = _printer(as_json)
    if settings.hub is not None:
        if not follow:
            raise LaunchError("past logs are kept on the host that wrote them; with --hub, use --follow")
        common.run_async(_follow_topic(settings, id, show))
        return
    folder = settings.state / "logs"
    tails = _LogTails(folder, id)
    past = sorted(tails.read(), key=lambda line: line.time_ns)
    if not past and not follow:
        known = ", ".join(sorted(p.stem for p in folder.glob("*.log"))) or "none"
        raise LaunchError(f"no logs{f' of {id!r}' if id else ''} in {folder}; there are those of: {known}")
    for line in past[-lines:] if lines else past:
        show(line)
    while follow:
        time.sleep(_POLL_S)
        for line in sorted(tails.read(), key=lambda line: line.time_ns):
            show(line)


class _LogTails:
    """Reads new lines of the log files of a folder; an incomplete line is read later, when it is complete."""

    def __init__(self, folder: Path, id: str | None) -> None:
        self._folder, self._pattern = folder, f"{id or '*'}.log"
        self._read: dict[Path, int] = {}

    def read(self) -> Iterator[Line]:
        for path in sorted(self._folder.glob(self._pattern)):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                offset = self._read.get(path, 0)
                if path.stat().st_size < offset:  # rotated by a new launch
                    offset = 0
                file.seek(offset)
                data = file.read()
                whole = data[: data.rfind(b"\n") + 1]  # a record that is being written is incomplete
                self._read[path] = offset + len(whole)
                yield from _parse(path.stem, whole.decode(errors="replace").splitlines())


def _parse(node: str, lines: list[str]) -> Iterator[Line]:
    # Text without a time gets that of the record before it, so that a traceback stays together when lines are sorted.
    time_ns = 0
    for text in lines:
        try:
            record = json.loads(text)
            time_ns = int(record["time_ns"])
        except (ValueError, KeyError, TypeError):
            record = {"node": node, "text": text}
        yield Line(time_ns, node, record)


async def _follow_topic(settings: Settings, id: str | None, show: Any) -> None:
    from brainnet.wire.keys import key

    async with await common.connect(settings) as bus:
        async for received in bus.subscribe(key("log", **({"node_id": id} if id else {}))):
            r = received.message
            show(
                Line(
                    r.timestamp_ns,
                    r.node_id,
                    {"time_ns": r.timestamp_ns, "node": r.node_id, "level": r.level, "event": r.event, **r.fields},
                )
            )


def _printer(as_json: bool) -> Any:
    if as_json:
        return lambda line: common.print_json(line.record)
    from rich.text import Text

    out = common.console()

    def show(line: Line) -> None:
        record = dict(line.record)
        if "event" not in record:
            out.print(Text.assemble(" " * 13, (f"{line.node:<18}", "cyan"), record.get("text", str(record))))
            return
        at = time.strftime("%H:%M:%S", time.localtime(line.time_ns // 10**9))
        millis = line.time_ns // 10**6 % 1000
        level, event = str(record.pop("level", "")), str(record.pop("event"))
        trace = record.pop("exception", None)
        for known in ("time_ns", "node"):
            record.pop(known, None)
        rest = "  ".join(f"{k}={v}" for k, v in record.items() if v not in ("", None))
        style = _STYLE.get(level, "")
        out.print(
            Text.assemble(
                (f"{at}.{millis:03d} ", "dim"), (f"{line.node:<18}", "cyan"), (event, style), "  ", (rest, "dim")
            ),
            soft_wrap=True,
        )
        if trace:
            out.print(Text(str(trace), style="red"), soft_wrap=True)

    return show
