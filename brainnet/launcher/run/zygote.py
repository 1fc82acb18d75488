"""The zygote: a process that imports the libraries once, and forks a node at each request of the supervisor.

Forked nodes start in milliseconds and share the memory pages of the imported libraries.

It never opens a Zenoh session and starts no thread: a fork copies only the calling thread, so locks that another thread
holds at that moment, such as those of Zenoh's runtime, would stay locked in the node for ever.

Supervisor and zygote exchange JSON objects over a SEQPACKET socket pair. SEQPACKET keeps the boundaries of packets, so
that one `recv` is one object together with its file descriptor, and reports the end of the other side, which datagrams
do not. When the socket closes, the zygote stops its nodes and exits; when the zygote dies, the kernel kills its nodes
(PR_SET_PDEATHSIG). So no process outlives the supervisor, even after `kill -9`.
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

from brainnet.launcher.run.output import redirect_output

MAX_PACKET: Final = 1 << 18
"""Bytes of one packet, 256 KiB. A SEQPACKET packet must fit into the send buffer of the socket as a whole."""
ORPHAN_GRACE_S: Final = 1.5
"""Seconds between SIGTERM and SIGKILL for the nodes when the supervisor has exited. Below the supervisor's own timeout
of 3 s in `ZygoteProcess.close`, so that an orderly end is not cut short."""

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
"""Set to 1 unless the allocation says more: each library would start one thread per core in each node, and those would
compete for the same cores."""

ENVIRONMENT: Final = {
    **dict.fromkeys(THREAD_VARIABLES, "1"),
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables that numerical libraries read once, when they are imported; so they are set before the zygote starts.
OMP_WAIT_POLICY and KMP_BLOCKTIME make idle OpenMP threads sleep instead of spin, and the tokenizers library may not use
threads before a fork."""

# From <linux/prctl.h>; Python's os module has no prctl.
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_BASE_MODULES: Final = ("numpy", "msgpack", "zenoh", "brainnet.bus.zenoh_transport", "brainnet.node.process")


def main() -> NoReturn:
    """Run the zygote; the arguments of the process are the socket's descriptor and the supervisor's `sys.path`."""
    sys.path[:] = json.loads(sys.argv[2])
    code = 1
    try:
        code = Zygote(socket.socket(fileno=int(sys.argv[1]))).run()
    finally:
        os._exit(code)  # no atexit handlers and destructors of libraries: they may wait for threads


