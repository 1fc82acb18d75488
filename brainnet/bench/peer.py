"""The second process of the bus benchmark: an echo for the round trip, and the sender of the stream.

`brainnet.bench.bus` runs it with pipes: one JSON command a line on standard input, one JSON reply a line on standard
output. It exits at the end of its input, so it cannot outlive the process that started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any

from brainnet.bench import workload
from brainnet.bus import Bus, Endpoint, open_bus, open_hub, open_session
from brainnet.wire.packet import SpikePacket, decode, encode


def _write_reply(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


async def _echo(bus: Bus) -> None:
    async for received in bus.subscribe(workload.PING):
        bus.publish(workload.PONG, received.message)


def _echo_raw(session: Any) -> None:
    """Answer inside the callback: with the bytes as they came, or decoded and encoded again."""
    pong = workload.best_effort_publisher(session, workload.RAW_PONG)
    session.declare_subscriber(workload.RAW_PING, lambda sample: pong.put(sample.payload.to_bytes()))
    codec_pong = workload.best_effort_publisher(session, workload.CODEC_PONG)
    session.declare_subscriber(
        workload.CODEC_PING, lambda sample: codec_pong.put(encode(decode(sample.payload.to_bytes())))
    )


def _send_bus(bus: Bus, count: int) -> None:
    data = workload.spikes()
    for _ in range(count):
        bus.publish_blocking(workload.STREAM, SpikePacket(data, modality="bench"))


def _send_raw(publisher: Any, count: int) -> None:
    payload = encode(workload.packet())
    for _ in range(count):
        publisher.put(payload)


def _commands(loop: asyncio.AbstractEventLoop) -> asyncio.Queue[dict[str, Any]]:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(queue.put_nowait, json.loads(line))
        os._exit(0)  # at once: orderly shutdown would wait for the event loop and for Zenoh

    threading.Thread(target=read, daemon=True).start()
    return queue


async def _main(port: int) -> None:
    commands = _commands(asyncio.get_running_loop())
    hub = open_hub([f"tcp/127.0.0.1:{port}"], [])
    endpoint = Endpoint(workload.NAMESPACE, f"tcp/127.0.0.1:{port}")
    raw = open_session(endpoint, "peer")
    stream = workload.reliable_publisher(raw, workload.RAW_STREAM)
    async with (
        await open_bus(endpoint, role="body", mode="peer", source="echo") as echo_bus,
        await open_bus(endpoint, role="region", mode="peer", source="sender") as send_bus,
    ):
        _echo_raw(raw)
        echo_bus.declare(workload.PONG)
        echo = asyncio.create_task(_echo(echo_bus))
        _write_reply(event="ready")
        while True:
            command = await commands.get()
            if command["do"] == "stream":
                await send_bus.wait_matching(workload.STREAM, 10)
                await asyncio.to_thread(_send_bus, send_bus, command["count"])
            elif command["do"] == "stream_raw":
                await asyncio.to_thread(_send_raw, stream, command["count"])
            else:
                break
            _write_reply(event="sent", count=command["count"])
        echo.cancel()
    raw.close()
    hub.close()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
