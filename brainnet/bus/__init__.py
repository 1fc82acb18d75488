"""The interface to Zenoh: sessions, mailboxes, queries and liveliness.

`open_bus` joins a running brain over Zenoh; `MemoryNetwork` connects buses within one process, for tests.
"""

from __future__ import annotations

from brainnet.bus.added_topics import disagreement, learn_topics
from brainnet.bus.bus import Bus
from brainnet.bus.hub_links import HubLinks
from brainnet.bus.incoming import Received
from brainnet.bus.mailbox import Mailbox, MailboxStatistics
from brainnet.bus.memory import MemoryNetwork
from brainnet.bus.query_client import Reply
from brainnet.bus.sessions import Endpoint, open_bus, open_hub, open_session
from brainnet.bus.stamp import SequenceTracker, Stamp, read_stamp
from brainnet.bus.transport import Publisher, QoS, Sample, Transport

__all__ = [
    "Bus",
    "Endpoint",
    "HubLinks",
    "Mailbox",
    "MailboxStatistics",
    "MemoryNetwork",
    "Publisher",
    "QoS",
    "Received",
    "Reply",
    "Sample",
    "SequenceTracker",
    "Stamp",
    "Transport",
    "disagreement",
    "learn_topics",
    "open_bus",
    "open_hub",
    "open_session",
    "read_stamp",
]
