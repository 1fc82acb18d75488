"""A process that asks a brain for its state all the time, and prints the milliseconds of each reply, or null.

`brainnet.testing.chaos.flood` runs it: the arguments are the namespace and the hub. It ends when it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from brainnet.bus import Endpoint, open_bus
from brainnet.client import host_statuses

_INTERVAL_S = 0.05


async def _main(endpoint: Endpoint) -> None:
    async with await open_bus(endpoint) as bus:
        while True:
            started = time.monotonic()
            found = await host_statuses(bus, needed=False)
            print(json.dumps((time.monotonic() - started) * 1000 if found else None), flush=True)
            await asyncio.sleep(_INTERVAL_S)


if __name__ == "__main__":
    asyncio.run(_main(Endpoint(sys.argv[1], sys.argv[2])))
