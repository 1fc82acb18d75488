"""Runs one node in this process: from a `NodeSpec` to an exit code."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from brainnet import settings as settings_module
from brainnet import yaml_text
from brainnet.bus import Endpoint, learn_topics, open_bus
from brainnet.collector import collect_less_often
from brainnet.errors import BrainnetError
from brainnet.guard import call_soon
from brainnet.node import logs
from brainnet.node.node import Node
from brainnet.node.program import load_program
from brainnet.node.spec import NodeSpec
from brainnet.wire.extension import load_extension
from brainnet.wire.messages import NodeState

log = structlog.get_logger("brainnet.process")

_ORPHAN_GRACE_S: Final = 2.0
"""Seconds that a node may take to stop after its launcher has exited. Longer than the zygote's own grace, which ends
nodes in order where there still is a zygote."""


def run_node(spec: NodeSpec, program: type[Node] | None = None, notify_fd: int | None = None) -> int:
    """Run one node until it is stopped by SIGINT, SIGTERM or its control topic.

    Args:
        spec: The node.
        program: Its class; None to import the program that the spec names.
        notify_fd: File descriptor to which every change of state is written, one JSON object a line. When its reader
            exits, the node stops, and its process group is killed where that takes longer than two seconds.

    Returns:
        The exit code: 0 after an orderly stop, 1 when the node could not start or failed. The reason is in its last
        state.
    """
    stopping = _Stopping()
    if notify_fd is not None:
        threading.Thread(target=_watch_launcher, args=(notify_fd, stopping), name="launcher", daemon=True).start()
    collect_less_often()
    logs.configure(spec.id, spec.log_level)  # without a bus at first: what fails before it opens is in the log file
    try:
        asyncio.run(_run_async(spec, program, notify_fd, stopping))
    except BrainnetError as error:
        log.error("cannot run", error=str(error))
        _notify(notify_fd, "failed", str(error))
        return 1
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        log.exception("failed")
        _notify(notify_fd, "failed", f"{type(error).__name__}: {error}")
        return 1
    _notify(notify_fd, "stopped", "")
    return 0


class _Stopping:
    """Stops a node from another thread, also before there is a node to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._wanted = False

    def set(self) -> None:
        """Stop the node, now or as soon as `connect` is called."""
        with self._lock:
            self._wanted = True
            stop = self._stop
        if stop is not None:
            stop()

    def connect(self, stop: Callable[[], None]) -> None:
        """Name what stops the node; it is called on any thread."""
        with self._lock:
            self._stop = stop
            wanted = self._wanted
        if wanted:
            stop()


def _watch_launcher(notify_fd: int, stopping: _Stopping) -> None:
    """Stop the node when the launcher has exited, in whatever way; it holds the other end of the pipe."""
    poll = select.poll()
    poll.register(notify_fd, 0)  # POLLERR needs no registration: the pipe has no reader any more
    while not any(events & select.POLLERR for _, events in poll.poll()):
        time.sleep(1.0)  # the program has closed the descriptor
    stopping.set()
    time.sleep(_ORPHAN_GRACE_S)
    os.killpg(0, signal.SIGKILL)


async def _run_async(spec: NodeSpec, program: type[Node] | None, notify_fd: int | None, stopping: _Stopping) -> None:
    loop = asyncio.get_running_loop()
    endpoint = Endpoint(spec.namespace, spec.hub)
    kind = program or load_program(spec.program)
    contract = None if spec.topics is None else load_extension([spec.topics]).contract
    # Two sessions. The data session is a peer, which exchanges packets with other nodes directly. The control session
    # is a client of the hub: it has threads and links of its own, so that status, heartbeats and stop get through when
    # the data session is congested or its mailboxes are full. It also shows when a subscription of the data session is
    # known to the network: a session matches its own subscriptions before that.
    async with (
        await open_bus(endpoint, role=kind.role, source=spec.id, mode="peer", timeout=10.0, contract=contract) as bus,
        await open_bus(endpoint, role=kind.role, source=spec.id, timeout=10.0, contract=contract) as control,
    ):
        if notify_fd is None:  # not started by a launcher, which would have said what there is
            bus.contract = (await learn_topics(control)).contract
        logs.configure(spec.id, spec.log_level, publish=logs.topic_publisher(control, spec.id))
        node = kind(spec, bus, control)
        # Handlers of the event loop, because KeyboardInterrupt could be raised at any point of the shutdown.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, node.stop)
        stopping.connect(lambda: call_soon(loop, node.stop))
        try:
            await node.run_until_stopped(lambda state, reason: _notify(notify_fd, state, reason))
        finally:
            logs.configure(spec.id, spec.log_level)


def _notify(notify_fd: int | None, state: NodeState, reason: str) -> None:
    if notify_fd is not None:
        line = json.dumps({"state": state, "reason": reason}) + "\n"
        with contextlib.suppress(OSError):  # the supervisor has exited
            os.write(notify_fd, line.encode())


def main(program: type[Node]) -> None:
    """Run a program from the command line, as a node of the brain that runs on this host.

    Example: `python my_region.py --id olfactory --param temperature=0.5`
    """
    parser = argparse.ArgumentParser(description=(program.__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--id", default=None, help="name of the node (default: the program's file name)")
    parser.add_argument("--namespace", default=None, help="namespace of the brain")
    parser.add_argument("--port", type=int, default=None, help="port of this host's hub")
    parser.add_argument("--hub", default=None, help="Zenoh endpoint of the hub")
    parser.add_argument("--host", default=None, help="name of this host")
    parser.add_argument("--checkpoint", type=Path, default=None, help="weights to load")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="initial parameter")
    options = parser.parse_args()
    named = {k: getattr(options, k) for k in ("namespace", "port", "hub", "host")}
    try:
        settings = settings_module.load(named).settings
        parameters: dict[str, Any] = {}
        for text in options.param:
            name, equals, value = text.partition("=")
            if not equals:
                parser.error(f"--param takes NAME=VALUE, got {text!r}")
            parameters[name] = yaml_text.parse(value, f"--param {name}").value
        path = Path(sys.argv[0]).resolve()
        spec = NodeSpec.of(
            id=options.id or path.stem,
            program=str(path),
            host=settings.host,
            namespace=settings.namespace,
            hub=settings.endpoint,
            data_dir=settings.state,
            checkpoint=options.checkpoint,
            device=options.device,
            parameters=parameters,
            log_level=settings.log_level,
        )
    except BrainnetError as error:
        sys.exit(f"error: {error}")
    code = run_node(spec, program)
    sys.exit(code)
