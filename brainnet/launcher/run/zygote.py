"""The zygote: a process that has imported everything once, and forks a node whenever its supervisor asks.

It never opens a Zenoh session (a process that has may not fork) and runs no other thread. It talks with the supervisor
over a SEQPACKET socket pair, one JSON object a packet, and dies with it: when the socket closes it stops its nodes and
ends. A node in turn is killed by the kernel when the zygote goes, so nothing outlives the supervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Final, NoReturn

MAX_PACKET: Final = 1 << 18
ORPHAN_GRACE_S: Final = 1.5
"""How long nodes have to stop by themselves when their supervisor is gone."""

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
"""One thread each unless the allocation says more: spinning pools of several processes fight over few cores."""

ENVIRONMENT: Final = {
    **dict.fromkeys(THREAD_VARIABLES, "1"),
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What must stand in the environment before a numerical library is imported."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_BASE: Final = ("numpy", "msgpack", "zenoh", "brainnet.bus.zenoh_transport", "brainnet.node.process")


def main() -> NoReturn:
    """Entry of the process; its arguments are the socket's descriptor and the supervisor's sys.path."""
    sys.path[:] = json.loads(sys.argv[2])
    code = 1
    try:
        code = Zygote(socket.socket(fileno=int(sys.argv[1]))).run()
    finally:
        os._exit(code)


class Zygote:
    """Imports, then forks on request and reports every node that ends."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._nodes: dict[int, int] = {}  # ticket by pid
        self._wake_read, self._wake_write = socket.socketpair()
        self._terminated = False

    def run(self) -> int:
        """Serve until the supervisor is gone; 0, or 1 when something could not be imported."""
        self._libc.prctl(_PR_SET_NAME, b"brainnet-zygote", 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        started = time.monotonic()
        if not self._import(_BASE):
            return 1
        from brainnet.wire.topics import contract

        contract()  # read once, shared by all
        self._serve(started)
        self._stop_nodes()
        return 0

    def _serve(self, started: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._terminated:
                for key, _ in selector.select():
                    if key.fileobj is self._wake_read:
                        self._woken()
                    elif not self._receive(selector, started):
                        return

    def _woken(self) -> None:
        self._terminated |= signal.SIGTERM in self._wake_read.recv(4096)
        self._reap()

    def _receive(self, selector: selectors.BaseSelector, started: float) -> bool:
        """Handle one request; False when the supervisor is gone."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, MAX_PACKET, 1)
        if not packet:
            return False
        request = json.loads(packet)
        match request["do"]:
            case "preload":
                if not self._import(request["modules"]):
                    return False
                gc.collect()
                gc.freeze()
                self._say(event="ready", seconds=time.monotonic() - started)
            case "log":
                _redirect(Path(request["path"]))
            case "spawn":
                self._fork(request, descriptors[0], selector)
            case "signal":
                for pid, ticket in self._nodes.items():
                    if ticket == request["ticket"]:
                        _send_signal(pid, request["signal"])
        return True

    def _import(self, modules: tuple[str, ...] | list[str]) -> bool:
        for module in modules:
            try:
                importlib.import_module(module)
            except BaseException as error:
                traceback.print_exc()
                self._say(event="broken", reason=f"cannot import {module}: {type(error).__name__}: {error}")
                return False
        return True

    def _say(self, **event: Any) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone, which the next receive will tell
            self._control.send(json.dumps(event).encode())

    # -- forking -----------------------------------------------------------------------------------------------------

    def _fork(self, request: dict[str, Any], notify: int, selector: selectors.BaseSelector) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(notify)
            self._say(event="refused", ticket=request["ticket"], reason=f"cannot fork: {error.strerror}")
            return
        if pid == 0:
            code = 1
            try:
                self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != parent:  # it died before the kernel knew that we care
                    os._exit(1)
                selector.close()
                for end in (self._control, self._wake_read, self._wake_write):
                    end.close()
                code = self._become(request, notify)
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        os.close(notify)
        self._nodes[pid] = request["ticket"]
        self._say(event="spawned", ticket=request["ticket"], pid=pid)

    def _become(self, request: dict[str, Any], notify: int) -> int:
        """Turn this fresh fork into a node, and run it."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        _redirect(Path(request["log"]))
        from brainnet.node.process import run_node
        from brainnet.node.spec import NodeSpec

        spec = NodeSpec.model_validate(request["spec"])
        self._libc.prctl(_PR_SET_NAME, spec.id.encode()[:15], 0, 0, 0)
        os.environ.update(spec.environment)
        if spec.cpu_affinity:
            os.sched_setaffinity(0, spec.cpu_affinity)
        _apply_threads(spec.threads)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # else all nodes would draw the same numbers

        return run_node(spec, notify_fd=notify)

    # -- ending ------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        while self._nodes:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            pid = ended.si_pid
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what it started itself; the group is still its own until it is reaped
            _, status = os.waitpid(pid, 0)
            if pid in self._nodes:
                self._say(event="exited", ticket=self._nodes.pop(pid), code=os.waitstatus_to_exitcode(status))

    def _stop_nodes(self) -> None:
        """The supervisor is gone: end every node, politely for a moment."""
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + ORPHAN_GRACE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            self._reap()
            while self._nodes and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    self._wake_read.recv(4096)
                self._reap()
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for pid in self._nodes:
            _send_signal(pid, number)


def _send_signal(pid: int, number: int) -> None:
    """SIGINT asks the node itself to stop; the others go to whatever it has started, too. `pid` is not reaped yet."""
    try:
        (os.kill if number == signal.SIGINT else os.killpg)(pid, number)
    except ProcessLookupError:  # too young to have its own group
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _apply_threads(threads: int) -> None:
    """Compute threads of the libraries that were imported before this node was known."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    torch, numba = sys.modules.get("torch"), sys.modules.get("numba")
    if torch is not None and threads != 1:
        torch.set_num_threads(threads)
    if numba is not None and threads != 1:
        numba.core.config.reload_config()


def _redirect(path: Path) -> None:
    """Let output go to a log file, and let nothing be read."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
