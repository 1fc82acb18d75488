"""When a node that has ended is started again."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from brainnet.node.spec import Restart

LONGEST_RETRY_S: Final = 60.0
"""Seconds: the longest pause between two tries of a failed node."""


@dataclass(frozen=True, slots=True)
class NextStart:
    """The next start of a node.

    Attributes:
        delay_s: Seconds until then.
        failed: The node counts as failed until then; otherwise it is in back-off.
    """

    delay_s: float
    failed: bool = False


class RestartSchedule:
    """Decides after each exit of a node when it is started again.

    The first restart within the window is immediate, the second waits `backoff_s`, and each further one twice as long
    as the one before. A node that uses up its restarts is failed. It is tried again after `retry_failed_s`, and then
    with pauses that double up to 60 s, until a process of it has lived for `window_s`.

    Args:
        restart: The policy of the node.
    """

    def __init__(self, restart: Restart) -> None:
        self._restart = restart
        self._exits: deque[float] = deque()
        self._tries = 0  # of a failed node, since it failed

    def reset(self) -> None:
        """Forget the exits so far."""
        self._exits.clear()
        self._tries = 0

    def after_exit(self, *, orderly: bool, lived_s: float) -> NextStart | None:
        """Return the next start, or None for none.

        Args:
            orderly: The exit code was 0, and the node did not report a failure.
            lived_s: Seconds for which the process ran.
        """
        restart = self._restart
        if restart.policy == "never" or (restart.policy == "on-failure" and orderly):
            return None
        if lived_s >= restart.window_s:
            self.reset()
        now = time.monotonic()
        while self._exits and now - self._exits[0] >= restart.window_s:
            self._exits.popleft()
        self._exits.append(now)
        if self._tries == 0 and len(self._exits) <= restart.max_restarts:
            if len(self._exits) == 1:
                return NextStart(0.0)
            # Bounded before it is used as an exponent: two to the power of thousands is no float.
            backoff_s = restart.backoff_s * 2.0 ** min(len(self._exits) - 2, 60)
            return NextStart(min(backoff_s, restart.max_backoff_s))
        if not restart.retry_failed_s:
            return None
        pause_s = restart.retry_failed_s * 2.0 ** min(self._tries, 60)
        self._tries += 1
        return NextStart(min(pause_s, max(LONGEST_RETRY_S, restart.retry_failed_s)), failed=True)
