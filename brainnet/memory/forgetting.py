"""Which episodes repeat what is forgotten, and which bytes of it may be left in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Any, Final

from brainnet.memory.episodes import PASSAGE, Episode

__all__ = ["Forgotten", "plain", "traces_of", "words_key"]

_TRACE: Final = 64
"""Bytes of a trace. Shorter than a page, so that a text of several pages is found by its beginning."""
_MIN_TRACE: Final = 4
_ENDS: Final = " .,;:!?…。！？।؟۔\"'"
"""What is left out at the end of a statement: a prompt may say the same without a full stop."""


def plain(text: str) -> str:
    """Return a text as it is compared with what was said: in lower case, without marks at its ends."""
    return " ".join(text.casefold().split()).strip(_ENDS)


def words_key(text: str) -> str:
    """Return a key that statements in the same words have in common; the words cannot be read from it."""
    return hashlib.sha256(plain(text).encode(errors="replace")).hexdigest()[:32]


class Forgotten:
    """What is forgotten, as far as others may repeat it.

    Args:
        episodes: The episodes that are forgotten. The texts of passages are not looked for: a prompt that repeats a
            whole passage is recognised by what it cites.
    """

    def __init__(self, episodes: Iterable[Episode]) -> None:
        episodes = list(episodes)
        self._ids = {episode.episode_id for episode in episodes}
        self._prompts = {prompt for episode in episodes if (prompt := _prompt_id(episode.metadata))}
        self._texts = {text for episode in episodes if episode.kind != PASSAGE and (text := plain(episode.text))}

    def repeats(self, text: str, metadata: dict[str, Any]) -> bool:
        """Return whether an answered prompt told, cited or repeats what is forgotten.

        Args:
            text: What was asked and answered.
            metadata: Of the exchange: `prompt_id`, and the `episodes` that the answer cites.
        """
        cited = metadata.get("episodes")
        if isinstance(cited, list) and any(isinstance(each, int) and each in self._ids for each in cited):
            return True
        if _prompt_id(metadata) in self._prompts:
            return True
        said = " ".join(text.casefold().split())
        return any(_contains(said, part) for part in self._texts)

    def without(self, kept: Collection[str]) -> Forgotten:
        """Return the same without the texts that are known again; `kept` is in the form of `plain`."""
        other = Forgotten([])
        other._ids, other._prompts, other._texts = self._ids, self._prompts, self._texts.difference(kept)
        return other

    @property
    def texts(self) -> frozenset[str]:
        """The texts that are looked for, in the form of `plain`."""
        return frozenset(self._texts)


def _prompt_id(metadata: dict[str, Any]) -> str:
    prompt_id = metadata.get("prompt_id")
    return prompt_id if isinstance(prompt_id, str) else ""


def _contains(text: str, part: str) -> bool:
    """Return whether a part is in a text as whole words; letters beyond ASCII need no space beside them."""
    at = text.find(part)
    while at >= 0:
        end = at + len(part)
        before, after = text[at - 1 : at], text[end : end + 1]
        if not (_joined(before, part[0]) or _joined(part[-1], after)):
            return True
        at = text.find(part, at + 1)
    return False


def _joined(one: str, other: str) -> bool:
    return one.isascii() and other.isascii() and one.isalnum() and other.isalnum()


def traces_of(text: str, vector: bytes | None) -> list[bytes]:
    """Return bytes by which the row of an episode is found in a file."""
    whole = text.encode(errors="replace")
    found = [whole[:_TRACE], whole[-_TRACE:]] if len(whole) > _TRACE else [whole]
    # a vector that is nearly empty is found everywhere
    if vector is not None and len(set(vector[:_TRACE])) > _MIN_TRACE:
        found.append(vector[:_TRACE])
    return [trace for trace in found if len(trace) >= _MIN_TRACE]