class Zygote:
    """Imports modules, forks nodes on request, and reports every exit of a node."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._nodes: dict[int, int] = {}  # ticket by process id; the supervisor's name for a node that has no id yet
        self._wake_read, self._wake_write = socket.socketpair()
        self._terminated = False

    def run(self) -> int:
        """Serve requests until the supervisor has exited.

        Returns:
            The exit code: 0, or 1 when a module could not be imported.
        """
        self._libc.prctl(_PR_SET_NAME, b"brainnet-zygote", 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):  # the supervisor decides when to stop
            signal.signal(number, signal.SIG_IGN)
        # The wake-up descriptor below gets a byte for a signal only if a Python handler is installed for it.
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        started = time.monotonic()
        if not self._import(_BASE_MODULES):
            return 1
        from brainnet.wire.topics import contract

        contract()  # reads and caches the contract here, so that no node has to
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
                        self._on_wakeup()
                    elif not self._handle_request(selector, started):
                        return

    def _on_wakeup(self) -> None:
        # The wake-up descriptor delivers one byte per signal: its number.
        self._terminated |= signal.SIGTERM in self._wake_read.recv(4096)
        self._reap()

    def _handle_request(self, selector: selectors.BaseSelector, started: float) -> bool:
        """Handle one request; return False when the supervisor has exited or a module cannot be imported."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, MAX_PACKET, 1)
        if not packet:  # end of file: the supervisor closed the socket or died
            return False
        request = json.loads(packet)
        match request["do"]:
            case "preload":
                if not self._import(request["modules"]):
                    return False
                # A garbage collection writes into the header of every object that it examines, and so copies the pages
                # shared with the zygote into each node. Frozen objects are never examined. Collected first, because
                # frozen garbage would stay for ever.
                gc.collect()
                gc.freeze()
                self._send_event(event="ready", seconds=time.monotonic() - started)
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
            except BaseException as error:  # a module may also call sys.exit
                traceback.print_exc()
                self._send_event(event="broken", reason=f"cannot import {module}: {type(error).__name__}: {error}")
                return False
        return True

    def _send_event(self, **event: Any) -> None:
        with contextlib.suppress(OSError):  # the supervisor has exited; the next receive returns end of file
            self._control.send(json.dumps(event).encode())

    # -- forking -----------------------------------------------------------------------------------------------------

    def _fork(self, request: dict[str, Any], notify: int, selector: selectors.BaseSelector) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(notify)
            self._send_event(event="refused", ticket=request["ticket"], reason=f"cannot fork: {error.strerror}")
            return
        if pid == 0:
            code = 1
            try:
                self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                # The kernel sends the signal only for a death after prctl. If the zygote died between fork and prctl,
                # this process already has another parent.
                if os.getppid() != parent:
                    os._exit(1)
                # With a copy of the socket open in a node, the supervisor would not see the end of the zygote.
                selector.close()
                for end in (self._control, self._wake_read, self._wake_write):
                    end.close()
                code = self._run_as_node(request, notify)
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        os.close(notify)  # only the node may have it open, so that the supervisor sees end of file at its exit
        self._nodes[pid] = request["ticket"]
        self._send_event(event="spawned", ticket=request["ticket"], pid=pid)

    def _run_as_node(self, request: dict[str, Any], notify: int) -> int:
        """Make the forked process a node and run it; return its exit code."""
        # Undo the signal set-up that was inherited from the zygote.
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # A session and process group of its own: Ctrl-C in the terminal does not reach it, and everything that it
        # starts can be signalled as one group.
        os.setsid()
        _redirect(Path(request["log"]))
        from brainnet.node.process import run_node
        from brainnet.node.spec import NodeSpec

        spec = NodeSpec.model_validate(request["spec"])
        self._libc.prctl(_PR_SET_NAME, spec.id.encode()[:15], 0, 0, 0)  # the kernel keeps 15 bytes and a zero
        os.environ.update(spec.environment)
        if spec.cpu_affinity:
            os.sched_setaffinity(0, spec.cpu_affinity)
        _apply_threads(spec.threads)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # forks inherit the generator's state: all would draw the same numbers

        return run_node(spec, notify_fd=notify)

    # -- exits -------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap every node that has exited, and kill what it had started."""
        while self._nodes:
            # WNOWAIT: look without reaping. While the node is a zombie, its process id cannot be given to another
            # process, so the group of that id is surely its own. After waitpid killpg could hit a stranger.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            pid = ended.si_pid
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if pid in self._nodes:
                self._send_event(event="exited", ticket=self._nodes.pop(pid), code=os.waitstatus_to_exitcode(status))

    def _stop_nodes(self) -> None:
        """Stop every node after the supervisor has exited: SIGTERM, then SIGKILL."""
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
    """Send a signal: SIGINT to the node alone, for an orderly stop, any other to its process group.

    Args:
        pid: A node that has not been reaped.
        number: The signal.
    """
    try:
        (os.kill if number == signal.SIGINT else os.killpg)(pid, number)
    except ProcessLookupError:  # it has not called setsid yet, and has no group of its own
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _apply_threads(threads: int) -> None:
    """Set the number of compute threads of libraries that the zygote has already imported with one thread."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    torch, numba = sys.modules.get("torch"), sys.modules.get("numba")
    if torch is not None and threads != 1:
        torch.set_num_threads(threads)
    if numba is not None and threads != 1:
        numba.core.config.reload_config()


def _redirect(path: Path) -> None:
    redirect_output(path)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # so that a killed node loses no line
