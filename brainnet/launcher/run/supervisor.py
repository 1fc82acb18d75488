"""The supervisor: one per host and brain. It owns the hub and the zygote, and supervises the nodes of its host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from brainnet.bus import Bus, open_hub
from brainnet.errors import AddressInUseError, BusError, ConfigError, LaunchError
from brainnet.launcher.run.managed_node import ManagedNode
from brainnet.launcher.run.zygote_client import Fork, ZygoteProcess
from brainnet.node import logs
from brainnet.node.health import proportional_set_size
from brainnet.node.spec import NodeSpec
from brainnet.wire import keys
from brainnet.wire.messages import ControlQuery, ControlReply, Health, HostStatus, NodeRecord, StatusQuery

log = structlog.get_logger("brainnet.launcher")

ID: Final = "launcher"
"""The node id in the supervisor's log records, and the name of its log file."""
_CHECK_INTERVAL_S: Final = 0.25
"""Between two checks of all heartbeats: a tenth of their timeout, so that a lost node is found without much delay."""
_QUERY_AFTER_S: Final = 1.5
"""Seconds without a heartbeat after which a node is queried: heartbeats are best-effort and may be dropped on a
congested link, queries are reliable. One heartbeat is then overdue, and a second remains until the timeout."""
_LOST_TIMEOUT_S: Final = 3.0
"""Seconds that a killed node may still exist. The kernel needs milliseconds, so by then it is the zygote that does not
reap it."""


def loopback_hub(port: int) -> str:
    """Return the endpoint at which the nodes of a host find its hub."""
    return f"tcp/127.0.0.1:{port}"


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

    @property
    def hub(self) -> str:
        """Endpoint at which the nodes of this host find the hub."""
        return loopback_hub(self.port)

    @property
    def endpoints(self) -> list[str]:
        """Endpoints on which the hub listens: loopback, unless a wildcard address includes it, and `listen`."""
        # A second listener on a port that a wildcard address already has would fail with "address in use".
        covers = (f"tcp/0.0.0.0:{self.port}", f"tcp/[::]:{self.port}", self.hub)
        return [*([] if any(c in self.listen for c in covers) else [self.hub]), *self.listen]

    @property
    def log_dir(self) -> Path:
        """Folder of the log files of this host."""
        return self.state / "logs"


class Supervisor:
    """Runs a plan until `stop` is called.

    Guarantees: when `run` returns or raises, no process of the plan is left and the hub's port is free.

    Attributes:
        plan: What it runs.
        nodes: The nodes, by id.
        on_change: Called with the record of a node at every change of its state; set it before `run`.
    """

    def __init__(self, plan: Plan, zygote: ZygoteProcess) -> None:
        self.plan = plan
        self.on_change: Callable[[NodeRecord], None] = lambda record: None
        self._zygote = zygote
        self._log_file = (plan.log_dir / f"{ID}.log").open("a", buffering=1)
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._startup_error: LaunchError | None = None
        self._memory: tuple[float, dict[int, int]] = (0.0, {})  # when it was measured, and bytes by process id
        self._background: set[asyncio.Task[None]] = set()
        self.nodes = {
            spec.id: ManagedNode(spec, plan.log_dir / f"{spec.id}.log", self._spawn, self._node_changed)
            for spec in plan.nodes
        }

    def _node_changed(self, record: NodeRecord) -> None:
        self.on_change(record)

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
        self._attach()
        try:
            async with await self._open_hub() as bus:
                logs.configure(ID, self.plan.log_level, publish=logs.topic_publisher(bus, ID), stream=self._log_file)
                self._serve(bus)
                log.info("hub open", endpoints=self.plan.endpoints, connect=self.plan.connect)
                await self._run_nodes(bus)
                logs.configure(ID, self.plan.log_level, stream=self._log_file)
        finally:
            self._stop.set()  # also after an exception: the exit of the zygote must not start another one
            await self._zygote.close()
        if self._startup_error is not None:
            raise self._startup_error

    async def _run_nodes(self, bus: Bus) -> None:
        # A task group: an unexpected exception of one task ends all, and `run` with it, instead of leaving a node
        # without supervision.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(node.supervise()) for node in self.nodes.values()]
            tasks.append(group.create_task(self._receive_heartbeats(bus)))
            tasks.append(group.create_task(self._monitor_nodes(bus)))
            await self._stop.wait()
            await self._stop_nodes()
            for task in [*tasks, *self._background]:
                task.cancel()

    async def _stop_nodes(self) -> None:
        log.info("stopping")
        if not self._zygote.ready.done():  # while it imports it handles no requests, and there are no nodes yet
            self._zygote.kill()
        grace = self.plan.stop_grace_s
        gone = await asyncio.gather(*(node.stop(grace) for node in self.nodes.values()))
        if not all(gone):  # PR_SET_PDEATHSIG: the kernel kills the nodes of a zygote that exits
            self._zygote.kill()

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
            raise LaunchError(f"the hub {error}") from None
        return Bus(ZenohTransport(session), namespace=plan.namespace, role="supervisor", source=ID)

    # -- the zygote --------------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        zygote = self._zygote
        zygote.attach(self.plan.log_dir / f"{ID}.log", self.plan.preload)

        def is_ready(ready: asyncio.Future[float]) -> None:
            if not ready.cancelled():
                log.info("zygote ready", seconds=round(ready.result(), 3), pid=zygote.pid)

        zygote.ready.add_done_callback(is_ready)
        zygote.exited.add_done_callback(self._on_zygote_exit)

    def _on_zygote_exit(self, exited: asyncio.Future[str]) -> None:
        if self._stop.is_set():
            return
        log.error("zygote ended", reason=exited.result())
        if not self._zygote.ready.done():  # it failed while importing, and another one would fail, too
            self._startup_error = LaunchError(f"{self.plan.allocation}, preload: {exited.result()}")
            self._stop.set()
            return
        self._zygote = ZygoteProcess()
        self._attach()

    def _spawn(self, spec: NodeSpec, notify: int, on_pid: Callable[[int], None]) -> Fork:
        # Parameters come from YAML and may hold values that JSON cannot express; the zygote client reports those.
        request = {"spec": spec.model_dump(mode="json"), "log": str(self.plan.log_dir / f"{spec.id}.log")}
        return self._zygote.spawn(request, notify, on_pid)

    # -- watching ----------------------------------------------------------------------------------------------------

    async def _receive_heartbeats(self, bus: Bus) -> None:
        async for received in bus.subscribe(keys.key("heartbeat")):
            health: Health = received.message
            node = self.nodes.get(health.node_id)
            if node is not None and health.host == self.plan.host:
                node.record_heartbeat(health)

    async def _monitor_nodes(self, bus: Bus) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_CHECK_INTERVAL_S)
            late = time.monotonic() - before - _CHECK_INTERVAL_S
            for node in self.nodes.values():
                # This process was suspended or its event loop blocked (a laptop that slept, a busy machine), so it
                # could not receive heartbeats: their timeout must not expire for that.
                if late > _CHECK_INTERVAL_S:
                    node.extend_heartbeat_deadline(late)
                node.check(self.plan.ready_timeout_s)
                if node.heartbeat_age_s > _QUERY_AFTER_S:
                    self._in_background(self._query_health(bus, node))
            if any(node.lost_for_s > _LOST_TIMEOUT_S for node in self.nodes.values()):
                log.error("the zygote does not end a lost node; ending the zygote")
                self._zygote.kill()

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
                    update={"uptime_s": node.uptime_s, "memory_bytes": memory.get(node.record.pid or 0, 0)}
                )
                for node in self.nodes.values()
            ],
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
