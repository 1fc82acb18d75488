"""Structured logs of a process: JSON lines on standard error (under a launcher, a file), records on the log topic."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import structlog

from brainnet.bus import Bus
from brainnet.stdio import Guarded
from brainnet.wire.keys import key
from brainnet.wire.messages import LogRecord

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def topic_publisher(bus: Bus, node_id: str) -> Callable[[LogRecord], None]:
    """Return a function for `configure` that publishes records on the log topic; it may be called on any thread.

    Args:
        bus: The session to publish on; this is called on its event loop.
        node_id: Whose log it is.
    """
    loop, log_key = asyncio.get_running_loop(), key("log", node_id=node_id)

    def publish(record: LogRecord) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop was closed while a thread still logs
            loop.call_soon_threadsafe(send, record)

    def send(record: LogRecord) -> None:
        with contextlib.suppress(Exception):  # logging must not fail, and the record is in the log file
            bus.publish(log_key, record)

    return publish


def configure(
    node_id: str,
    level: str,
    *,
    publish: Callable[[LogRecord], None] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Set up structlog for this process.

    Args:
        node_id: Id in every record.
        level: Least level that is logged: debug, info, warning or error.
        publish: Called with every record, on the thread that logs.
        stream: Where the records go; standard error by default. A record that cannot be written is dropped.
    """
    stream = stream or sys.stderr

    def stamp(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["time_ns"] = time.time_ns()
        event["node"] = node_id
        return event

    def copy_out(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if publish is not None:
            fields = {k: _plain(v) for k, v in event.items() if k not in ("time_ns", "node", "event", "level")}
            publish(
                LogRecord(
                    node_id=node_id,
                    level=str(event.get("level", method)),
                    event=str(event.get("event", "")),
                    timestamp_ns=int(event["time_ns"]),
                    fields=fields,
                )
            )
        return event

    renderer: Any = (
        structlog.dev.ConsoleRenderer() if stream.isatty() else structlog.processors.JSONRenderer(default=str)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            copy_out,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=Guarded(stream)),  # type: ignore[arg-type]
        # Not cached, because the set-up changes twice: with the bus open, records are also published.
        cache_logger_on_first_use=False,
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
