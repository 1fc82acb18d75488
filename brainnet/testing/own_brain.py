"""A brain of real processes that a measurement or a test starts for itself, beside any other brain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from brainnet import settings
from brainnet.bus import Bus, Endpoint, open_bus
from brainnet.client import host_statuses
from brainnet.endpoints import loopback
from brainnet.errors import BrainnetError, LaunchError
from brainnet.testing.ports import free_port
from brainnet.testing.tied import tied
from brainnet.wire.messages import HostStatus

_POLL_S: Final = 0.05
_STOP_S: Final = 20.0
"""Seconds that a stop may take before the launcher is killed; its processes then end by themselves."""
_SETTLED: Final = ("ready", "degraded", "failed", "stopped", "backoff", "lost")
"""States of a node whose first start is over, well or not."""


class OwnBrain:
    """Runs a brain with a state folder of its own, on a free port, until the context ends.

    Guarantees: when the context ends, no process and no file of the brain is left; when this process is killed, the
    brain stops by itself (its files stay).

    Args:
        allocation: What to launch; None for the default of the checkout or installation.
        checkout: Another checkout with an environment of its own in `.venv`, whose version of brainnet runs.
        state: The folder of its state, which is kept; by default a temporary one.

    Attributes:
        endpoint: Where clients find it.
        state: Folder of its durable state.
    """

    def __init__(
        self, allocation: Path | None = None, *, checkout: Path | None = None, state: Path | None = None
    ) -> None:
        self.port = free_port()
        self.endpoint = Endpoint(settings.Settings().namespace, loopback(self.port))
        self._kept = state is not None
        self.state = state or Path(tempfile.mkdtemp(prefix="brainnet-"))
        self._checkout = checkout
        self._allocation = allocation
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Environment of its processes: that of this one, but for what selects another brain."""
        dropped = {"BRAINNET_HUB"}
        if self._checkout is not None:  # it has its own files and settings
            dropped |= {"PYTHONPATH", "BRAINNET_CONFIG_DIR", "BRAINNET_ALLOCATION"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return kept | {
            "BRAINNET_PORT": str(self.port),
            "BRAINNET_NAMESPACE": self.endpoint.namespace,
            "BRAINNET_DATA_DIR": str(self.state),
        }

    def command(self, *words: str) -> list[str]:
        """Return the full command line of a verb, of the version that runs the brain."""
        return [str(interpreter(self._checkout)), "-m", "brainnet", *words]

    @property
    def launch_words(self) -> list[str]:
        """The words of the launch: the verb and the allocation."""
        return ["launch", *([] if self._allocation is None else [str(self._allocation.resolve())])]

    @property
    def pid(self) -> int:
        """Process id of the launcher."""
        if self._process is None:
            raise LaunchError("this brain was not launched yet")
        return self._process.pid

    def launch(self) -> None:
        """Start the launcher, from the main thread; `ready` waits for the nodes.

        Raises:
            LaunchError: The checkout has no environment.
        """
        with (self.state / "launch.err").open("wb") as errors:
            self._process = subprocess.Popen(
                tied(*self.command(*self.launch_words)),
                env=self.environment,
                cwd=self._checkout,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C in the terminal reaches this process alone
            )

    async def ready(self, bus: Bus, timeout: float | None = None) -> HostStatus:
        """Wait until the first start of every node is over; some may have failed.

        Args:
            bus: A connection to the brain.
            timeout: Seconds to wait; by default the setting `ready_timeout_s` and the time that a launcher takes.

        Raises:
            LaunchError: The launcher ended, or the nodes were not ready in time.
        """
        limit = settings.load({}).settings.ready_timeout_s + 30 if timeout is None else timeout
        deadline = time.monotonic() + limit
        while True:
            for status in await host_statuses(bus, needed=False):
                if all(node.ready_s is not None or node.state in _SETTLED for node in status.nodes):
                    return status
            self._check_running()
            if time.monotonic() > deadline:
                raise LaunchError(f"the brain was not ready within {limit:g} s; raise ready_timeout_s")
            await asyncio.sleep(_POLL_S)

    async def complete(self, bus: Bus) -> HostStatus:
        """Wait until every node is ready.

        Raises:
            LaunchError: The launcher ended, or a node failed or was not ready in time.
        """
        status = await self.ready(bus)
        failed = [f"{node.id}: {node.reason}" for node in status.nodes if node.ready_s is None]
        if failed:
            raise LaunchError(f"not every node became ready: {'; '.join(failed)}")
        return status

    @contextlib.asynccontextmanager
    async def connected(self, *, role: str = "client") -> AsyncIterator[Bus]:
        """Connect to the brain, also while it starts.

        Raises:
            LaunchError: The launcher ended.
        """
        while True:
            try:
                bus = await open_bus(self.endpoint, role=role)
                break
            except BrainnetError:
                self._check_running()
                await asyncio.sleep(_POLL_S)
        async with bus:
            yield bus

    def _check_running(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            lines = (self.state / "launch.err").read_text(errors="replace").strip().splitlines()
            reason = lines[-1].removeprefix("brainnet: ") if lines else f"exit code {self._process.returncode}"
            raise LaunchError(f"the brain could not be launched: {reason}")

    def stop(self) -> None:
        """Stop the brain; its state folder stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """Stop the brain and remove its state folder."""
        self.stop()
        if not self._kept:
            shutil.rmtree(self.state, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def interpreter(checkout: Path | None) -> Path:
    """Return the interpreter that runs a checkout; None is this installation.

    Raises:
        LaunchError: The checkout has no environment in `.venv`.
    """
    if checkout is None:
        return Path(sys.executable)
    found = checkout.resolve() / ".venv" / "bin" / "python"
    if not found.exists():
        raise LaunchError(f"{checkout} has no .venv/bin/python; run scripts/setup there")
    return found
