"""Hippocampus: keeps what it is told, durably, and finds it again.

"Remember that ..." stores a statement; any other prompt is a question to memory, answered with the words of the
statement that fits best. Every answered prompt of the brain is kept, too, as an exchange: exchanges can be asked for
over the bus, but never compete with statements at recall.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet import (
    Answer,
    Candidate,
    MemoryHit,
    MemoryQuery,
    MemoryReply,
    MemoryStore,
    MemoryStored,
    NodeParameters,
    Partial,
    Query,
    Region,
    RegionError,
    main,
    serve,
    subscribe,
)
from brainnet.memory import Episode, EpisodicStore, Hit
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.snn.models.text_features import words

STATEMENT = "statement"
EXCHANGE = "exchange"
REEMBED_BATCH = 4096
QUIET_S = 30.0
"""After so long without a question, memory learns from what was stored what words mean here."""

_POLITE = r"(?:(?:please|kindly|hey|ok|okay|now|also|and|so|well)\b[\s,]*)*"
_REQUEST = rf"(?:(?:can|could|would|will) you\b[\s,]*|I(?:'d| would)? (?:want|like|need) you to\b\s*)?{_POLITE}"
_KEEP = (
    r"(?:remember|memori[sz]e|learn|know|(?:do not|don't|never) forget|(?:keep|bear) in (?:mind|your memory)|keep"
    r"|(?:make|take) a note|note(?: down)?|(?:take|write) (?:this|that) down|remind me(?: later)?|store|save|log|record"
    r"|file(?: (?:this|that))?(?: away)?|(?:commit|add)(?: this)? to (?:your )?memory|put (?:this|that) in your memory)"
)
_LEAD_IN = (
    r"(?:for (?:later|the record|your (?:memory|information)|future reference)|just so you (?:know|remember)"
    r"|it is important that you remember|(?:I have|I've got|got|there is) something (?:for you )?to remember"
    r"|let me tell you (?:something|a fact)|you should (?:know|remember))"
)
_THIS = r"(?:(?:this|that|the following|the fact that|of this|about this)\b)"
_THAT = rf"(?:\s+{_THIS})?(?:\s+fact)?(?:\s+for me)?(?:\s*[:,]\s*|\s+)(?:that\s+)?"
# "Remember where I parked?" asks; it says nothing to be kept.
_NO_QUESTION = r"(?!(?:where|when|what|who|whom|whose|which|how|why|if|whether|about|me)\b)"
_TOLD_BEFORE = re.compile(
    rf"^\W*{_POLITE}(?:{_REQUEST}{_KEEP}|{_LEAD_IN}){_THAT}{_NO_QUESTION}(?P<fact>\S.*)$", re.IGNORECASE | re.DOTALL
)
_TOLD_AFTER = re.compile(
    r"^(?P<fact>.+?)[.,;:!]\s*(?:please\s+)?(?:remember|don't forget|do not forget|keep|note|memori[sz]e)"
    r"(?:\s+(?:this|that|it))?(?:\s+(?:for me|in mind|for later|please))*\s*[.!]*$",
    re.IGNORECASE | re.DOTALL,
)
_ASKS_FOR_MEMORY = re.compile(r"^\W*do you (?:still )?(?:remember|know|recall)\b", re.IGNORECASE)

_ASKING_WORDS = frozenset(
    words("""
        a about again all am an and any anything are at be been before by can could did do does earlier
        everything exactly find for forget forgot forgotten from had has have how i if in is it know last left
        let lie lies like look looking lost may me mention mentioned mind my near need now of on or our please
        put recall remember retrieve said say search see seen should so something still store stored tell that
        the their them there these thing things this those time to today told us want was we went were what
        what's when where where's whereabouts which who who's whom whose why will with would yesterday you your
    """)
)
_PLACE_WORDS = frozenset(
    words("""
        in on under at behind beside inside above below near next between over by to with against opposite top
        left right front back here there upstairs downstairs outside
    """)
)
_TIME_WORDS = frozenset(
    words("""
        monday tuesday wednesday thursday friday saturday sunday january february march april may june july
        august september october november december today tomorrow yesterday noon midnight morning afternoon
        evening night o'clock am pm week month year daily weekly every
    """)
)
WRONG_SORT = 0.6
"""What the evidence is multiplied by when "where" is answered without a place, or "when" without a time."""


def told(text: str) -> str | None:
    """The statement that a prompt asks to remember, or None when it asks for one."""
    if _ASKS_FOR_MEMORY.match(text):
        return None
    before = _TOLD_BEFORE.match(text)
    fact = before["fact"] if before else text
    after = _TOLD_AFTER.match(fact)
    fact = " ".join((after["fact"] if after else fact).split())
    if not (before or after) or len(words(fact)) < 2:
        return None
    # "Could you remember that ...?": the question mark belongs to the request.
    if fact.endswith("?"):
        fact = fact.rstrip("? ") + "."
    return fact[0].upper() + fact[1:] if fact.split()[0].islower() else fact


def telling_words(text: str) -> list[str]:
    """The words of a question that say what it is about."""
    return [word for word in dict.fromkeys(words(text)) if word not in _ASKING_WORDS]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A found statement and what speaks for it: `strength` in [0, 1], and the words of the question it holds."""

    hit: Hit
    strength: float
    matched: frozenset[str]

    @property
    def text(self) -> str:
        return self.hit.episode.text


