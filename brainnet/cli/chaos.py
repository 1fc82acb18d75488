"""`brainnet chaos`: inject faults into a brain, and count what becomes of its prompts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output
from brainnet.cli.app import INTERRUPTED
from brainnet.cli.output import Column, Styled
from brainnet.texts import shorten

if TYPE_CHECKING:
    from rich.console import RenderableType

    from brainnet.cli.output import Cell
    from brainnet.testing.chaos import Report
    from brainnet.testing.chaos.ledger import Percentiles, Tally
    from brainnet.testing.chaos.run import Progress

app = common.verb()


@app.command()
@common.takes_brain(hub=False)
def chaos(
    brain: common.BrainOptions,
    allocation: common.AllocationArgument = None,
    duration: Annotated[float, typer.Option("--duration", min=0.1, help="Seconds of each fault.")] = 30.0,
    seed: Annotated[int, typer.Option("--seed", help="Every random choice follows from it.")] = 0,
    faults: Annotated[
        str, typer.Option("--faults", metavar="LIST", help="What is done, in this order.")
    ] = "kill,stop,flood,garbage,slow,disk",
    rate: Annotated[float, typer.Option("--rate", min=0.1, max=1000, help="Prompts a second beside each fault.")] = 5.0,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0.1, max=600, help="Seconds in which a prompt has to be answered.")
    ] = 10.0,
    attach: Annotated[
        bool, typer.Option("--attach", help="Attack the brain that runs, instead of one that is started for this.")
    ] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Inject faults into a brain, send it prompts meanwhile, and print what became of each.

    The brain is one of its own, with a state folder and a port of its own, unless --attach is given; that brain is
    really killed, stopped and flooded. The prompts are sent over plain Zenoh, in several formats, and never again. A
    prompt is lost when it has no answer 2 s after its deadline. Faults: kill (SIGKILL to nodes and zygote), stop
    (SIGSTOP), flood (ten times the capacity), garbage (malformed bytes on every topic), slow (busy processors, short
    stops), disk (locked journal, full disk).

    Exits with status 1 when a prompt was lost or answered twice, or when a process did not come back. Ctrl-C ends it
    early, with what was found until then.

    Example: brainnet chaos --duration 10 --faults kill,flood --seed 7
    """
    from brainnet.testing.chaos import Options, parse_faults, run

    settings = brain.settings()
    if attach and allocation is not None:
        raise typer.BadParameter("--attach takes the brain that runs; leave the allocation out")
    options = Options(
        allocation=allocation,
        attach=(common.endpoint_of(settings), settings.state) if attach else None,
        duration_s=duration,
        seed=seed,
        faults=parse_faults(faults),
        rate_per_s=rate,
        deadline_s=deadline,
    )
    with _progress() as progress:
        report = run(options, progress)
    if as_json:
        output.print_json(report.model_dump(mode="json") | {"ok": report.ok})
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show what was found so far on standard error, when it is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with output.Screen(on_stderr=True) as screen:
        yield lambda report, doing: screen.show(_prompts(report), Styled(f"{doing}; Ctrl-C ends it", "dim"))


def _print(report: Report) -> None:
    output.show(_prompts(report))
    if report.wrong:
        output.line()
        output.show(_wrong(report))
    if report.error_texts:
        output.line()
        output.show(_errors(report))
    if report.recovery:
        output.line()
        output.show(_recovery(report))
    if report.flood is not None:
        output.line()
        output.show(_flood(report))
    if report.injected:
        output.line()
        output.line("done: " + ", ".join(f"{name} {count:,}" for name, count in report.injected.items()))
    for reason in report.skipped:
        output.line(Styled(f"not done: {reason}", "yellow"))
    if report.links_lost:
        output.line(Styled(f"links of the client to the brain that were lost: {report.links_lost}", "yellow"))
    if report.interrupted:
        output.line(Styled("ended early", "yellow"))


