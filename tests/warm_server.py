"""A process that has imported what a command imports, and becomes that command in a fork: see `tests.warm`.

It starts no thread and opens no Zenoh session: a fork copies only the calling thread.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import socket
import sys
import time
from pathlib import Path
from typing import Any, TextIO

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
    os.environ.clear()
    os.environ.update(request["env"])
    show_environment(request["env"])
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.path[0] = str(Path.cwd())
    sys.argv = ["-m", *request["words"]]
    standard: Any = sys
    for place, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        opened = stream(place, mode, getattr(standard, name))
        setattr(standard, name, opened)
        setattr(standard, f"__{name}__", opened)


def keep_modules() -> None:
    """Let the interpreter end without taking apart each module, which would copy the pages shared with the server."""
    kept = dict(sys.modules)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    for name in kept.keys() - {"builtins", "sys"}:
        del sys.modules[name]


def show_environment(variables: dict[str, str]) -> None:
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
