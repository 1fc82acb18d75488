"""Hippocampus: stores statements durably, and finds them again.

"Remember that ..." stores a statement. Any other prompt is a question to memory, answered with the text of the
statement that matches best. Every answered prompt of the brain is stored too, as an exchange; exchanges can be
queried over the bus, but are never candidates at recall.

What decides beside the model: regular expressions (`statement_to_remember`) decide whether a prompt is a statement to
store or a question, and which part of it is stored. Word lists decide which words of a question count
(`content_words`) and whether a statement names a place or a time when the question asks for one. The spiking embedder
only contributes to the ranking of the search.
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
from brainnet.bus import Bus
from brainnet.memory import Episode, EpisodicStore, Hit
from brainnet.node import NodeSpec
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.snn.models.text_features import words

STATEMENT = "statement"
"""Kind of the episodes that are recalled."""
EXCHANGE = "exchange"
"""Kind of the episodes that hold an answered prompt of the brain."""
REEMBED_BATCH = 4096
"""Episodes that are embedded together when the embedder has changed."""
QUIET_S = 30.0
"""Seconds without a question after which the word meanings are learned again from the stored texts."""
SAME_STRENGTH = 0.01
"""Difference below which two statements are equally strong evidence."""

# A request to remember is a polite phrase, a verb of storing or a lead-in ("for the record"), and a joining word
# ("that", a colon). What follows is the statement.
_POLITE = r"(?:(?:please|kindly|hey|ok|okay|now|also|and|so|well)\b[\s,]*)*"
_REQUEST = rf"(?:(?:can|could|would|will) you\b[\s,]*|I(?:'d| would)? (?:want|like|need) you to\b\s*)?{_POLITE}"
_STORE = (
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
# "Remember where I parked?" is a question, with nothing to store.
_NO_QUESTION = r"(?!(?:where|when|what|who|whom|whose|which|how|why|if|whether|about|me)\b)"
# The request in front: "Please remember that the key is in the drawer."
_REQUEST_FIRST = re.compile(
    rf"^\W*{_POLITE}(?:{_REQUEST}{_STORE}|{_LEAD_IN}){_THAT}{_NO_QUESTION}(?P<fact>\S.*)$", re.IGNORECASE | re.DOTALL
)
# The request at the end: "The key is in the drawer, remember that."
_REQUEST_LAST = re.compile(
    r"^(?P<fact>.+?)[.,;:!]\s*(?:please\s+)?(?:remember|don't forget|do not forget|keep|note|memori[sz]e)"
    r"(?:\s+(?:this|that|it))?(?:\s+(?:for me|in mind|for later|please))*\s*[.!]*$",
    re.IGNORECASE | re.DOTALL,
)
# "Do you remember ...?" contains a verb of storing, and is a question all the same.
_QUESTION = re.compile(r"^\W*do you (?:still )?(?:remember|know|recall)\b", re.IGNORECASE)

# Words of a question that do not say what it is about. More than the usual stop words: words of asking, of memory
# and of search ("find", "told", "lost") are in nearly every question to memory.
_QUESTION_STOP_WORDS = frozenset(
    words("""
        a about again all am an and any anything are at be been before by can could did do does earlier
        everything exactly find for forget forgot forgotten from had has have how i if in is it know last left
        let lie lies like look looking lost may me mention mentioned mind my near need now of on or our please
        put recall remember retrieve said say search see seen should so something still store stored tell that
        the their them there these thing things this those time to today told us want was we went were what
        what's when where where's whereabouts which who who's whom whose why will with would yesterday you your
    """)
)
# A statement with one of these words can answer "where".
_PLACE_WORDS = frozenset(
    words("""
        in on under at behind beside inside above below near next between over by to with against opposite top
        left right front back here there upstairs downstairs outside
    """)
)
# A statement with one of these words, or with a number, can answer "when".
_TIME_WORDS = frozenset(
    words("""
        monday tuesday wednesday thursday friday saturday sunday january february march april may june july
        august september october november december today tomorrow yesterday noon midnight morning afternoon
        evening night o'clock am pm week month year daily weekly every
    """)
)
ANSWER_TYPE_PENALTY = 0.6
"""Factor on the evidence when the question asks "where" and the statement names no place, or "when" and no time."""


def statement_to_remember(text: str) -> str | None:
    """Extract the statement that a prompt asks to remember.

    Returns:
        The statement; None when the prompt is a question.
    """
    if _QUESTION.match(text):
        return None
    first = _REQUEST_FIRST.match(text)
    fact = first["fact"] if first else text
    last = _REQUEST_LAST.match(fact)
    fact = " ".join((last["fact"] if last else fact).split())
    # One word says nothing: "Remember that".
    if not (first or last) or len(words(fact)) < 2:
        return None
    # "Could you remember that ...?": the question mark belongs to the request.
    if fact.endswith("?"):
        fact = fact.rstrip("? ") + "."
    # Only a word in lower case is capitalised: "iPhone" and "McKay" stay as they are.
    return fact[0].upper() + fact[1:] if fact.split()[0].islower() else fact


def content_words(text: str) -> list[str]:
    """Extract the words of a question that say what it is about, without repetitions."""
    return [word for word in dict.fromkeys(words(text)) if word not in _QUESTION_STOP_WORDS]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A statement that was found, and how well it matches the question.

    Attributes:
        hit: The search result.
        strength: Share of the question that the statement contains, in [0, 1].
        matched: The words of the question that it contains.
    """

    hit: Hit
    strength: float
    matched: frozenset[str]

    @property
    def text(self) -> str:
        """The statement."""
        return self.hit.episode.text


