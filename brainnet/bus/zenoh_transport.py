"""The Zenoh transport: one `zenoh.Session` behind the `Transport` interface."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable
from typing import Any, Final

import zenoh

from brainnet.bus.transport import Handle, Publisher, QoS, RawReply, Request, Sample, Transport

_PRIORITY = {
    "real_time": zenoh.Priority.REAL_TIME,
    "interactive_high": zenoh.Priority.INTERACTIVE_HIGH,
    "interactive_low": zenoh.Priority.INTERACTIVE_LOW,
    "data_high": zenoh.Priority.DATA_HIGH,
    "data": zenoh.Priority.DATA,
    "data_low": zenoh.Priority.DATA_LOW,
    "background": zenoh.Priority.BACKGROUND,
}


_QUERY_GRACE_S: Final = 1.0
"""By how much Zenoh's timeout of a query is longer than the caller's.

Zenoh reports its own timeout as an error reply, which only its text tells from the error reply of a server. With this
grace the caller has always given up first, and never sees those replies. One second is far above any delay of the event
loop."""


class ZenohTransport(Transport):
    """A `zenoh.Session`, which it owns.

    `close` undeclares everything: an open subscriber would keep the interpreter alive.
    """

    def __init__(self, session: zenoh.Session) -> None:
        self._session = session

    def declare_publisher(self, key: str, qos: QoS) -> Publisher:
        """Declare a publisher; a reliable one blocks on a congested link, any other drops."""
        return _ZenohPublisher(
            self._session.declare_publisher(
                key,
                encoding=qos.encoding or None,
                congestion_control=zenoh.CongestionControl.BLOCK if qos.reliable else zenoh.CongestionControl.DROP,
                reliability=zenoh.Reliability.RELIABLE if qos.reliable else zenoh.Reliability.BEST_EFFORT,
                priority=_PRIORITY[qos.priority],
                express=qos.express,
            )
        )

    def subscribe(self, expression: str, callback: Callable[[Any], None], *, direct: bool = False) -> Handle:
        """Declare a subscriber; the callback runs on Zenoh's threads with `zenoh.Sample`s."""
        if not direct:
            return _Declared(self._session.declare_subscriber(expression, callback))
        # Otherwise zenoh-python gives every subscriber a thread and a queue of its own, and every message that finds
        # the thread asleep costs one more switch of threads. (zenoh-python may still rename `indirect`.)
        handler = zenoh.handlers.Callback(_attached(callback), indirect=False)
        return _Declared(self._session.declare_subscriber(expression, handler))

    @staticmethod
    def read(raw: Any) -> Sample:
        """Copy a `zenoh.Sample`."""
        attachment = raw.attachment
        return Sample(
            str(raw.key_expr),
            raw.payload.to_bytes(),
            str(raw.encoding),
            None if attachment is None else attachment.to_bytes(),
            raw.kind == zenoh.SampleKind.PUT,
        )

    @staticmethod
    def key_and_payload(raw: Any) -> tuple[str, bytes]:
        """Copy key and payload of a `zenoh.Sample`; each of its attributes costs a call into Rust."""
        return str(raw.key_expr), raw.payload.to_bytes()

    def serve(self, expression: str, callback: Callable[[Request], None]) -> Handle:
        """Declare a complete queryable: it can answer for every key of the expression."""
        return _Declared(
            self._session.declare_queryable(expression, lambda query: callback(_ZenohRequest(query)), complete=True)
        )

    def query(
        self,
        expression: str,
        payload: bytes,
        encoding: str,
        timeout: float,
        on_reply: Callable[[RawReply], None],
        on_done: Callable[[], None],
    ) -> None:
        """Send a query; blocks while the link is congested."""

        def received(reply: zenoh.Reply) -> None:
            if reply.ok is not None:
                on_reply(RawReply(str(reply.ok.key_expr), reply.ok.payload.to_bytes(), str(reply.ok.encoding)))
            elif reply.err is not None:
                error = reply.err
                on_reply(RawReply(expression, error.payload.to_bytes(), str(error.encoding), refused=True))

        self._session.get(
            expression,
            zenoh.handlers.Callback(received, on_done),
            payload=payload,
            encoding=encoding,
            timeout=timeout + _QUERY_GRACE_S,
            # By default Zenoh asks the nearest queryable only, and keeps one reply per key: several nodes may serve
            # one key, and each reply counts.
            target=zenoh.QueryTarget.ALL,
            consolidation=zenoh.ConsolidationMode.NONE,
            congestion_control=zenoh.CongestionControl.BLOCK,
            priority=zenoh.Priority.INTERACTIVE_HIGH,
        )

    def declare_alive(self, key: str) -> Handle:
        """Declare a liveliness token."""
        return _Declared(self._session.liveliness().declare_token(key))

    def watch_alive(self, expression: str, callback: Callable[[Sample], None]) -> Handle:
        """Declare a liveliness subscriber, with history: it also gets the tokens that already exist."""
        return _Declared(
            self._session.liveliness().declare_subscriber(
                expression, lambda sample: callback(self.read(sample)), history=True
            )
        )

    def list_alive(self, expression: str, timeout: float, on_done: Callable[[list[str]], None]) -> None:
        """Query the liveliness tokens that exist now."""
        tokens: list[str] = []

        def received(reply: zenoh.Reply) -> None:
            if reply.ok is not None:
                tokens.append(str(reply.ok.key_expr))

        handler = zenoh.handlers.Callback(received, lambda: on_done(tokens))
        self._session.liveliness().get(expression, handler, timeout=timeout)

    def close(self) -> None:
        """Close the session; closing a closed one does nothing."""
        with contextlib.suppress(zenoh.ZError):
            self._session.close()


