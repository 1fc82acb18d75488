"""A brain of real processes over real Zenoh on loopback, and the allocation files that describe one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import yaml

from brainnet.bus import Endpoint, open_bus
from brainnet.client import host_statuses
from brainnet.testing import PATIENCE_S, faults, free_port, wait_until
from brainnet.wire.messages import NodeRecord

if TYPE_CHECKING:
    import zenoh

PROGRAMS = Path(__file__).parent / "programs"


def node(id: str, program: str = "echo", **more: Any) -> dict[str, Any]:
    """Make an allocation entry for a program: one of `brainnet.testing.faults`, of tests/programs, or any other."""
    if program in faults.__all__:
        program = f"{faults.__name__}:{program}"
    elif "/" not in program and ":" not in program:
        program = str(PROGRAMS / f"{program}.py")
    return {"id": id, "program": program, **more}


def write_allocation(path: Path, *nodes: dict[str, Any], **more: Any) -> Path:
    """Write an allocation file of these nodes."""
    path.write_text(yaml.safe_dump({"version": 1, **more, "nodes": list(nodes)}, sort_keys=False))
    return path


def processes_of(marker: str) -> dict[int, str]:
    """Find the processes that were started with this text in their environment: process id to name."""
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


def has_subscriber(publisher: zenoh.Publisher) -> bool:
    """Say whether somebody subscribed to what a foreign program publishes."""
    status: Any = publisher.matching_status  # the stubs call it a bool; it is an object
    return bool(status.matching)


class Brain:
    """A brain of real processes, driven through the command line as a person would.

    As a context manager, it kills at the end whatever is left of it.

    Args:
        home: A folder of its own for the brain's state. It also marks the brain's processes.
        port: The port of its hub; by default a free one.
        prefix: Words before every command, such as those that enter a network namespace.
        cwd: The folder that commands run in; by default that of the tests.
        python: The interpreter that runs brainnet; by default that of the tests.
        env: Environment variables for every process of the brain.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        prefix: list[str] | None = None,
        cwd: Path | None = None,
        python: str = sys.executable,
        **env: str,
    ) -> None:
        self.home = home
        self.port = port or free_port()
        self.prefix = prefix or []
        self.cwd = cwd
        self.python = python
        # a brain that outlives one test must not depend on the fixture that isolates each test
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BRAINNET_")}
        own = {
            "XDG_STATE_HOME": str(home),
            "BRAINNET_PORT": str(self.port),
            "BRAINNET_READY_TIMEOUT_S": str(4 * PATIENCE_S),  # the first node of a kind may have to compile its kernels
        }
        self.env = inherited | own | env
        self._started = contextlib.ExitStack()

    def command(self, *arguments: str) -> list[str]:
        """Return the full command line of a verb."""
        return [*self.prefix, self.python, "-m", "brainnet", *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end; with `check` it must succeed."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.env,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=5 * PATIENCE_S,
            check=False,
        )
        assert not check or done.returncode == 0, f"brainnet {' '.join(arguments)}: {done.stderr}"
        return done

    def rows(self, *arguments: str, check: bool = True) -> list[dict[str, Any]]:
        """Run a verb with --json, and return the objects that it prints."""
        return [json.loads(line) for line in self.run(*arguments, "--json", check=check).stdout.splitlines()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a verb, with pipes for its output; killed with the brain if it still runs then."""
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.env,
            cwd=self.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.enter_context(process)
        self._started.callback(process.kill)  # before the wait for its end, whatever became of the brain
        return process

    def launch(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Launch the brain detached; every node is ready when this returns.

        Args:
            arguments: An allocation file, unless it is the default brain, and options.
        """
        return self.run("launch", *map(str, arguments), "--detach")

    def launch_foreground(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start to launch the brain in the foreground, and return the launcher.

        Args:
            arguments: An allocation file, unless it is the default brain, and options.
        """
        return self.start("launch", *map(str, arguments))

    def status(self, check: bool = True) -> dict[str, dict[str, Any]]:
        """Return what `brainnet status` says of every node, by id."""
        return {row["id"]: row for row in self.rows("status", check=check)}

    def nodes(self) -> dict[str, NodeRecord]:
        """Return what the launchers say of every node, by id, asked over the bus without a new process."""
        return asyncio.run(self._ask_launchers())

    async def _ask_launchers(self) -> dict[str, NodeRecord]:
        async with await open_bus(Endpoint(hub=f"tcp/127.0.0.1:{self.port}"), timeout=PATIENCE_S) as bus:
            hosts = await host_statuses(bus, needed=False)
        return {record.id: record for host in hosts for record in host.nodes}

    def pid(self, id: str) -> int:
        """Return the process id of a node that runs."""
        found = self.nodes()[id].pid
        assert found is not None
        return found

    def wait_state(self, id: str, *states: str, but_pid: int | None = None) -> NodeRecord:
        """Wait until a node is in one of these states, in another process than `but_pid`."""

        def reached() -> NodeRecord | None:
            record = self.nodes().get(id)
            wanted = record is not None and record.state in states and (but_pid is None or record.pid != but_pid)
            return record if wanted else None

        return wait_until(f"{id} to be {' or '.join(states)}", reached)

    def prompt(self, text: str, *options: str) -> dict[str, Any]:
        """Ask the brain, and return its answer."""
        (answer,) = self.rows("prompt", text, *options)
        return answer

    def session(self) -> zenoh.Session:
        """Open a Zenoh session as any foreign program may; use it as a context manager."""
        import zenoh

        config = zenoh.Config()
        config.insert_json5("mode", '"client"')
        config.insert_json5("connect/endpoints", f'["tcp/127.0.0.1:{self.port}"]')
        return zenoh.open(config)

    def processes(self) -> dict[int, str]:
        """Return every process of this brain that is there now: process id to name."""
        return processes_of(str(self.home))

    def wait_gone(self) -> None:
        """Wait until no process is left; the port must be free then."""
        wait_until(f"the end of {self.processes()}", lambda: not self.processes())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
            probe.bind(("127.0.0.1", self.port))

    def clean_up(self) -> None:
        """Kill whatever is left of the brain."""

        def all_gone() -> bool:  # kills each time, since one of them may just have started another
            left = self.processes()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        wait_until("the end of the killed processes", all_gone)
        self._started.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clean_up()


@contextlib.contextmanager
def default_brain(make_folder: Callable[[str], Path]) -> Iterator[Brain]:
    """Launch the default brain in an empty folder, and stop it at the end.

    Args:
        make_folder: Makes an empty folder of a name.
    """
    with Brain(make_folder("home"), cwd=make_folder("empty")) as brain:
        brain.launch()
        yield brain
        brain.run("stop", check=False)  # a test that failed may have left none to stop
        brain.wait_gone()


MakeBrain = Callable[..., Brain]
"""Makes a brain with a home of its own; the other arguments are those of `Brain`."""
