"""A brain in one process without sockets, for tests of regions.

Nodes run exactly as they do under a launcher, each with its own buses, over an in-memory network.

Example:
```python
async def test_echo(tmp_path):
    async with MemoryBrain(tmp_path) as brain:
        await brain.start(Echo, "echo")
        partial = await brain.query("echo", Prompt(text="hello"))
        assert partial.best.text == "hello"
```

"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from brainnet.broker import Broker, Limits
from brainnet.bus import Bus, Mailbox, MemoryNetwork, Received
from brainnet.node import Node, NodeSpec
from brainnet.prompts import query_packet
from brainnet.testing.waiting import PATIENCE_S
from brainnet.wire.extension import load_extension
from brainnet.wire.keys import key
from brainnet.wire.messages import Message, NodeState, Partial, PartialHeader, Prompt

N = TypeVar("N", bound=Node)


class _PatientBus(Bus):
    """A bus whose calls wait longer."""

    async def call(self, key: str, request: Message | Mapping[str, Any], *, timeout: float = PATIENCE_S) -> Any:
        return await super().call(key, request, timeout=timeout)


class MemoryBrain:
    """An in-memory network, a broker, and the nodes started on it. Everything ends with the context.

    Args:
        data_dir: Folder of the durable state: the broker's journal, and what the nodes keep.
        namespace: First chunk of every key.
        limits: Bounds of what the broker accepts.
        topics: Files with topics of the brain's own.

    Attributes:
        broker: What accepts prompts and publishes their answers.
    """

    broker: Broker

    def __init__(
        self, data_dir: Path, namespace: str = "test", limits: Limits | None = None, topics: Sequence[Path] = ()
    ) -> None:
        self._contract = load_extension(topics).contract
        self.network = MemoryNetwork()
        self.namespace = namespace
        self._data_dir = data_dir
        self._running: dict[str, tuple[Node, asyncio.Task[None], list[Bus]]] = {}
        self._buses: list[Bus] = []
        self._limits = limits
        self._brokering: asyncio.Task[None] | None = None

    def bus(self, role: str = "client", source: str = "") -> Bus:
        """Make a bus on the network; it closes with the brain.

        Its `call` waits as long as everything here, unless a test says how long: how fast a node answers on a busy
        machine is not what a test is about.
        """
        bus = _PatientBus(
            self.network.transport(), namespace=self.namespace, role=role, source=source, contract=self._contract
        )
        self._buses.append(bus)
        return bus

    def _make_bus(self, role: str, source: str) -> Bus:
        return Bus(
            self.network.transport(), namespace=self.namespace, role=role, source=source, contract=self._contract
        )

    async def start(
        self,
        program: type[N],
        node_id: str,
        *,
        parameters: dict[str, Any] | None = None,
        checkpoint: Path | None = None,
        on_state: Callable[[NodeState, str], None] | None = None,
        timeout: float = PATIENCE_S,
    ) -> N:
        """Start a node and wait until it is ready.

        Raises:
            BrainnetError: The node could not start; the message says why.
            TimeoutError: The node was not ready in time.
        """
        spec = NodeSpec(
            id=node_id,
            program=program.__name__,
            host="here",
            namespace=self.namespace,
            data_dir=self._data_dir,
            checkpoint=checkpoint,
            parameters=parameters or {},
        )
        buses = [self._make_bus(program.role, node_id) for _ in range(2)]
        node = program(spec, *buses)
        ready = asyncio.Event()

        def changed(state: NodeState, reason: str) -> None:
            if state == "ready":
                ready.set()
            if on_state is not None:
                on_state(state, reason)

        life = asyncio.create_task(node.run_until_stopped(changed))
        self._running[node_id] = (node, life, buses)
        waiting = asyncio.create_task(ready.wait())
        done, _ = await asyncio.wait({life, waiting}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if life in done:
            await self.stop(node_id)
        if not done:
            raise TimeoutError(f"{node_id} was not ready within {timeout:g} s")
        return node

    async def stop(self, node_id: str) -> None:
        """Stop a node in order.

        Raises:
            Exception: Whatever the node failed with.
        """
        node, life, buses = self._running.pop(node_id)
        node.stop()
        try:
            await life
        finally:
            for bus in buses:
                await bus.close()

    async def query(
        self,
        region: str,
        prompt: Prompt,
        *,
        timeout: float = PATIENCE_S,
        interim: Callable[[Partial], None] | None = None,
    ) -> Partial:
        """Ask one region directly, as the router would, and return its final partial.

        `interim` is called with every partial that comes before it.

        Raises:
            TimeoutError: No final partial came in time.
        """
        asker = self._make_bus("router", "test-asker")
        listener = self._make_bus("integrator", "test-listener")
        try:
            results = listener.subscribe(key("partial", node_id=region))
            asker.publish(key("query", region=region), query_packet(prompt, left_ms=prompt.deadline_ms))
            async with asyncio.timeout(timeout):
                return await _final(results, prompt.prompt_id, interim)
        finally:
            await asker.close()
            await listener.close()

    async def start_broker(self) -> None:
        """Start the broker, which the context does by itself; again after `stop_broker`."""
        self.broker = Broker(self.bus("supervisor", "broker"), self._data_dir / "journal.sqlite", self._limits)
        started = asyncio.Event()
        self._brokering = asyncio.create_task(self.broker.run(started.set))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({self._brokering, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._brokering.done():
            await self._brokering

    async def stop_broker(self) -> None:
        """Stop the broker: what is open is answered with the error `stopping`."""
        brokering, self._brokering = self._brokering, None
        if brokering is not None:
            brokering.cancel()
            await asyncio.gather(brokering, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start_broker()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node_id in list(self._running):
            await self.stop(node_id)
        await self.stop_broker()
        for bus in self._buses:
            await bus.close()


async def _final(results: Mailbox[Received], prompt_id: str, interim: Callable[[Partial], None] | None) -> Partial:
    while True:
        received = await results.get()
        partial = PartialHeader.of(received.message).partial
        if partial.prompt_id != prompt_id:
            continue
        if partial.final:
            return partial
        if interim is not None:
            interim(partial)