class Hippocampus(Region):
    """Stores statements, and recalls them in the same words, also after a restart."""

    default_checkpoint = "hippocampus.safetensors"
    modality = "text"

    class Parameters(NodeParameters):
        """What is recalled and stored."""

        candidates: int = Field(5, ge=1, le=50, description="largest number of statements in an answer")
        min_evidence: float = Field(
            0.3, ge=0.0, le=1.0, description="share of the question, weighted by rarity, that a statement must contain"
        )
        keep_exchanges: bool = Field(True, description="store every answered prompt as an episode")

    params: Parameters
    embedder: SpikingTextEmbedder
    episodes: EpisodicStore

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self.memories: dict[str, EpisodicStore] = {}
        self._last_query = 0.0

    def load(self) -> None:
        assert self.checkpoint is not None
        self.embedder = SpikingTextEmbedder.load(self.checkpoint)
        path, model = self.data_dir / "memory.sqlite", self.embedder.fingerprint
        self.memories = {
            "episodic": EpisodicStore(path, vector_model=model),
            "semantic": EpisodicStore(path, table="facts", vector_model=model),
        }
        self.episodes = self.memories["episodic"]
        # Vectors of another embedder cannot be compared with this one's; such texts are embedded again.
        for memory in self.memories.values():
            while stale := memory.without_vector(REEMBED_BATCH):
                vectors = self.embedder.counts([episode.text for episode in stale])
                memory.set_vectors({e.episode_id: v for e, v in zip(stale, vectors, strict=True)})
        stats = self.episodes.stats()
        self.log.info("memory open", path=str(path), episodes=stats.episodes, bytes=stats.file_bytes)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(QUIET_S)
            if time.monotonic() - self._last_query >= QUIET_S:
                await self.in_model_thread(self._consolidate)

    def _consolidate(self) -> None:
        for system, memory in self.memories.items():
            if memory.consolidate():
                self.count("consolidations")
                self.log.info("consolidated", memory=system, episodes=memory.count())

    async def teardown(self) -> None:
        # In the model thread, which may still be writing.
        await self.in_model_thread(self._close)

    def _close(self) -> None:
        for memory in self.memories.values():
            memory.close()

    def answer(self, query: Query) -> Partial:
        self._last_query = time.monotonic()
        text = query.prompt.text.strip()
        if not text:
            raise RegionError('memory needs words: say "Remember that ..." or ask about something')
        fact = statement_to_remember(text)
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
            # A prompt that comes again, for example after a crash, is stored only once.
            key=f"{STATEMENT}:{prompt.prompt_id}",
        )
        content = {"stored": True, **_citation(episode)}
        answer = Candidate(text=f"I will remember: {episode.text}", probability=1.0, content=content)
        return Partial(candidates=[answer], confidence=1.0, content=content)

    def _recall(self, question: str) -> Partial:
        terms = content_words(question)
        if not terms:
            return self._latest()
        # More hits than candidates, because they are ranked again by evidence.
        hits = self.episodes.search(question, self._vector(question), 4 * self.params.candidates, [STATEMENT])
        evidence = self._evidence(question, terms, hits)
        enough = [item for item in evidence if item.matched and item.strength >= self.params.min_evidence]
        if not enough:
            raise RegionError(f'nothing in memory about {" ".join(terms)!r}; tell me with "Remember that ..."')
        return _partial(newest_of_same_subject(enough)[: self.params.candidates])

    def _latest(self) -> Partial:
        """Answer a question without content words ("what did I tell you?") with the newest statements."""
        latest = self.episodes.recent(self.params.candidates, [STATEMENT])
        if not latest:
            raise RegionError('nothing in memory yet; tell me with "Remember that ..."')
        # Halfway between the weakest evidence that is answered and certainty.
        strength = self.params.min_evidence + (1 - self.params.min_evidence) / 2
        return _partial([Evidence(Hit(episode, 0.0, None, None, None), strength, frozenset()) for episode in latest])

    def _evidence(self, question: str, terms: list[str], hits: list[Hit]) -> list[Evidence]:
        """Compute the evidence of each hit, strongest first.

        The strength is the share of the question's content words `terms` that the statement contains, each weighted by
        its rarity in memory.
        """
        total = self.episodes.count([STATEMENT])
        held = self.episodes.document_frequencies(terms, [STATEMENT])
        rarity = {term: math.log((total + 1) / (held[term] + 0.5)) for term in terms}
        asked = words(question)
        evidence = []
        for hit in hits:
            matched = self.episodes.terms_in(hit.episode.episode_id, terms)
            strength = sum(rarity[term] for term in matched) / sum(rarity.values())
            if not _has_answer_type(asked, hit.episode.text):
                strength *= ANSWER_TYPE_PENALTY
            evidence.append(Evidence(hit, strength, frozenset(matched)))
        # Rounded, so that the order of the search decides between equal evidence.
        return sorted(evidence, key=lambda item: (-round(item.strength, 3), -item.hit.score))

    def _vector(self, text: str) -> NDArray[np.int8]:
        counts: NDArray[np.int8] = self.embedder.counts([text])[0]
        return counts

    @subscribe("result")
    def on_result(self, answer: Answer) -> None:
        """Store an answered prompt of the brain as an exchange."""
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
        self.episodes.store(text, EXCHANGE, details, self._vector(text), key)

    @serve("memory_store", system="episodic")
    def store_episode(self, request: MemoryStore) -> MemoryStored:
        """Store an episode for another node."""
        return self._store("episodic", request)

    @serve("memory_store", system="semantic")
    def store_fact(self, request: MemoryStore) -> MemoryStored:
        """Store a fact for another node."""
        return self._store("semantic", request)

    @serve("memory_query", system="episodic")
    def query_episodes(self, request: MemoryQuery) -> MemoryReply:
        """Search the episodes for another node."""
        return self._search("episodic", request)

    @serve("memory_query", system="semantic")
    def query_facts(self, request: MemoryQuery) -> MemoryReply:
        """Search the facts for another node."""
        return self._search("semantic", request)

    def _store(self, system: str, request: MemoryStore) -> MemoryStored:
        episode = self.memories[system].store(request.text, request.kind, request.metadata, self._vector(request.text))
        return MemoryStored(episode_id=episode.episode_id, created_ns=episode.created_ns)

    def _search(self, system: str, request: MemoryQuery) -> MemoryReply:
        self._last_query = time.monotonic()
        hits = self.memories[system].search(request.text, self._vector(request.text), request.k, request.kinds)
        return MemoryReply(hits=[_memory_hit(hit) for hit in hits])


