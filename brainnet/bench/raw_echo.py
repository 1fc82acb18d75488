"""The other process of a raw round trip: answers every query with the bytes that it got, in plain zenoh-python.

The argument is the hub's endpoint. It prints a line when it serves, and ends at the end of its standard input, so it
cannot outlive the process that started it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from brainnet.bench.workload import RAW_QUERY
from brainnet.bus import Endpoint, open_session


def _main(hub: str) -> None:
    session = open_session(Endpoint(hub=hub))

    def reply(query: Any) -> None:
        query.reply(RAW_QUERY, query.payload.to_bytes())

    session.declare_queryable(RAW_QUERY, reply)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)  # at once: an orderly close would wait for Zenoh


if __name__ == "__main__":
    _main(sys.argv[1])
