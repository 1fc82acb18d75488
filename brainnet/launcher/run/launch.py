"""Launches a brain: makes the plan from options, settings and allocation, and runs it in the foreground or detached.

The zygote is started before anything else is read, because its imports take longest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brainnet.collector import collect_less_often
from brainnet.errors import BrainnetError, ConfigError, LaunchError
from brainnet.guard import describe
from brainnet.launcher.run import log_files
from brainnet.launcher.run.orphans import OrphansError, end_orphans, wait_for_orphans
from brainnet.launcher.run.output import redirect_output
from brainnet.stdio import lenient

if TYPE_CHECKING:
    from brainnet.launcher.describe.allocation import Allocation
    from brainnet.launcher.run.supervisor import Plan, Supervisor
    from brainnet.launcher.run.zygote_client import ZygoteProcess
    from brainnet.node.spec import NetworkPart
    from brainnet.wire.messages import NodeRecord, NodeState

_OPEN_FILES: Final = 4096
_OPEN_FILES_OF_HUB: Final = 64
_OPEN_FILES_OF_NODE: Final = 8
"""Of the launcher: pipe, process and log of a node, and the links of its sessions and of clients."""
_ORPHANS_END_S: Final = 3.0
"""Seconds in which the nodes of a launcher that was killed a moment ago may end by themselves."""


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Options of a launch; None where the option was not given.

    Attributes:
        end_orphans: End what an earlier launcher of this brain has left, instead of refusing to start beside it.
        steps: Steps after which a network of populations stops.
        seed: Of the network, in place of that of its file.
        paused: The network begins only when it is told to.
        resume: The network goes on where its last launch was stopped.
    """

    allocation: Path | None = None
    host: str | None = None
    only: list[str] = field(default_factory=list)
    namespace: str | None = None
    port: int | None = None
    end_orphans: bool = False
    steps: int | None = None
    seed: int | None = None
    paused: bool = False
    resume: bool = False


