"""Moves what proves to be lasting from episodes to facts: what was told or needed more than once.

Complementary learning systems (McClelland, McNaughton and O'Reilly 1995, Psychological Review 102): single episodes are
stored fast, and what they have in common becomes knowledge in times of rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from brainnet.memory.accesses import sessions_of
from brainnet.memory.deletion import fact_key
from brainnet.memory.episodes import FACT, STATEMENT, NewEpisode
from brainnet.memory.forgetting import plain
from brainnet.memory.store import EpisodicStore

__all__ = ["consolidate_facts"]

_MAX_ORIGINS: Final = 100
"""Statements that a fact names as those that it comes from; the newest."""


def consolidate_facts(episodes: EpisodicStore, facts: EpisodicStore, since: int | None = None) -> int:
    """Make a fact of each statement that was told twice in the same words, or answered in two sessions.

    Statements are in the same words when they differ only in upper case, spaces and marks at their end. A fact has the
    wording, the vector and the importance of the newest of them. Its metadata have `from`, the ids of the statements,
    `told`, their number, and `sessions`, in how many sessions they have answered. A fact that is there is brought up to
    date. Run it again and nothing changes.

    Args:
        episodes: The statements; `derived` should be `facts`, so that what is forgotten there is forgotten here.
        facts: Where the facts go: a store of the table `facts` of the same file.
        since: The highest id at an earlier call; only newer statements are compared with the others, and those that
            have answered in several sessions. None compares all, which takes seconds for 100,000.

    Returns:
        How many facts are new.
    """
    groups = _all(episodes) if since is None else _changed(episodes, since)
    lasting = {}
    for group in groups:
        sessions = set().union(*(each for _, each in group))
        if len(group) > 1 or len(sessions) > 1:
            ids = [episode_id for episode_id, _ in group]
            lasting[ids[-1]] = {"from": ids[-_MAX_ORIGINS:], "told": len(ids), "sessions": len(sessions)}
    new = []
    changed = {}
    newest = episodes.load(list(lasting))
    vectors = episodes.vectors_of(list(lasting))
    for episode_id, metadata in lasting.items():
        if episode_id not in newest:
            continue
        statement = newest[episode_id]
        known = facts.find(fact_key(statement.text))
        if known is None:
            new.append(
                NewEpisode(
                    statement.text,
                    FACT,
                    metadata,
                    vectors.get(episode_id),
                    fact_key(statement.text),
                    statement.importance,
                )
            )
        elif known.metadata != metadata:
            changed[known.episode_id] = metadata
    if changed:
        facts.set_metadata(changed)
    if new:
        facts.store_many(new)
    return len(new)


_Group = list[tuple[int, set[str]]]
"""Statements in the same words, oldest first: their ids, and the marks of the sessions in which they have answered."""


def _all(episodes: EpisodicStore) -> Iterable[_Group]:
    groups: dict[str, _Group] = {}
    for episode_id, text, sessions in episodes.rows_of(STATEMENT):
        if words := plain(text):  # marks alone say nothing
            groups.setdefault(words, []).append((episode_id, set(sessions_of(sessions))))
    return groups.values()


def _changed(episodes: EpisodicStore, since: int) -> Iterable[_Group]:
    seen = set()
    for episode_id, text, _ in episodes.rows_of(STATEMENT, since=since, needed=True):
        words = plain(text)
        if not words or words in seen:
            continue
        seen.add(words)
        # whoever has the same words holds all of them, which the index knows
        same = {episode_id, *episodes.holding(text, [STATEMENT])}
        yield [
            (each, set(sessions_of(sessions)))
            for each, other, sessions in episodes.rows_of(STATEMENT, ids=sorted(same))
            if plain(other) == words
        ]
