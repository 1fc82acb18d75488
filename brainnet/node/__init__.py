"""The base classes of the processes of a brain: `Node`, and `Region`, a node that answers prompts.

A program is a file with one such class; `main` runs it from the command line, `run_node` runs it for a launcher.
"""

from __future__ import annotations

from brainnet.node.blame import MAX_DEATHS, WorkRecord
from brainnet.node.handlers import serve, subscribe
from brainnet.node.node import Node
from brainnet.node.params import NodeParameters
from brainnet.node.process import main, run_node
from brainnet.node.program import load_program
from brainnet.node.region import Query, Region
from brainnet.node.restarts import Restarts
from brainnet.node.resuming import resume
from brainnet.node.spec import NetworkPart, NodeSpec

__all__ = [
    "MAX_DEATHS",
    "NetworkPart",
    "Node",
    "NodeParameters",
    "NodeSpec",
    "Query",
    "Region",
    "Restarts",
    "WorkRecord",
    "load_program",
    "main",
    "resume",
    "run_node",
    "serve",
    "subscribe",
]