class Hippocampus(Region):
    """Remembers what it is told and recalls it in the same words, also after a restart."""

    default_checkpoint = "hippocampus.safetensors"
    modality = "text"

    class Parameters(NodeParameters):
        candidates: int = Field(5, ge=1, le=50, description="statements offered as an answer, at most")
        min_evidence: float = Field(
            0.3, ge=0.0, le=1.0, description="share of the question, weighed by rarity, that a statement must hold"
        )
        keep_exchanges: bool = Field(True, description="keep every answered prompt as an episode")

    params: Parameters
    _asked = 0.0

    def load(self) -> None:
        assert self.checkpoint is not None
        self.embedder = SpikingTextEmbedder.load(self.checkpoint)
        path, model = self.data_dir / "memory.sqlite", self.embedder.fingerprint
        self.memories = {
            "episodic": EpisodicStore(path, vector_model=model),
            "semantic": EpisodicStore(path, table="facts", vector_model=model),
        }
        self.episodes = self.memories["episodic"]
        for memory in self.memories.values():
            while stale := memory.without_vector(REEMBED_BATCH):
                vectors = self.embedder.counts([episode.text for episode in stale])
                memory.set_vectors({e.episode_id: v for e, v in zip(stale, vectors, strict=True)})
        stats = self.episodes.stats()
        self.log.info("memory open", path=str(path), episodes=stats.episodes, bytes=stats.file_bytes)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(QUIET_S)
            if time.monotonic() - self._asked >= QUIET_S:
                await self.in_model_thread(self._consolidate)

    def _consolidate(self) -> None:
        for system, memory in self.memories.items():
            if memory.consolidate():
                self.count("consolidations")
                self.log.info("consolidated", memory=system, episodes=memory.count())

    async def teardown(self) -> None:
        await self.in_model_thread(self._close)

    def _close(self) -> None:
        for memory in getattr(self, "memories", {}).values():
            memory.close()

    def answer(self, query: Query) -> Partial:
        self._asked = time.monotonic()
        text = query.prompt.text.strip()
        if not text:
            raise RegionError('memory needs words: say "Remember that ..." or ask about something')
        fact = told(text)
        partial = self._remember(fact, query) if fact else self._recall(text)
        partial.spikes = self.embedder.spikes(text)
        return partial

    def _remember(self, fact: str, query: Query) -> Partial:
        prompt = query.prompt
        episode = self.episodes.store(
            fact,
            STATEMENT,
            {"prompt_id": prompt.prompt_id, "session_id": prompt.session_id},
            vector=self._vector(fact),
            # A prompt that is asked again, after a crash too, is stored once.
            key=f"{STATEMENT}:{prompt.prompt_id}",
        )
        content = {"stored": True, **_citation(episode)}
        answer = Candidate(text=f"I will remember: {episode.text}", probability=1.0, content=content)
        return Partial(candidates=[answer], confidence=1.0, content=content)

    def _recall(self, question: str) -> Partial:
        terms = telling_words(question)
        if not terms:
            return self._latest()
        hits = self.episodes.search(question, self._vector(question), 4 * self.params.candidates, [STATEMENT])
        weighed = self._weighed(question, terms, hits)
        enough = [found for found in weighed if found.matched and found.strength >= self.params.min_evidence]
        if not enough:
            raise RegionError(f'nothing in memory about {" ".join(terms)!r}; tell me with "Remember that ..."')
        return _partial(newest_of_same_subject(enough)[: self.params.candidates])

    def _latest(self) -> Partial:
        """For questions about nothing in particular ("what did I tell you?"): the newest statements."""
        latest = self.episodes.recent(self.params.candidates, [STATEMENT])
        if not latest:
            raise RegionError('nothing in memory yet; tell me with "Remember that ..."')
        half = self.params.min_evidence + (1 - self.params.min_evidence) / 2
        return _partial([Evidence(Hit(episode, 0.0, None, None, None), half, frozenset()) for episode in latest])

    def _weighed(self, question: str, terms: list[str], hits: list[Hit]) -> list[Evidence]:
        """What speaks for each hit: the share of the question's telling words it holds, rare words counting more."""
        total = self.episodes.count([STATEMENT])
        held = self.episodes.document_frequencies(terms, [STATEMENT])
        rarity = {term: math.log((total + 1) / (held[term] + 0.5)) for term in terms}
        asked = words(question)
        evidence = []
        for hit in hits:
            matched = self.episodes.terms_in(hit.episode.episode_id, terms)
            strength = sum(rarity[term] for term in matched) / sum(rarity.values())
            if not _answers_the_sort(asked, hit.episode.text):
                strength *= WRONG_SORT
            evidence.append(Evidence(hit, strength, frozenset(matched)))
        return sorted(evidence, key=lambda found: (-round(found.strength, 3), -found.hit.score))

    def _vector(self, text: str) -> NDArray[np.int8]:
        counts: NDArray[np.int8] = self.embedder.counts([text])[0]
        return counts

    @subscribe("result")
    def on_result(self, answer: Answer) -> None:
        if not self.params.keep_exchanges or answer.error is not None or not answer.prompt.strip():
            return
        text = f"{answer.prompt}\n{answer.text}"
        details = {
            "prompt_id": answer.prompt_id,
            "session_id": answer.session_id,
            "contributing": answer.contributing,
            "confidence": answer.confidence,
        }
        key = f"{EXCHANGE}:{answer.prompt_id}"
        self.episodes.store(text, EXCHANGE, details, answer.confidence / 2, self._vector(text), key)

    @serve("memory_store", system="episodic")
    def store_episode(self, request: MemoryStore) -> MemoryStored:
        return self._stored("episodic", request)

    @serve("memory_store", system="semantic")
    def store_fact(self, request: MemoryStore) -> MemoryStored:
        return self._stored("semantic", request)

    @serve("memory_query", system="episodic")
    def query_episodes(self, request: MemoryQuery) -> MemoryReply:
        return self._found("episodic", request)

    @serve("memory_query", system="semantic")
    def query_facts(self, request: MemoryQuery) -> MemoryReply:
        return self._found("semantic", request)

    def _stored(self, system: str, request: MemoryStore) -> MemoryStored:
        episode = self.memories[system].store(request.text, request.kind, request.metadata, self._vector(request.text))
        return MemoryStored(episode_id=episode.episode_id, created_ns=episode.created_ns)

    def _found(self, system: str, request: MemoryQuery) -> MemoryReply:
        self._asked = time.monotonic()
        hits = self.memories[system].search(request.text, self._vector(request.text), request.k, request.kinds)
        return MemoryReply(hits=[_memory_hit(hit) for hit in hits])