def newest_of_same_subject(evidence: list[Evidence]) -> list[Evidence]:
    """Put the newest of the equally strong statements about the same subject first.

    "The key is in the car" after "The key is in the drawer": the two differ only in the place, so the newer one holds.

    Args:
        evidence: Statements, strongest first; at least one.
    """
    first = evidence[0]
    equal = [
        other
        for other in evidence
        if abs(other.strength - first.strength) < SAME_STRENGTH and _same_subject(first, other)
    ]
    newest = max(equal, key=lambda other: (other.hit.episode.created_ns, other.hit.episode.episode_id))
    return [newest, *(other for other in evidence if other is not newest)]


def _same_subject(one: Evidence, other: Evidence) -> bool:
    """Return whether all matched words lie in the common beginning of the two statements."""
    if one.matched != other.matched:
        return False
    pairs = zip(words(one.text), words(other.text), strict=False)
    shared = {word for word, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)}
    return bool(one.matched) and one.matched <= shared


def _has_answer_type(question: list[str], statement: str) -> bool:
    """Return whether a statement names a place or a time, when the words of the question ask for one."""
    contained = set(words(statement))
    if "where" in question or "whereabouts" in question:
        return bool(contained & _PLACE_WORDS)
    if "when" in question:
        return bool(contained & _TIME_WORDS) or any(word[0].isdigit() for word in contained)
    return True


def _partial(evidence: list[Evidence]) -> Partial:
    """Make an answer with a candidate for each statement, and a citation of all of them in the content."""
    # The rank counts too: each further place halves the weight.
    weights = [item.strength / 2**place for place, item in enumerate(evidence)]
    candidates = [
        Candidate(text=item.text, probability=weight / sum(weights), content=_evidence_content(item))
        for item, weight in zip(evidence, weights, strict=True)
    ]
    recalled = [{"text": item.text, **_evidence_content(item)} for item in evidence]
    content = {**_evidence_content(evidence[0]), "recalled": recalled}
    return Partial(candidates=candidates, confidence=min(1.0, evidence[0].strength), content=content)


def _evidence_content(evidence: Evidence) -> dict[str, object]:
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
        "source": f"stored {stored['stored_at']} (episode {hit.episode.episode_id}, score {hit.score:.4f}{similarity})",
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
