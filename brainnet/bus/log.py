"""The log of the bus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from brainnet.bus.stamp import read_stamp
from brainnet.errors import WireError

if TYPE_CHECKING:
    from brainnet.bus.transport import Sample

_INTERVAL_S: Final = 60.0
"""Between two records on one key and source: a faulty sender at 1 kHz must not fill the disk with its log records."""
_MAX_SOURCES: Final = 1000
"""Sources are chosen by the sender, so the table of them is bounded."""


def logger() -> Any:
    """Return the logger of the bus."""
    # Imported here, because structlog takes long to import and most commands have nothing to log.
    import structlog

    return structlog.get_logger("brainnet.bus")


class MalformedMessageLog:
    """Logs malformed messages, rate-limited to one record a minute per key and source."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def warn(self, key: str, sample: Sample, error: WireError) -> None:
        """Log the error, unless one of the same source on this key was logged within the last minute."""
        # The payload is malformed, so the source can only be read from the attachment.
        stamp = read_stamp(None, b"", sample.attachment)
        source = stamp.source if stamp else "unknown"
        now = time.monotonic()
        if now - self._last.get((key, source), -_INTERVAL_S) >= _INTERVAL_S:
            if len(self._last) > _MAX_SOURCES:
                self._last.clear()
            self._last[key, source] = now
            logger().warning("malformed message", key=key, source=source, error=str(error))
