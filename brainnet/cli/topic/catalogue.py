"""`brainnet topic list` and `info`: the traffic, from the counters of the nodes, and the contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output
from brainnet.cli.topic.options import KeyArgument, TopicsOption

if TYPE_CHECKING:
    from brainnet.observe.traffic import Flow
    from brainnet.settings import Settings
    from brainnet.wire.declared import DeclaredField
    from brainnet.wire.topics import Contract, Topic


@common.takes_brain()
def list_topics(
    brain: common.BrainOptions,
    show_all: Annotated[
        bool,
        typer.Option("--all", help="Also the control plane, and the contract's topics that nobody uses now."),
    ] = False,
    contract: Annotated[bool, typer.Option("--contract", help="The contract alone; needs no running brain.")] = False,
    topics: TopicsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List every topic with its publishers, subscribers, live rate and drops, as the nodes themselves count them.

    The control plane, which is what brainnet itself needs to run, such as heartbeats and queries for the state of a
    node, is left out without --all.

    Example: brainnet topic list --json

    Example: brainnet topic list --contract --topics my_topics.yaml
    """
    from brainnet.cli.topic.connection import contract_of
    from brainnet.wire.topics import contract as installed_contract

    if contract:
        _show_contract(list((contract_of(topics) or installed_contract()).topics), as_json)
        return
    known, flows = common.run_async(_flows(brain.settings(), topics))
    if show_all:
        from brainnet.observe.traffic import Flow

        used = {flow.topic for flow in flows}
        flows += [Flow.of(topic.key, known) for topic in known.topics if topic.name not in used]
    else:
        flows = [flow for flow in flows if flow.plane != "control"]
    if as_json:
        for flow in flows:
            output.print_json(_row(flow))
        return
    _print_flows(flows)
    dropped, lost = sum(f.dropped for f in flows), sum(f.lost for f in flows)
    output.note(f"{len(flows)} topics; since the nodes started {dropped} messages dropped, {lost} missing in sequence")


@common.takes_brain()
def info(
    brain: common.BrainOptions,
    key: KeyArgument,
    topics: TopicsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show what the contract says about a key, and who publishes and subscribes now.

    Example: brainnet topic info api/prompt
    """
    import zenoh

    from brainnet.observe import keys

    settings = brain.settings()
    keys.resolve(key, settings.namespace)  # raises before a connection is opened
    known, found = common.run_async(_flows(settings, topics))
    full = keys.resolve(key, settings.namespace, known)
    wanted = zenoh.KeyExpr(full)
    inside = keys.relative(full, settings.namespace)
    entries = [] if inside is None else known.covering(inside)
    flows = [flow for flow in found if wanted.intersects(zenoh.KeyExpr(f"{settings.namespace}/{flow.key}"))]
    if as_json:
        contract_rows = [_contract_row(topic) for topic in entries]
        output.print_json({"key": full, "contract": contract_rows, "traffic": [_row(flow) for flow in flows]})
        return
    if not entries:
        output.note(f"{full} is not in the contract: a foreign key, or one that no brainnet process uses")
    for topic in entries:
        for name, value in _contract_row(topic).items():
            if value != "":
                output.line(f"{name:>12}  {_spelled(value)}")
        output.line()
    if flows:
        _print_flows(flows)
    else:
        output.note(f"no node publishes or subscribes {full} now")


async def _flows(settings: Settings, topics: list[Path] | None) -> tuple[Contract, list[Flow]]:
    from brainnet.cli.topic import connection
    from brainnet.observe import traffic

    async with await connection.connect(settings, topics) as bus:
        found = await traffic.collect(bus)
    if not found.nodes:
        output.note("the hub answers, but no node does")
    return bus.contract, found.flows


def _row(flow: Flow) -> dict[str, Any]:
    return {
        "key": flow.key,
        "topic": flow.topic,
        "plane": flow.plane,
        "payload": flow.payload,
        "publishers": sorted(flow.publishers),
        "subscribers": sorted(flow.subscribers),
        "rate_hz": round(flow.rate_hz, 3),
        "bytes_per_s": round(flow.bytes_per_s, 1),
        "count": flow.count,
        "dropped": flow.dropped,
        "lost": flow.lost,
        "malformed": flow.malformed,
    }


def _print_flows(flows: list[Flow]) -> None:
    numbers = [output.Column(title, right=True) for title in ("Hz", "kB/s", "sent", "dropped", "lost")]
    output.table(
        ["key", "payload", "publishers", "subscribers", *numbers],
        [
            (
                flow.key,
                flow.payload,
                _names(flow.publishers),
                _names(flow.subscribers),
                f"{flow.rate_hz:.1f}",
                f"{flow.bytes_per_s / 1000:.1f}",
                str(flow.count),
                _red_if_not_zero(flow.dropped),
                _red_if_not_zero(flow.lost),
            )
            for flow in flows
        ],
    )


def _names(ids: set[str]) -> str:
    names = sorted(ids)
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _red_if_not_zero(number: int) -> output.Cell:
    return output.Styled(str(number), "red") if number else "0"


def _show_contract(entries: list[Topic], as_json: bool) -> None:
    if as_json:
        for topic in entries:
            output.print_json(_contract_row(topic))
        return
    output.table(
        ["key", "payload", "header", "reply", "from", "to", "delivery", "about"],
        [
            (
                topic.key,
                topic.payload,
                topic.header or "",
                topic.reply or "",
                ", ".join(topic.publishers),
                ", ".join(topic.subscribers),
                topic.delivery,
                topic.about,
            )
            for topic in entries
        ],
    )


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {kind}" for name, kind in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _fields(declared: dict[str, DeclaredField] | None) -> dict[str, str] | str:
    return {name: field.type for name, field in declared.items()} if declared else ""


def _contract_row(topic: Topic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "key": topic.key,
        "about": topic.about,
        "plane": topic.plane,
        "payload": topic.payload,
        "fields": _fields(topic.fields),
        "header": topic.header or "",
        "reply": topic.reply or "",
        "reply_fields": _fields(topic.reply_fields),
        "from": list(topic.publishers),
        "to": list(topic.subscribers),
        "delivery": topic.delivery,
        "priority": topic.priority,
        "mailbox": f"{topic.mailbox.capacity} {topic.mailbox.overflow}",
    }
