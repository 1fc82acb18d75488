"""A cable of a test's own: forwards TCP connections, each byte some time later, and is loose when told to be.

python -m tests.slow_link 7501 10.231.78.2:7447 --delay-ms 3

SIGUSR1 cuts what is connected, and what is connected next once more after 30 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from contextlib import suppress

LOOSE_S = 0.03


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Forward one direction until its end."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        while data := await reader.read(65536):
            waiting.put_nowait((loop.time() + delay_s, data))
        waiting.put_nowait((loop.time() + delay_s, b""))

    reading = asyncio.create_task(read())
    try:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            writer.write(data)
            await writer.drain()
    finally:
        reading.cancel()


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("target")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    options = parser.parse_args()
    host, _, port = options.target.partition(":")

    loop = asyncio.get_running_loop()
    ends: set[asyncio.WriteTransport] = set()
    to_cut_again = False

    def cut() -> None:
        for end in ends:
            end.abort()

    def shaken() -> None:
        nonlocal to_cut_again
        to_cut_again = True
        cut()

    loop.add_signal_handler(signal.SIGUSR1, shaken)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal to_cut_again
        with suppress(OSError):
            to_reader, to_writer = await asyncio.open_connection(host, int(port))
            both_ends = {writer.transport, to_writer.transport}
            ends.update(both_ends)
            if to_cut_again:
                to_cut_again = False
                loop.call_later(LOOSE_S, cut)
            both = [
                asyncio.create_task(forward(one, other, options.delay_ms / 1000))
                for one, other in ((reader, to_writer), (to_reader, writer))
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            ends.difference_update(both_ends)
            to_writer.transport.abort()
        writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", options.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
