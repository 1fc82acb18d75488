"""A network within one process, with the same interface as Zenoh: for tests of nodes and clients without sockets."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from brainnet.bus.transport import Handle, Publisher, QoS, RawReply, Request, Sample, Transport


def _intersects(a: str, b: str) -> bool:
    import zenoh

    return bool(zenoh.KeyExpr(a).intersects(zenoh.KeyExpr(b)))


@dataclass(slots=True)
class _Entry:
    owner: _MemoryTransport
    expression: str
    callback: Callable[..., None]


@dataclass
class MemoryNetwork:
    """The state that its transports share. Delivery is synchronous, in order, in the sender's thread."""

    subscribers: dict[int, _Entry] = field(default_factory=dict)
    queryables: dict[int, _Entry] = field(default_factory=dict)
    watchers: dict[int, _Entry] = field(default_factory=dict)
    matchers: dict[int, _Entry] = field(default_factory=dict)
    tokens: dict[int, tuple[_MemoryTransport, str]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def transport(self) -> Transport:
        """Open a new session on this network."""
        return _MemoryTransport(self)

    def matching(self, key: str) -> bool:
        """Return whether the key has a subscriber."""
        with self.lock:
            return any(_intersects(e.expression, key) for e in self.subscribers.values())

    # Callbacks run outside the lock below: one that takes another lock, or publishes, would deadlock two threads.

    def announce(self, key: str, alive: bool) -> None:
        """Tell the liveliness subscribers that a token appeared or disappeared."""
        with self.lock:
            watchers = [w for w in self.watchers.values() if _intersects(w.expression, key)]
        for watcher in watchers:
            watcher.callback(Sample(key, b"", alive=alive))

    def notify_matching(self) -> None:
        """Tell every matching listener its status; a subscriber was declared or undeclared."""
        with self.lock:
            matchers = list(self.matchers.values())
        for matcher in matchers:
            matcher.callback(self.matching(matcher.expression))


class _MemoryHandle:
    """Removes one entry of one table of the network when it is closed."""

    def __init__(
        self, network: MemoryNetwork, table: dict[int, Any], number: int, on_close: Callable[[], None] | None = None
    ) -> None:
        self._network, self._table, self._number, self._on_close = network, table, number, on_close

    def close(self) -> None:
        with self._network.lock:  # another thread may go through the table
            entry = self._table.pop(self._number, None)
        if entry is not None and self._on_close:
            self._on_close()


class _MemoryTransport(Transport):
    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._handles: list[Handle] = []

    def _register(
        self,
        table: dict[int, Any],
        expression: str,
        callback: Callable[..., None],
        on_close: Callable[[], None] | None = None,
    ) -> Handle:
        with self._network.lock:
            number = next(self._network.ids)
            table[number] = _Entry(self, expression, callback)
        handle = _MemoryHandle(self._network, table, number, on_close)
        self._handles.append(handle)
        return handle

    def declare_publisher(self, key: str, qos: QoS) -> Publisher:
        return _MemoryPublisher(self._network, self, key, qos)

    def subscribe(self, expression: str, callback: Callable[[Any], None], *, direct: bool = False) -> Handle:
        handle = self._register(self._network.subscribers, expression, callback, self._network.notify_matching)
        self._network.notify_matching()
        return handle

    @staticmethod
    def read(raw: Any) -> Sample:
        sample: Sample = raw
        return sample

    @staticmethod
    def key_and_payload(raw: Any) -> tuple[str, bytes]:
        return raw.key, raw.payload

    def serve(self, expression: str, callback: Callable[[Request], None]) -> Handle:
        return self._register(self._network.queryables, expression, callback)

    def query(
        self,
        expression: str,
        payload: bytes,
        encoding: str,
        timeout: float,
        on_reply: Callable[[RawReply], None],
        on_done: Callable[[], None],
    ) -> None:
        with self._network.lock:
            servers = [q for q in self._network.queryables.values() if _intersects(q.expression, expression)]
        pending = _PendingQuery(len(servers), on_reply, on_done)
        # Zenoh ends a query after its timeout, also when a server never replies; so does this timer.
        timer = threading.Timer(timeout, pending.time_out)
        timer.daemon = True
        pending.timer = timer
        if not servers:
            on_done()
            return
        timer.start()
        for server in servers:
            server.callback(_MemoryRequest(expression, payload, encoding, pending))

    def declare_alive(self, key: str) -> Handle:
        with self._network.lock:
            number = next(self._network.ids)
            self._network.tokens[number] = (self, key)
        self._network.announce(key, True)
        handle = _MemoryHandle(self._network, self._network.tokens, number, lambda: self._network.announce(key, False))
        self._handles.append(handle)
        return handle

    def watch_alive(self, expression: str, callback: Callable[[Sample], None]) -> Handle:
        handle = self._register(self._network.watchers, expression, callback)
        for key in self._alive(expression):
            callback(Sample(key, b"", alive=True))
        return handle

    def _alive(self, expression: str) -> list[str]:
        with self._network.lock:
            return [key for _, key in self._network.tokens.values() if _intersects(key, expression)]

    def list_alive(self, expression: str, timeout: float, on_done: Callable[[list[str]], None]) -> None:
        on_done(self._alive(expression))

    def close(self) -> None:
        for handle in self._handles:
            handle.close()
        self._handles.clear()


class _MemoryPublisher:
    def __init__(self, network: MemoryNetwork, owner: _MemoryTransport, key: str, qos: QoS) -> None:
        self._network, self._owner, self._key, self._qos = network, owner, key, qos

    def put(self, payload: bytes, attachment: bytes | None, encoding: str | None = None) -> None:
        with self._network.lock:
            entries = [e for e in self._network.subscribers.values() if _intersects(e.expression, self._key)]
        for entry in entries:
            # A copy, as over a network: the sender may change its buffer afterwards.
            entry.callback(Sample(self._key, bytes(payload), encoding or self._qos.encoding, attachment))

    @property
    def matching(self) -> bool:
        return self._network.matching(self._key)

    def on_matching(self, callback: Callable[[bool], None]) -> Handle:
        return self._owner._register(self._network.matchers, self._key, callback)

    def close(self) -> None:
        pass


class _PendingQuery:
    """Counts the servers of one query that have not finished."""

    def __init__(self, count: int, on_reply: Callable[[RawReply], None], on_done: Callable[[], None]) -> None:
        self._count, self._on_reply, self._on_done = count, on_reply, on_done
        self._lock = threading.Lock()
        self.timer: threading.Timer | None = None

    def finish(self, reply: RawReply) -> None:
        with self._lock:
            if self._count <= 0:  # a reply after the timeout
                return
            self._count -= 1
            last = self._count == 0
        self._on_reply(reply)
        if last:
            self._end()

    def time_out(self) -> None:
        with self._lock:
            if self._count <= 0:
                return
            self._count = 0
        self._end()

    def _end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self._on_done()


class _MemoryRequest:
    def __init__(self, key: str, payload: bytes, encoding: str, pending: _PendingQuery) -> None:
        self.key, self.payload, self.encoding = key, payload, encoding
        self._pending = pending

    def reply(self, key: str, payload: bytes, encoding: str) -> None:
        self._pending.finish(RawReply(key, payload, encoding))

    def refuse(self, payload: bytes, encoding: str) -> None:
        self._pending.finish(RawReply(self.key, payload, encoding, refused=True))
