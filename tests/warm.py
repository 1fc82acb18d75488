"""Commands of brainnet that start in a fork of a process that has imported what they need.

Most of the time of a short command goes to its imports, which are the same each time. While `forked_commands` is
entered, `subprocess` and `asyncio` start `python -m brainnet VERB ...`, for the verbs of `VERBS` and `MODEL_VERBS`, as
a fork of such a process, and so the reader of NIR files and the server of the twin. The first zygote of such a launcher
is a fork of it. What a command starts besides is a new process.

For a test nothing else differs: the command is a real process and a child of the test's own, with a process
id, a session, streams, a folder and an environment of its own, and it ends as the interpreter ends. Its environment is
also what the kernel shows of it, by which whatever a test leaves is found and killed.

Everything that a fork would not do exactly as a new process is left to a new process: other verbs and interpreters,
variables that an interpreter or a library reads when it starts, descriptors that are handed on, limits that a test
sets. tests/cli/test_streams.py starts verbs in new processes, where a lack of an import shows.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.warm_server import MAX_PACKET, ROOM, ROOM_SIZE

ROOT = str(Path(__file__).parents[1])
SERVER = Path(__file__).with_name("warm_server.py")
VERBS = (
    "chaos",
    "clock",
    "config",
    "launch",
    "logs",
    "node",
    "prompt",
    "simulate",
    "status",
    "stop",
    "topic",
    "validate",
    "weights",
)
MODULES = (
    *(f"brainnet.cli.{verb}" for verb in VERBS),
    "brainnet.bus.zenoh_transport",
    "brainnet.cli.node_table",
    "brainnet.cli.validate_connectome",
    "brainnet.client",
    "brainnet.connectome.summary",
    "brainnet.launcher.describe.networks",
    "brainnet.launcher.describe.programs",
    "brainnet.launcher.run.launch",
    "brainnet.launcher.run.stopping",
    "brainnet.launcher.run.supervisor",
    "brainnet.observe",
    "brainnet.settings",
    "brainnet.simulation.models.lif",
    "brainnet.simulation.network",
    "brainnet.testing.chaos.run",
    "typer.rich_utils",
)
MODEL_VERBS = ("eval", "train")
MODEL_MODULES = ("brainnet.cli.evaluate", "brainnet.cli.train", "brainnet.snn", "brainnet.training", "torch")
READER = "brainnet.snn.nir.hdf5"
"""The program that reads a file of the format HDF5 in a process of its own."""
READER_MODULES = ("brainnet.errors", "brainnet.snn.nir.graph", "h5py", "msgpack", "numpy")
TWIN = "brainnet.devices.server"
"""The program that serves the twin of a device over UDP."""
TWIN_MODULES = ("brainnet.devices.stepped", "brainnet.snn.nir.models", "nir")
_FREE = (
    "BRAINNET_",
    "COLUMNS",
    "HYPOTHESIS_",
    "LINES",
    "PATH",
    "PYTEST_",
    "TMPDIR",
    "TORCHINDUCTOR_",  # torch sets one in the process of the tests once it has compiled something
    "XDG_STATE_HOME",
)
"""Beginnings of the variables that nothing reads at its import."""
_USUAL = {
    **dict.fromkeys(("executable", "preexec_fn", "uid", "gid", "gids")),
    "close_fds": True,
    "pass_fds": (),
    "process_group": -1,
    "restore_signals": True,
    "shell": False,
    "umask": -1,
}
"""Options of a new process that a fork may have."""
_PR_SET_CHILD_SUBREAPER = 36
_ADOPTING = threading.Lock()
"""Held while this process adopts a fork, since that is a state of the whole process."""


class _Server:
    """A warm process, which starts when it is first asked.

    Args:
        modules: What it imports.
        variables: Those that its commands have besides the variables of the run.
    """

    def __init__(self, *modules: str, variables: Mapping[str, str] | None = None) -> None:
        self._modules = modules
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # Of the tests as a whole, not of the first command: that may be of a test with variables of its own.
        self._kept = _kept(os.environ | dict(variables or {}))

    def fork(self, words: list[str], cwd: str, env: Mapping[str, str], streams: list[int], session: bool) -> int | None:
        """Start a command, and return its process id; None where it has to be a new process."""
        with _ADOPTING:
            if _kept(env) != self._kept:
                return None
            if self._control is None:
                self._start(env)
            if self._control is None:
                return None
            packet = json.dumps({"words": words, "cwd": cwd, "env": dict(env), "session": session}).encode()
            if len(packet) > min(MAX_PACKET, ROOM_SIZE):
                return None
            try:
                _be_subreaper(True)
                socket.send_fds(self._control, [packet], streams)
                return int(json.loads(self._control.recv(MAX_PACKET))["pid"])
            finally:
                _be_subreaper(False)

    def _start(self, env: Mapping[str, str]) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(there.fileno()), *self._modules],
                env={**self._kept, "PATH": env.get("PATH", ""), "OPENBLAS_NUM_THREADS": "1", ROOM: "-" * ROOM_SIZE},
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,
            )
        here.settimeout(120)
        self._control = here if here.recv(MAX_PACKET) else None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._control is not None:
            self._control.close()
        self._process = self._control = None


def _kept(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith(_FREE)}


def _path() -> list[str]:
    """Return the variable PYTHONPATH of the run, where it is set."""
    return list(filter(None, [os.environ.get("PYTHONPATH")]))


def _be_subreaper(wanted: bool) -> None:
    """Become, or no longer be, the parent of descendants whose own parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


