"""A process that has imported what a command imports, and becomes that command in a fork: see `tests.warm`.

It starts no thread and opens no Zenoh session: a fork copies only the calling thread. For the same reason a launcher,
which is such a fork, may fork again for its first zygote, whose libraries it has imported; see `fork_zygotes`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO

MAX_PACKET = 1 << 17
ROOM = "_BRAINNET_ROOM"
"""Variable that only makes room for the variables of a fork, where the kernel looks for those of a process."""
ROOM_SIZE = 1 << 16
_ADOPTION_S = 30.0
"""Seconds in which a fork becomes a child of the process that asked for it. The kernel needs microseconds."""


def main() -> None:
    """Import the modules named in the arguments, then serve requests; returns in a fork, as the command."""
    control = socket.socket(fileno=int(sys.argv[1]))
    parent = os.getppid()
    for name in sys.argv[2:]:
        importlib.import_module(name)
    if kernels := sys.modules.get("brainnet.snn.kernels"):
        kernels.prepare()
    gc.freeze()
    atexit.register(keep_modules)  # the first to be registered is called last
    control.send(b"{}")
    while True:
        packet, descriptors, _, _ = socket.recv_fds(control, MAX_PACKET, 3)
        if not packet:  # the tests have ended
            os._exit(0)
        between = os.fork()
        if between:
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(between, 0)
            continue
        if os.fork():
            os._exit(0)
        deadline = time.monotonic() + _ADOPTION_S
        while os.getppid() != parent:
            if time.monotonic() > deadline:
                os._exit(127)
            time.sleep(0.0005)  # the kernel tells nobody when a process has another parent
        become(json.loads(packet), descriptors)
        control.send(json.dumps({"pid": os.getpid()}).encode())
        control.close()
        return


def become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Take on the surroundings of a command: session, folder, environment, arguments, standard streams."""
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.path[0] = str(Path.cwd())
    sys.argv = ["-m", *request["words"]]
    begin_again(request["env"])
    fork_zygotes()


def begin_again(env: Mapping[str, str]) -> None:
    """Take on the environment, and open the standard streams that the descriptors 0 to 2 are now."""
    os.environ.clear()
    os.environ.update(env)
    show_environment(env)
    standard: Any = sys
    for place, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        opened = stream(place, mode, getattr(standard, name))
        setattr(standard, name, opened)
        setattr(standard, f"__{name}__", opened)


def fork_zygotes() -> None:
    """Let this process start a zygote as a fork of itself, as long as it has one thread."""
    kind: Any = subprocess.Popen
    original = kind._execute_child
    signature = inspect.signature(original)

    @functools.wraps(original)
    def execute(self: Any, *arguments: Any) -> None:
        given = signature.bind(self, *arguments).arguments
        command = given["args"]
        client = sys.modules.get("brainnet.launcher.run.zygote_client")
        is_zygote = client is not None and command[:3] == [sys.executable, "-c", client.BOOT]
        if not is_zygote or len(list(Path("/proc/self/task").iterdir())) > 1:
            original(self, *arguments)
            return
        self.pid = os.fork()
        if self.pid == 0:
            become_zygote(given)
        self._child_created = True
        self._close_pipe_fds(
            *(given[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"))
        )

    kind._execute_child = execute


def become_zygote(given: Mapping[str, Any]) -> NoReturn:
    """Be what a new process would be, and run as a zygote."""
    try:
        os.setsid()
        for place, name in enumerate(("p2cread", "c2pwrite", "errwrite")):
            if given[name] not in (-1, place):
                os.dup2(given[name], place)
        kept = {0, 1, 2, *given["pass_fds"]}
        for descriptor in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(descriptor)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        sys.argv = ["-c", *given["args"][3:]]
        begin_again(given["env"])
        importlib.import_module("brainnet.launcher.run.zygote").main()
    finally:
        os._exit(1)


def keep_modules() -> None:
    """Let the interpreter end without taking apart each module, which would copy the pages shared with the server."""
    kept = dict(sys.modules)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    for name in kept.keys() - {"builtins", "sys"}:
        del sys.modules[name]


def show_environment(variables: Mapping[str, str]) -> None:
    """Let /proc/PID/environ show these variables, as that of a new process does.

    The kernel shows the part of the memory in which a process got its variables. Nothing else uses it any more when
    all of them have been removed.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = (int(fields[number - 3]) for number in (50, 51))  # counted as proc(5) does; the third comes first
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in variables.items())
    ctypes.memmove(start, block.ljust(end - start, b"\0"), end - start)


def stream(descriptor: int, mode: str, like: TextIO) -> TextIO:
    """Open a standard stream as the interpreter does at its start."""
    raw = io.FileIO(descriptor, mode, closefd=False)
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    at_once = bool(os.environ.get("PYTHONUNBUFFERED")) and mode == "w"
    text: Any = io.TextIOWrapper(
        buffer,
        encoding=like.encoding,
        errors=like.errors,
        line_buffering=raw.isatty() or descriptor == 2,
        write_through=at_once,
    )
    text.mode = mode
    return text  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
