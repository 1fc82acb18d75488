"""What the memory does beside answering: it keeps what the brain has answered, within limits, and forgets for good.

`MemoryKeeper` counts which episodes have answered, makes facts of what lasts, and lets the broker know of which prompts
nothing may stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import abstractmethod
from collections import OrderedDict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet import NodeParameters, Partial, Query, Region, subscribe
from brainnet.bus import Bus
from brainnet.errors import BrainnetError, StoreError
from brainnet.memory import EXCHANGE, Episode, EpisodicStore, Forgotten, NewEpisode, consolidate_facts
from brainnet.node import NodeSpec
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.wire.keys import key
from brainnet.wire.messages import Answered, Exchange, Redacted
from brainnet.wire.messages import Forgotten as ForgottenPrompts

MB = 1_000_000
REMEMBERED_S = 120.0
"""Seconds for which the memory knows what it has forgotten, for answers that are still on their way."""
_REMEMBERED = 256
"""Deletions that it knows at most."""
_CITED = 1024
"""Answers whose citations are kept until the brain's answer comes."""
_FIRST_RETRY_S, _LAST_RETRY_S = 0.2, 30.0


class MemoryKeeper(Region):
    """Keeps exchanges, counts accesses, and follows what is forgotten.

    Guarantees: what is forgotten, through a prompt or through a topic, is deleted from the file for good; the prompts
    that told or repeated it are not kept as exchanges, and the broker removes them from its journal, also when it is
    away now.
    """

    class Parameters(NodeParameters):
        """Limits; the class that inherits describes them."""

        keep_exchanges: bool = True
        max_exchanges: int = 1000
        max_exchange_mb: float = 64.0
        max_memory_mb: float = 2048.0

    params: Parameters
    embedder: SpikingTextEmbedder
    episodes: EpisodicStore
    memories: dict[str, EpisodicStore]

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self.memories = {}
        self._last_query = 0.0
        self._loop = asyncio.get_running_loop()
        self._answering = ""
        """The prompt that is being answered; used in the model thread, as all that follows."""
        self._cited: OrderedDict[str, list[int]] = OrderedDict()
        """By prompt, the episodes that its answer cites."""
        self._unkept: OrderedDict[str, None] = OrderedDict()
        """Prompts during which something was forgotten."""
        self._recent: deque[tuple[float, Forgotten]] = deque(maxlen=_REMEMBERED)
        self._consolidated = -1
        self._newest_consolidated: int | None = None
        self._telling = False  # on the event loop

    # -- what the class that inherits has --------------------------------------------------------------------------

    @abstractmethod
    def _vector(self, text: str) -> NDArray[np.int8]:
        """Return the vector of a text."""

    @abstractmethod
    def _store_repaired(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which a damaged store is replaced for those who come later."""

    def _follow(self) -> None:
        """Follow what is forgotten in the memories that were just opened."""
        self.memories["episodic"].derived = self.memories["semantic"]
        for memory in self.memories.values():
            memory.on_forgotten = self._on_forgotten
        self._tell_soon()

    # -- prompts -----------------------------------------------------------------------------------------------------

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        """Answer one query after the other, and note which episodes each answer cites."""
        partials = []
        for query in queries:
            self._answering = query.prompt.prompt_id
            try:
                partials += super().answer_batch([query])
            finally:
                self._answering = ""
            self._note_answer(query, partials[-1])
        return partials

    def _note_answer(self, query: Query, partial: Partial) -> None:
        if partial.error is not None:
            return
        recalled = partial.content.get("recalled")
        ids = [_id_in(each) for each in recalled] if isinstance(recalled, list) else []
        ids.append(_id_in(partial.content))
        cited = [each for each in dict.fromkeys(ids) if each is not None]
        if not cited:
            return
        _keep(self._cited, query.prompt.prompt_id, cited, _CITED)
        answered_by = _id_in(partial.content)
        if answered_by is not None and not partial.content.get("stored"):
            with contextlib.suppress(StoreError):
                self.episodes.note_access([answered_by], query.prompt.session_id)

    @subscribe("answered")
    def on_answered(self, answered: Answered) -> None:
        """Store what the brain has answered as exchanges, those of one message in one transaction."""
        if not self.params.keep_exchanges:
            return
        exchanges = [exchange for exchange in answered.exchanges if not exchange.failed and exchange.prompt.strip()]
        episodes = [self._exchange(exchange) for exchange in exchanges]
        episodes = self._without_forgotten(episodes)
        if not episodes:
            return
        vectors = self.embedder.counts([episode.text for episode in episodes])
        with self._store_repaired():
            self._make_room()
            self.episodes.store_many(
                [
                    NewEpisode(episode.text, EXCHANGE, episode.metadata, vector, episode.key)
                    for episode, vector in zip(episodes, vectors, strict=True)
                ]
            )
        self._notice_clock()
        self._limit_exchanges()

    def _exchange(self, exchange: Exchange) -> NewEpisode:
        details: dict[str, Any] = {
            "prompt_id": exchange.prompt_id,
            "session_id": exchange.session_id,
            "contributing": exchange.contributing,
            "confidence": exchange.confidence,
        }
        if cited := self._cited.pop(exchange.prompt_id, None):
            details["episodes"] = cited
        text = f"{exchange.prompt}\n{exchange.text}"
        return NewEpisode(text, EXCHANGE, details, None, f"{EXCHANGE}:{exchange.prompt_id}")

    def _without_forgotten(self, exchanges: list[NewEpisode]) -> list[NewEpisode]:
        """Leave out the exchanges that repeat what was forgotten while they were answered."""
        while self._recent and self._recent[0][0] < time.monotonic() - REMEMBERED_S:
            self._recent.popleft()
        if not self._recent and not self._unkept:
            return exchanges
        kept: list[NewEpisode] = []
        dropped: list[str] = []
        for exchange in exchanges:
            prompt_id, metadata = str(exchange.metadata["prompt_id"]), dict(exchange.metadata)
            repeats = prompt_id in self._unkept or any(
                forgotten.repeats(exchange.text, metadata)
                and forgotten.without(self._told_again(forgotten)).repeats(exchange.text, metadata)
                for _, forgotten in self._recent
            )
            if repeats:
                dropped.append(prompt_id)
            else:
                kept.append(exchange)
        if dropped:
            with self._store_repaired():
                self.episodes.forget_prompts(dropped)
            self._tell_soon()
        return kept

    def _told_again(self, forgotten: Forgotten) -> list[str]:
        """Return the forgotten texts that somebody has told again since then."""
        with self._store_repaired():
            return [text for text in forgotten.texts if self.episodes.in_the_words_of(text)]

    # -- limits ------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Drop exchanges until something new fits into the memory.

        Raises:
            StoreError: The memory is full of what is not dropped.
        """
        limit = self.params.max_memory_mb * MB
        while self.episodes.used_bytes >= limit:
            exchanges = self.episodes.count([EXCHANGE])
            if not exchanges:
                raise StoreError(
                    f"the memory {self.episodes.path} is full: it has the {self.params.max_memory_mb:g} MB of the"
                    f" parameter max_memory_mb of {self.id}; set it higher"
                )
            self.count("exchanges_dropped", exchanges - exchanges // 2)
            self.episodes.forget_weakest(EXCHANGE, keep=exchanges // 2, keep_bytes=1 << 62)

    def _limit_exchanges(self) -> None:
        keep, keep_bytes = self.params.max_exchanges, int(self.params.max_exchange_mb * MB)
        with self._store_repaired():
            self.count("exchanges_dropped", self.episodes.forget_weakest(EXCHANGE, keep=keep, keep_bytes=keep_bytes))

    def params_changed(self, name: str) -> None:
        if name.startswith("max_exchange"):
            self.spawn(self.in_model_thread(self._limit_exchanges))

    def _notice_clock(self) -> bool:
        """Say in the log when the clock was set back since the last episode, whose time is then later."""
        if stepped := self.episodes.clock_stepped:
            self.count("clock_steps")
            self.log.warning("the clock was set back; episodes keep their order, but not that of their times")
        return stepped

    def _consolidate(self) -> None:
        """Do in quiet times what no answer waits for."""
        for system, memory in self.memories.items():
            if memory.consolidate():
                self.count("consolidations")
                self.log.info("consolidated", memory=system, episodes=memory.count())
        if not self.memories or self.episodes.changes == self._consolidated:
            return
        newest = self.episodes.highest_id
        facts = consolidate_facts(self.episodes, self.memories["semantic"], self._newest_consolidated)
        self._consolidated, self._newest_consolidated = self.episodes.changes, newest
        if facts:
            self.count("facts", facts)
            self.log.info("facts were made of what was told or needed several times", facts=facts)

    # -- forgetting --------------------------------------------------------------------------------------------------

    def _on_forgotten(self, deleted: list[Episode]) -> None:
        self.count("forgotten", len(deleted))
        told = [episode for episode in deleted if episode.kind != EXCHANGE]
        self._recent.append((time.monotonic(), Forgotten(told)))
        if self._answering:
            # Its own text, or the answer to it, may say what was forgotten.
            _keep(self._unkept, self._answering, None, _CITED)
            self.episodes.forget_prompts([self._answering])
        self._tell_soon()

    def _tell_soon(self) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop was closed
            self._loop.call_soon_threadsafe(self._begin_telling)

    def _begin_telling(self) -> None:
        if not self._telling:
            self._telling = True
            self.spawn(self._tell_forgotten())

    async def _tell_forgotten(self) -> None:
        """Tell the broker until it keeps nothing of the forgotten prompts; their list outlives this process."""
        wait_s = _FIRST_RETRY_S
        try:
            while waiting := await self.in_model_thread(self._forgotten_prompts):
                done: list[str] = []
                with contextlib.suppress(BrainnetError):  # it is away, or its disk is: it is asked again
                    redacted: Redacted = await self.call(
                        key("forgotten"), ForgottenPrompts(prompt_ids=waiting), timeout=_LAST_RETRY_S
                    )
                    done = [each for each in redacted.prompt_ids if each in waiting]
                if done:
                    self.count("redacted_prompts", len(done))
                    await self.in_model_thread(self._confirm_forgotten, done)
                    wait_s = _FIRST_RETRY_S
                if len(done) < len(waiting):
                    await asyncio.sleep(wait_s)
                    wait_s = min(_LAST_RETRY_S, 1.5 * wait_s)
        finally:
            self._telling = False

    def _forgotten_prompts(self) -> list[str]:
        try:
            return self.episodes.forgotten_prompts() if self.memories else []
        except StoreError:
            return []

    def _confirm_forgotten(self, prompt_ids: list[str]) -> None:
        with contextlib.suppress(StoreError):
            self.episodes.confirm_forgotten(prompt_ids)


def _id_in(content: object) -> int | None:
    episode_id = content.get("episode_id") if isinstance(content, dict) else None
    return episode_id if isinstance(episode_id, int) else None


def _keep(table: OrderedDict[str, Any], name: str, value: object, limit: int) -> None:
    table[name] = value
    table.move_to_end(name)
    while len(table) > limit:
        table.popitem(last=False)
