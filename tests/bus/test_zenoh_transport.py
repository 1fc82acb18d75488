"""Direct callbacks of the Zenoh transport, and the threads that deliver them."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading

import numpy as np

from brainnet.bus import Endpoint, QoS, open_hub, open_session
from brainnet.bus.zenoh_transport import ZenohTransport
from brainnet.testing import free_port, until
from brainnet.wire.packet import SpikePacket, encode

_KEY = "test/direct"
_LEAVE_IN_A_FLOOD = """
import asyncio, sys
from brainnet.bus import Endpoint, open_bus, open_hub

async def main():
    address = f"tcp/127.0.0.1:{sys.argv[1]}"
    hub = open_hub([address], [])
    endpoint = Endpoint("test", address)
    async with await open_bus(endpoint, role="body") as bus:
        box = bus.subscribe("motor/command/*")
        print("ready", flush=True)
        for _ in range(100):
            await box.get()
    hub.close()

asyncio.run(main())
"""


async def test_a_direct_callback_gets_every_message_in_order_on_threads_that_python_keeps() -> None:
    address = f"tcp/127.0.0.1:{free_port()}"
    hub = open_hub([address], [])
    sender, receiver = (ZenohTransport(open_session(Endpoint("test", address), "peer")) for _ in range(2))
    local = threading.local()
    numbers = itertools.count()
    got: list[bytes] = []
    states: dict[int, set[int]] = {}

    def received(raw: object) -> None:
        if not hasattr(local, "state"):
            local.state = next(numbers)  # is lost with the state of the thread
        states.setdefault(threading.get_ident(), set()).add(local.state)
        got.append(receiver.key_and_payload(raw)[1])

    try:
        receiver.subscribe(_KEY, received, direct=True)
        publisher = sender.declare_publisher(_KEY, QoS(reliable=True))
        await until("the subscriber", lambda: publisher.matching)
        for number in range(200):
            publisher.put(b"%d" % number, None)
        await until("all messages", lambda: len(got) == 200)
    finally:
        for session in (sender, receiver):
            await asyncio.to_thread(session.close)
        hub.close()
    assert got == [b"%d" % number for number in range(200)]
    assert threading.get_ident() not in states
    assert [len(of_thread) for of_thread in states.values()] == [1] * len(states)


async def test_a_process_ends_in_the_middle_of_a_flood() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LEAVE_IN_A_FLOOD, str(port), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    session = await asyncio.to_thread(open_session, Endpoint("test", f"tcp/127.0.0.1:{port}"), "client")
    try:
        publisher = session.declare_publisher("test/motor/command/arm")
        packet = encode(SpikePacket(np.ones((8, 8), np.bool_), source="flood", seq=1))
        while process.returncode is None and not process.stdout.at_eof():
            for _ in range(100):
                publisher.put(packet)
            await asyncio.sleep(0)
    finally:
        await asyncio.to_thread(session.close)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
