"""Hippocampus: stores statements durably, and finds them again.

"Remember that ..." stores a statement. Any other prompt is a question to memory, answered with the text of the
statement that matches best. Every answered prompt of the brain is stored too, as an exchange; exchanges can be
queried over the bus, but are never candidates at recall. Statements are kept for ever; of the exchanges only the
newest, as the parameters say.

Whether a statement holds a word of the question is decided in one way everywhere, by `brainnet.memory.terms`: "the
microscope's" is in "two microscopes". What was said last is decided by the order of storing, never by the clock.

What decides beside the model: regular expressions (`statement_to_remember`) decide whether a prompt is a statement to
store or a question, and which part of it is stored. Word lists decide which words of a question count
(`content_words`) and whether a statement names a place or a time when the question asks for one. The spiking embedder
only contributes to the ranking of the search.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Literal

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
from brainnet.errors import MessageError, StoreError
from brainnet.memory import (
    DamagedStoreError,
    Episode,
    EpisodicStore,
    Hit,
    NewEpisode,
    plain_words,
    replace_damaged,
    terms,
)
from brainnet.node import NodeSpec
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.wire.messages import encode

STATEMENT = "statement"
"""Kind of the episodes that are recalled."""
EXCHANGE = "exchange"
"""Kind of the episodes that hold an answered prompt of the brain."""
_SYSTEMS: dict[str, Literal["episodes", "facts"]] = {"episodic": "episodes", "semantic": "facts"}
REEMBED_BATCH = 4096
"""Episodes that are embedded together when the embedder has changed."""
QUIET_S = 30.0
"""Seconds without a question after which the word meanings are learned again from the stored texts."""
SAME_STRENGTH = 0.01
"""Difference below which two statements are equally strong evidence."""
NAMED_ROWS = 20
"""Number of damaged rows that a message names."""
MB = 1_000_000

# A request to remember is a polite phrase, a verb of storing or a lead-in ("for the record"), and a joining word
# ("that", a colon). What follows is the statement.
# It is matched after its white space is collapsed. Every repetition is bounded or can be read in one way only, so that
# the time is linear in the length of the text.
_POLITE = r"(?:(?:please|kindly|hey|ok|okay|now|also|and|so|well)\b[ ,]{0,8}){0,6}"
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
    plain_words("""
        a about again all am an and any anything are at be been before by can could did do does earlier
        everything exactly find for forget forgot forgotten from had has have how i if in is it know last left
        let lie lies like look looking lost may me mention mentioned mind my near need now of on or our please
        put recall remember retrieve said say search see seen should so something still store stored tell that
        the their them there these thing things this those time to today told us want was we went were what
        what's when where where's whereabouts which who who's whom whose why will with would yesterday you your
    """)
)
_STOP_BASES = _QUESTION_STOP_WORDS | {"here", "he", "she", "that"}
# A statement with one of these words can answer "where".
_PLACE_WORDS = frozenset(
    plain_words("""
        in on under at behind beside inside above below near next between over by to with against opposite top
        left right front back here there upstairs downstairs outside
    """)
)
# A statement with one of these words, or with a number, can answer "when".
_TIME_WORDS = frozenset(
    plain_words("""
        monday tuesday wednesday thursday friday saturday sunday january february march april may june july
        august september october november december today tomorrow yesterday noon midnight morning afternoon
        evening night o'clock am pm week month year daily weekly every
    """)
)
ANSWER_TYPE_PENALTY = 0.6
"""Factor on the evidence when the question asks "where" and the statement names no place, or "when" and no time."""


# Words of a question that are about a picture which came with it: "Which digit is this?"
_PICTURE_WORDS = frozenset(
    terms("""
        animal article cloth clothing clothes classify colour color describe depict depicted digit display drawing drawn
        garment guess handwritten identify image item kind label letter name number numeral object photo photograph
        picture piece read recognise recognize represent shape show shown sketch sort type vehicle view visible wear
    """)
)


def statement_to_remember(text: str) -> str | None:
    """Extract the statement that a prompt asks to remember.

    Returns:
        The statement, with its white space collapsed; None when the prompt is a question.
    """
    text = " ".join(text.split())
    if _QUESTION.match(text):
        return None
    first = _REQUEST_FIRST.match(text)
    fact = first["fact"] if first else text
    last = _REQUEST_LAST.match(fact)
    fact = (last["fact"] if last else fact).strip()
    # One word says nothing: "Remember that".
    if not (first or last) or len(plain_words(fact)) < 2:
        return None
    # "Could you remember that ...?": the question mark belongs to the request.
    if fact.endswith("?"):
        fact = fact.rstrip("? ") + "."
    # Only a word in lower case is capitalised: "iPhone" and "McKay" stay as they are.
    return fact[0].upper() + fact[1:] if fact.split()[0].islower() else fact


def asked_words(text: str) -> list[str]:
    """Return the words of a question in order, as memory compares them; "where's" is "where"."""
    return [word.removesuffix("'s") if word.removesuffix("'s") in _STOP_BASES else word for word in plain_words(text)]


def content_words(text: str) -> list[str]:
    """Extract the words of a question that say what it is about, without repetitions."""
    return [word for word in dict.fromkeys(asked_words(text)) if word not in _QUESTION_STOP_WORDS]


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


GATHER_S = 0.05
"""Seconds for which exchanges are gathered before they are stored: nobody waits for them, and the prompts that are
being answered need the processor more."""


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
        max_exchanges: int = Field(10_000, ge=0, description="number of answered prompts kept; the oldest are dropped")
        max_exchange_mb: float = Field(
            64.0, ge=0.0, description="size of the texts of the answered prompts kept, MB; the oldest are dropped"
        )
        max_memory_mb: float = Field(
            2048.0, gt=0.0, description="size of the memory, MB; when it is full, nothing new is remembered"
        )

    params: Parameters
    embedder: SpikingTextEmbedder
    episodes: EpisodicStore

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self.memories: dict[str, EpisodicStore] = {}
        self._last_query = 0.0
        self._loop = asyncio.get_running_loop()
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
            for system, table in _SYSTEMS.items():
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
        stats = self.episodes.stats()
        self.log.info("memory open", path=str(self._path), episodes=stats.episodes, bytes=stats.file_bytes)

    def _replace(self, error: DamagedStoreError) -> None:
        """Move the damaged file aside, and open one with every row that can still be read."""
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
        """Leave an error of the store to the caller; a damaged store is replaced for those who come later."""
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
        try:
            with self._store_repaired():
                fact = statement_to_remember(text)
                partial = self._remember(fact, query) if fact else self._recall(text, attached=_has_attachment(query))
        except StoreError as error:
            raise RegionError(str(error), code=error.code) from error
        partial.spikes = self.embedder.spikes(text)
        return partial

    def _remember(self, fact: str, query: Query) -> Partial:
        prompt = query.prompt
        self._make_room()
        episode = self.episodes.store(
            fact,
            STATEMENT,
            {"prompt_id": prompt.prompt_id, "session_id": prompt.session_id},
            vector=self._vector(fact),
            # A prompt that comes again, for example after a crash, is stored only once.
            key=f"{STATEMENT}:{prompt.prompt_id}",
        )
        content = {"stored": True, **_citation(episode)}
        if self._notice_clock():
            content["clock_stepped"] = True
        answer = Candidate(text=f"I will remember: {episode.text}", probability=1.0, content=content)
        return Partial(candidates=[answer], confidence=1.0, content=content)

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
                    f"the memory {self._path} is full: it has the {self.params.max_memory_mb:g} MB of the parameter"
                    f" max_memory_mb of {self.id}; set it higher"
                )
            self.count("exchanges_dropped", exchanges - exchanges // 2)
            self.episodes.forget_oldest(EXCHANGE, keep=exchanges // 2, keep_bytes=sys.maxsize)

    def _limit_exchanges(self) -> None:
        keep, keep_bytes = self.params.max_exchanges, int(self.params.max_exchange_mb * MB)
        with self._store_repaired():
            self.count("exchanges_dropped", self.episodes.forget_oldest(EXCHANGE, keep=keep, keep_bytes=keep_bytes))

    def _notice_clock(self) -> bool:
        """Say in the log when the clock was set back since the last episode, whose time is then later."""
        if stepped := self.episodes.clock_stepped:
            self.count("clock_steps")
            self.log.warning("the clock was set back; episodes keep their order, but not that of their times")
        return stepped

    def params_changed(self, name: str) -> None:
        if name.startswith("max_exchange"):
            self.spawn(self.in_model_thread(self._limit_exchanges))

    def _recall(self, question: str, *, attached: bool = False) -> Partial:
        subject = content_words(question)
        # A question about a picture has its answer in the picture: what was said last, and what happens to hold the
        # word "digit", is no answer to "Which digit is this?".
        telling = {word for word in subject if not attached or not _PICTURE_WORDS.issuperset(terms(word))}
        if attached and not telling:
            raise RegionError("memory cannot see what came with the prompt; ask about something that it was told")
        if not subject:
            return self._latest()
        # More hits than candidates, because they are ranked again by evidence.
        hits = self.episodes.search(question, self._vector(question), 4 * self.params.candidates, [STATEMENT])
        evidence = self._evidence(question, subject, hits)
        enough = [e for e in evidence if e.matched & telling and e.strength >= self.params.min_evidence]
        if not enough:
            about = _shortened(" ".join(subject))
            raise RegionError(f'nothing in memory about {about!r}; tell me with "Remember that ..."')
        return _partial(newest_of_same_subject(enough)[: self.params.candidates])

    def _latest(self) -> Partial:
        """Answer a question without content words ("what did I tell you?") with the newest statements."""
        latest = self.episodes.recent(self.params.candidates, [STATEMENT])
        if not latest:
            raise RegionError('nothing in memory yet; tell me with "Remember that ..."')
        # Halfway between the weakest evidence that is answered and certainty.
        strength = self.params.min_evidence + (1 - self.params.min_evidence) / 2
        return _partial([Evidence(Hit(episode, 0.0, None, None, None), strength, frozenset()) for episode in latest])

    def _evidence(self, question: str, subject: list[str], hits: list[Hit]) -> list[Evidence]:
        """Compute the evidence of each hit, strongest first.

        The strength is the share of the question's content words `subject` that the statement contains, each weighted
        by its rarity in memory.
        """
        total = self.episodes.count([STATEMENT])
        held = self.episodes.document_frequencies(subject, [STATEMENT])
        rarity = {word: math.log((total + 1) / (held[word] + 0.5)) for word in subject}
        asked = asked_words(question)
        evidence = []
        for hit in hits:
            matched = self.episodes.terms_in(hit.episode.episode_id, subject)
            strength = sum(rarity[word] for word in matched) / sum(rarity.values())
            if not _has_answer_type(asked, hit.episode.text):
                strength *= ANSWER_TYPE_PENALTY
            evidence.append(Evidence(hit, strength, frozenset(matched)))
        # Rounded, so that the order of the search decides between equal evidence.
        return sorted(evidence, key=lambda item: (-round(item.strength, 3), -item.hit.score))

    def _vector(self, text: str) -> NDArray[np.int8]:
        counts: NDArray[np.int8] = self.embedder.counts([text])[0]
        return counts

    @subscribe("conclusion", batch=64, gather_s=GATHER_S)
    def on_conclusions(self, answers: list[Answer]) -> None:
        """Store what the brain has answered as exchanges, those that wait in one transaction."""
        if not self.params.keep_exchanges:
            return
        exchanges = [self._exchange(a) for a in answers if a.error is None and a.prompt.strip()]
        if not exchanges:
            return
        with self._store_repaired():
            self._make_room()
            self.episodes.store_many(exchanges)
        self._notice_clock()
        self._limit_exchanges()

    def _exchange(self, answer: Answer) -> NewEpisode:
        text = f"{answer.prompt}\n{answer.text}"
        details = {
            "prompt_id": answer.prompt_id,
            "session_id": answer.session_id,
            "contributing": answer.contributing,
            "confidence": answer.confidence,
        }
        return NewEpisode(text, EXCHANGE, details, self._vector(text), f"{EXCHANGE}:{answer.prompt_id}")

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
        vector = self._vector(request.text)
        try:
            # What cannot be sent again would make every search fail that finds it.
            encode(MemoryHit(episode_id=0, text="", kind="", score=0.0, created_ns=0, metadata=request.metadata))
            with self._store_repaired():
                self._make_room()
                episode = self.memories[system].store(request.text, request.kind, request.metadata, vector)
        except (ValueError, RecursionError) as error:
            raise MessageError(f"MemoryStore: {error}") from error
        return MemoryStored(episode_id=episode.episode_id, created_ns=episode.created_ns)

    def _search(self, system: str, request: MemoryQuery) -> MemoryReply:
        self._last_query = time.monotonic()
        with self._store_repaired():
            hits = self.memories[system].search(request.text, self._vector(request.text), request.k, request.kinds)
        return MemoryReply(hits=[_memory_hit(hit) for hit in hits])

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


def _has_attachment(query: Query) -> bool:
    prompt = query.prompt
    return prompt.image is not None or prompt.audio is not None or bool(prompt.arrays)


def _shortened(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[:limit] + "..."


def newest_of_same_subject(evidence: list[Evidence]) -> list[Evidence]:
    """Put the newest of the equally strong statements about the same subject first.

    "The key is in the car" after "The key is in the drawer": the two differ only in the place, so the newer one holds.

    Args:
        evidence: Statements, strongest first; at least one.
    """
    first, *others = evidence
    equal = [
        other
        for other in others
        if abs(other.strength - first.strength) < SAME_STRENGTH and _same_subject(first, other)
    ]
    # By the order of storing: the clock may have been set back between the two.
    newest = max([first, *equal], key=lambda other: other.hit.episode.episode_id)
    return [newest, *(other for other in evidence if other is not newest)]


def _same_subject(one: Evidence, other: Evidence) -> bool:
    """Return whether all matched words lie in the common beginning of the two statements."""
    if one.matched != other.matched:
        return False
    pairs = zip(terms(one.text), terms(other.text), strict=False)
    shared = {term for term, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)}
    return bool(one.matched) and shared.issuperset(term for word in one.matched for term in terms(word))


def _has_answer_type(question: list[str], statement: str) -> bool:
    """Return whether a statement names a place or a time, when the words of the question ask for one."""
    contained = set(plain_words(statement))
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
