"""`brainnet logs`: the logs of the processes of a brain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.launcher.run.log_files import LogReader
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
    show = _show_json if as_json else _show
    if settings.hub is not None:
        if not follow:
            raise LaunchError("past logs are kept on the host that wrote them; with --hub, use --follow")
        with output.endless():
            common.run_async(_follow_topic(settings, id, show))
        return
    folder = settings.state / "logs"
    tails = _LogTails(folder, id)
    past = tails.read()
    if not past and not follow:
        known = ", ".join(sorted(p.stem for p in folder.glob("*.log"))) or "none"
        raise LaunchError(f"no logs{f' of {id!r}' if id else ''} in {folder}; there are those of: {known}")
    for line in past[-lines:] if lines else past:
        show(line)
    with output.endless():
        while follow:
            time.sleep(_POLL_S)
            for line in tails.read():
                show(line)


class _LogTails:
    """Reads new lines of the log files of a folder; an incomplete line is read later, when it is complete."""

    def __init__(self, folder: Path, id: str | None) -> None:
        self._folder, self._id = folder, id
        self._readers: dict[Path, LogReader] = {}

    def read(self) -> list[Line]:
        """Return the new lines of all files by their times; those of one file stay in their order.

        The clock that the times are from may have been set back while a file was written.
        """
        timed: list[tuple[int, Line]] = []
        for path in sorted(self._folder.glob("*.log")):
            if self._id is not None and path.stem != self._id:
                continue
            latest = 0
            for line in self._read_file(path):
                latest = max(latest, line.time_ns)
                timed.append((latest, line))
        timed.sort(key=lambda pair: pair[0])  # a stable sort
        return [line for _, line in timed]

    def _read_file(self, path: Path) -> Iterator[Line]:
        from brainnet.launcher.run.log_files import LogReader

        if path not in self._readers:
            self._readers[path] = LogReader(path)
        whole = self._readers[path].read()
        # At line feeds only: a text may hold other characters that end a line for `splitlines`.
        yield from _parse(path.stem, whole.decode(errors="replace").split("\n")[:-1])


def _parse(node: str, lines: list[str]) -> Iterator[Line]:
    from brainnet.wire import bounded

    # Text without a time gets that of the record before it, so that a traceback stays together when lines are sorted.
    time_ns = 0
    for text in lines:
        try:
            record = bounded.read_json(text.encode())
            bounded.check(record)
            time_ns = int(record["time_ns"])
        except (ValueError, KeyError, TypeError, OverflowError):  # OverflowError: of an infinite number
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


def _show_json(line: Line) -> None:
    output.print_json(line.record)


def _show(line: Line) -> None:
    record = dict(line.record)
    node = output.Styled(f"{line.node:<18}", "cyan")
    if "event" not in record:
        output.line(" " * 13, node, str(record.get("text", record)))
        return
    level, event = str(record.pop("level", "")), str(record.pop("event"))
    trace = record.pop("exception", None)
    for known in ("time_ns", "node"):
        record.pop(known, None)
    rest = "  ".join(f"{k}={v}" for k, v in record.items() if v not in ("", None))
    output.line(
        output.Styled(_clock(line.time_ns), "dim"),
        node,
        output.Styled(event, _STYLE.get(level, "")),
        "  ",
        output.Styled(rest, "dim"),
    )
    if trace:
        for part in str(trace).splitlines():
            output.line(output.Styled(part, "red"))


def _clock(time_ns: int) -> str:
    """Return the time of day, always 13 characters; a time that no calendar has is shown as dashes."""
    try:
        at = time.strftime("%H:%M:%S", time.localtime(time_ns // 10**9))
    except (OverflowError, ValueError, OSError):
        return "--:--:--.--- "
    return f"{at}.{time_ns // 10**6 % 1000:03d} "
