"""`brainnet prompt`: ask the brain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output
from brainnet.texts import printable

if TYPE_CHECKING:
    from brainnet.client import Event
    from brainnet.wire.messages import Answer, Decision

app = common.verb("Ask the brain.")


@app.command()
@common.takes_brain()
def prompt(
    brain: common.BrainOptions,
    text: Annotated[
        str,
        typer.Argument(
            help="What to ask; - reads it from standard input. May be left out beside a picture or arrays.",
            show_default=False,
        ),
    ] = "",
    image: Annotated[Path | None, typer.Option("--image", help="A picture to send along (PNG, JPEG, ...).")] = None,
    array: Annotated[
        Path | None,
        typer.Option(
            "--array",
            help="Arrays to send along, neurons x steps each: FILE.npz, by their names, or FILE.npy.",
            metavar="FILE",
        ),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", help="Ask this region instead of routing; may be repeated.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0.001, max=600, help="Seconds until the brain answers with what it has."),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            help="Prompts of one session share working memory, and may refer to each other. By default the prompts of "
            'one terminal are a session; "" for none.',
            show_default=False,
        ),
    ] = None,
    remember: Annotated[
        bool, typer.Option("--remember/--no-remember", help="Whether a memory may keep the prompt and its answer.")
    ] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show for each region what spoke for it: text, bid, probability.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the decision and the partials as they arrive.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Ask the brain and print its answer. Exits with status 1 when there is none.

    A region that takes spikes, such as one that runs a NIR file, is asked with arrays:
    brainnet prompt --array spikes.npz --region retina

    Why a region was asked:
    brainnet prompt "Where is the spare key?" --explain

    Example: brainnet prompt "which digit is this?" --image seven.png
    """
    from brainnet import client
    from brainnet.cli.terminal import terminal_session

    settings = brain.settings()
    common.check_launcher(settings)
    question = client.make_prompt(
        _stdin() if text == "-" else text,
        image=image,
        arrays=array,
        regions=region,
        session_id=terminal_session() if session is None else session,
        remember=remember,
        deadline_ms=settings.deadline_ms if timeout is None else max(1, round(timeout * 1000)),
    )
    show = _EventPrinter(as_json) if watch else None
    answer = common.run_async(client.ask(common.endpoint_of(settings), question, on_event=show, on_retry=_note_retry))
    if show is not None:
        show.finish()
    if as_json:
        output.print_json(({"type": "answer"} if watch else {}) | answer.model_dump(mode="json"))
    elif answer.error is None:
        _print_answer(answer)
        if explain:
            _explain(answer)
    if answer.error is not None:
        output.note(f"brainnet: {answer.error}")
        raise typer.Exit(1)


def _note_retry() -> None:
    output.note("no node answers prompts now; asking again until the deadline")


def _stdin() -> str:
    from brainnet.errors import MessageError
    from brainnet.wire.messages import MAX_TEXT

    if sys.stdin is None:
        raise MessageError("the prompt is to be read from standard input, which is closed")
    # Bytes, because the text of a prompt is UTF-8 also where the terminal has another encoding. A bounded number of
    # them, because standard input may have no end; a character has at most four.
    data = sys.stdin.buffer.read(4 * MAX_TEXT + 4)
    if len(data) > 4 * MAX_TEXT + 3:
        raise MessageError(f"standard input is too long: the text of a prompt has at most {MAX_TEXT} characters")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MessageError(
            f"standard input is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}"
        ) from None


def _print_answer(answer: Answer) -> None:
    output.text(answer.text)
    who = ", ".join(answer.contributing) or "no region"
    late = f", late: {', '.join(answer.late)}" if answer.late else ""
    output.line(output.Styled(f"{who}{late}, confidence {answer.confidence:.2f}, {answer.latency_ms:.0f} ms", "dim"))


def _explain(answer: Answer) -> None:
    """Print why the regions were asked; of a prompt with several requests, for each."""
    from brainnet.wire.messages import Decision

    if answer.decision is None:
        return
    if not answer.decision.parts:
        _explain_decision(answer.decision)
        return
    for part in answer.content.get("parts", []):
        output.line(f"{part['prompt']}:")
        if part.get("decision"):
            _explain_decision(Decision.model_validate(part["decision"]))


def _explain_decision(decision: Decision) -> None:
    numbers = [output.Column(title, right=True) for title in ("text", "bid", "score", "probability")]
    columns: list[str | output.Column] = ["region", *numbers, "asked", "why"]
    by_probability = sorted(decision.route_probs.items(), key=lambda item: -item[1])
    output.table(
        columns,
        [
            (
                name,
                _number(decision.text_scores.get(name)),
                _number(decision.bids.get(name)),
                _number(decision.scores.get(name)),
                f"{probability:.3f}",
                "yes" if name in decision.chosen else "",
                decision.bid_reasons.get(name, ""),
            )
            for name, probability in by_probability
        ],
    )
    values = (
        f"entropy {decision.entropy:.2f} nats, alpha {decision.alpha:.2f}, temperature {decision.temperature:.2f}, "
        f"threshold {decision.threshold:.2f}, routed by {decision.routed_by} in {decision.latency_ms:.0f} ms"
    )
    output.line(output.Styled(values, "dim"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


class _EventPrinter:
    """Prints the decision and the partials as they arrive; streamed text of a region is joined on one line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._streaming = ""

    def __call__(self, event: Event) -> None:
        kind, fields = type(event).__name__.lower(), event.model_dump(mode="json")
        if self._as_json:
            output.print_json({"type": kind} | fields)
            return
        chunk = fields.get("content", {}).get("chunk") if kind == "partial" and not fields["final"] else None
        if chunk is not None:
            self._stream(fields["region"], str(chunk))
            return
        self.finish()
        output.line(output.Styled(_line(kind, fields), "dim"))

    def _stream(self, region: str, chunk: str) -> None:
        if self._streaming != region:
            self.finish()
            output.chunk(f"{printable(region)}: ")
            self._streaming = region
        output.chunk(chunk)

    def finish(self) -> None:
        """End the line of streamed text."""
        if self._streaming:
            output.line()
            self._streaming = ""


def _line(kind: str, fields: dict[str, Any]) -> str:
    if kind == "decision" and fields["parts"]:
        return f"{len(fields['parts'])} requests: {'; '.join(map(repr, fields['parts']))}"
    if kind == "decision":
        probabilities = sorted(fields["route_probs"].items(), key=lambda item: -item[1])
        routed = ", ".join(f"{name} {probability:.2f}" for name, probability in probabilities[:4])
        return (
            f"asked {', '.join(fields['chosen']) or 'no region'} "
            f"({routed}; entropy {fields['entropy']:.2f}, alpha {fields['alpha']:.2f})"
        )
    if fields["error"] is not None:
        return f"{fields['region']}: {fields['error']}"
    best = max(fields["candidates"], key=lambda c: c["probability"], default=None)
    text = f"{best['text']!r} {best['probability']:.2f}" if best else "..."
    return f"{fields['region']}: {text}, confidence {fields['confidence']:.2f}, {fields['latency_ms']:.0f} ms"
