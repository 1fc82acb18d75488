"""The supervisor: one per host and brain. It owns the hub and the zygote, and keeps the host's nodes."""

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
"""How the supervisor signs its log records."""
_CHECK_S: Final = 0.25
_PROBE_AFTER_S: Final = 1.5
"""A node silent for so long is asked: a heartbeat may have been lost on a busy link."""
_STUCK_S: Final = 3.0


def loopback_hub(port: int) -> str:
    """Where the nodes of a host find its hub."""
    return f"tcp/127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one host runs of a brain, everything decided."""

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
        """Where the nodes of this host find the hub."""
        return loopback_hub(self.port)

    @property
    def endpoints(self) -> list[str]:
        """Where the hub listens: loopback, unless a wildcard endpoint covers it, and what is written out."""
        covers = (f"tcp/0.0.0.0:{self.port}", f"tcp/[::]:{self.port}", self.hub)
        return [*([] if any(c in self.listen for c in covers) else [self.hub]), *self.listen]

    @property
    def log_dir(self) -> Path:
        """Where the output of every process of this host goes."""
        return self.state / "logs"


class Supervisor:
    """Runs a plan until it is told to stop.

    Guarantees: when `run` returns, however it does, no process of the plan is left and the hub's port is free.
    Set `on_change` to be told every change of a node.
    """

    def __init__(self, plan: Plan, zygote: ZygoteProcess) -> None:
        self.plan = plan
        self.on_change: Callable[[NodeRecord], None] = lambda record: None
        self._zygote = zygote
        self._log_file = (plan.log_dir / f"{ID}.log").open("a", buffering=1)
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._fatal: LaunchError | None = None
        self._memory: tuple[float, dict[int, int]] = (0.0, {})
        self._background: set[asyncio.Task[None]] = set()
        self.nodes = {
            spec.id: ManagedNode(spec, plan.log_dir / f"{spec.id}.log", self._spawn, self._node_changed)
            for spec in plan.nodes
        }

    def _node_changed(self, record: NodeRecord) -> None:
        self.on_change(record)

    def stop(self) -> None:
        """Ask `run` to end in order; asked again, everything is killed at once."""
        if self._stop.is_set():
            for node in self.nodes.values():
                node.hurry()
        self._stop.set()

    async def run(self) -> None:
        """The whole life of this host's part of the brain.

        Raises:
            LaunchError: the hub cannot listen, or the zygote cannot import what the allocation preloads.
        """
        logs.configure(ID, self.plan.log_level, stream=self._log_file)
        self._attach()
        try:
            async with await self._open_hub() as bus:
                logs.configure(ID, self.plan.log_level, publish=_log_publisher(bus), stream=self._log_file)
                self._serve(bus)
                log.info("hub open", endpoints=self.plan.endpoints, connect=self.plan.connect)
                await self._keep_nodes(bus)
                logs.configure(ID, self.plan.log_level, stream=self._log_file)
        finally:
            self._stop.set()  # whatever ended us: its end is no reason for another zygote
            await self._zygote.close()
        if self._fatal is not None:
            raise self._fatal

    async def _keep_nodes(self, bus: Bus) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(node.keep()) for node in self.nodes.values()]
            tasks.append(group.create_task(self._receive_heartbeats(bus)))
            tasks.append(group.create_task(self._check(bus)))
            await self._stop.wait()
            await self._stop_nodes()
            for task in [*tasks, *self._background]:
                task.cancel()

    async def _stop_nodes(self) -> None:
        log.info("stopping")
        if not self._zygote.ready.done():  # it is busy importing; its nodes do not exist yet
            self._zygote.kill()
        grace = self.plan.stop_grace_s
        gone = await asyncio.gather(*(node.stop(grace) for node in self.nodes.values()))
        if not all(gone):
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
        zygote.gone.add_done_callback(self._zygote_gone)

    def _zygote_gone(self, gone: asyncio.Future[str]) -> None:
        if self._stop.is_set():
            return
        log.error("zygote ended", reason=gone.result())
        if not self._zygote.ready.done():  # another one would do no better
            self._fatal = LaunchError(f"{self.plan.allocation}, preload: {gone.result()}")
            self._stop.set()
            return
        self._zygote = ZygoteProcess()
        self._attach()

    def _spawn(self, spec: NodeSpec, notify: int, on_pid: Callable[[int], None]) -> Fork:
        # the parameters come out of YAML and may hold what JSON has no word for: the zygote client says so
        request = {"spec": spec.model_dump(mode="json"), "log": str(self.plan.log_dir / f"{spec.id}.log")}
        return self._zygote.spawn(request, notify, on_pid)

    # -- watching ----------------------------------------------------------------------------------------------------

    async def _receive_heartbeats(self, bus: Bus) -> None:
        async for received in bus.subscribe(keys.key("heartbeat")):
            health: Health = received.message
            node = self.nodes.get(health.node_id)
            if node is not None and health.host == self.plan.host:
                node.heard(health)

    async def _check(self, bus: Bus) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_CHECK_S)
            late = time.monotonic() - before - _CHECK_S
            for node in self.nodes.values():
                if late > _CHECK_S:  # we were held up ourselves: nobody can be blamed for silence
                    node.excuse(late)
                node.check(self.plan.ready_timeout_s)
                if node.silent_s > _PROBE_AFTER_S:
                    self._in_background(self._probe(bus, node))
            if any(node.lost_for_s > _STUCK_S for node in self.nodes.values()):
                log.error("the zygote does not end a lost node; ending the zygote")
                self._zygote.kill()

    @staticmethod
    async def _probe(bus: Bus, node: ManagedNode) -> None:
        with contextlib.suppress(BusError):
            node.heard(await bus.call(keys.key("node_status", node_id=node.record.id), StatusQuery(), timeout=0.5))

    # -- status and control ------------------------------------------------------------------------------------------

    def _serve(self, bus: Bus) -> None:
        async def status(request: StatusQuery, key: str) -> HostStatus:
            return await self.status()

        async def control(request: ControlQuery, key: str) -> ControlReply:
            return ControlReply(done=self._control(request))

        bus.serve(keys.key("host_status", host=self.plan.host), status)
        bus.serve(keys.key("host_control", host=self.plan.host), control)

    async def status(self, memory_age_s: float = 1.0) -> HostStatus:
        """Every node of this host, now; memory as it was at most so long ago, because reading it costs CPU time."""
        pids = [node.record.pid for node in self.nodes.values() if node.record.pid is not None]
        taken, memory = self._memory
        if time.monotonic() - taken > memory_age_s or not memory.keys() >= set(pids):
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
            asyncio.get_running_loop().call_later(0.05, self.stop)  # after the reply is out
            return f"{self.plan.host} stops"
        node = self.nodes.get(request.node)
        if node is None:
            raise ConfigError(f"{self.plan.host} has no node {request.node!r}; it has {', '.join(self.nodes)}")
        if self._stop.is_set():
            raise LaunchError(f"{self.plan.host} is stopping")
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
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _log_publisher(bus: Bus) -> Callable[[Any], None]:
    loop = asyncio.get_running_loop()

    def publish(record: Any) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(send, record)

    def send(record: Any) -> None:
        with contextlib.suppress(Exception):  # the file has it
            bus.publish(keys.key("log", node_id=ID), record)

    return publish
