"""The base classes of the processes of a brain: `Node`, `Region`, which answers prompts, and `Body`, which moves.

A program is a file with one such class; `main` runs it from the command line, `run_node` runs it for a launcher.
"""

from __future__ import annotations

from brainnet.node.bids import BID_MODALITY, Bid
from brainnet.node.blame import MAX_DEATHS, WorkRecord
from brainnet.node.body import Body
from brainnet.node.handlers import every, serve, subscribe
from brainnet.node.live_regions import LiveRegions
from brainnet.node.node import Node
from brainnet.node.params import NodeParameters
from brainnet.node.process import main, run_node
from brainnet.node.program import load_program
from brainnet.node.region import Query, Region
from brainnet.node.restarts import Restarts
from brainnet.node.resuming import resume
from brainnet.node.spec import NetworkPart, NodeSpec

__all__ = [
    "BID_MODALITY",
    "MAX_DEATHS",
    "Bid",
    "Body",
    "LiveRegions",
    "NetworkPart",
    "Node",
    "NodeParameters",
    "NodeSpec",
    "Query",
    "Region",
    "Restarts",
    "WorkRecord",
    "every",
    "load_program",
    "main",
    "resume",
    "run_node",
    "serve",
    "subscribe",
]
