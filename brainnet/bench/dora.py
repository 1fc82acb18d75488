"""A rival of the benchmarks: dora-rs, two Python nodes in a dataflow, with the same packets and the same codec.

It takes part where it is installed for this interpreter: `pip install dora-rs dora-rs-cli`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from brainnet.errors import BusError

_TIMEOUT_S = 30.0
"""Seconds without an answer of the nodes after which the benchmark fails; on a busy machine they take long to start."""
_LOG_LINES = 5


def absent() -> str | None:
    """Return why dora cannot take part, or None where it is installed."""
    try:
        importlib.metadata.version("dora-rs")
    except importlib.metadata.PackageNotFoundError:
        return "the package dora-rs is not installed"
    if importlib.util.find_spec("dora") is None:
        return "the module dora cannot be imported"
    return None if _command() else "the command dora is not found; it is in the package dora-rs-cli"


def name() -> str:
    """Return the rival's name, with its version."""
    return f"dora-rs {importlib.metadata.version('dora-rs')}"


def _command() -> str | None:
    """Return the path of the command: beside this interpreter, whose environment need not be activated, or in PATH."""
    beside = Path(sys.executable).with_name("dora")
    return str(beside) if beside.is_file() else shutil.which("dora")


def _dataflow(control: Path, queue: int) -> str:
    """Return the dataflow; JSON is YAML."""
    run = f"-m brainnet.bench.dora_node {{}} {control}"
    # `backpressure` keeps up to ten times the size, while the default drops what exceeds it.
    stream = {"source": "ping/stream", "queue_size": queue, "queue_policy": "backpressure"}
    ping = {"inputs": {"pong": "pong/pong"}, "outputs": ["ping", "stream"]}
    pong = {"inputs": {"ping": "ping/ping", "stream": stream}, "outputs": ["pong"]}
    nodes = [
        {"id": role, "path": sys.executable, "args": run.format(role), **ports}
        for role, ports in (("ping", ping), ("pong", pong))
    ]
    return json.dumps({"nodes": nodes}, indent=1)


class Dora:
    """A running dataflow of both nodes."""

    def __init__(self, nodes: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]], log: Path) -> None:
        self._nodes = nodes
        self._log = log

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, queue: int) -> AsyncIterator[Dora]:
        """Write the dataflow into a temporary folder and run it there.

        Args:
            queue: Packets of a stream that may wait for the receiver.

        Raises:
            BusError: The nodes do not start.
        """
        nodes: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        ready = asyncio.Event()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nodes[json.loads(await reader.readline())["role"]] = (reader, writer)
            if len(nodes) == 2:
                ready.set()

        with tempfile.TemporaryDirectory(prefix="brainnet-dora-") as folder:
            control, log = Path(folder, "control"), Path(folder, "log")
            # The trips of one block are one line, which is longer than the limit of a stream by default.
            server = await asyncio.start_unix_server(connected, control, limit=1 << 24)
            process = _run(control, queue, log)
            try:
                await cls._started(process, ready, log)
                dora = cls(nodes, log)
                await dora.trips(50)
                yield dora
            finally:
                server.close()
                for _, writer in nodes.values():
                    writer.close()  # at which the nodes exit, and the dataflow with them
                await asyncio.to_thread(_end, process)

    @staticmethod
    async def _started(process: subprocess.Popen[bytes], ready: asyncio.Event, log: Path) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                while not ready.is_set() and process.poll() is None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(ready.wait(), 0.1)
        if not ready.is_set():
            raise BusError(f"the nodes of the dora dataflow did not start: {_last_lines(log)}")

    async def trips(self, count: int) -> list[float]:
        """Measure round trips between the nodes; return the seconds of each."""
        self._tell("ping", do="trips", count=count)
        taken: list[float] = (await self._answer("ping"))["taken"]
        return taken

    async def stream(self, count: int) -> tuple[float, int]:
        """Send a stream as fast as one node can; return packets/s at the receiver and the number that it received."""
        self._tell("ping", do="stream", count=count)
        answer = await self._answer("pong")
        return (answer["received"] - 1) / answer["seconds"], answer["received"]

    async def windows(self, payload: bytes, shape: tuple[int, int], seconds: float) -> float:
        """Send a window of bits again and again for some seconds; return windows/s that the receiver has read.

        Args:
            payload: The window in wire form.
            shape: Neurons and steps of it.
            seconds: For how long it is sent.
        """
        self._tell("ping", do="windows", payload=base64.b64encode(payload).decode(), shape=shape, seconds=seconds)
        answer = await self._answer("pong")
        rate: float = (answer["received"] - 1) / answer["seconds"]
        return rate

    def _tell(self, role: str, **fields: Any) -> None:
        self._nodes[role][1].write(json.dumps(fields).encode() + b"\n")

    async def _answer(self, role: str) -> dict[str, Any]:
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                line = await self._nodes[role][0].readline()
        if not line:
            raise BusError(f"the node {role} of the dora dataflow does not answer: {_last_lines(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _run(control: Path, queue: int, log: Path) -> subprocess.Popen[bytes]:
    """Write the dataflow beside the socket and run it there; dora keeps its own logs in the current folder."""
    folder = control.parent
    flow = folder / "dataflow.yml"
    flow.write_text(_dataflow(control, queue))
    command = _command()
    assert command is not None
    with log.open("wb") as output:
        return subprocess.Popen(
            [command, "run", str(flow)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _last_lines(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
