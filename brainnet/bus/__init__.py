"""The edge to Zenoh: sessions, mailboxes, queries and liveliness, behind one interface.

`open_bus` joins a running brain over Zenoh; `MemoryNetwork` gives buses that live in one process, for tests.
"""

from __future__ import annotations

from brainnet.bus.bus import Bus, Reply
from brainnet.bus.incoming import Received
from brainnet.bus.mailbox import Mailbox, MailboxStatistics
from brainnet.bus.memory import MemoryNetwork
from brainnet.bus.sessions import Endpoint, open_bus, open_hub, open_session
from brainnet.bus.stamp import Gaps, Stamp, read_stamp
from brainnet.bus.transport import Outlet, QoS, Sample, Transport

__all__ = [
    "Bus",
    "Endpoint",
    "Gaps",
    "Mailbox",
    "MailboxStatistics",
    "MemoryNetwork",
    "Outlet",
    "QoS",
    "Received",
    "Reply",
    "Sample",
    "Stamp",
    "Transport",
    "open_bus",
    "open_hub",
    "open_session",
    "read_stamp",
]
