"""The zygote: a process that imports the libraries once, and forks a node at each request of the supervisor.

Forked nodes start in milliseconds and share the memory pages of the imported libraries.

It never opens a Zenoh session and starts no thread: a fork copies only the calling thread, so locks that another thread
holds at that moment, such as those of Zenoh's runtime, would stay locked in the node for ever. A module that starts a
thread when it is imported is refused.

Supervisor and zygote exchange JSON objects over a SEQPACKET socket pair. SEQPACKET keeps the boundaries of packets, so
that one `recv` is one object together with its file descriptor, and reports the end of the other side, which datagrams
do not.

A node is forked twice, and the process in between ends at once: the kernel then makes the supervisor, a subreaper, its
parent. So a node does not depend on the zygote that made it, and the supervisor alone sees its exit. What the zygote is
told to guard, it ends when the socket closes: then the supervisor has exited, perhaps by `kill -9`. A node whose zygote
is gone, too, sees by its own means that the supervisor has exited; see `brainnet.node.process`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Final, NoReturn

from brainnet.launcher.run.kernel import end_with_parent, set_process_name, signal_name, thread_names
from brainnet.launcher.run.output import redirect_output
from brainnet.paths import CACHE_VARIABLE
from brainnet.stdio import lenient

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

NAME: Final = "brainnet-zygote"
"""The name of its process."""
_THREADS_END_S: Final = 1.0
"""Seconds in which threads that an import has started may end."""
_ADOPTION_S: Final = 5.0
"""Seconds in which a forked node becomes a child of the supervisor. The kernel needs microseconds."""
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
    """Imports modules and forks nodes on request."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._guarded: dict[int, int] = {}  # process id by its pidfd
        self._wake_read, self._wake_write = socket.socketpair()
        self._terminated = False

    def run(self) -> int:
        """Serve requests until the supervisor has exited.

        Returns:
            The exit code: 0, or 1 when a module could not be imported.
        """
        set_process_name(NAME)
        end_with_parent(True)  # an import may last for ever, and while it lasts the socket is not read
        # The supervisor decides when to stop. SIGPIPE as Python sets it: a failed write is an exception.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        # The wake-up descriptor below gets a byte for a signal only if a Python handler is installed for it.
        signal.signal(signal.SIGTERM, lambda *_: None)
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        gc.disable()  # until all is imported: what an import makes stays, and would be looked through again and again
        started = time.monotonic()
        if not self._import(_BASE_MODULES):
            return 1
        from brainnet.wire.topics import contract

        contract()  # reads and caches the contract here, so that no node has to
        self._serve(started)
        if not self._terminated:
            self._end_guarded()
        return 0

    def _serve(self, started: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._terminated:
                for key, _ in selector.select():
                    if key.fileobj is self._wake_read:
                        # The wake-up descriptor delivers one byte per signal: its number.
                        self._terminated |= signal.SIGTERM in self._wake_read.recv(4096)
                    elif key.fileobj is self._control:
                        if not self._handle_request(selector, started):
                            return
                    else:
                        selector.unregister(key.fd)
                        del self._guarded[key.fd]
                        os.close(key.fd)

    def _handle_request(self, selector: selectors.BaseSelector, started: float) -> bool:
        """Handle one request; return False when the supervisor has exited or a module cannot be imported."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, MAX_PACKET, 1)
        if not packet:  # end of file: the supervisor closed the socket or died
            return False
        request = json.loads(packet)
        match request["do"]:
            case "preload":
                os.environ[CACHE_VARIABLE] = request["cache"]
                if not self._import(request["modules"]):
                    return False
                _prepare_kernels()
                # A garbage collection writes into the header of every object that it examines, and so copies the pages
                # shared with the zygote into each node. Frozen objects are never examined. Collected first, because
                # frozen garbage would stay for ever.
                gc.collect()
                gc.freeze()
                gc.enable()
                end_with_parent(False)
                self._send_event(event="ready", seconds=time.monotonic() - started)
            case "log":
                _redirect(Path(request["path"]))
            case "ping":
                self._send_event(event="pong")
            case "guard":
                for pidfd in descriptors:
                    self._guarded[pidfd] = request["pid"]
                    selector.register(pidfd, selectors.EVENT_READ)  # readable when the process has ended
            case "spawn" if descriptors:
                self._fork(request, descriptors[0], selector)
            case "spawn":  # the kernel leaves out descriptors that this process has no numbers for
                self._refuse(request, os.strerror(errno.EMFILE))
        return True

    def _import(self, modules: tuple[str, ...] | list[str]) -> bool:
        for module in modules:
            self._send_event(event="importing", module=module)
            try:
                importlib.import_module(module)
            except BaseException as error:  # a module may also call sys.exit
                traceback.print_exc()
                self._send_event(event="broken", reason=f"cannot import {module}: {type(error).__name__}: {error}")
                return False
            if threads := _threads_that_stay():
                self._send_event(
                    event="broken",
                    reason=f"{module} starts threads when it is imported ({', '.join(threads)}), or opens a Zenoh "
                    "session; take it out of preload, and import it in the programs that use it",
                )
                return False
        return True

    def _send_event(self, **event: Any) -> None:
        with contextlib.suppress(OSError):  # the supervisor has exited; the next receive returns end of file
            self._control.send(json.dumps(event).encode())

    # -- forking -----------------------------------------------------------------------------------------------------

    def _fork(self, request: dict[str, Any], notify: int, selector: selectors.BaseSelector) -> None:
        try:
            between = os.fork()
            if between == 0:
                error = _fork_again()  # returns in the node, and in the process in between when there is none
                if error == 0:
                    self._become_node(request, notify, selector)
                os._exit(error)
            _, status = os.waitpid(between, 0)
        except OSError as failure:
            self._refuse(request, failure.strerror or str(failure))
        else:
            code = os.waitstatus_to_exitcode(status)
            if code == 0:
                self._send_event(event="forked", ticket=request["ticket"])
            else:
                self._refuse(request, os.strerror(code) if code > 0 else f"killed by {signal_name(-code)}")
        finally:
            os.close(notify)  # only the node may have it open, so that the supervisor sees end of file at its exit

    def _refuse(self, request: dict[str, Any], reason: str) -> None:
        self._send_event(event="refused", ticket=request["ticket"], reason=f"cannot make a process: {reason}")

    def _become_node(self, request: dict[str, Any], notify: int, selector: selectors.BaseSelector) -> NoReturn:
        code = 1
        try:
            # With a copy of the socket open in a node, the supervisor would not see the end of the zygote.
            selector.close()
            for end in (self._control, self._wake_read, self._wake_write):
                end.close()
            for pidfd in self._guarded:
                os.close(pidfd)
            code = self._run_as_node(request, notify)
        except BaseException as error:
            traceback.print_exc()
            report = {"state": "failed", "reason": f"cannot start: {type(error).__name__}: {error}"}
            with contextlib.suppress(OSError):
                os.write(notify, json.dumps(report).encode() + b"\n")
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            if _is_hung_up(notify):  # nobody else ends what it had started
                os.killpg(0, signal.SIGKILL)
            os._exit(code)

    @staticmethod
    def _run_as_node(request: dict[str, Any], notify: int) -> int:
        """Make the forked process a node and run it; return its exit code."""
        # Undo the signal set-up that was inherited from the zygote.
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # A session and process group of its own: Ctrl-C in the terminal does not reach it, and everything that it
        # starts can be signalled as one group.
        os.setsid()
        os.set_inheritable(notify, False)
        os.set_blocking(notify, False)  # a launcher that is frozen reads nothing, which must not block the node
        deadline = time.monotonic() + _ADOPTION_S
        while os.getppid() != request["supervisor"]:  # until then the process in between is its parent
            if _is_hung_up(notify) or time.monotonic() > deadline:
                return 1
            time.sleep(0.0005)
        os.write(notify, json.dumps({"pid": os.getpid()}).encode() + b"\n")
        _redirect(Path(request["log"]))
        from brainnet.node.process import run_node
        from brainnet.node.spec import NodeSpec

        spec = NodeSpec.model_validate(request["spec"])
        set_process_name(spec.id)
        os.environ.update(spec.environment)
        if spec.cpu_affinity:
            os.sched_setaffinity(0, spec.cpu_affinity)
        _apply_threads(spec.threads)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # forks inherit the generator's state: all would draw the same numbers

        return run_node(spec, notify_fd=notify)

    # -- the end of the supervisor -----------------------------------------------------------------------------------

    def _end_guarded(self) -> None:
        """End what it guards after the supervisor has exited: SIGTERM, then SIGKILL."""
        for number, limit_s in ((signal.SIGTERM, ORPHAN_GRACE_S), (signal.SIGKILL, ORPHAN_GRACE_S)):
            for pid in self._guarded.values():
                _kill_group(pid, number)
            deadline = time.monotonic() + limit_s
            poll = select.poll()
            for pidfd in self._guarded:
                poll.register(pidfd, select.POLLIN)
            while self._guarded and (left := deadline - time.monotonic()) > 0:
                for pidfd, _ in poll.poll(left * 1000):
                    poll.unregister(pidfd)
                    # What it had started. A new process cannot have this id while the group has members.
                    _kill_group(self._guarded.pop(pidfd), signal.SIGKILL)


def _fork_again() -> int:
    """Fork; return 0 in the new process, and the error number where that failed. The forking process ends."""
    try:
        pid = os.fork()
    except OSError as error:
        return error.errno or errno.EAGAIN
    if pid:
        os._exit(0)
    return 0


def _prepare_kernels() -> None:
    """Do once what every node would do before its first kernel, if one of the modules has kernels."""
    kernels = sys.modules.get("brainnet.snn.kernels")
    if kernels is None:
        return
    try:
        kernels.prepare()
    except Exception:  # a node that needs a kernel will say so
        traceback.print_exc()


def _threads_that_stay() -> list[str]:
    """Return the names of the threads that run besides this one, and do not end in a moment."""
    deadline = time.monotonic() + _THREADS_END_S
    while (names := thread_names()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return sorted(set(names))


def _is_hung_up(notify: int) -> bool:
    """Return whether the reader of a pipe has exited."""
    poll = select.poll()
    poll.register(notify, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _kill_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


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
    with contextlib.suppress(OSError):  # the output then goes where it went before
        redirect_output(path)
    sys.stdout, sys.stderr = lenient(1, encoding="utf-8"), lenient(2, encoding="utf-8")