_thread = threading.local()


def _attached(callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a callback for threads that Python did not start, which stay known to Python after their first call.

    Otherwise Python allocates its state of the thread before every call, with pages from the operating system, and
    frees it afterwards, which takes longer than the call.
    """

    def received(raw: Any) -> None:
        try:
            _thread.is_attached  # noqa: B018 - a failed look-up costs once, a default value every time
        except AttributeError:
            # One reference more to the state of this thread than the caller releases.
            ctypes.pythonapi.PyGILState_Ensure()
            _thread.is_attached = True
        callback(raw)

    return received


class _Declared:
    def __init__(self, entity: Any) -> None:
        self._entity = entity

    def close(self) -> None:
        with contextlib.suppress(zenoh.ZError):  # its session was closed before
            self._entity.undeclare()


class _ZenohPublisher:
    def __init__(self, publisher: zenoh.Publisher) -> None:
        self._publisher = publisher

    def put(self, payload: bytes, attachment: bytes | None, encoding: str | None = None) -> None:
        # Only the arguments that are needed, because this runs for every message and each is converted into Rust.
        if encoding is None and attachment is None:
            self._publisher.put(payload)
        elif encoding is None:
            self._publisher.put(payload, attachment=attachment)
        else:
            self._publisher.put(payload, attachment=attachment, encoding=encoding)

    @property
    def matching(self) -> bool:
        return _has_subscribers(self._publisher.matching_status)

    def on_matching(self, callback: Callable[[bool], None]) -> Handle:
        return _Declared(self._publisher.declare_matching_listener(lambda status: callback(_has_subscribers(status))))

    def close(self) -> None:
        with contextlib.suppress(zenoh.ZError):
            self._publisher.undeclare()


def _has_subscribers(status: Any) -> bool:
    return bool(status.matching)  # `zenoh.MatchingStatus` has no truth value: the object itself is always true


class _ZenohRequest:
    def __init__(self, query: zenoh.Query) -> None:
        self._query = query
        self.key = str(query.key_expr)
        self.payload = b"" if query.payload is None else query.payload.to_bytes()
        self.encoding = "" if query.encoding is None else str(query.encoding)

    def reply(self, key: str, payload: bytes, encoding: str) -> None:
        with contextlib.suppress(zenoh.ZError):  # the client has left
            self._query.reply(key, payload, encoding=encoding)  # travels with the quality of service of the query
        # Dropping finalises the query. Left to the garbage collector, the client would wait for its timeout.
        self._query.drop()

    def refuse(self, payload: bytes, encoding: str) -> None:
        with contextlib.suppress(zenoh.ZError):
            self._query.reply_err(payload, encoding=encoding)
        self._query.drop()
