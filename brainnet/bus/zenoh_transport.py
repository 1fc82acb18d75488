"""The Zenoh transport: one `zenoh.Session` behind the `Transport` interface."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import zenoh

from brainnet.bus.transport import Handle, Outlet, QoS, RawReply, Request, Sample, Transport

_PRIORITY = {
    "real_time": zenoh.Priority.REAL_TIME,
    "interactive_high": zenoh.Priority.INTERACTIVE_HIGH,
    "interactive_low": zenoh.Priority.INTERACTIVE_LOW,
    "data_high": zenoh.Priority.DATA_HIGH,
    "data": zenoh.Priority.DATA,
    "data_low": zenoh.Priority.DATA_LOW,
    "background": zenoh.Priority.BACKGROUND,
}


_ZENOH_GRACE_S: Final = 1.0


class ZenohTransport(Transport):
    """Owns its session: `close` undeclares everything (an open subscriber would keep the interpreter alive)."""

    def __init__(self, session: zenoh.Session) -> None:
        self._session = session

    def outlet(self, key: str, qos: QoS) -> Outlet:
        return _ZenohOutlet(
            self._session.declare_publisher(
                key,
                encoding=qos.encoding or None,
                congestion_control=zenoh.CongestionControl.BLOCK if qos.reliable else zenoh.CongestionControl.DROP,
                reliability=zenoh.Reliability.RELIABLE if qos.reliable else zenoh.Reliability.BEST_EFFORT,
                priority=_PRIORITY[qos.priority],
                express=qos.express,
            )
        )

    def subscribe(self, expression: str, callback: Callable[[Any], None]) -> Handle:
        return _Declared(self._session.declare_subscriber(expression, callback))

    @staticmethod
    def read(raw: Any) -> Sample:
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
        return str(raw.key_expr), raw.payload.to_bytes()

    def serve(self, expression: str, callback: Callable[[Request], None]) -> Handle:
        return _Declared(
            self._session.declare_queryable(expression, lambda query: callback(_ZenohRequest(query)), complete=True)
        )

    def ask(
        self,
        expression: str,
        payload: bytes,
        encoding: str,
        timeout: float,
        on_reply: Callable[[RawReply], None],
        on_done: Callable[[], None],
    ) -> None:
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
            # Zenoh reports its own timeout as an error reply that only its text tells from a server's. It is asked to
            # wait longer than anybody here does, so that those replies are never seen.
            timeout=timeout + _ZENOH_GRACE_S,
            target=zenoh.QueryTarget.ALL,
            consolidation=zenoh.ConsolidationMode.NONE,
            congestion_control=zenoh.CongestionControl.BLOCK,
            priority=zenoh.Priority.INTERACTIVE_HIGH,
        )

    def declare_alive(self, key: str) -> Handle:
        return _Declared(self._session.liveliness().declare_token(key))

    def watch_alive(self, expression: str, callback: Callable[[Sample], None]) -> Handle:
        return _Declared(
            self._session.liveliness().declare_subscriber(
                expression, lambda sample: callback(self.read(sample)), history=True
            )
        )

    def list_alive(self, expression: str, timeout: float, on_done: Callable[[list[str]], None]) -> None:
        found: list[str] = []

        def received(reply: zenoh.Reply) -> None:
            if reply.ok is not None:
                found.append(str(reply.ok.key_expr))

        handler = zenoh.handlers.Callback(received, lambda: on_done(found))
        self._session.liveliness().get(expression, handler, timeout=timeout)

    def close(self) -> None:
        with contextlib.suppress(zenoh.ZError):
            self._session.close()


class _Declared:
    def __init__(self, entity: Any) -> None:
        self._entity = entity

    def close(self) -> None:
        with contextlib.suppress(zenoh.ZError):  # already gone with its session
            self._entity.undeclare()


class _ZenohOutlet:
    def __init__(self, publisher: zenoh.Publisher) -> None:
        self._publisher = publisher

    def put(self, payload: bytes, attachment: bytes | None, encoding: str | None = None) -> None:
        if encoding is None and attachment is None:
            self._publisher.put(payload)
        elif encoding is None:
            self._publisher.put(payload, attachment=attachment)
        else:
            self._publisher.put(payload, attachment=attachment, encoding=encoding)

    @property
    def matching(self) -> bool:
        return _is_matching(self._publisher.matching_status)

    def on_matching(self, callback: Callable[[bool], None]) -> Handle:
        return _Declared(self._publisher.declare_matching_listener(lambda status: callback(_is_matching(status))))

    def close(self) -> None:
        with contextlib.suppress(zenoh.ZError):
            self._publisher.undeclare()


def _is_matching(status: Any) -> bool:
    return bool(status.matching)  # the status object itself is always true


class _ZenohRequest:
    def __init__(self, query: zenoh.Query) -> None:
        self._query = query
        self.key = str(query.key_expr)
        self.payload = b"" if query.payload is None else query.payload.to_bytes()
        self.encoding = "" if query.encoding is None else str(query.encoding)

    def reply(self, key: str, payload: bytes, encoding: str) -> None:
        with contextlib.suppress(zenoh.ZError):  # the asker is gone
            self._query.reply(key, payload, encoding=encoding)  # travels with the quality of service of the query
        self._query.drop()

    def refuse(self, payload: bytes, encoding: str) -> None:
        with contextlib.suppress(zenoh.ZError):
            self._query.reply_err(payload, encoding=encoding)
        self._query.drop()
