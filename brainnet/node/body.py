"""Body: a node that moves something, an effector, by commands on topics."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.bus import Bus
from brainnet.errors import MessageError, PacketError
from brainnet.guard import call_soon
from brainnet.node.node import Node
from brainnet.node.params import NodeParameters
from brainnet.node.spec import NodeSpec
from brainnet.wire import keys
from brainnet.wire.messages import Channel, EffectorQuery, EffectorState, FeedbackHeader, MotorStop, decode
from brainnet.wire.packet import SpikePacket

_BACK_WITHIN_S: Final = 1.0
"""Seconds without a command outside the limits after which the node is no longer degraded because of one."""
_ROUNDING: Final = 1e-5
"""Part of a limit by which a command may exceed it: commands travel as float32."""
_FOR_EVER: Final = float("inf")


class Body(Node):
    """A node that moves something: it follows the newest command, brakes without one, and publishes its state.

    A subclass lists its channels, and moves in `step` and `brake`:

    ```python
    class Wheel(Body):
        commands = (Channel(name="torque", unit="N m", low=-2.0, high=2.0),)
        feedback = (Channel(name="speed", unit="rad/s"),)
        rate_hz = 100.0

        def step(self, command):   # [commands] in the units of the channels, for 1 / rate_hz seconds
            ...
            return np.array([speed])   # [feedback]

        def brake(self):
            return self.step(np.zeros(1))
    ```

    Guarantees: a command of the wrong shape, or that is not finite, is refused and counted. One outside the limits is
    cut to them, counted, and makes the node `degraded` until there was none for a second. A command holds for
    `watchdog_s`; then, and from a message on `motor_stop` on, `brake` is called in place of `step`. A command that
    was taken before a stop is not followed after it. A message on `motor_stop` that cannot be read stops the effector.

    Attributes:
        commands: The channels of a command.
        feedback: The channels of a feedback.
        rate_hz: Feedbacks per second. `step` or `brake` is called as often, unless the body overrides `run`: then that
            calls `tick`, or does what `tick` does.
    """

    role = "body"
    commands: ClassVar[tuple[Channel, ...]] = ()
    feedback: ClassVar[tuple[Channel, ...]] = ()
    rate_hz: ClassVar[float] = 50.0

    class Parameters(NodeParameters):
        """Which effector this is, and how long a command holds; a subclass adds its own."""

        effector: str = Field("body", pattern=r"^[A-Za-z0-9_-]+$", description="name of the effector on the topics")
        watchdog_s: float = Field(0.2, gt=0.0, description="how long a command holds; then the effector brakes")

    params: Any

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        # Two underscores, so that the names cannot collide with attributes of subclasses.
        self.__effector = self.params.effector
        self.__feedback_key = keys.key("motor_feedback", effector=self.__effector)
        limits = [(c.low, c.high) for c in self.commands]
        self.__low = np.array([-np.inf if low is None else low for low, _ in limits])
        self.__high = np.array([np.inf if high is None else high for _, high in limits])
        self.__slack = _ROUNDING * np.where(np.isfinite(self.__high - self.__low), self.__high - self.__low, 0.0)
        self.__command: NDArray[np.float64] = np.zeros(len(self.commands))
        self.__commanded_at = -_FOR_EVER
        self.__outside_at = -_FOR_EVER
        self.__outside = ""
        # The end of the stop and its reason. Written by a thread of the session, as one value.
        self.__stop: tuple[float, str] = (-_FOR_EVER, "")
        self.__tick = 0
        self.__came = asyncio.Event()
        self.__loop = asyncio.get_running_loop()

    # -- for subclasses to override ----------------------------------------------------------------------------------

    def step(self, command: NDArray[np.float64]) -> Any:
        """Move for one period by a command, and return the feedback; on the event loop, so it must not block.

        As `async def` it may wait, for a device say (`in_model_thread` runs what blocks).

        Args:
            command: Within the limits, float64 [commands].

        Returns:
            The state, [feedback].
        """
        raise NotImplementedError(f"{type(self).__name__} has no step method")

    def brake(self) -> Any:
        """Do the same without a command: bring what moves to rest."""
        return self.step(np.clip(np.zeros(len(self.commands)), self.__low, self.__high))

    # -- for subclasses to use ---------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether the effector was stopped and follows no command."""
        return time.monotonic() < self.__stop[0]

    @property
    def commanded_at(self) -> float:
        """`time.monotonic()` seconds of the newest command; minus infinity before the first, and after a stop."""
        return self.__commanded_at

    async def wait_command(self, timeout: float) -> bool:
        """Wait for the next command; return False after `timeout` seconds without one."""
        self.__came.clear()
        try:
            async with asyncio.timeout(timeout):
                await self.__came.wait()
        except TimeoutError:
            return False
        return True

    def command(self) -> NDArray[np.float64] | None:
        """Return the command to follow now, [commands]; None: brake."""
        if self.stopped or time.monotonic() - self.__commanded_at > self.params.watchdog_s:
            return None
        return self.__command

    def publish_feedback(self, state: NDArray[Any], *, idle: bool = False, tick: int | None = None) -> None:
        """Publish a feedback.

        Args:
            state: [feedback].
            idle: Nobody commands the effector, and it rests.
            tick: Counts the steps; by default the feedbacks.
        """
        self.__tick = self.__tick + 1 if tick is None else tick
        header = FeedbackHeader(tick=self.__tick, idle=idle, stopped=self.stopped)
        data = np.asarray(state, np.float32).reshape(-1, 1)
        packet = self.packet(data, modality="motor", dt_us=max(1, round(1e6 / self.rate_hz)), header=header)
        self.publish(self.__feedback_key, packet)

    async def tick(self) -> None:
        """Call `step`, or `brake` without a command, and publish what it returns."""
        command = self.command()
        state = self.step(command) if command is not None else self.brake()
        self.publish_feedback(await state if inspect.isawaitable(state) else state)
        if self.__outside and time.monotonic() - self.__outside_at > _BACK_WITHIN_S:
            self.__outside = ""
            self.recover()

    # -- lifecycle ---------------------------------------------------------------------------------------------------

    async def _start_node(self) -> None:
        self.bus.declare(self.__feedback_key)
        await super()._start_node()

    async def _accept_work(self) -> None:
        effector = self.__effector
        # Not through a mailbox: a stop acts on a thread of the session, also while the event loop is busy.
        self.bus.listen(keys.key("motor_stop"), lambda key, payload: self.__on_stop(payload))
        self.bus.serve(keys.key("motor_effector", effector=effector), self.__describe)
        commands = keys.key("motor_command", effector=effector)
        await self.add_subscription(commands, self.on_command)
        await self._wait_reachable(commands)
        await self._wait_reachable(keys.key("motor_stop"))
        if type(self).run is Node.run:
            self.add_timer(self.rate_hz, self.tick)

    async def on_command(self, packet: SpikePacket) -> None:
        """Take a command; refuse it when it is none, cut it to the limits."""
        count = len(self.commands)
        if packet.shape != (count, 1) or packet.data.dtype.kind != "f" or not np.isfinite(packet.data).all():
            self.count("bad_commands")
            raise PacketError(
                f"a command for {self.__effector} is finite float32 [{count}, 1] "
                f"({', '.join(f'{c.name} in {c.unit}' for c in self.commands)}), got {packet.data.dtype} "
                f"{list(packet.shape)} from {packet.source!r}"
            )
        if self.stopped:
            self.count("commands_while_stopped")
            return
        command = packet.data[:, 0].astype(np.float64)
        within = np.clip(command, self.__low, self.__high)
        if (np.abs(command - within) > self.__slack).any():
            self.__report_outside(command, within, packet.source)
        self.__command, self.__commanded_at = within, time.monotonic()
        if self.stopped:  # a stop that came meanwhile, on its own thread
            self.__commanded_at = -_FOR_EVER
        self.__came.set()

    def __report_outside(self, command: NDArray[np.float64], within: NDArray[np.float64], source: str) -> None:
        self.count("commands_outside_limits")
        self.__outside_at = time.monotonic()
        if self.__outside:
            return
        worst = int(np.argmax(np.abs(command - within)))
        channel = self.commands[worst]
        self.__outside = (
            f"a command from {source!r} was cut to the limits: {channel.name} {command[worst]:g} {channel.unit} "
            f"became {within[worst]:g}"
        )
        self.degrade(self.__outside)

    def __on_stop(self, payload: bytes) -> None:
        """Stop or release; called on a thread of the session."""
        try:
            stop = decode(MotorStop, payload) if payload[:1] != b"{" else decode(MotorStop, payload, "text/json")
        except MessageError as error:
            stop = MotorStop(reason=f"a message on motor/stop that cannot be read: {error}")
        if not stop.concerns(self.__effector):
            return
        if stop.release:
            self.__stop = (-_FOR_EVER, "")
        else:
            end = _FOR_EVER if stop.hold_s is None else time.monotonic() + stop.hold_s
            # a short stop does not end a longer one
            self.__stop = max(self.__stop, (end, stop.reason), key=lambda until: until[0])
            self.__commanded_at = -_FOR_EVER
        call_soon(self.__loop, self.__log_stop, stop)

    def __log_stop(self, stop: MotorStop) -> None:
        self.count("releases" if stop.release else "stops")
        self.log.warning("released" if stop.release else "stopped", effector=self.__effector, reason=stop.reason)

    async def __describe(self, request: EffectorQuery, key: str) -> EffectorState:
        until, reason = self.__stop
        left = until - time.monotonic()
        return EffectorState(
            effector=self.__effector,
            node_id=self.id,
            about=(inspect.getdoc(type(self)) or "").partition("\n")[0],
            rate_hz=self.rate_hz,
            watchdog_s=self.params.watchdog_s,
            commands=list(self.commands),
            feedback=list(self.feedback),
            stopped=left > 0.0,
            stopped_because=reason if left > 0.0 else "",
            hold_s=left if 0.0 < left < _FOR_EVER else None,
        )