def make_plan(options: LaunchOptions) -> Plan:
    """Combine settings, allocation and options into one plan.

    Options and the environment override the allocation, which overrides the settings files.

    Raises:
        ConfigError: Settings or an allocation that cannot be used.
        LaunchError: The state folder cannot be written.
    """
    from brainnet import settings
    from brainnet.broker import Limits
    from brainnet.endpoints import loopback
    from brainnet.launcher.describe.allocation import Host, load
    from brainnet.launcher.describe.here import check_here
    from brainnet.launcher.describe.networks import PRELOAD
    from brainnet.launcher.run.supervisor import Plan
    from brainnet.launcher.run.topics import topics_file
    from brainnet.node.spec import NodeSpec

    overrides = {"namespace": options.namespace, "port": options.port, "allocation": options.allocation}
    loaded = settings.load(overrides)
    path = loaded.settings.allocation or settings.config_dir() / "node_allocation.yaml"
    allocation = load(path)
    for name in ("namespace", "port"):
        if not loaded.origins[name].is_explicit and getattr(allocation, name) is not None:
            overrides[name] = getattr(allocation, name)
    effective = settings.load(overrides).settings
    host = allocation.choose_host(options.host, effective.host)
    hub = allocation.hosts.get(host, Host())
    entries = allocation.placed_on(host, options.only)
    check_here(allocation, host, entries, effective.port)
    part = _network_part(allocation, host, options, effective.state)
    computing = () if allocation.network is None else allocation.network.processes
    try:
        state = effective.state
        (state / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(
            f"the state of the brain cannot be written: {error.filename}: {error.strerror}; name another folder with "
            "the setting data_dir (BRAINNET_DATA_DIR)"
        ) from None
    return Plan(
        namespace=effective.namespace,
        port=effective.port,
        host=host,
        allocation=allocation.path,
        nodes=tuple(
            NodeSpec(
                **entry.model_dump(exclude={"host"}),
                host=host,
                namespace=effective.namespace,
                hub=loopback(effective.port),
                data_dir=state,
                log_level=effective.log_level,
                topics=topics_file(state) if allocation.extension.topics else None,
                network=part if entry.id in computing else None,
            )
            for entry in entries
        ),
        preload=allocation.preload + (() if part is None else PRELOAD),
        listen=hub.listen,
        connect=hub.connect,
        state=state,
        log_level=effective.log_level,
        ready_timeout_s=effective.ready_timeout_s,
        stop_grace_s=effective.stop_grace_s,
        log_max_mb=effective.log_max_mb,
        limits=Limits(
            max_open=effective.max_open_prompts,
            keep_s=effective.journal_keep_s,
            max_journal_bytes=int(effective.journal_max_mb * 1_000_000),
        ),
        only_host=len(allocation.hosts) < 2,
        extension=allocation.extension,
    )


def _network_part(allocation: Allocation, host: str, options: LaunchOptions, state: Path) -> NetworkPart | None:
    """Return what every node of the allocation's network is told; None without a network.

    Raises:
        ConfigError: Options for a network, and there is none.
    """
    from brainnet.launcher.run.runs import last_run
    from brainnet.node.spec import NetworkPart

    network = allocation.network
    if network is None:
        given = {"--steps": options.steps is not None, "--seed": options.seed is not None}
        given |= {"--paused": options.paused, "--resume": options.resume}
        if any(given.values()):
            named = ", ".join(name for name, is_given in given.items() if is_given)
            raise ConfigError(f"{allocation.path} has no network of populations, which {named} would be for")
        return None
    # On one host this launch is the run. Over several hosts, the first process says which run it is.
    first = next(iter(network.processes))
    says_it = len(allocation.hosts) < 2 or network.hosts.get(first, next(iter(allocation.hosts))) == host
    run = last_run(state, network, options.seed) if options.resume else uuid.uuid4().hex[:12]
    return NetworkPart(
        file=network.file,
        digest=network.digest,
        processes=network.processes,
        run=run if says_it else "",
        seed=options.seed,
        last_step=options.steps,
        paused=options.paused,
    )


@contextlib.contextmanager
def _launch_context(options: LaunchOptions) -> Iterator[tuple[Plan, ZygoteProcess]]:
    """Start a zygote, make the plan and hold the lock of the brain; kill the zygote at the end."""
    from brainnet.launcher.run.lock import BrainLock, Holder
    from brainnet.launcher.run.runs import note_run
    from brainnet.launcher.run.topics import write_topics
    from brainnet.launcher.run.zygote_client import ZygoteProcess

    _allow_open_files()
    zygote = ZygoteProcess()  # before the plan: settings and allocation are read while it imports
    try:
        plan = make_plan(options)
        with BrainLock(plan.state, Holder(os.getpid(), plan.host, plan.namespace, plan.port)):
            note_run(plan)
            write_topics(plan.state, plan.extension)
            _check_open_files(len(plan.nodes))
            _handle_orphans(plan.state, options)
            for path in plan.log_dir.glob("*.log"):
                log_files.cut(path, int(plan.log_max_mb * 1_000_000))
            yield plan, zygote
    except OSError as error:
        raise LaunchError(f"the launcher failed: {_describe_os_error(error)}") from error
    finally:
        zygote.discard()


def _allow_open_files() -> None:
    """Allow this process and its children more open files, as far as the system lets every user do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_open_files(nodes: int) -> None:
    """Check that this process may open as many files and connections as so many nodes need.

    Raises:
        LaunchError: It may not; without this check libraries would fail in ways of their own.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _OPEN_FILES_OF_HUB + _OPEN_FILES_OF_NODE * nodes
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise LaunchError(
            f"a process may have {soft} open files here, and a launcher of {nodes} nodes needs {needed}; allow more "
            f"with `ulimit -n {needed}`"
        )


def _handle_orphans(state: Path, options: LaunchOptions) -> None:
    """End what an earlier launcher has left, or refuse to start beside it; call it while the lock is held.

    Raises:
        OrphansError: There is something, and the options do not say to end it.
        LaunchError: It cannot be ended.
    """
    left = wait_for_orphans(state, _ORPHANS_END_S)
    if not left:
        return
    if options.end_orphans:
        end_orphans(state)
        return
    count = (
        "1 process of an earlier launcher of this brain still runs"
        if len(left) == 1
        else (f"{len(left)} processes of an earlier launcher of this brain still run")
    )
    raise OrphansError(
        f"{count}: {', '.join(map(str, left))}; end what is left with `brainnet launch --end-orphans` or "
        "`brainnet stop`"
    )


def run_foreground(
    options: LaunchOptions, show: Callable[[Supervisor], contextlib.AbstractContextManager[None]]
) -> None:
    """Run until Ctrl-C or `brainnet stop`.

    Args:
        options: The options of the launch.
        show: Makes the context in which the nodes are shown.

    Raises:
        BrainnetError: The brain cannot be started; no process of it is left.
    """
    try:
        with _launch_context(options) as (plan, zygote):
            collect_less_often()
            asyncio.run(_foreground(plan, zygote, show))
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a library in Rust
        raise LaunchError(f"internal error of the launcher: {describe(error)}") from error


async def _foreground(
    plan: Plan, zygote: ZygoteProcess, show: Callable[[Supervisor], contextlib.AbstractContextManager[None]]
) -> None:
    from brainnet.launcher.run.supervisor import Supervisor

    supervisor = Supervisor(plan, zygote)
    _stop_on_signals(supervisor.stop)
    with show(supervisor):
        await supervisor.run()


@dataclass(frozen=True, slots=True)
class LaunchResult:
    """A brain whose nodes on this host are all ready."""

    namespace: str
    port: int
    host: str
    nodes: int
    pid: int
    seconds: float


def run_detached(options: LaunchOptions, on_state: Callable[[str, NodeState], None]) -> LaunchResult:
    """Start the brain as a daemon and return when every node is ready.

    Args:
        options: The options of the launch.
        on_state: Called with the id and the state of a node at every change until then.

    Raises:
        BrainnetError: A node, or the brain, cannot be started; no process of it is left.
        OrphansError: Processes of an earlier launcher of this brain still run.
        KeyboardInterrupt: Ctrl-C while waiting; no process of it is left.
    """
    started = time.monotonic()
    ours, theirs = socket.socketpair()
    daemon = os.fork()  # this process has no thread and no Zenoh session, so it may fork
    if daemon == 0:
        code = 1
        try:
            ours.close()
            os.setsid()  # leave the terminal's session: closing the terminal must not stop the brain
            code = _daemon(options, theirs)
        finally:
            os._exit(code)
    theirs.close()
    try:
        with ours, ours.makefile() as progress:
            outcome = _read_progress(progress, on_state)
        if isinstance(outcome, dict):
            return LaunchResult(**outcome, pid=daemon, seconds=time.monotonic() - started)
    except KeyboardInterrupt:
        # The daemon has a session of its own, so Ctrl-C in the terminal did not reach it.
        os.kill(daemon, signal.SIGINT)
        os.waitpid(daemon, 0)
        raise
    os.waitpid(daemon, 0)
    raise outcome


def _read_progress(progress: Any, on_state: Callable[[str, NodeState], None]) -> dict[str, Any] | LaunchError:
    """Read the daemon's progress until every node is ready, or until the daemon has exited.

    Returns:
        What runs, or the reason of the failure.
    """
    failure = LaunchError("the launcher was ended before every node was ready")
    for line in progress:
        match json.loads(line):
            case {"ready": dict(what)}:
                return what
            case {"orphans": str(reason)}:
                failure = OrphansError(reason)
            case {"failed": str(reason)}:
                failure = LaunchError(reason)  # go on to end of file: the daemon first stops what it has started
            case {"node": str(id), "state": state}:
                on_state(id, state)
    return failure


def _daemon(options: LaunchOptions, progress: socket.socket) -> int:
    def send_progress(**what: Any) -> None:
        with contextlib.suppress(OSError):  # the launching command has exited
            progress.sendall(json.dumps(what).encode() + b"\n")

    try:
        with _launch_context(options) as (plan, zygote):
            _detach_from_terminal(plan.log_dir / "launcher.log")
            collect_less_often()
            asyncio.run(_detached(plan, zygote, progress, send_progress))
    except OrphansError as error:
        send_progress(orphans=str(error))
        return 1
    except BrainnetError as error:
        send_progress(failed=str(error))
        return 1
    except BaseException as error:  # a panic of a library in Rust is no Exception
        send_progress(failed=f"internal error of the launcher: {describe(error)}; see `brainnet logs launcher`")
        traceback.print_exc()
        return 1
    return 0


def _describe_os_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


async def _detached(
    plan: Plan, zygote: ZygoteProcess, progress: socket.socket, send_progress: Callable[..., None]
) -> None:
    from brainnet.launcher.run.supervisor import Supervisor

    loop = asyncio.get_running_loop()
    done = False

    def on_change(record: NodeRecord) -> None:
        if done:
            return
        send_progress(node=record.id, state=record.state)
        # A node that exits before it was ever ready fails the launch at once, although its policy would restart it:
        # the user waits for the command, and the cause is nearly always a mistake in the allocation.
        if record.ended_before_ready:
            fail(f"node {record.id}: {record.reason}")
        elif all(node.record.ready_s is not None for node in supervisor.nodes.values()):
            report_outcome(
                ready={
                    "namespace": plan.namespace,
                    "port": plan.port,
                    "host": plan.host,
                    "nodes": len(plan.nodes),
                }
            )

    def fail(reason: str) -> None:
        report_outcome(failed=f"{reason}; see `brainnet logs`, nothing was left running")
        supervisor.stop()

    def report_outcome(**what: Any) -> None:
        nonlocal done
        done = True
        # The launching command now exits, which must not count as its failure.
        loop.remove_reader(progress)
        send_progress(**what)
        if "ready" in what:
            progress.close()

    def on_launching_command_exit() -> None:
        fail("the launching command was ended")

    supervisor = Supervisor(plan, zygote)
    supervisor.on_change = on_change
    # The launching command never writes: the socket becomes readable only when that process exits.
    loop.add_reader(progress, on_launching_command_exit)
    _stop_on_signals(supervisor.stop)
    await supervisor.run()
    if not done:
        send_progress(failed="stopped before every node was ready")


def _stop_on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # started by nohup
        loop.add_signal_handler(number, stop)


def _detach_from_terminal(log: Path) -> None:
    try:
        redirect_output(log)
    except OSError as error:
        raise LaunchError(f"the log of the launcher cannot be written: {log}: {error.strerror}") from None
    # The old objects may hold text that the parent process wrote before the fork, which must not be written twice.
    sys.stdout, sys.stderr = lenient(1, encoding="utf-8"), lenient(2, encoding="utf-8")
