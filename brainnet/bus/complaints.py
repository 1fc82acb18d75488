"""What the bus says in the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from brainnet.bus.stamp import read_stamp
from brainnet.errors import WireError

if TYPE_CHECKING:
    from brainnet.bus.transport import Sample

_EVERY_S: Final = 60.0


def logger() -> Any:
    """The bus's logger. structlog takes long to import, and most commands have nothing to log."""
    import structlog

    return structlog.get_logger("brainnet.bus")


class Complaints:
    """Reports malformed messages, once a minute per key and source."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def report(self, key: str, sample: Sample, error: WireError) -> None:
        """Log the error, unless the same source was reported on this key within the last minute."""
        stamp = read_stamp(None, b"", sample.attachment)
        source = stamp.source if stamp else "unknown"
        now = time.monotonic()
        if now - self._last.get((key, source), -_EVERY_S) >= _EVERY_S:
            if len(self._last) > 1000:
                self._last.clear()
            self._last[key, source] = now
            logger().warning("malformed message", key=key, source=source, error=str(error))
