"""From options to a running brain: the plan, and the two ways to run it, in the foreground or detached.

The zygote is started before anything else is read, because its imports take longest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brainnet.errors import BrainnetError, LaunchError

if TYPE_CHECKING:
    from brainnet.launcher.run.supervisor import Plan, Supervisor
    from brainnet.launcher.run.zygote_client import ZygoteProcess
    from brainnet.wire.messages import NodeRecord

_LOG_LIMIT: Final = 10 << 20


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What a person may say about a launch; None means not said."""

    allocation: Path | None = None
    host: str | None = None
    only: list[str] = field(default_factory=list)
    namespace: str | None = None
    port: int | None = None


def make_plan(options: LaunchOptions) -> Plan:
    """Settings, allocation and options as one plan. Options and the environment win over the allocation, it over files.

    Raises:
        ConfigError: settings or an allocation that cannot be used.
    """
    from brainnet import settings
    from brainnet.launcher.describe.allocation import Host, load
    from brainnet.launcher.run.supervisor import Plan, loopback_hub
    from brainnet.node.spec import NodeSpec

    given = {"namespace": options.namespace, "port": options.port, "allocation": options.allocation}
    loaded = settings.load(given)
    path = loaded.settings.allocation or settings.config_dir() / "node_allocation.yaml"
    allocation = load(path)
    for name in ("namespace", "port"):
        said = loaded.origins[name] == "option" or loaded.origins[name].startswith(settings.ENV_PREFIX)
        if not said and getattr(allocation, name) is not None:
            given[name] = getattr(allocation, name)
    effective = settings.load(given).settings
    host = allocation.choose_host(options.host, effective.host)
    hub = allocation.hosts.get(host, Host())
    state = effective.state
    plan = Plan(
        namespace=effective.namespace,
        port=effective.port,
        host=host,
        allocation=allocation.path,
        nodes=tuple(
            NodeSpec(
                **entry.model_dump(exclude={"host"}),
                host=host,
                namespace=effective.namespace,
                hub=loopback_hub(effective.port),
                data_dir=state,
                log_level=effective.log_level,
            )
            for entry in allocation.placed_on(host, options.only)
        ),
        preload=allocation.preload,
        listen=hub.listen,
        connect=hub.connect,
        state=state,
        log_level=effective.log_level,
        ready_timeout_s=effective.ready_timeout_s,
        stop_grace_s=effective.stop_grace_s,
    )
    plan.log_dir.mkdir(parents=True, exist_ok=True)
    return plan


@contextlib.contextmanager
def _prepared(options: LaunchOptions) -> Iterator[tuple[Plan, ZygoteProcess]]:
    """A zygote that already imports, the plan, and the lock on this brain."""
    from brainnet.launcher.run.lock import BrainLock, Holder
    from brainnet.launcher.run.zygote_client import ZygoteProcess

    zygote = ZygoteProcess()
    try:
        plan = make_plan(options)
        with BrainLock(plan.state, Holder(os.getpid(), plan.host, plan.namespace, plan.port)):
            for old in plan.log_dir.glob("*.log"):
                if old.stat().st_size > _LOG_LIMIT:
                    old.replace(old.with_suffix(".log.1"))
            yield plan, zygote
    finally:
        zygote.abandon()


def run_foreground(
    options: LaunchOptions, show: Callable[[Supervisor], contextlib.AbstractContextManager[None]]
) -> None:
    """Run until Ctrl-C or `brainnet stop`. `show(supervisor)` is a context in which the nodes are shown.

    Raises:
        BrainnetError: the brain cannot be started; nothing of it is left.
    """
    with _prepared(options) as (plan, zygote):
        asyncio.run(_foreground(plan, zygote, show))


async def _foreground(
    plan: Plan, zygote: ZygoteProcess, show: Callable[[Supervisor], contextlib.AbstractContextManager[None]]
) -> None:
    from brainnet.launcher.run.supervisor import Supervisor

    supervisor = Supervisor(plan, zygote)
    _stop_on_signals(supervisor.stop)
    with show(supervisor):
        await supervisor.run()


