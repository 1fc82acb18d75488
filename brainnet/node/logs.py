"""Structured logs of a process: JSON lines on standard error (under a launcher, a file), records on the log topic."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import structlog

from brainnet.wire.messages import LogRecord

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


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
        stream: Where the records go; standard error by default.
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
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        # Not cached, because the set-up changes twice: with the bus open, records are also published.
        cache_logger_on_first_use=False,
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
