"""brainnet: a Zenoh-native runtime for a distributed spiking brain.

A region is a class; a file with a class is a program; a node_allocation places programs on hosts:

```python
from brainnet import Candidate, Partial, Query, Region, main

class Echo(Region):
    \"\"\"Says what it was asked.\"\"\"

    def answer(self, query: Query) -> Partial:
        return Partial(candidates=[Candidate(text=query.prompt.text, probability=1.0)], confidence=1.0)

if __name__ == "__main__":
    main(Echo)
```

Importing this package imports neither torch nor zenoh; those load where they run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainnet.errors import BrainnetError, RegionError
    from brainnet.node import Bid, Body, Node, NodeParameters, Query, Region, every, main, serve, subscribe
    from brainnet.wire.messages import (
        Answer,
        Candidate,
        Channel,
        Decision,
        Health,
        MemoryHit,
        MemoryQuery,
        MemoryReply,
        MemoryStore,
        MemoryStored,
        Partial,
        Prompt,
    )
    from brainnet.wire.packet import SpikePacket

_HOME = {
    "BrainnetError": "errors",
    "RegionError": "errors",
    "SpikePacket": "wire.packet",
    **dict.fromkeys(
        [
            "Answer",
            "Candidate",
            "Channel",
            "Decision",
            "Health",
            "MemoryHit",
            "MemoryQuery",
            "MemoryReply",
            "MemoryStore",
            "MemoryStored",
            "Partial",
            "Prompt",
        ],
        "wire.messages",
    ),
    **dict.fromkeys(
        ["Bid", "Body", "Node", "NodeParameters", "Query", "Region", "every", "main", "serve", "subscribe"], "node"
    ),
}

__all__ = [
    "Answer",
    "Bid",
    "Body",
    "BrainnetError",
    "Candidate",
    "Channel",
    "Decision",
    "Health",
    "MemoryHit",
    "MemoryQuery",
    "MemoryReply",
    "MemoryStore",
    "MemoryStored",
    "Node",
    "NodeParameters",
    "Partial",
    "Prompt",
    "Query",
    "Region",
    "RegionError",
    "SpikePacket",
    "__version__",
    "every",
    "main",
    "serve",
    "subscribe",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"brainnet.{_HOME[name]}"), name)
    raise AttributeError(f"module 'brainnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