@contextlib.contextmanager
def forked_commands() -> Iterator[None]:
    """Start commands as forks of a warm process until the context ends."""
    kind: Any = subprocess.Popen
    original = kind._execute_child
    signature = inspect.signature(original)
    servers: dict[tuple[str, ...], _Server] = {
        **dict.fromkeys((("brainnet", verb) for verb in VERBS), _Server(*MODULES)),
        **dict.fromkeys((("brainnet", verb) for verb in MODEL_VERBS), _Server(*MODEL_MODULES)),
        (TWIN,): _Server(*TWIN_MODULES),
        # the caller adds the folder of the package to the path of the reader
        (READER,): _Server(*READER_MODULES, variables={"PYTHONPATH": os.pathsep.join([ROOT, *_path()])}),
    }

    @functools.wraps(original)
    def execute(self: Any, *arguments: Any) -> None:
        given = signature.bind(self, *arguments).arguments
        pid = _forked(servers, given)
        if pid is None:
            original(self, *arguments)
            return
        self.pid = pid
        self._child_created = True
        names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in names))

    kind._execute_child = execute
    try:
        yield
    finally:
        kind._execute_child = original
        for server in servers.values():
            server.close()


def _forked(servers: Mapping[tuple[str, ...], _Server], given: dict[str, Any]) -> int | None:
    """Start a command as a fork, unless something asks for a new process."""
    args = given["args"]
    words = [] if isinstance(args, str | bytes) else list(map(os.fsdecode, args))
    cwd = os.fsdecode(given["cwd"]) if given["cwd"] is not None else str(Path.cwd())
    if any(given.get(name, usual) != usual for name, usual in _USUAL.items()) or not Path(cwd).is_dir():
        return None
    server = servers.get(tuple(words[2:4])) or servers.get(tuple(words[2:3]))
    if words[:2] != [sys.executable, "-m"] or server is None:
        return None
    env = os.environ if given["env"] is None else {os.fsdecode(k): os.fsdecode(v) for k, v in given["env"].items()}
    ends = (given["p2cread"], given["c2pwrite"], given["errwrite"])
    streams = [place if end == -1 else end for place, end in enumerate(ends)]
    return server.fork(words[2:], str(Path(cwd).absolute()), env, streams, bool(given["start_new_session"]))
