"""The supervisor: one per host and brain. It owns the hub and the zygote, and supervises the nodes of its host."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from brainnet.broker import Limits
from brainnet.bus import Bus, HubLinks, open_hub
from brainnet.endpoints import hub_endpoints, loopback, tcp_address
from brainnet.errors import AddressInUseError, BrainnetError, BusError, ConfigError, LaunchError
from brainnet.guard import describe, ends_task
from brainnet.launcher.run import log_files
from brainnet.launcher.run.managed_node import ManagedNode
from brainnet.launcher.run.network_watch import NetworkWatch
from brainnet.launcher.run.node_process import NodeProcess
from brainnet.launcher.run.prompt_desk import PromptDesk
from brainnet.launcher.run.topics import HostTopics
from brainnet.launcher.run.zygote_client import ZygoteProcess
from brainnet.launcher.run.zygotes import ZygoteKeeper
from brainnet.node import logs
from brainnet.node.health import proportional_set_size
from brainnet.node.spec import NodeSpec
from brainnet.wire import keys
from brainnet.wire.extension import Extension
from brainnet.wire.messages import (
    ControlQuery,
    ControlReply,
    Health,
    HostStatus,
    NodeRecord,
    NodeState,
    StatusQuery,
)

log = structlog.get_logger("brainnet.launcher")

ID: Final = "launcher"
"""The node id in the supervisor's log records, and the name of its log file."""
_CHECK_INTERVAL_S: Final = 0.25
"""Between two checks of all heartbeats: a tenth of their timeout, so that a lost node is found without much delay."""
_QUERY_AFTER_S: Final = 1.5
"""Seconds without a heartbeat after which a node is queried: heartbeats are best-effort and may be dropped on a
congested link, queries are reliable. One heartbeat is then overdue, and a second remains until the timeout."""
_LOST_TIMEOUT_S: Final = 3.0
"""Seconds that a killed node may still exist before that is logged. The kernel needs milliseconds, unless a device or a
network file system holds the process."""
_LINGER_S: Final = 6.0
"""Seconds for which a finished network stays for the launchers of other hosts: a link that was cut heals meanwhile."""
_LOG_CHECK_INTERVAL_S: Final = 2.0
_LINK_CHECK_INTERVAL_S: Final = 0.5
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What one host runs of a brain, with every default and option resolved.

    Attributes:
        namespace: Of the brain.
        port: TCP port of the hub.
        host: Name of this host.
        allocation: The file, for messages.
        nodes: The nodes of this host.
        preload: Modules that the zygote imports.
        listen: Endpoints of the hub besides the loopback port.
        connect: Endpoints of the hubs of other hosts.
        state: Folder of the durable state.
        log_level: Least level that is logged.
        ready_timeout_s: Seconds that a node may take to become ready.
        stop_grace_s: Seconds between the signals of a stop.
        log_max_mb: Megabytes that the log of one process may take.
        limits: Bounds of the prompts that are open at once, and of their journal.
        only_host: Whether the brain has no other host.
        extension: The topics of the brain's own.
    """

    namespace: str
    port: int
    host: str
    allocation: Path
    nodes: tuple[NodeSpec, ...]
    preload: tuple[str, ...]
    listen: tuple[str, ...]
    connect: tuple[str, ...]
    state: Path
    log_level: str = "info"
    ready_timeout_s: float = 60.0
    stop_grace_s: float = 2.0
    log_max_mb: float = 10.0
    limits: Limits = field(default_factory=Limits)
    only_host: bool = True
    extension: Extension = field(default_factory=Extension)

    @property
    def hub(self) -> str:
        """Endpoint at which the nodes of this host find the hub."""
        return loopback(self.port)

    @property
    def endpoints(self) -> list[str]:
        """Endpoints on which the hub listens: loopback, unless a wildcard address includes it, and `listen`."""
        return hub_endpoints(self.port, self.listen)

    @property
    def log_dir(self) -> Path:
        """Folder of the log files of this host."""
        return self.state / "logs"


class Supervisor:
    """Runs a plan until `stop` is called.

    Guarantees: when `run` returns or raises, no process of the plan is left and the hub's port is free. A zygote that
    ends or freezes is replaced, and no node ends with it.

    Attributes:
        plan: What it runs.
        nodes: The nodes, by id.
        network: Follows a network of populations that ends after some steps, and this run with it; None without one.
        on_change: Called with the record of a node at every change of its state; set it before `run`. An exception
            of it is logged.

    Raises:
        LaunchError: The log file of the launcher cannot be written.
    """

    def __init__(self, plan: Plan, zygote: ZygoteProcess) -> None:
        self.plan = plan
        self.on_change: Callable[[NodeRecord], None] = lambda record: None
        log_file = plan.log_dir / f"{ID}.log"
        try:
            self._log_file = log_file.open("a", buffering=1, encoding="utf-8", errors="replace")
        except OSError as error:
            raise LaunchError(f"{log_file} cannot be written: {error.strerror}") from None
        self._zygotes = ZygoteKeeper(
            zygote,
            log_file,
            plan.preload,
            plan.state / "cache",
            plan.ready_timeout_s,
            self._on_startup_failure,
        )
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._failure: LaunchError | None = None
        self._memory: tuple[float, dict[int, int]] = (0.0, {})  # when it was measured, and bytes by process id
        self._background: set[asyncio.Task[None]] = set()
        self._bus: Bus | None = None
        self._links: HubLinks | None = None
        self._desk: PromptDesk | None = None
        self._topics = HostTopics(plan.host, plan.extension)
        part = next((spec.network for spec in plan.nodes if spec.network is not None), None)
        self.network = None if part is None or part.last_step is None else NetworkWatch(part)
        self.nodes = {
            spec.id: ManagedNode(spec, plan.log_dir / f"{spec.id}.log", self._spawn, self._node_changed)
            for spec in plan.nodes
        }

    def _node_changed(self, record: NodeRecord) -> None:
        try:
            self.on_change(record)
        except Exception as error:  # showing a state must not end what is shown
            log.warning("a change of state could not be shown", error=describe(error))

    def stop(self) -> None:
        """Make `run` stop everything in order; the second call kills every node at once."""
        if self._stop.is_set():
            for node in self.nodes.values():
                node.kill_now()
        self._stop.set()

    async def run(self) -> None:
        """Run this host's part of the brain until `stop`.

        Raises:
            LaunchError: The hub cannot listen, or the zygote cannot import what the allocation preloads.
        """
        logs.configure(ID, self.plan.log_level, stream=self._log_file)
        self._zygotes.start()
        try:
            async with await self._open_hub() as bus:
                logs.configure(ID, self.plan.log_level, publish=logs.topic_publisher(bus, ID), stream=self._log_file)
                self._serve(bus)
                self._bus = bus
                self._desk = PromptDesk(
                    bus,
                    self.plan.state / "journal.sqlite",
                    self.plan.limits,
                    self.nodes,
                    only_host=self.plan.only_host,
                    is_stopping=self._stop.is_set,
                )
                log.info("hub open", endpoints=self.plan.endpoints, connect=self.plan.connect)
                await self._run_nodes(bus)
                logs.configure(ID, self.plan.log_level, stream=self._log_file)
        finally:
            self._stop.set()  # also after an exception: the exit of the zygote must not start another one
            await self._zygotes.close()
        if self._failure is not None:
            raise self._failure

    async def _run_nodes(self, bus: Bus) -> None:
        tasks = [
            *(asyncio.create_task(self._essential(node.supervise())) for node in self.nodes.values()),
            asyncio.create_task(self._essential(self._receive_heartbeats(bus))),
            asyncio.create_task(self._essential(self._monitor_nodes(bus))),
            asyncio.create_task(self._essential(self._limit_logs())),
            asyncio.create_task(self._essential(self._run_desk())),
        ]
        if self._links is not None:
            tasks.append(asyncio.create_task(self._essential(self._watch_links(self._links))))
        if not self.plan.only_host:
            tasks.append(asyncio.create_task(self._essential(self._topics.watch(bus, self._fail))))
        if self.network is not None:
            tasks.append(asyncio.create_task(self._essential(self._run_network(self.network, bus))))
        try:
            await self._stop.wait()
        finally:
            await self._stop_nodes()
            for task in [*tasks, *self._background]:
                task.cancel()
            await asyncio.gather(*tasks, *self._background, return_exceptions=True)

    async def _run_desk(self) -> None:
        assert self._desk is not None
        await self._desk.run()

    async def _run_network(self, network: NetworkWatch, bus: Bus) -> None:
        await network.run(bus, 0.0 if self.plan.only_host else _LINGER_S)
        self._stop.set()

    async def _essential(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task without which the brain is not supervised: when it fails, the brain is stopped in order."""
        try:
            await work
        except BaseException as error:  # a panic of a library in Rust is no Exception
            if ends_task(error):
                raise
            log.error("the launcher failed", exc_info=error)
            self._fail(f"the launcher failed: {error if isinstance(error, BrainnetError) else describe(error)}")

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = LaunchError(reason)
        self._stop.set()

    async def _stop_nodes(self) -> None:
        log.info("stopping")
        self._zygotes.cancel_waiting()
        grace = self.plan.stop_grace_s
        await asyncio.gather(*(node.stop(grace) for node in self.nodes.values()))

    async def _open_hub(self) -> Bus:
        from brainnet.bus.zenoh_transport import ZenohTransport

        plan = self.plan
        loop = asyncio.get_running_loop()
        try:
            session = await loop.run_in_executor(None, open_hub, plan.endpoints, list(plan.connect))
        except AddressInUseError as error:
            if error.endpoint == plan.hub:
                raise LaunchError(
                    f"port {plan.port} is in use by another program or another brain; choose another with --port"
                ) from None
            raise LaunchError(f"{plan.allocation}: {error}; choose another port in listen") from None
        except BusError as error:
            refused = next((e for e in plan.endpoints if _needs_rights(e)), None)
            if refused is not None:
                raise LaunchError(
                    f"the hub may not listen at {refused}: ports below 1024 need special rights; choose another with "
                    f"{'--port' if refused == plan.hub else 'listen in ' + str(plan.allocation)}"
                ) from None
            raise LaunchError(f"the hub {error}") from None
        if plan.listen or plan.connect:
            self._links = HubLinks(session)
        return Bus(
            ZenohTransport(session),
            namespace=plan.namespace,
            role="supervisor",
            source=ID,
            contract=plan.extension.contract,
        )

    # -- processes ---------------------------------------------------------------------------------------------------

    def _on_startup_failure(self, reason: str) -> None:
        self._fail(f"{self.plan.allocation}, preload: {reason}")

    def _spawn(
        self, spec: NodeSpec, on_pid: Callable[[int], None], on_state: Callable[[NodeState, str], None]
    ) -> NodeProcess:
        try:
            request = {"spec": spec.model_dump(mode="json"), "log": str(self.plan.log_dir / f"{spec.id}.log")}
        except ValueError as error:  # parameters come from YAML and may hold values that JSON cannot express
            raise LaunchError(f"its parameters cannot be handed over: {error}") from None
        return self._zygotes.spawn(request, on_pid, on_state)

    # -- watching ----------------------------------------------------------------------------------------------------

    async def _receive_heartbeats(self, bus: Bus) -> None:
        async for received in bus.subscribe(keys.key("heartbeat")):
            health: Health = received.message
            if self._desk is not None:
                self._desk.record_heartbeat(health)
            node = self.nodes.get(health.node_id)
            if node is not None and health.host == self.plan.host:
                node.record_heartbeat(health)

    async def _monitor_nodes(self, bus: Bus) -> None:
        stuck: set[str] = set()
        while True:
            before = time.monotonic()
            await asyncio.sleep(_CHECK_INTERVAL_S)
            late = time.monotonic() - before - _CHECK_INTERVAL_S
            # This process was suspended or its event loop blocked (a laptop that slept, a busy machine), so it could
            # not receive anything: no timeout must expire for that.
            suspended_s = late if late > _CHECK_INTERVAL_S else 0.0
            self._zygotes.check(suspended_s)
            for node in self.nodes.values():
                node.extend_heartbeat_deadline(suspended_s)
                node.check(self.plan.ready_timeout_s)
                if node.heartbeat_age_s > _QUERY_AFTER_S:
                    self._in_background(self._query_health(bus, node))
                if node.lost_for_s <= _LOST_TIMEOUT_S:
                    stuck.discard(node.record.id)
                elif node.record.id not in stuck:
                    stuck.add(node.record.id)
                    log.error("the kernel does not end a killed node", id=node.record.id, pid=node.record.pid)

    async def _watch_links(self, links: HubLinks) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LINK_CHECK_INTERVAL_S)
            for id in await loop.run_in_executor(None, links.check):
                log.warning("a link to another host was up but passed nothing on, and is made anew", hub=id)

    async def _limit_logs(self) -> None:
        loop, limit = asyncio.get_running_loop(), int(self.plan.log_max_mb * _MB)
        while True:
            await asyncio.sleep(_LOG_CHECK_INTERVAL_S)
            for node in self.nodes.values():
                if await loop.run_in_executor(None, log_files.cut, node.log_file, limit):
                    node.log_was_cut()
            await loop.run_in_executor(None, log_files.cut, self.plan.log_dir / f"{ID}.log", limit)

    @staticmethod
    async def _query_health(bus: Bus, node: ManagedNode) -> None:
        with contextlib.suppress(BusError):
            status_key = keys.key("node_status", node_id=node.record.id)
            node.record_heartbeat(await bus.call(status_key, StatusQuery(), timeout=0.5))

    # -- status and control ------------------------------------------------------------------------------------------

    def _serve(self, bus: Bus) -> None:
        async def status(request: StatusQuery, key: str) -> HostStatus:
            return await self.status()

        async def control(request: ControlQuery, key: str) -> ControlReply:
            return ControlReply(done=self._control(request))

        bus.serve(keys.key("host_status", host=self.plan.host), status)
        bus.serve(keys.key("host_control", host=self.plan.host), control)
        self._topics.serve(bus)

    async def status(self, memory_age_s: float = 1.0) -> HostStatus:
        """Return the state of every node of this host.

        Args:
            memory_age_s: Age in seconds up to which measured memory is used again. The kernel walks the page tables
                of a process to compute its proportional set size, which takes milliseconds for each node.
        """
        pids = [node.record.pid for node in self.nodes.values() if node.record.pid is not None]
        measured_at, memory = self._memory
        if time.monotonic() - measured_at > memory_age_s or not memory.keys() >= set(pids):
            memory = await asyncio.get_running_loop().run_in_executor(
                None, lambda: {pid: proportional_set_size(pid) for pid in pids}
            )
            self._memory = time.monotonic(), memory
        return HostStatus(
            host=self.plan.host,
            namespace=self.plan.namespace,
            pid=os.getpid(),
            hub=self.plan.endpoints,
            allocation=str(self.plan.allocation),
            uptime_s=time.monotonic() - self._started,
            nodes=[
                node.record.model_copy(
                    update={
                        "uptime_s": node.uptime_s,
                        "memory_bytes": memory.get(node.record.pid or 0, 0),
                        "next_start_s": node.next_start_s,
                        "advice": node.advice,
                    }
                )
                for node in self.nodes.values()
            ],
            prompts=None if self._desk is None else self._desk.status(),
            topics=[] if self._bus is None else self._bus.counters.snapshot(),
        )

    def _control(self, request: ControlQuery) -> str:
        if request.node is None:
            if request.action != "stop":
                raise ConfigError(f"name the node to {request.action}; a host can only be stopped")
            # 50 ms later, because the stop closes the session that has to send the reply first.
            asyncio.get_running_loop().call_later(0.05, self.stop)
            return f"{self.plan.host} stops"
        node = self.nodes.get(request.node)
        if node is None:
            raise ConfigError(f"{self.plan.host} has no node {request.node!r}; it has {', '.join(self.nodes)}")
        if self._stop.is_set():
            raise LaunchError(f"{self.plan.host} is stopping", code="stopping")
        match request.action:
            case "start":
                node.start()
            case "restart":
                self._in_background(node.restart(self.plan.stop_grace_s))
            case "stop":
                self._in_background(node.stop(self.plan.stop_grace_s, "stop asked for"))
        return f"{request.action} of {request.node} under way"

    def _in_background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)  # asyncio itself holds only weak references to tasks
        task.add_done_callback(self._background.discard)


def _needs_rights(endpoint: str) -> bool:
    """Return whether this user may not listen at a TCP endpoint."""
    address = tcp_address(endpoint)
    if address is None:
        return False
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EPERM)
    return False
