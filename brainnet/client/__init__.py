"""A client of a running brain, as a library: connect, ask with retries until a deadline, stream partial answers."""

from __future__ import annotations

from brainnet.bus import Endpoint
from brainnet.client.client import Client, Event, ask, make_prompt
from brainnet.client.connection import connect, host_statuses

__all__ = ["Client", "Endpoint", "Event", "ask", "connect", "host_statuses", "make_prompt"]
