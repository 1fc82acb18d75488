"""What a process needs to know to be one node; made by the launcher from an allocation, or by `main` from options."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node to run.

    Attributes:
        id: its name on the bus; the region name that prompts are routed to.
        program: a path (``nodes/vision.py``), a module (``my_lab.nodes:Olfactory``) or an entry point of
            ``brainnet.nodes``.
        hub: Zenoh endpoint of this host's hub.
        data_dir: durable state of the whole brain on this host.
        checkpoint: weights; None means the program's own default.
        parameters: initial values of the program's parameters.
        notify_fd: file descriptor that gets one JSON line per change of state, for a supervisor.
    """

    id: str
    program: str
    host: str
    namespace: str
    hub: str
    data_dir: Path
    checkpoint: Path | None = None
    device: str = "cpu"
    parameters: dict[str, Any] = field(default_factory=dict)
    log_level: str = "info"
    notify_fd: int | None = None
    parent_pid: int = field(default_factory=os.getppid)
