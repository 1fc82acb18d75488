"""Node: the lifecycle of one process of the brain."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import structlog
from numpy.typing import NDArray

from brainnet.bus import Bus
from brainnet.errors import BrainnetError, ConfigError, WireError
from brainnet.guard import RepeatFilter, describe, ends_task
from brainnet.node.blame import WorkRecord
from brainnet.node.control import check_id_is_free, serve_control
from brainnet.node.dispatch import handle_messages
from brainnet.node.handlers import Handler, handlers_of, timers_of, wants_key
from brainnet.node.health import ProcessMonitor
from brainnet.node.model_thread import ModelThread
from brainnet.node.ownership import check_class, is_owned
from brainnet.node.params import NodeParameters, build
from brainnet.node.spec import NodeSpec
from brainnet.node.timers import Timer
from brainnet.wire import keys
from brainnet.wire.messages import Header, Health, Message, NodeState
from brainnet.wire.packet import SpikePacket

T = TypeVar("T")
_ALWAYS_FAILS: Final = 5
"""Failures of one handler in a row, without a success, after which the node says that it is degraded."""


class Node:
    """One process of the brain. Subclass it, or `Region` for one that answers prompts.

    The base class loads the model, declares the topics, becomes ready (when the model is loaded and the subscriptions
    are known to the network), replies to status, parameter and control queries at any time, publishes its health once
    a second, and stops in order.

    `async def` methods run on the event loop and must not block it. Plain `def` handlers and `load` run in the one
    model thread, so a busy model never delays health or control.

    Attributes:
        role: The role of this node in the wire contract.
        default_checkpoint: Weights to load when the allocation names none, relative to the program's file.
        spec: The description of the node.
        id: From the allocation.
        host: From the allocation.
        device: From the allocation.
        data_dir: Durable state of the whole brain on this host.
        params: The current values of `Parameters`.
        bus: The data session, for what the methods here do not cover.
        control: The control session: heartbeats, liveliness, status, parameters and stop.
        log: Structured logger; records also go to the log topic.
        state: The current state.
        last_error: The last error or reason of degradation.
    """

    role: ClassVar[str] = "region"
    default_checkpoint: ClassVar[str | None] = None

    class Parameters(NodeParameters):
        """No parameters."""

    params: Any

    def __init_subclass__(cls, **options: Any) -> None:
        """Check that the class leaves alone what the base class owns.

        Raises:
            ConfigError: It overrides or assigns such a name.
        """
        super().__init_subclass__(**options)
        check_class(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        # Set once by `__init__` below; later assignments of the base class go to `__dict__`.
        if is_owned(type(self), name) and name in self.__dict__:
            raise ConfigError(
                f"{type(self).__name__} assigns self.{name}, which belongs to {Node.__name__}; choose another name"
            )
        super().__setattr__(name, value)

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
        self.monitor = ProcessMonitor()
        # Two underscores, so that the names cannot collide with attributes of subclasses.
        self.__heartbeat_key = keys.key("heartbeat", node_id=spec.id)
        self.__counts: Counter[str] = Counter()
        self.__faults = RepeatFilter()
        self.__failures_in_a_row: Counter[str] = Counter()
        self.__degraded_by = ""  # the handler that always fails
        self.__failure: str | None = None
        self.__work: WorkRecord | None = None
        self.__stop = asyncio.Event()
        self.__on_state: Callable[[NodeState, str], None] = lambda state, reason: None
        self.__model_thread = ModelThread(spec.id)
        self.__tasks: set[asyncio.Task[Any]] = set()
        self.__timers: list[Timer] = []

    # -- for subclasses to override ----------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the model; called once, in the model thread, before the node is ready."""

    async def setup(self) -> None:
        """Declare what depends on parameters; called after `load`, before the node is ready."""

    async def run(self) -> None:
        """Do the node's own work; started when the node is ready, cancelled when it stops."""

    async def teardown(self) -> None:
        """Release resources; called when the node stops, while the bus is still open, for at most a second."""

    def params_changed(self, name: str) -> None:
        """React to a parameter that was set; called on the event loop."""

    # -- for subclasses to use ---------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path | None:
        """The weights to load, or None.

        Raises:
            ConfigError: The file does not exist.
        """
        path = self.spec.checkpoint
        if path is None and self.default_checkpoint is not None:
            path = Path(inspect.getfile(type(self))).parent / self.default_checkpoint
        if path is not None and not path.exists():
            raise ConfigError(f"checkpoint of {self.id} not found: {path}")
        return path

    def publish(self, key: str, message: SpikePacket | Message | Mapping[str, Any]) -> None:
        """Publish on a key of the contract; never blocks. See `Bus.publish`."""
        self.bus.publish(key, message)

    async def send(self, key: str, message: SpikePacket | Message | Mapping[str, Any], *, wait_s: float = 1.0) -> bool:
        """Publish a message that must arrive: wait until the key has a subscriber.

        Returns:
            Whether the message was sent; False when there was no subscriber within `wait_s` seconds.
        """
        if not await self.bus.wait_matching(key, wait_s):
            self.count("unmatched")
            return False
        self.bus.publish(key, message)
        return True

    async def call(self, key: str, request: Message | Mapping[str, Any], *, timeout: float = 2.0) -> Any:
        """Send a query and return the first reply. See `Bus.call`."""
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
        """Make a packet of this node; its source, sequence number and time are set when it is sent.

        Args:
            data: [neurons, steps], see `SpikePacket`.
            modality: What the values describe; the node's id by default.
            dt_us: Duration of one step in microseconds.
            header: The typed metadata, on a topic with a header.
            metadata: Free metadata, on a topic without one.
        """
        fields = header.to_metadata() if header is not None else metadata or {}
        return SpikePacket(data, modality or self.id, dt_us, self.id, metadata=fields)

    async def in_model_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking function in the model thread, after the calls that are queued there."""
        return await self.__model_thread.run(function, *args)

    @property
    def work(self) -> WorkRecord:
        """The record of the prompts that this node works on, which its successor reads after a death."""
        if self.__work is None:
            self.__work = WorkRecord(self.data_dir / "working" / self.id)
        return self.__work

    def spawn(self, work: Coroutine[Any, Any, Any], *, essential: bool = False) -> asyncio.Task[Any]:
        """Start a task that is cancelled when the node stops; an exception of it is logged.

        Args:
            work: The coroutine.
            essential: The node cannot do without it: when it ends, for whatever reason, the node fails.
        """
        task = asyncio.get_running_loop().create_task(work)
        self.__tasks.add(task)
        task.add_done_callback(partial(self.__on_task_done, essential=essential))
        return task

    def fail(self, reason: str) -> None:
        """End this node with the state `failed`; its supervisor starts it again."""
        if self.__failure is None and not self.__stop.is_set():
            self.__failure = reason
            self.__stop.set()

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter of `Health`."""
        self.__counts[name] += n

    def report_error(self, where: str, error: BaseException) -> None:
        """Count and log an error after which the node goes on."""
        self.count("errors")
        self.last_error = f"{where}: {describe(error)}"
        left_out = self.__faults.admit((where, type(error)))
        if left_out is None:
            return
        if isinstance(error, BrainnetError):  # expected, and its text says all; any other error needs its traceback
            self.log.warning("failed", where=where, error=str(error), left_out=left_out)
        else:
            self.log.error("failed", where=where, exc_info=error, left_out=left_out)

    def record_outcome(self, where: str, error: BaseException | None) -> None:
        """Record how one message ended, for `degraded`: five failures in a row set it, one success ends it.

        Args:
            where: The handler.
            error: What it raised; None after a success. A `WireError` is the sender's, and does not count.
        """
        if error is None:
            self.__failures_in_a_row.pop(where, None)
            if self.__degraded_by == where:
                self.__degraded_by = ""
                self.recover()
            return
        if isinstance(error, WireError):
            return
        self.__failures_in_a_row[where] += 1
        if self.__failures_in_a_row[where] >= _ALWAYS_FAILS and self.state == "ready":
            self.__degraded_by = where
            self.degrade(f"{where} fails for every message: {describe(error)}")

    async def add_subscription(self, key: str, handler: Callable[..., Any], *, batch: int = 0) -> None:
        """Subscribe as the decorator `subscribe` does, to a key that is only known at run time; call it in `setup`."""
        self.__subscribe(Handler("subscribe", key, (), handler.__name__, wants_key(handler), batch), handler)

    def add_timer(self, hz: float, method: Callable[[], Any]) -> None:
        """Call a method as the decorator `every` does, at a rate that is only known at run time; call it in `setup`.

        Raises:
            ConfigError: The rate is not in (0, 1000].
        """
        name = method.__name__

        def ended(error: BaseException | None) -> None:
            if error is not None:
                self.report_error(name, error)
            self.record_outcome(name, error)

        self.__timers.append(Timer(name, hz, self.__caller(method), ended))

    # -- lifecycle ---------------------------------------------------------------------------------------------------

    async def run_until_stopped(self, on_state: Callable[[NodeState, str], None]) -> None:
        """Start the node, run it until `stop`, and shut it down.

        Args:
            on_state: Called with every state and its reason.

        Raises:
            BrainnetError: The node cannot start, or failed; everything that it had started is ended.
        """
        self.__on_state = on_state
        try:
            # Status and control before the model is loaded: a slow or failing start can be observed and stopped.
            serve_control(self)
            self.spawn(self.monitor.watch(), essential=True)
            self.spawn(self.__heartbeat(), essential=True)
            await check_id_is_free(self.control, self.id)
            started = await self.__run_unless_stopped(self._start_node())
            if started:
                self.__set_state("ready")
                for timer in self.__timers:
                    self.spawn(timer.run(), essential=True)
                work = self.spawn(self.__run_own_work())
                await self.__stop.wait()
                work.cancel()
            if self.__failure is not None:
                self.__set_state("failed", self.__failure)
                raise BrainnetError(f"{self.id} failed: {self.__failure}")
        finally:
            await self.__shut_down()

    async def __run_own_work(self) -> None:
        try:
            await self.run()
        except BaseException as error:
            if ends_task(error):
                raise
            self.report_error("run", error)
            self.fail(f"run ended: {describe(error)}")

    def stop(self) -> None:
        """Make the node stop; `run_until_stopped` then returns."""
        self.__stop.set()

    async def _start_node(self) -> None:
        await self.in_model_thread(self.load)
        for handler in handlers_of(self):
            method = getattr(self, handler.method)
            if handler.kind == "subscribe":
                self.__subscribe(handler, method)
            else:
                self.__serve(handler, method)
        for timer in timers_of(self):
            self.add_timer(timer.hz, getattr(self, timer.method))
        await self.setup()
        # After all declarations, so that they propagate through the network at the same time.
        for handler in handlers_of(self):
            if handler.kind == "subscribe":
                await self._wait_reachable(handler.expression(self.id, self.bus.contract))
        await self._accept_work()
        # The liveliness token comes last: others send work as soon as they see it.
        self.control.declare_alive(keys.key("alive", host=self.host, node_id=self.id))

    async def _accept_work(self) -> None:
        """Start to accept work; the last step before the node is ready."""

    async def _wait_reachable(self, key: str) -> None:
        """Wait until another session sees the subscription; after that no message to it is lost."""
        # Declarations propagate in milliseconds. After 5 s the node starts all the same, and logs it.
        if not await self.control.wait_listener(key, 5.0):
            self.log.warning("subscription not seen by the hub", key=key)

    async def __run_unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
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

    async def __shut_down(self) -> None:
        if self.state != "failed":
            self.__set_state("stopping")
        try:
            async with asyncio.timeout(1.0):
                await self.teardown()
        except BaseException as error:
            if ends_task(error):
                raise
            self.report_error("teardown", error)
        for task in self.__tasks:
            task.cancel()
        await asyncio.gather(*self.__tasks, return_exceptions=True)
        if self.__work is not None:
            self.__work.close()
        self.__model_thread.close()

    def __set_state(self, state: NodeState, reason: str = "") -> None:
        self.__dict__["state"] = state
        self.log.info("state", state=state, **({"reason": reason} if reason else {}))
        self.__on_state(state, reason)
        self.__publish_health()

    def degrade(self, reason: str) -> None:
        """Set the state `degraded`: the node works, but with less than its full function; `recover` ends it."""
        if self.state == "ready" or (self.state == "degraded" and reason != self.last_error):
            self.last_error = reason
            self.__set_state("degraded", reason)

    def recover(self) -> None:
        """Return from `degraded` to `ready`."""
        if self.state == "degraded":
            self.__set_state("ready")

    # -- health ------------------------------------------------------------------------------------------------------

    @property
    def answers(self) -> bool:
        """Whether this node answers prompts."""
        return False

    @property
    def prompt_examples(self) -> tuple[str, ...]:
        """Prompts for this node, in the words of users; none for a node that answers no prompts."""
        return ()

    def health(self) -> Health:
        """Return the health of this node now."""
        return Health(
            node_id=self.id,
            host=self.host,
            pid=self.monitor.pid,
            state=self.state,
            role=self.role,
            program=self.spec.program,
            about=self.spec.about or (inspect.getdoc(type(self)) or "").partition("\n")[0],
            answers=self.answers,
            uptime_s=self.monitor.uptime_s,
            memory_bytes=self.monitor.memory_bytes,
            cpu_percent=self.monitor.cpu_percent(),
            loop_lag_ms=self.monitor.loop_lag_ms,
            queued=self.bus.counters.queued,
            counters=dict(self.__counts),
            topics=self.bus.counters.snapshot() + self.control.counters.snapshot(),
            timers=[timer.state() for timer in self.__timers],
            lesions=self.bus.lesions.all(),
            last_error=self.last_error,
        )

    async def __heartbeat(self) -> None:
        while True:
            self.__publish_health()
            await asyncio.sleep(1.0)

    def __publish_health(self) -> None:
        try:
            self.control.publish(self.__heartbeat_key, self.health())
        except Exception as error:  # of this heartbeat: a counter or an error text that cannot be written, say
            self.report_error("heartbeat", error)

    # -- handlers ----------------------------------------------------------------------------------------------------

    def __subscribe(self, handler: Handler, method: Callable[..., Any]) -> None:
        mailbox = self.bus.subscribe(handler.expression(self.id, self.bus.contract))

        def ended(error: BaseException | None) -> None:
            if error is not None:
                self.report_error(handler.method, error)
            self.record_outcome(handler.method, error)

        self.spawn(handle_messages(mailbox, handler, self.__caller(method), ended), essential=True)

    def __serve(self, handler: Handler, method: Callable[..., Any]) -> None:
        call = self.__caller(method)

        async def answer(request: Any, key: str) -> Message | Mapping[str, Any]:
            reply: Message | Mapping[str, Any] = await call(*((request, key) if handler.wants_key else (request,)))
            return reply

        self.bus.serve(handler.expression(self.id, self.bus.contract), answer)

    def __caller(self, method: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Return how a handler is called: `async def` as it is, `def` in the model thread."""
        return method if inspect.iscoroutinefunction(method) else partial(self.in_model_thread, method)

    def __on_task_done(self, task: asyncio.Task[Any], *, essential: bool) -> None:
        self.__tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        name = getattr(task.get_coro(), "__qualname__", "task")
        if error is not None:
            self.report_error(name, error)
        if essential:
            self.fail(f"{name} ended" + (f": {describe(error)}" if error is not None else ""))
