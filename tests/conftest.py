"""What the tests share: an isolated environment, and brains of real processes over real Zenoh on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from brainnet.bus import Endpoint, open_bus
from brainnet.errors import ConnectError
from brainnet.wire.messages import HostStatus, NodeRecord, StatusQuery

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE_S = 30.0
"""How long a test waits for a condition before it says that it never came."""


def wait_for(what: str, condition: Callable[[], Any], timeout: float = PATIENCE_S) -> Any:
    """Wait until the condition gives something true, and return that."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)  # the condition is another process's, which can wake nobody here
    raise AssertionError(f"waited {timeout:g} s in vain for: {what}")


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of the person who tests reaches a test, and no state of a test reaches that person."""
    for name in [n for n in os.environ if n.startswith("BRAINNET_")]:
        monkeypatch.delenv(name)
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    return state


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a loopback port that nobody uses."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return find


def node(id: str, program: str = "echo", **more: Any) -> dict[str, Any]:
    """An allocation entry for one of the programs in tests/programs, or for a path."""
    path = program if "/" in program else str(PROGRAMS / f"{program}.py")
    return {"id": id, "program": path, **more}


def write_allocation(path: Path, *nodes: dict[str, Any], **more: Any) -> Path:
    """Write an allocation file of these nodes."""
    path.write_text(yaml.safe_dump({"version": 1, **more, "nodes": list(nodes)}, sort_keys=False))
    return path


def processes_of(marker: str) -> dict[int, str]:
    """Processes that were started with this text in their environment, by pid, with their name."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker.encode() not in (entry / "environ").read_bytes():
                continue
            name, state = (entry / "stat").read_text().rpartition(")")[::2]
        except OSError:
            continue
        if state.split()[0] not in "ZX":
            found[int(entry.name)] = name.partition("(")[2]
    return found


@dataclass
class Brain:
    """A brain of real processes, driven through the command line as a person would."""

    port: int
    state_home: Path
    env: dict[str, str]
    prefix: list[str] = field(default_factory=list)
    foreground: subprocess.Popen[str] | None = None

    def command(self, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "brainnet", *arguments]

    def run(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a verb; with `check` it must succeed."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, env=self.env, timeout=timeout, check=False
        )
        assert not check or done.returncode == 0, f"brainnet {' '.join(arguments)}: {done.stderr}"
        return done

    def launch(self, allocation: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Launch detached; every node is ready when this returns."""
        return self.run("launch", str(allocation), "--detach", *options)

    def launch_foreground(self, allocation: Path, *options: str) -> subprocess.Popen[str]:
        """Launch in the foreground; ended by the fixture if the test does not."""
        self.foreground = subprocess.Popen(
            self.command("launch", str(allocation), *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            start_new_session=True,
        )
        return self.foreground

    def nodes(self) -> dict[str, NodeRecord]:
        """What the launchers of the brain say of their nodes, by id; empty when no brain runs."""
        return asyncio.run(self._ask())

    async def _ask(self) -> dict[str, NodeRecord]:
        try:
            async with await open_bus(Endpoint(hub=f"tcp/127.0.0.1:{self.port}"), timeout=0.5) as bus:
                replies = await bus.call_all("host/*/status", StatusQuery())
        except ConnectError:
            return {}
        hosts = [reply.message for reply in replies if isinstance(reply.message, HostStatus)]
        return {record.id: record for host in hosts for record in host.nodes}

    def pid(self, id: str) -> int:
        """The process of a node that runs."""
        found = self.nodes()[id].pid
        assert found is not None
        return found

    def wait_state(self, id: str, *states: str, but_pid: int | None = None) -> NodeRecord:
        """Wait until a node is in one of these states, in another process than `but_pid`."""

        def reached() -> NodeRecord | None:
            record = self.nodes().get(id)
            wanted = record is not None and record.state in states and (but_pid is None or record.pid != but_pid)
            return record if wanted else None

        found: NodeRecord = wait_for(f"{id} to be {' or '.join(states)}", reached)
        return found

    def processes(self) -> dict[int, str]:
        """Every process of this brain that is there now."""
        return processes_of(str(self.state_home))

    def wait_gone(self, timeout: float = 5.0) -> None:
        """Wait until no process is left and the port is free."""
        wait_for(f"no process left of {self.processes()}", lambda: not self.processes(), timeout)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))

    def clean_up(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.foreground is not None:
            self.foreground.communicate()
        wait_for("killed processes to go", lambda: not self.processes())


class MakeBrain(Protocol):
    """Makes a brain on a port of its own, with an environment of its own."""

    def __call__(self, *, port: int | None = None, prefix: list[str] | None = None, **env: str) -> Brain: ...


@pytest.fixture
def make_brain(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[MakeBrain]:
    """Brains that are not launched yet; whatever a test leaves of them is killed."""
    made: list[Brain] = []

    def make(*, port: int | None = None, prefix: list[str] | None = None, **env: str) -> Brain:
        port = port or free_port()
        home = tmp_path / f"brain-{len(made)}"
        own = {"XDG_STATE_HOME": str(home), "BRAINNET_PORT": str(port), **env}
        brain = Brain(port, home, {**os.environ, **own}, prefix or [])
        made.append(brain)
        return brain

    yield make
    for brain in made:
        brain.clean_up()


@pytest.fixture
def brain(make_brain: MakeBrain) -> Brain:
    """A brain that is not launched yet."""
    return make_brain(BRAINNET_STOP_GRACE_S="0.5")