def _numbers(*titles: str) -> list[str | Column]:
    """Return columns of which all but the first hold numbers."""
    return [titles[0], *(Column(title, right=True) for title in titles[1:])]


def _prompts(report: Report) -> RenderableType:
    rows: list[tuple[str, Tally]] = [*report.by_fault.items()]
    rows += [(f"by {channel}", tally) for channel, tally in report.by_channel.items() if tally.sent]
    rows.append(("all", report.total))
    counts = ("prompts", "sent", "answered", "refused", "failed", "%", "lost", "twice", "open")
    titles = _numbers(*counts, "p50 ms", "p95 ms", "p99 ms")
    return output.table_of(titles, [_tally(name, tally) for name, tally in rows])


def _tally(name: str, tally: Tally) -> list[Cell]:
    latency = _percentiles(tally.latency_ms, "{:,.0f}")
    counts = (tally.sent, tally.answered, tally.refused, tally.failed)
    bad: list[Cell] = [_bad(f"{value:,}", value > 0) for value in (tally.lost, tally.duplicated)]
    return [name, *(f"{n:,}" for n in counts), f"{tally.error_percent:.1f}", *bad, f"{tally.open:,}", *latency]


def _bad(text: str, is_bad: bool) -> Cell:
    return Styled(text, "red") if is_bad else text


def _percentiles(values: Percentiles, form: str) -> list[str]:
    return ["" if value is None else form.format(value) for value in (values.p50, values.p95, values.p99)]


def _wrong(report: Report) -> RenderableType:
    rows = [
        (
            found.phase,
            found.channel,
            f"{found.after_s:.2f}",
            ", ".join(f"{ms:,.0f}" for ms in found.answers_ms),
            ", ".join(f"{ms:,.0f}" for ms in found.replies_ms),
            found.prompt_id or shorten(found.text, 60),
        )
        for found in report.wrong
    ]
    return output.table_of(["lost or twice", "sent by", "after s", "answers ms", "replies ms", "prompt"], rows)


def _errors(report: Report) -> RenderableType:
    rows = [
        (code, f"{times:,}", shorten(text, 120))
        for code, texts in report.error_texts.items()
        for text, times in texts.items()
    ]
    return output.table_of(["error", Column("times", right=True), "text"], rows)


def _recovery(report: Report) -> RenderableType:
    rows: list[list[Cell]] = []
    for row in report.recovery:
        seen, ready, answer = (_percentiles(v, "{:.2f}") for v in (row.detected_s, row.ready_s, row.answer_s))
        missing = row.unrecovered + row.unnoticed
        times: list[Cell] = [f"{row.times}", _bad(f"{missing}", missing > 0)]
        rows.append([f"{row.fault} {row.victim}", *times, seen[0], ready[0], ready[2], answer[0], answer[2]])
    return output.table_of(
        _numbers("recovery", "times", "not", "seen p50 s", "ready p50 s", "p99 s", "answer p50 s", "p99 s"), rows
    )


def _flood(report: Report) -> RenderableType:
    flood = report.flood
    assert flood is not None
    rows = [
        [name, f"{value:,.0f}", "", ""]
        for name, value in {
            "capacity, answers/s": flood.capacity_per_s,
            "offered, prompts/s": flood.offered_per_s,
            "answers/s during it": flood.goodput_per_s,
            "answers/s in the 2 s after it": flood.goodput_after_per_s,
            "of those to new prompts": flood.new_after_per_s,
            "expired": flood.expired,
            "status queries without a reply": flood.status_failed,
        }.items()
    ]
    refusals, status = (_percentiles(values, "{:,.1f}") for values in (flood.refusal_ms, flood.status_ms))
    rows.append(["refused", f"{flood.refused:,}", refusals[0], refusals[2]])
    rows.append(["status queries", f"{flood.status_ms.count:,}", status[0], status[2]])
    return output.table_of(_numbers("flood", "value", "p50 ms", "p99 ms"), rows)