@dataclass(frozen=True, slots=True)
class Launched:
    """A brain whose nodes on this host are all ready."""

    namespace: str
    port: int
    host: str
    nodes: int
    pid: int
    seconds: float


def run_detached(options: LaunchOptions, on_node: Callable[[NodeRecord], None]) -> Launched:
    """Start the brain in a process of its own; returns once every node is ready.

    Raises:
        BrainnetError: a node, or the brain, cannot be started; nothing of it is left.
        KeyboardInterrupt: Ctrl-C while waiting; nothing of it is left.
    """
    started = time.monotonic()
    ours, theirs = socket.socketpair()
    daemon = os.fork()
    if daemon == 0:
        code = 1
        try:
            ours.close()
            os.setsid()
            code = _daemon(options, theirs)
        finally:
            os._exit(code)
    theirs.close()
    try:
        with ours, ours.makefile() as told:
            outcome = _follow(told, on_node)
        if isinstance(outcome, dict):
            return Launched(**outcome, pid=daemon, seconds=time.monotonic() - started)
    except KeyboardInterrupt:
        os.kill(daemon, signal.SIGINT)
        os.waitpid(daemon, 0)
        raise
    os.waitpid(daemon, 0)
    raise LaunchError(outcome)


def _follow(told: Any, on_node: Callable[[NodeRecord], None]) -> dict[str, Any] | str:
    """Read what the daemon tells until every node is ready (what runs) or it has ended (the reason)."""
    from brainnet.wire.messages import NodeRecord

    failure = "the launcher ended without a word; see `brainnet logs launcher`"
    for line in told:
        match json.loads(line):
            case {"ready": dict(what)}:
                return what
            case {"failed": reason}:
                failure = reason  # and wait for its end
            case {"node": record}:
                on_node(NodeRecord.model_validate(record))
    return failure


def _daemon(options: LaunchOptions, progress: socket.socket) -> int:
    def tell(**what: Any) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            progress.sendall(json.dumps(what).encode() + b"\n")

    try:
        with _prepared(options) as (plan, zygote):
            _let_go_of_terminal(plan.log_dir / "launcher.log")
            asyncio.run(_detached(plan, zygote, progress, tell))
    except BrainnetError as error:
        tell(failed=str(error))
        return 1
    except Exception as error:
        tell(failed=f"internal error: {type(error).__name__}: {error}; see `brainnet logs launcher`")
        raise
    return 0


async def _detached(plan: Plan, zygote: ZygoteProcess, progress: socket.socket, tell: Callable[..., None]) -> None:
    from brainnet.launcher.run.supervisor import Supervisor

    loop = asyncio.get_running_loop()
    done = False

    def on_change(record: NodeRecord) -> None:
        if done:
            return
        tell(node=record.model_dump(mode="json"))
        if record.ready_s is None and (record.state in ("failed", "backoff", "lost") or record.restarts):
            give_up(f"node {record.id}: {record.reason}")
        elif all(node.record.ready_s is not None for node in supervisor.nodes.values()):
            finish(
                ready={
                    "namespace": plan.namespace,
                    "port": plan.port,
                    "host": plan.host,
                    "nodes": len(plan.nodes),
                }
            )

    def give_up(reason: str) -> None:
        finish(failed=f"{reason}; see `brainnet logs`, nothing was left running")
        supervisor.stop()

    def finish(**what: Any) -> None:
        nonlocal done
        done = True
        loop.remove_reader(progress)
        tell(**what)
        if "ready" in what:
            progress.close()

    def asker_gone() -> None:
        give_up("the launching command was ended")

    supervisor = Supervisor(plan, zygote)
    supervisor.on_change = on_change
    loop.add_reader(progress, asker_gone)
    _stop_on_signals(supervisor.stop)
    await supervisor.run()
    if not done:
        tell(failed="stopped before every node was ready")


def _stop_on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)


def _let_go_of_terminal(log: Path) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, descriptor in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(source, descriptor)
    os.close(target)
    os.close(nothing)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
