"""The log of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainnet.bus.stamp import read_stamp
from brainnet.errors import WireError
from brainnet.guard import RepeatFilter

if TYPE_CHECKING:
    from brainnet.bus.transport import Sample


def logger() -> Any:
    """Return the logger of the bus."""
    # Imported here, because structlog takes long to import and most commands have nothing to log.
    import structlog

    return structlog.get_logger("brainnet.bus")


class MalformedMessageLog:
    """Logs malformed messages: the first three of each source on a key, then one a minute."""

    def __init__(self) -> None:
        self._repeats = RepeatFilter()

    def warn(self, key: str, sample: Sample, error: WireError) -> None:
        """Log the error, unless errors of the same source on this key were logged lately."""
        # The payload is malformed, so the source can only be read from the attachment.
        stamp = read_stamp(None, b"", sample.attachment)
        source = stamp.source if stamp else "unknown"
        left_out = self._repeats.admit((key, source))
        if left_out is not None:
            logger().warning("malformed message", key=key, source=source, error=str(error), left_out=left_out)
