"""Buses over both transports: every test that takes `network` runs in memory and over Zenoh on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from brainnet.bus import Bus, Endpoint, MemoryNetwork, open_bus, open_hub
from brainnet.testing import free_port

NAMESPACE = "test"


class Network(Protocol):
    """Opens buses that reach each other; all are closed when the test ends."""

    async def __call__(self, role: str, source: str = "") -> Bus: ...


@pytest.fixture(params=["memory", "zenoh"])
async def network(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    """Make a network of each kind: in memory, and Zenoh with a hub on loopback."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "memory":
            memory = MemoryNetwork()

            async def join(role: str, source: str = "") -> Bus:
                bus = Bus(memory.transport(), namespace=NAMESPACE, role=role, source=source)
                return await stack.enter_async_context(bus)

        else:
            address = f"tcp/127.0.0.1:{free_port()}"
            stack.callback(open_hub([address], []).close)

            async def join(role: str, source: str = "") -> Bus:
                endpoint = Endpoint(NAMESPACE, address)
                bus = await open_bus(endpoint, role=role, source=source, mode="client" if role == "client" else "peer")
                return await stack.enter_async_context(bus)

        yield join
