"""What was said last in each session, so that a question can refer to it."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

MAX_SESSIONS = 256
"""Sessions whose turns are kept, those that spoke last."""
MAX_TURNS = 4
"""Turns of a session that are kept."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt and what memory said to it.

    Attributes:
        text: The prompt.
        words: Its content words.
        answer_type: What it asked for.
        episodes: The episodes that answered or that were stored, the best first.
        used: How many of them have been said.
        said: The text of the first, "" without any.
        asks: "everything" when it asked to forget everything and waits for a yes; else "".
    """

    text: str
    words: tuple[str, ...] = ()
    answer_type: str = ""
    episodes: tuple[int, ...] = ()
    used: int = 1
    said: str = ""
    asks: str = ""


class Turns:
    """The last turns of the sessions that spoke last; prompts without a session have none."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, deque[Turn]] = OrderedDict()
        self.changes = 0
        """How often something was added or dropped."""

    def add(self, session: str, turn: Turn) -> None:
        """Add a turn to a session."""
        if not session:
            return
        self.changes += 1
        self._sessions.setdefault(session, deque(maxlen=MAX_TURNS)).append(turn)
        self._sessions.move_to_end(session)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def of(self, session: str) -> list[Turn]:
        """Return the turns of a session, the last one first."""
        return list(reversed(self._sessions.get(session, ())))

    def forget(self, episodes: set[int]) -> None:
        """Drop the turns that rest on deleted episodes."""
        self.changes += 1
        for turns in self._sessions.values():
            kept = [turn for turn in turns if not episodes & set(turn.episodes)]
            if len(kept) < len(turns):
                turns.clear()
                turns.extend(kept)

    def clear(self) -> None:
        """Drop all turns."""
        self.changes += 1
        self._sessions.clear()
