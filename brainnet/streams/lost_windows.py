"""Windows that were lost on the way: when to ask for one again, and what became of it."""

from __future__ import annotations

import math
from typing import Final

ON_THE_WAY_S: Final = 0.03
"""Seconds for which a window that has been sent may be on the way; only then it counts as lost."""
GAP_S: Final = 0.005
"""The same where a later one has come already."""
_ASK_S: Final = 0.05
"""Seconds between two questions for one window, and by which that grows."""
_ASK_AT_MOST_S: Final = 1.0
_REPLY_S: Final = 5.0
"""Seconds after which a question that got no reply, not even that nobody answers, is asked again."""


class LostWindows:
    """Decides when a process asks for a window again. Not thread-safe.

    Attributes:
        resent: Windows that came because they were asked for.
    """

    def __init__(self) -> None:
        self.resent = 0
        self._asking: dict[str, float] = {}  # when the question that has no reply yet was asked
        self._ask_at: dict[str, tuple[float, float]] = {}  # the time of the next question, and the pause before it
        self._refused: dict[str, str] = {}

    def is_due(self, source: str, now: float, waited: float, *, has_gap: bool, sent: bool) -> bool:
        """Return whether the window that is missing of a source is to be asked for.

        Args:
            source: The population.
            now: The time, in seconds.
            waited: Seconds for which it has been waited for.
            has_gap: Whether a later window of it has come.
            sent: Whether its process has said that it has sent it.
        """
        lost = (has_gap and waited > GAP_S) or (sent and waited > ON_THE_WAY_S)
        open_since = self._asking.get(source, -math.inf)
        return lost and now - open_since > _REPLY_S and now >= self._ask_at.get(source, (0.0, 0.0))[0]

    def asked(self, source: str, now: float) -> None:
        """Take note of a question; there is no other one before its reply."""
        pause = min(_ASK_AT_MOST_S, self._ask_at.get(source, (0.0, 0.0))[1] + _ASK_S)
        self._ask_at[source] = now + pause, pause
        self._asking[source] = now

    def replied(self, source: str, windows: int, reason: str) -> None:
        """Take note of a reply: how many windows came, or why there are none."""
        self._asking.pop(source, None)
        if reason:
            self._refused[source] = reason
        elif windows:
            self._refused.pop(source, None)
            self._ask_at.pop(source, None)
            self.resent += windows

    def clear(self) -> None:
        """Take note that nothing is missing any more."""
        self._ask_at.clear()
        self._refused.clear()

    @property
    def reason(self) -> str:
        """Why windows that were asked for did not come; empty when they did."""
        return "; ".join(self._refused.values())