def newest_of_same_subject(found: list[Evidence]) -> list[Evidence]:
    """Puts the newest first among those, as strong as the first, that speak of the same subject; `found` is not empty.

    "The key is in the car" after "The key is in the drawer": they part only at the place,
    so the later one holds.
    """
    first = found[0]
    rivals = [other for other in found if abs(other.strength - first.strength) < 0.01 and _same_subject(first, other)]
    newest = max(rivals, key=lambda other: (other.hit.episode.created_ns, other.hit.episode.episode_id))
    return [newest, *(other for other in found if other is not newest)]


def _same_subject(one: Evidence, other: Evidence) -> bool:
    """Whether the words that the question matched all come before the two statements part."""
    if one.matched != other.matched:
        return False
    pairs = zip(words(one.text), words(other.text), strict=False)
    shared = {word for word, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)}
    return bool(one.matched) and one.matched <= shared


def _answers_the_sort(question: list[str], statement: str) -> bool:
    held = set(words(statement))
    if "where" in question or "whereabouts" in question:
        return bool(held & _PLACE_WORDS)
    if "when" in question:
        return bool(held & _TIME_WORDS) or any(word[0].isdigit() for word in held)
    return True


def _partial(found: list[Evidence]) -> Partial:
    """Candidates in order of evidence; each further place counts half. The content cites all of them."""
    weights = [evidence.strength / 2**place for place, evidence in enumerate(found)]
    candidates = [
        Candidate(text=evidence.text, probability=weight / sum(weights), content=_cited(evidence))
        for evidence, weight in zip(found, weights, strict=True)
    ]
    content = {**_cited(found[0]), "recalled": [{"text": e.text, **_cited(e)} for e in found]}
    return Partial(candidates=candidates, confidence=min(1.0, found[0].strength), content=content)


def _cited(evidence: Evidence) -> dict[str, object]:
    hit = evidence.hit
    stored = _citation(hit.episode)
    similarity = "" if hit.similarity is None else f", similarity {hit.similarity:.2f}"
    return {
        **stored,
        "score": hit.score,
        "evidence": round(evidence.strength, 4),
        "matched": sorted(evidence.matched),
        "bm25_rank": hit.bm25_rank,
        "vector_rank": hit.vector_rank,
        "similarity": hit.similarity,
        "source": f"told {stored['stored_at']} (episode {hit.episode.episode_id}, score {hit.score:.4f}{similarity})",
    }


def _citation(episode: Episode) -> dict[str, object]:
    stored = datetime.fromtimestamp(episode.created_ns / 1e9, UTC)
    return {
        "episode_id": episode.episode_id,
        "created_ns": episode.created_ns,
        "stored_at": stored.isoformat(timespec="seconds"),
    }


def _memory_hit(hit: Hit) -> MemoryHit:
    episode = hit.episode
    return MemoryHit(
        episode_id=episode.episode_id,
        text=episode.text,
        kind=episode.kind,
        score=hit.score,
        created_ns=episode.created_ns,
        metadata=episode.metadata,
    )


if __name__ == "__main__":
    main(Hippocampus)
