"""`brainnet node`: single nodes, their parameters, and lesions of what they receive."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.bus import Bus
    from brainnet.settings import Settings
    from brainnet.wire.messages import Health, Lesion, NodeRecord, ParamInfo

app = common.verb(
    "List, inspect, restart and stop nodes; read and set their parameters; lesions for experiments.",
    no_args_is_help=True,
)
param = common.verb("Read and set the parameters of a node while it runs.", no_args_is_help=True)
app.add_typer(param, name="param")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the node.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the parameter.")]
_POLL_S = 0.1


@app.command("list")
@common.takes_brain()
def list_nodes(
    brain: common.BrainOptions,
    as_json: common.JsonOption = False,
) -> None:
    """List the nodes that are alive, also those that no launcher started.

    Example: brainnet node list
    """

    async def ask(settings: Settings) -> list[Health]:
        from brainnet.wire.keys import key
        from brainnet.wire.messages import Health, StatusQuery

        async with await common.connect(settings) as bus:
            replies = await bus.call_all(key("node_status"), StatusQuery())
        return sorted((r.message for r in replies if isinstance(r.message, Health)), key=lambda h: h.node_id)

    found = common.run_async(ask(brain.settings()))
    if as_json:
        for health in found:
            output.print_json(health)
        return
    output.table(
        ["node", "state", "role", "answers prompts", "pid", "host", "what it does"],
        [(h.node_id, h.state, h.role, "yes" if h.answers else "no", str(h.pid), h.host, h.about) for h in found],
    )


@app.command()
@common.takes_brain()
def info(
    brain: common.BrainOptions,
    id: IdArgument,
    as_json: common.JsonOption = False,
) -> None:
    """Show all about one node: health, traffic on its topics, parameters.

    Example: brainnet node info my_region
    """

    async def ask(settings: Settings) -> tuple[Health, list[ParamInfo]]:
        from brainnet.wire.messages import ParamsQuery, StatusQuery

        async with await common.connect(settings) as bus:
            health = await _call(bus, id, "status", StatusQuery())
            return health, (await _call(bus, id, "params", ParamsQuery())).params

    health, params = common.run_async(ask(brain.settings()))
    if as_json:
        output.print_json({**health.model_dump(mode="json"), "params": params})
        return
    from brainnet.cli.node_table import duration

    facts = {
        "node": f"{health.node_id}: {health.about}",
        "state": health.state + (f" ({health.last_error})" if health.last_error else ""),
        "program": health.program,
        "role": health.role + (", answers prompts" if health.answers else ""),
        "process": f"{health.pid} on {health.host}, up {duration(health.uptime_s)}",
        "memory": f"{health.memory_bytes / 1e6:.0f} MB",
        "cpu": f"{health.cpu_percent:.1f} % of one core; event loop late by {health.loop_lag_ms:.1f} ms",
        "queued": str(health.queued),
        "counters": "  ".join(f"{k} {v}" for k, v in sorted(health.counters.items())),
    }
    output.table(["", ""], [(output.Styled(name, "bold"), value) for name, value in facts.items()], titles=False)
    output.line()
    output.line(output.Styled("topics", "bold"))
    output.table(
        ["topic", "", "messages", "per second", "dropped", "lost", "malformed"],
        [
            (t.key, t.direction, str(t.count), f"{t.rate_hz:.1f}", str(t.dropped), str(t.lost), str(t.malformed))
            for t in sorted(health.topics, key=lambda t: (t.key, t.direction))
        ],
    )
    if health.timers:
        output.line()
        output.line(output.Styled("timers", "bold"))
        output.table(
            ["timer", "Hz", "calls", "missed", "late p50, p99 (ms)", "took p50, p99 (ms)"],
            [
                (
                    t.name,
                    f"{t.hz:g}",
                    str(t.calls),
                    str(t.missed),
                    f"{t.late_p50_ms:.2f}, {t.late_p99_ms:.2f}",
                    f"{t.took_p50_ms:.2f}, {t.took_p99_ms:.2f}",
                )
                for t in health.timers
            ],
        )
    if health.lesions:
        output.line()
        output.line(output.Styled("lesions", "bold"))
        _print_lesions([(health.node_id, lesion) for lesion in health.lesions])
    output.line()
    output.line(output.Styled("parameters", "bold"))
    _print_params(params)


@app.command()
@common.takes_brain()
def restart(
    brain: common.BrainOptions,
    id: IdArgument,
) -> None:
    """End a node in order and start it again; also one that failed or was stopped. Returns when it is ready.

    Example: brainnet node restart my_region
    """
    record = common.run_async(_control(brain.settings(), id, "restart"))
    output.note(f"{id} is {record.state}, pid {record.pid}")


@app.command()
@common.takes_brain()
def stop(
    brain: common.BrainOptions,
    id: IdArgument,
) -> None:
    """Stop a node; it stays stopped until it is restarted. Returns when its process is gone.

    Example: brainnet node stop my_region
    """
    common.run_async(_control(brain.settings(), id, "stop"))
    output.note(f"{id} is stopped")


@app.command()
@common.takes_brain()
def lesion(
    brain: common.BrainOptions,
    source: Annotated[str | None, typer.Argument(metavar="FROM", help="Node whose spikes are meant.")] = None,
    target: Annotated[str | None, typer.Argument(metavar="TO", help="Node that receives them.")] = None,
    silence: Annotated[bool, typer.Option("--silence", help="No spike arrives.")] = False,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="The neurons of each packet change places at random.")
    ] = False,
    drop: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="P", help="Each spike is lost with this probability.")
    ] = None,
    heal: Annotated[bool, typer.Option("--heal", help="End the lesion.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Silence, shuffle or drop the spikes from one node to another while the brain runs; without FROM and TO, list.

    For experiments: what is a projection good for? It acts where the spikes arrive, until it is healed or the
    receiving node starts again. What comes with the spikes, such as the picture of a prompt, still arrives.

    Example: brainnet node lesion my_sensor my_region --drop 0.2
    """
    from brainnet.wire.messages import Lesion

    kinds = {"silence": silence, "shuffle": shuffle, "drop": drop is not None, "heal": heal}
    chosen: list[Any] = [kind for kind, given in kinds.items() if given]
    if source is None or target is None:
        if source is not None or chosen:
            raise typer.BadParameter(
                "name both FROM and TO, such as: brainnet node lesion my_sensor my_region --silence"
            )
        found = common.run_async(_all_lesions(brain.settings()))
    else:
        if len(chosen) != 1:
            raise typer.BadParameter("say one of --silence, --shuffle, --drop P and --heal")
        made = Lesion(source=source, kind=chosen[0], share=1.0 if drop is None else drop)
        left = common.run_async(_make_lesion(brain.settings(), target, made))
        found = [(target, lesion) for lesion in left]
    if as_json:
        for node_id, one in found:
            output.print_json({"to": node_id, "from": one.source, "kind": one.kind, "share": one.share})
    elif found:
        _print_lesions(found)
    else:
        output.note("no lesion")


