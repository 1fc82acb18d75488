"""Hippocampus: stores statements durably, and finds them again.

"Remember that ..." stores a statement. Any other prompt is a question to memory, answered with the text of the
statement that matches best. Every answered prompt of the brain is stored too, as an exchange; exchanges can be
queried over the bus, but are never candidates at recall. Statements are kept until they are forgotten; of the exchanges
only those that are remembered best (`brainnet.memory.retention`), as the parameters say.

Whether a statement holds a word of the question is decided in one way everywhere, by `brainnet.memory.terms`: "the
microscope's" is in "two microscopes". What was said last is decided by the order of storing, never by the clock.

What decides beside the model: regular expressions and word lists (`hippocampus_prompts`). The spiking embedder only
contributes to the ranking of the search.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet import (
    Candidate,
    Partial,
    Prompt,
    Query,
    RegionError,
    main,
)
from brainnet.bus import Bus
from brainnet.errors import StoreError
from brainnet.memory import (
    STATEMENT,
    DamagedStoreError,
    Episode,
    EpisodicStore,
    Hit,
    NewEpisode,
    replace_damaged,
    terms,
)
from brainnet.node import NodeSpec
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.texts import shorten
from hippocampus_evidence import Evidence, answer_of, citation, newest_of_same_subject
from hippocampus_prompts import PICTURE_WORDS, asked_words, content_words, has_answer_type, statement_to_remember
from hippocampus_services import SYSTEMS, MemoryServices

REEMBED_BATCH = 4096
"""Episodes that are embedded together when the embedder has changed."""
QUIET_S = 30.0
"""Seconds without a question after which the word meanings are learned again from the stored texts."""
NAMED_ROWS = 20
"""Number of damaged rows that a message names."""
ANSWER_TYPE_PENALTY = 0.6
"""Factor on the evidence when the question asks "where" and the statement names no place, or "when" and no time."""


class Hippocampus(MemoryServices):
    """Stores statements, and recalls them in the same words, also after a restart."""

    default_checkpoint = "hippocampus.safetensors"
    modality = "text"

    class Parameters(MemoryServices.Parameters):
        """What is recalled and stored."""

        candidates: int = Field(5, ge=1, le=50, description="largest number of statements in an answer")
        min_evidence: float = Field(
            0.3, ge=0.0, le=1.0, description="share of the question, weighted by rarity, that a statement must contain"
        )
        keep_exchanges: bool = Field(True, description="store every answered prompt as an episode")
        max_exchanges: int = Field(1000, ge=0, description="number of answered prompts kept; the weakest are dropped")
        max_exchange_mb: float = Field(
            64.0, ge=0.0, description="size of the texts of the answered prompts kept, MB; the weakest are dropped"
        )
        max_memory_mb: float = Field(
            2048.0, gt=0.0, description="size of the memory, MB; when it is full, nothing new is remembered"
        )

    params: Parameters

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._embedded: dict[str, tuple[NDArray[np.int8], NDArray[np.uint8]]] = {}
        """Counts and spikes of the texts that are being answered; used in the model thread."""
        self._stored: dict[str, Episode] = {}
        """By prompt, statements of the queries that are being answered; used in the model thread."""
        self._defects: list[str] = []

    def load(self) -> None:
        assert self.checkpoint is not None
        self.embedder = SpikingTextEmbedder.load(self.checkpoint)
        self._open()
        self._warm_up()

    @property
    def _path(self) -> Path:
        return self.data_dir / "memory.sqlite"

    def _open(self) -> None:
        """Open the memories; a damaged file is moved aside, and what can be read of it is taken over."""
        try:
            self._open_all()
        except DamagedStoreError as error:
            self._replace(error)
        rows = {system: memory.damaged for system, memory in self.memories.items() if memory.damaged}
        for system, ids in rows.items():
            self.count("damaged_rows", len(ids))
            self.log.error("damaged rows are left out", memory=system, rows=len(ids), episodes=ids[:NAMED_ROWS])
            named = ", ".join(map(str, ids[:NAMED_ROWS])) + (", ..." if len(ids) > NAMED_ROWS else "")
            self._note_defect(f"{len(ids)} damaged rows of the {system} memory are left out: episodes {named}")

    def _open_all(self) -> None:
        opened: dict[str, EpisodicStore] = {}
        try:
            for system, table in SYSTEMS.items():
                opened[system] = EpisodicStore(self._path, table=table, vector_model=self.embedder.fingerprint)
            # Vectors of another embedder cannot be compared with this one's; such texts are embedded again.
            for memory in opened.values():
                while stale := memory.without_vector(REEMBED_BATCH):
                    vectors = self.embedder.counts([episode.text for episode in stale])
                    memory.set_vectors({e.episode_id: v for e, v in zip(stale, vectors, strict=True)})
        except BaseException:
            for memory in opened.values():
                memory.close()
            raise
        self.memories, self.episodes = opened, opened["episodic"]
        self._follow()
        stats = self.episodes.stats()
        self.log.info("memory open", path=str(self._path), episodes=stats.episodes, bytes=stats.file_bytes)

    def _replace(self, error: DamagedStoreError) -> None:
        """Move the damaged file aside, and open one with every row that can still be read.

        Raises:
            StoreError: That is not possible now, for example on a full disk. The memories are closed then.
        """
        self._close()
        aside, saved, rows = replace_damaged(self._path)
        self.count("damaged_stores")
        self.log.error(
            "memory was damaged and has been replaced", reason=str(error), moved_to=str(aside), saved=saved, rows=rows
        )
        self._note_defect(
            f"the memory {self._path} was damaged; it is now {aside}, and {saved} of its {rows} rows were taken over"
        )
        self._open_all()

    def _note_defect(self, reason: str) -> None:
        """Make the node say `degraded`, now or as soon as it is ready."""
        self._defects.append(reason)
        self._loop.call_soon_threadsafe(self._say_defects)

    def _say_defects(self) -> None:
        if self._defects:
            self.degrade("; ".join(self._defects[-3:]))

    @contextlib.contextmanager
    def _store_repaired(self) -> Iterator[None]:
        """Leave an error of the store to the caller; a damaged store is replaced for those who come later.

        Raises:
            StoreError: A store that was damaged could not be replaced, now and at the messages before.
        """
        if not self.memories:
            self._open()
        try:
            yield
        except DamagedStoreError as error:
            with contextlib.suppress(StoreError):
                self._replace(error)
            raise

    async def run(self) -> None:
        self._say_defects()
        while True:
            await asyncio.sleep(QUIET_S)
            if time.monotonic() - self._last_query >= QUIET_S:
                await self.in_model_thread(self._consolidate)

    async def teardown(self) -> None:
        # In the model thread, which may still be writing.
        await self.in_model_thread(self._close)

    def _close(self) -> None:
        for memory in self.memories.values():
            memory.close()
        self.memories = {}

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        """Answer all queries that wait, one after the other.

        Their texts are embedded together, and their statements are stored in one transaction.
        """
        texts = list(dict.fromkeys(query.prompt.text.strip() for query in queries))
        try:
            with contextlib.suppress(Exception):  # of one of the texts: it shows again when that one is embedded alone
                counts, spikes = self.embedder.counts_and_spikes(texts)
                self._embedded = dict(zip(texts, zip(counts, spikes, strict=True), strict=True))
            self._stored = self._store_together(queries)
            return super().answer_batch(queries)
        finally:
            self._embedded, self._stored = {}, {}

    def _store_together(self, queries: list[Query]) -> dict[str, Episode]:
        """Store the statements of several queries, and return them by prompt; none where one cannot be stored."""
        asked = [(query.prompt, statement_to_remember(query.prompt.text.strip())) for query in queries]
        facts = [(prompt, fact) for prompt, fact in asked if fact]
        if len(facts) < 2:
            return {}
        try:
            self._make_room()
            vectors = self.embedder.counts([fact for _, fact in facts])
            new = [_statement(prompt, fact, vector) for (prompt, fact), vector in zip(facts, vectors, strict=True)]
            stored = self.episodes.store_many(new)
        except Exception:  # of one of them: each is then stored alone, and gets its own error
            return {}
        return {prompt.prompt_id: episode for (prompt, _), episode in zip(facts, stored, strict=True)}

    def answer(self, query: Query) -> Partial:
        self._last_query = time.monotonic()
        text = query.prompt.text.strip()
        if not text:
            raise RegionError('memory needs words: say "Remember that ..." or ask about something')
        try:
            with self._store_repaired():
                fact = statement_to_remember(text)
                partial = self._remember(fact, query) if fact else self._recall(text, attached=_has_attachment(query))
        except StoreError as error:
            raise RegionError(str(error), code=error.code) from error
        embedded = self._embedded.get(text)
        partial.spikes = self.embedder.spikes(text) if embedded is None else embedded[1]
        return partial

    def _remember(self, fact: str, query: Query) -> Partial:
        episode = self._stored.get(query.prompt.prompt_id)
        if episode is None:
            self._make_room()
            (episode,) = self.episodes.store_many([_statement(query.prompt, fact, self._vector(fact))])
        content = {"stored": True, **citation(episode)}
        if self._notice_clock():
            content["clock_stepped"] = True
        answer = Candidate(text=f"I will remember: {episode.text}", probability=1.0, content=content)
        return Partial(candidates=[answer], confidence=1.0, content=content)

    def _recall(self, question: str, *, attached: bool = False) -> Partial:
        subject = content_words(question)
        # A question about a picture has its answer in the picture: what was said last, and what happens to hold the
        # word "digit", is no answer to "Which digit is this?".
        telling = {word for word in subject if not attached or not PICTURE_WORDS.issuperset(terms(word))}
        if attached and not telling:
            raise RegionError("memory cannot see what came with the prompt; ask about something that it was told")
        if not subject:
            return self._latest()
        # More hits than candidates, because they are ranked again by evidence.
        hits = self.episodes.search(question, self._vector(question), 4 * self.params.candidates, [STATEMENT])
        evidence = self._evidence(question, subject, hits)
        enough = [e for e in evidence if e.matched & telling and e.strength >= self.params.min_evidence]
        if not enough:
            about = shorten(" ".join(subject), 200)
            raise RegionError(f'nothing in memory about {about!r}; tell me with "Remember that ..."')
        return answer_of(newest_of_same_subject(enough)[: self.params.candidates])

    def _latest(self) -> Partial:
        """Answer a question without content words ("what did I tell you?") with the newest statements."""
        latest = self.episodes.recent(self.params.candidates, [STATEMENT])
        if not latest:
            raise RegionError('nothing in memory yet; tell me with "Remember that ..."')
        # Halfway between the weakest evidence that is answered and certainty.
        strength = self.params.min_evidence + (1 - self.params.min_evidence) / 2
        return answer_of([Evidence(Hit(episode, 0.0, None, None, None), strength, frozenset()) for episode in latest])

    def _evidence(self, question: str, subject: list[str], hits: list[Hit]) -> list[Evidence]:
        """Compute the evidence of each hit, strongest first.

        The strength is the share of the question's content words `subject` that the statement contains, each weighted
        by its rarity in memory.
        """
        total = self.episodes.count([STATEMENT])
        held = self.episodes.document_frequencies(subject, [STATEMENT])
        rarity = {word: math.log((total + 1) / (held[word] + 0.5)) for word in subject}
        asked, sought = asked_words(question), {word: terms(word) for word in subject}
        evidence = []
        for hit in hits:
            contained = set(terms(hit.episode.text))
            matched = {word for word, its_terms in sought.items() if contained.issuperset(its_terms)}
            strength = sum(rarity[word] for word in matched) / sum(rarity.values())
            if not has_answer_type(asked, hit.episode.text):
                strength *= ANSWER_TYPE_PENALTY
            evidence.append(Evidence(hit, strength, frozenset(matched)))
        # Rounded, so that the order of the search decides between equal evidence.
        return sorted(evidence, key=lambda item: (-round(item.strength, 3), -item.hit.score))

    def _vector(self, text: str) -> NDArray[np.int8]:
        embedded = self._embedded.get(text)
        counts: NDArray[np.int8] = self.embedder.counts([text])[0] if embedded is None else embedded[0]
        return counts

    def _warm_up(self) -> None:
        """Ask and store once in a memory of its own, which leaves no trace: the first prompt finds all code loaded."""
        with EpisodicStore(":memory:", vector_model=self.embedder.fingerprint) as own:
            actual, self.episodes = self.episodes, own
            try:
                for place in ("shelf", "bench"):
                    own.store(f"The spanner is on the {place}.", STATEMENT, {}, self._vector(place))
                self._recall("Where are the spanners?")
                self.embedder.spikes("Where are the spanners?")
            finally:
                self.episodes = actual
        # A search of the memory that is there learns the word meanings of its texts, and loads the compiled kernels.
        for memory in self.memories.values():
            for episode in memory.recent(1):
                memory.search(episode.text, self._vector(episode.text), self.params.candidates)


def _statement(prompt: Prompt, fact: str, vector: NDArray[np.int8]) -> NewEpisode:
    details = {"prompt_id": prompt.prompt_id, "session_id": prompt.session_id}
    # A prompt that comes again, for example after a crash, is stored only once.
    return NewEpisode(fact, STATEMENT, details, vector, f"{STATEMENT}:{prompt.prompt_id}")


def _has_attachment(query: Query) -> bool:
    prompt = query.prompt
    return prompt.image is not None or prompt.audio is not None or bool(prompt.arrays)


if __name__ == "__main__":
    main(Hippocampus)
