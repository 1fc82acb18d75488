"""Node: the lifecycle of one process of the brain."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import structlog
from numpy.typing import NDArray

from brainnet.bus import Bus, Received
from brainnet.errors import BrainnetError, ConfigError, LaunchError
from brainnet.node.handlers import Handler, handlers_of, wants_key
from brainnet.node.health import Vitals
from brainnet.node.params import NodeParameters, assign, build, describe
from brainnet.node.spec import NodeSpec
from brainnet.wire import keys
from brainnet.wire.messages import (
    ControlQuery,
    ControlReply,
    Header,
    Health,
    Message,
    NodeState,
    ParamsQuery,
    ParamsReply,
    StatusQuery,
)
from brainnet.wire.packet import SpikePacket

T = TypeVar("T")


class Node:
    """One process of the brain. Subclass it, or `Region` for one that answers prompts.

    The base class opens the bus, loads the model, declares the topics, says when the node is ready (its model is loaded
    and its subscriptions are known to the network), answers status, parameters and control at any time, publishes its
    health once a second, and stops in order.

    `async def` methods run on the event loop and must not block it; plain `def` handlers and `load` run in the one
    model thread, so a busy model never delays health or control.

    Attributes:
        role: who this node is in the wire contract.
        default_checkpoint: weights to load when the allocation names none, relative to the program's file.
        id, host, device, data_dir: from the allocation.
        params: the current values of `Parameters`.
        bus: for what the methods here do not cover.
        log: structured logger; records also go to `log/{id}`.
    """

    role: ClassVar[str] = "region"
    default_checkpoint: ClassVar[str | None] = None

    class Parameters(NodeParameters):
        """No parameters."""

    params: Any

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        self.spec = spec
        self.id = spec.id
        self.host = spec.host
        self.device = spec.device
        self.data_dir = spec.data_dir
        self.bus = bus
        self.control = control
        self.log = structlog.get_logger("brainnet.node").bind()
        self.params = build(self.Parameters, spec.parameters, spec.id)
        self.state: NodeState = "starting"
        self.last_error: str | None = None
        self.vitals = Vitals()
        self.__heartbeat_key = keys.key("heartbeat", node_id=spec.id)
        self.__counts: Counter[str] = Counter()
        self.__stop = asyncio.Event()
        self.__on_state: Callable[[NodeState, str], None] = lambda state, reason: None
        self.__worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{spec.id}-model")
        self.__tasks: set[asyncio.Task[Any]] = set()

    # -- for subclasses to override ----------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the model; once, in the model thread, before the node is ready."""

    async def setup(self) -> None:
        """Declare what depends on parameters; after `load`, before ready."""

    async def run(self) -> None:
        """Work of its own, from ready until stop; cancelled at stop."""

    async def teardown(self) -> None:
        """Let go of what was taken; at stop, while the bus is still open."""

    def params_changed(self, name: str) -> None:
        """A parameter was set; on the event loop."""

    # -- for subclasses to use ---------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path | None:
        """The weights to load.

        Raises:
            ConfigError: the file does not exist.
        """
        path = self.spec.checkpoint
        if path is None and self.default_checkpoint is not None:
            path = Path(inspect.getfile(type(self))).parent / self.default_checkpoint
        if path is not None and not path.exists():
            raise ConfigError(f"checkpoint of {self.id} not found: {path}")
        return path

    def publish(self, key: str, message: SpikePacket | Message) -> None:
        """Send on a key of the contract; never blocks. See `Bus.publish`."""
        self.bus.publish(key, message)

    async def send(self, key: str, message: SpikePacket | Message, *, wait_s: float = 1.0) -> bool:
        """Send what must arrive: waits until somebody listens on the key; False when nobody did in time."""
        if not await self.bus.wait_matching(key, wait_s):
            self.count("unmatched")
            return False
        self.bus.publish(key, message)
        return True

    async def call(self, key: str, request: Message, *, timeout: float = 2.0) -> Any:
        """Ask whoever serves the key. See `Bus.call`."""
        return await self.bus.call(key, request, timeout=timeout)

    def packet(
        self,
        data: NDArray[Any],
        *,
        modality: str = "",
        dt_us: int = 1000,
        header: Header | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SpikePacket:
        """Build a packet of this node; source, number and time are stamped when it is sent.

        Args:
            data: [neurons, steps], see `SpikePacket`.
            modality: What the values are about; the node's id by default.
            dt_us: Duration of one step in microseconds.
            header: The typed metadata, on a topic that has some.
            metadata: Free metadata, on one that has none.
        """
        fields = header.to_metadata() if header is not None else metadata or {}
        return SpikePacket(data, modality or self.id, dt_us, self.id, metadata=fields)

    async def in_model_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking function in the model thread, after what is already waiting there."""
        return await asyncio.get_running_loop().run_in_executor(self.__worker, function, *args)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that ends with the node; an error in it is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self.__tasks.add(task)
        task.add_done_callback(self.__finished)
        return task

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter that `Health` shows."""
        self.__counts[name] += n

    def fail(self, where: str, error: BaseException) -> None:
        """Count and log an error that the node survives."""
        self.count("errors")
        self.last_error = f"{where}: {type(error).__name__}: {error}"
        if isinstance(error, BrainnetError):
            self.log.warning("failed", where=where, error=str(error))
        else:
            self.log.error("failed", where=where, exc_info=error)

    async def add_subscription(self, key: str, handler: Callable[..., Any]) -> None:
        """Like `subscribe`, for keys that are only known at run time; call it in `setup`."""
        self.__listen(Handler("subscribe", key, (), handler.__name__, wants_key(handler)), handler)

    # -- lifecycle ---------------------------------------------------------------------------------------------------

    async def live(self, on_state: Callable[[NodeState, str], None]) -> None:
        """The whole life: start, be ready, run until `stop`, end. `on_state` is told every state.

        Raises:
            BrainnetError: the node cannot start; nothing of it is left.
        """
        self.__on_state = on_state
        try:
            self.__serve_control()
            self.spawn(self.vitals.watch())
            self.spawn(self.__heartbeat())
            await self.__check_id_is_free()
            started = await self.__unless_stopped(self._start_node())
            if started:
                work = self.spawn(self.run())
                self.__set_state("ready")
                await self.__stop.wait()
                work.cancel()
        finally:
            await self.__end()

    def stop(self) -> None:
        """Ask the node to stop; `live` then returns."""
        self.__stop.set()

    async def _start_node(self) -> None:
        await self.in_model_thread(self.load)
        for handler in handlers_of(self):
            method = getattr(self, handler.method)
            if handler.kind == "subscribe":
                self.__listen(handler, method)
            else:
                self.__serve(handler, method)
        await self.setup()
        for handler in handlers_of(self):
            if handler.kind == "subscribe":
                await self._reachable(handler.expression(self.id))
        await self._open_for_work()
        self.control.declare_alive(keys.key("alive", host=self.host, node_id=self.id))

    async def _open_for_work(self) -> None:
        """Start to take work; the last step before ready."""

    async def _reachable(self, key: str) -> None:
        """Wait until another session sees the subscription: from then on nothing sent to it is lost."""
        if not await self.control.wait_listener(key, 5.0):
            self.log.warning("subscription not seen by the hub", key=key)

    async def __unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self.__stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return not self.__stop.is_set()
            return False
        finally:
            for waiting in (task, stopped):
                waiting.cancel()

    async def __check_id_is_free(self) -> None:
        """Raise LaunchError when a node of this id is alive; the token of one that was killed goes within moments."""
        for _ in range(30):
            others = await self.control.alive(keys.key("alive", node_id=self.id))
            if not others:
                return
            await asyncio.sleep(0.1)
        raise LaunchError(f"a node {self.id!r} is already alive in this brain ({others[0]}); give this one another id")

    async def __end(self) -> None:
        if self.state != "failed":
            self.__set_state("stopping")
        try:
            async with asyncio.timeout(1.0):
                await self.teardown()
        except Exception as error:
            self.fail("teardown", error)
        for task in self.__tasks:
            task.cancel()
        await asyncio.gather(*self.__tasks, return_exceptions=True)
        self.__worker.shutdown(wait=False, cancel_futures=True)

    def __set_state(self, state: NodeState, reason: str = "") -> None:
        self.state = state
        self.log.info("state", state=state, **({"reason": reason} if reason else {}))
        self.__on_state(state, reason)
        with contextlib.suppress(BrainnetError):
            self.control.publish(self.__heartbeat_key, self.health())

    def degrade(self, reason: str) -> None:
        """Say that the node works, but worse than it should; `recover` takes it back."""
        if self.state == "ready":
            self.last_error = reason
            self.__set_state("degraded", reason)

    def recover(self) -> None:
        """Back to ready."""
        if self.state == "degraded":
            self.__set_state("ready")

    # -- health, parameters, control ---------------------------------------------------------------------------------

    @property
    def answers(self) -> bool:
        """Whether this node answers prompts."""
        return False

    def health(self) -> Health:
        """How this node is now."""
        return Health(
            node_id=self.id,
            host=self.host,
            pid=self.vitals.pid,
            state=self.state,
            role=self.role,
            program=self.spec.program,
            about=(inspect.getdoc(type(self)) or "").partition("\n")[0],
            answers=self.answers,
            uptime_s=self.vitals.uptime_s,
            memory_bytes=self.vitals.memory_bytes,
            cpu_percent=self.vitals.cpu_percent(),
            loop_lag_ms=self.vitals.loop_lag_ms,
            queued=self.bus.counters.queued,
            counters=dict(self.__counts),
            topics=self.bus.counters.snapshot() + self.control.counters.snapshot(),
            last_error=self.last_error,
        )

    async def __heartbeat(self) -> None:
        while True:
            self.control.publish(self.__heartbeat_key, self.health())
            await asyncio.sleep(1.0)

    def __serve_control(self) -> None:
        async def status(request: StatusQuery, key: str) -> Message:
            return self.health()

        async def parameters(request: ParamsQuery, key: str) -> Message:
            if request.set:
                if request.name is None:
                    raise ConfigError("name the parameter to set")
                assign(self.params, request.name, request.value, self.id)
                self.log.info("parameter set", name=request.name, value=request.value)
                self.params_changed(request.name)
            return ParamsReply(params=describe(self.params, request.name, self.id))

        async def control(request: ControlQuery, key: str) -> Message:
            if request.action != "stop":
                raise ConfigError(f"a node can only be told to stop; {request.action} is its supervisor's")
            asyncio.get_running_loop().call_later(0.02, self.stop)  # after the reply is out
            return ControlReply(done=f"{self.id} stops")

        self.control.serve(keys.key("node_status", node_id=self.id), status)
        self.control.serve(keys.key("node_params", node_id=self.id), parameters)
        self.control.serve(keys.key("node_control", node_id=self.id), control)

    # -- handlers ----------------------------------------------------------------------------------------------------

    def __listen(self, handler: Handler, method: Callable[..., Any]) -> None:
        mailbox = self.bus.subscribe(handler.expression(self.id))

        async def pump() -> None:
            async for received in mailbox:
                try:
                    await self.__run(method, *self.__arguments(handler, received))
                except Exception as error:
                    self.fail(handler.method, error)

        self.spawn(pump())

    @staticmethod
    def __arguments(handler: Handler, received: Received) -> tuple[Any, ...]:
        return (received.message, received.key) if handler.wants_key else (received.message,)

    def __serve(self, handler: Handler, method: Callable[..., Any]) -> None:
        async def answer(request: Any, key: str) -> Message:
            reply: Message = await self.__run(method, *((request, key) if handler.wants_key else (request,)))
            return reply

        self.bus.serve(handler.expression(self.id), answer)

    async def __run(self, method: Callable[..., Any], *args: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            result: Awaitable[Any] = method(*args)
            return await result
        return await self.in_model_thread(method, *args)

    def __finished(self, task: asyncio.Task[Any]) -> None:
        self.__tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(task.get_coro().__qualname__ if task.get_coro() else "task", error)  # type: ignore[union-attr]