@param.command("list")
@common.takes_brain()
def list_params(
    brain: common.BrainOptions,
    id: IdArgument,
    as_json: common.JsonOption = False,
) -> None:
    """Show the parameters of a node: value, type, default, meaning.

    Example: brainnet node param list my_region
    """
    found = common.run_async(_params(brain.settings(), id, {}))
    if as_json:
        for one in found:
            output.print_json(one)
    else:
        _print_params(found)


@param.command("get")
@common.takes_brain()
def get_param(
    brain: common.BrainOptions,
    id: IdArgument,
    name: NameArgument,
    as_json: common.JsonOption = False,
) -> None:
    """Print the value of one parameter.

    Example: brainnet node param get my_region temperature
    """
    (found,) = common.run_async(_params(brain.settings(), id, {"name": name}))
    if as_json:
        output.print_json(found)
    else:
        output.print_json(found.value)


# Unknown options are passed on, because a negative number as VALUE looks like one.
@param.command("set", context_settings={"ignore_unknown_options": True})
@common.takes_brain()
def set_param(
    brain: common.BrainOptions,
    id: IdArgument,
    name: NameArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As YAML or JSON: 0.5, true, text, [1, 2].")],
) -> None:
    """Set a parameter of a running node, until it restarts.

    Example: brainnet node param set my_region temperature 0.5
    """
    from brainnet import yaml_text

    parsed = yaml_text.parse(value, "VALUE").value
    settings = brain.settings()
    (now,) = common.run_async(_params(settings, id, {"name": name, "value": parsed, "set": True}))
    output.note(f"{id} {name} = {now.value}")


