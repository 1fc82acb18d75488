"""The answers of memory to what was done: kept, corrected, forgotten, listed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from brainnet import Candidate, Partial
from brainnet.memory import Episode
from brainnet.texts import shorten
from hippocampus_evidence import Evidence, citation, said_of

CONFIRMATION = "Forget everything, yes"
MAX_SUBJECT = 200
"""Characters of a subject that an answer repeats."""


def reply(text: str, content: dict[str, object], confidence: float = 1.0) -> Partial:
    """Make an answer of one text."""
    answer = Candidate(text=text, probability=1.0, content=content)
    return Partial(candidates=[answer], confidence=confidence, content=content)


def remembered(episode: Episode, *, clock_stepped: bool) -> Partial:
    """Say what is remembered from now on."""
    content: dict[str, object] = {"stored": True, **citation(episode)}
    if clock_stepped:
        content["clock_stepped"] = True
    return reply(f"I will remember: {episode.text}", content)


def corrected(old: Sequence[Episode], new: Episode) -> Partial:
    """Say what was corrected, and into what."""
    content: dict[str, object] = {"stored": True, **citation(new)}
    if not old:
        return reply(f"I knew nothing of that. Now: {new.text}", content)
    content["deleted"] = [episode.episode_id for episode in old]
    return reply(f"I had: {' '.join(episode.text for episode in old)} Now: {new.text}", content)


def taken_back(old: Episode) -> Partial:
    """Say that a statement was deleted because it is wrong, without a new one."""
    return reply("I have deleted what I said last. What is right?", {"deleted": [old.episode_id]})


def forgotten(episodes: Sequence[Episode], about: str) -> Partial:
    """Say how many statements were deleted, and about what; not what they said."""
    count = len(episodes)
    statements = "1 statement" if count == 1 else f"{count} statements"
    of_what = "" if about in ("", "that") else f" about {shorten(about, MAX_SUBJECT)!r}"
    return reply(f"Forgotten: {statements}{of_what}.", {"deleted": [episode.episode_id for episode in episodes]})


def asks_to_confirm(total: int) -> Partial:
    """Ask for the confirmation that everything is to be forgotten."""
    statements = "the 1 statement that you told me" if total == 1 else f"all {total} statements that you told me"
    return reply(f'This deletes {statements}. Say "{CONFIRMATION}" if you mean it.', {"confirm": CONFIRMATION})


def listed(
    episodes: Sequence[Episode], total: int, about: str, passages: Sequence[Evidence], confidence: float
) -> Partial:
    """List statements, and passages of documents."""
    lines = [episode.text for episode in episodes] + [said_of(passage) for passage in passages]
    what = f" about {shorten(about, MAX_SUBJECT)!r}" if about else ""
    if total > len(episodes):
        head = f"The newest {len(episodes)} of {total} statements{what}:"
    elif len(lines) == 1:
        head = ""
    else:
        head = f"{len(lines)} {'statements' if not passages else 'entries'}{what}:"
    text = lines[0] if not head else "\n".join([head, *(f"- {line}" for line in lines)])
    recalled: list[dict[str, object]] = [{"text": episode.text, **citation(episode)} for episode in episodes]
    recalled += [{"text": passage.text, **citation(passage.episode)} for passage in passages]
    return reply(text, {**recalled_first(recalled), "total": total, "recalled": recalled}, confidence)


def recalled_first(recalled: Sequence[dict[str, object]]) -> dict[str, object]:
    """Return the citation of the first of several."""
    return {key: value for key, value in recalled[0].items() if key != "text"} if recalled else {}


def told_when(episode: Episode, *, has_time: bool) -> Partial:
    """Say when something was, in the words of its statement, or else when it was told."""
    content: dict[str, object] = citation(episode)
    if has_time:
        return reply(episode.text, content)
    told = datetime.fromtimestamp(episode.created_ns / 1e9, UTC)
    return reply(f"Told on {told:%d %B %Y at %H:%M} UTC: {episode.text}", content)