# -- queries to nodes --------------------------------------------------------------------------------------------------


async def _call(bus: Bus, id: str, what: str, request: Any) -> Any:
    from brainnet.errors import CallTimeout, LaunchError
    from brainnet.wire.keys import chunk, key

    try:
        return await bus.call(key(f"node_{what}", node_id=id), request)
    except CallTimeout:
        known = ", ".join(chunk("alive", token, "node_id") for token in await bus.alive()) or "none"
        raise LaunchError(f"no node {id!r} answers; nodes of the brain {bus.namespace!r}: {known}") from None


async def _params(settings: Settings, id: str, query: dict[str, Any]) -> list[ParamInfo]:
    from brainnet.wire.messages import ParamsQuery

    async with await common.connect(settings) as bus:
        found: list[ParamInfo] = (await _call(bus, id, "params", ParamsQuery(**query))).params
    return found


async def _make_lesion(settings: Settings, target: str, lesion: Lesion) -> list[Lesion]:
    """Make a lesion in a node, and return the lesions that it has then."""
    from brainnet.wire.keys import chunk
    from brainnet.wire.messages import LesionQuery

    async with await common.connect(settings) as bus:
        left: list[Lesion] = (await _call(bus, target, "lesion", LesionQuery(lesion=lesion))).lesions
        alive = {chunk("alive", token, "node_id") for token in await bus.alive()}
        if lesion.source not in alive:
            output.note(f"no node {lesion.source!r} is alive now; alive are {', '.join(sorted(alive))}")
    return left


async def _all_lesions(settings: Settings) -> list[tuple[str, Lesion]]:
    """Return the lesions of the brain, each with the node that has it."""
    from brainnet.wire.keys import key
    from brainnet.wire.messages import Health, StatusQuery

    async with await common.connect(settings) as bus:
        replies = await bus.call_all(key("node_status"), StatusQuery())
    healths = sorted((r.message for r in replies if isinstance(r.message, Health)), key=lambda h: h.node_id)
    return [(health.node_id, lesion) for health in healths for lesion in health.lesions]


async def _control(settings: Settings, id: str, action: Any) -> NodeRecord:
    """Send a control query to the supervisor of a node, and wait until it is carried out."""
    from brainnet.errors import LaunchError
    from brainnet.wire.keys import key
    from brainnet.wire.messages import ControlQuery

    async with await common.connect(settings) as bus:
        before = await _record(bus, id)
        await bus.call(key("host_control", host=before.host), ControlQuery(action=action, node=id))
        # The supervisor replies before a stop or start is complete, so its status is polled.
        deadline = time.monotonic() + settings.ready_timeout_s
        while time.monotonic() < deadline:
            now = await _record(bus, id)
            if action == "stop" and now.pid is None and now.state == "stopped":
                return now
            if action == "restart" and now.starts > before.starts and now.state in ("ready", "failed", "backoff"):
                if now.state != "ready":
                    raise LaunchError(f"{id} failed: {now.reason}; `brainnet logs {id}` says more")
                return now
            await asyncio.sleep(_POLL_S)
    raise LaunchError(f"{id} is {now.state} {settings.ready_timeout_s:g} s after the {action}: {now.reason}")


async def _record(bus: Bus, id: str) -> NodeRecord:
    from brainnet.client import host_statuses
    from brainnet.errors import LaunchError

    records = {record.id: record for host in await host_statuses(bus) for record in host.nodes}
    if id not in records:
        raise LaunchError(f"no launcher has a node {id!r}; there are {', '.join(records)}")
    return records[id]


def _print_lesions(found: list[tuple[str, Lesion]]) -> None:
    output.table(
        ["from", "to", "lesion"],
        [(one.source, target, f"drop {one.share:.0%}" if one.kind == "drop" else one.kind) for target, one in found],
    )


def _print_params(params: list[ParamInfo]) -> None:
    output.table(
        ["parameter", "value", "type", "default", "meaning"],
        [(one.name, str(one.value), one.type, str(one.default), one.description) for one in params],
    )
