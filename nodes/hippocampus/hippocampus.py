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
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

import hippocampus_replies as replies
from brainnet import (
    Bid,
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
    NewEpisode,
    replace_damaged,
)
from brainnet.node import NodeSpec
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.texts import shorten
from hippocampus_answers import Planner, turn_of
from hippocampus_cross_encoder import CrossEncoder
from hippocampus_evidence import answer_of
from hippocampus_judge import Judge
from hippocampus_plans import Plan
from hippocampus_prompts import understand
from hippocampus_recall import PASSAGE, Recall
from hippocampus_services import SYSTEMS, MemoryServices
from hippocampus_turns import Turns

REEMBED_BATCH = 4096
"""Episodes that are embedded together when the embedder has changed."""
QUIET_S = 30.0
"""Seconds without a question after which the word meanings are learned again from the stored texts."""
NAMED_ROWS = 20
"""Number of damaged rows that a message names."""
MAX_PLANS = 256
"""Prompts whose bid is kept until they are asked."""
JUDGE = "hippocampus_judge.safetensors"
CROSS_ENCODER = "hippocampus_cross_encoder.safetensors"
"""The weights of the judge and of the cross-encoder, beside those of the embedder."""
PERHAPS = 0.1
"""Bid on a question of which nothing was found by words: reading it together with what is known may find something."""
READY = frozenset(("store", "confirm", "forget_everything", "list", "cannot"))
"""Plans that reading does not change."""


class Hippocampus(MemoryServices):
    """Stores statements, and recalls them in the same words, also after a restart."""

    default_checkpoint = "hippocampus.safetensors"
    modality = "text"

    class Parameters(MemoryServices.Parameters):
        """What is recalled and stored."""

        candidates: int = Field(5, ge=1, le=50, description="largest number of statements in an answer")
        min_evidence: float = Field(
            0.0,
            ge=0.0,
            le=1.0,
            description="least probability that a statement answers the question; 0: as the judge was calibrated",
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
    _planner: Planner
    _bidder: Planner
    """Decides quickly, without reading: a bid must not take long."""

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._embedded: dict[str, tuple[NDArray[np.int8], NDArray[np.uint8]]] = {}
        """Counts and spikes of the texts that are being answered; used in the model thread."""
        self._stored: dict[str, Episode] = {}
        """By prompt, statements of the queries that are being answered; used in the model thread."""
        self._plans: OrderedDict[str, tuple[object, Plan]] = OrderedDict()
        """By prompt, what was decided when it was bid on or asked; used in the model thread."""
        self._turns = Turns()
        self._defects: list[str] = []

    def load(self) -> None:
        assert self.checkpoint is not None
        self.embedder = SpikingTextEmbedder.load(self.checkpoint)
        judge = Judge.load(self._beside(JUDGE), self.embedder)
        self._bidder = Planner(Recall(judge, self._vector), self._turns)
        reader = CrossEncoder.load(self._beside(CROSS_ENCODER))
        self._planner = Planner(Recall(judge, self._vector, reader), self._turns)
        self._open()
        self._warm_up()

    def _beside(self, name: str) -> Path:
        """Return a file of weights: that beside the embedder's, or else the one that came with this program."""
        assert self.checkpoint is not None
        beside = self.checkpoint.with_name(name)
        return beside if beside.is_file() else Path(__file__).with_name(name)

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
        asked = [(query.prompt, understand(query.prompt.text.strip())) for query in queries if query.prompt.remember]
        facts = [(prompt, one.fact) for prompt, one in asked if one.kind == "statement" and one.explicit and one.fact]
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

    def bid(self, prompt: Prompt) -> Bid | None:
        """Say how sure memory is of its answer; it writes nothing."""
        if not prompt.text.strip() or not self.memories:
            return Bid(0.0, "no words")
        try:
            with self._store_repaired():
                plan = self._plan(prompt, self._bidder)
        except StoreError as error:
            return Bid(0.0, str(error))
        asks = (
            plan.kind in ("answer", "unknown") and plan.asked.kind in ("question", "yes_no") and plan.sought is not None
        )
        if asks and plan.probability < PERHAPS and self.episodes.count([STATEMENT, PASSAGE]):
            return Bid(PERHAPS, f"a question; {plan.why}")
        return Bid(plan.probability, plan.why)

    def answer(self, query: Query) -> Partial:
        self._last_query = time.monotonic()
        text = query.prompt.text.strip()
        if not text:
            raise RegionError('memory needs words: say "Remember that ..." or ask about something')
        try:
            with self._store_repaired():
                partial = self._do(self._plan(query.prompt, self._planner), query.prompt)
        except StoreError as error:
            raise RegionError(str(error), code=error.code) from error
        embedded = self._embedded.get(text)
        partial.spikes = self.embedder.spikes(text) if embedded is None else embedded[1]
        return partial

    def _plan(self, prompt: Prompt, planner: Planner) -> Plan:
        """Decide what is to be done with a prompt; what needs no reading only once, for its bid and its answer."""
        state = self.episodes.changes, self._turns.changes, self.params.min_evidence
        kept = self._plans.get(prompt.prompt_id)
        if kept is not None and kept[0] == state and (planner is self._bidder or kept[1].kind in READY):
            return kept[1]
        plan = planner.plan(
            self.episodes,
            prompt.text.strip(),
            prompt.session_id,
            attached=prompt.image is not None or prompt.audio is not None or bool(prompt.arrays),
            least=self.params.min_evidence,
        )
        self._plans[prompt.prompt_id] = state, plan
        while len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)
        return plan

    def _do(self, plan: Plan, prompt: Prompt) -> Partial:
        """Carry out a plan.

        Raises:
            RegionError: It is not known (code `unknown`), or cannot be done.
        """
        if plan.kind in ("store", "correct") and not prompt.remember:
            raise RegionError("this prompt asks that nothing of it is kept, so memory does not store what it says")
        if plan.kind == "store":
            partial = self._remember(plan.fact, prompt)
        elif plan.kind == "correct":
            partial = self._correct(plan, prompt)
        elif plan.kind == "forget":
            partial = self._forget_statements(plan)
        elif plan.kind == "confirm":
            partial = replies.asks_to_confirm(plan.total)
        elif plan.kind == "forget_everything":
            partial = self._forget_everything()
        elif plan.kind == "list":
            partial = replies.listed(plan.episodes, plan.total, plan.about, plan.evidence, plan.probability)
        elif plan.kind == "answer" and plan.note:
            partial = replies.told_when(plan.evidence[0].episode, has_time=plan.note == "time")
        elif plan.kind == "answer":
            partial = answer_of(plan.evidence, self.params.candidates, plan.together)
        else:
            raise _unknown(plan)
        if prompt.remember:
            self._turns.add(prompt.session_id, turn_of(prompt.text, plan, partial))
        return partial

    def _remember(self, fact: str, prompt: Prompt) -> Partial:
        episode = self._stored.get(prompt.prompt_id)
        if episode is None:
            self._make_room()
            (episode,) = self.episodes.store_many([_statement(prompt, fact, self._vector(fact))])
        return replies.remembered(episode, clock_stepped=self._notice_clock())

    def _correct(self, plan: Plan, prompt: Prompt) -> Partial:
        # The new one first: whatever happens between the two, something is known.
        self._make_room()
        (new,) = self.episodes.store_many([_statement(prompt, plan.fact, self._vector(plan.fact))])
        old = [episode for episode in plan.episodes if episode.episode_id != new.episode_id]
        self._forget_for_good([episode for episode in old if episode.text != new.text])
        return replies.corrected(old, new)

    def _forget_statements(self, plan: Plan) -> Partial:
        self._forget_for_good(plan.episodes)
        if plan.asked.kind == "correct":
            return replies.taken_back(plan.episodes[0])
        return replies.forgotten(plan.episodes, plan.about)

    def _forget_everything(self) -> Partial:
        statements = self.episodes.recent(self.episodes.count([STATEMENT]) or 1, [STATEMENT])
        self._forget_for_good(statements)
        self._turns.clear()
        return replies.forgotten(statements, "")

    def _forget_for_good(self, episodes: list[Episode]) -> None:
        ids = [episode.episode_id for episode in episodes]
        if ids:
            self.episodes.forget(ids)
            self._turns.forget(set(ids))
            self._plans.clear()

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
                # Until all code is loaded: a statement, a question, a question for yes or no.
                for prompt in (
                    "The spanner is on the shelf.",
                    "Where are the spanners?",
                    "Is the spanner on the shelf?",
                ):
                    for planner in (self._bidder, self._planner):
                        self._plan(Prompt(text=prompt), planner)
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


def _unknown(plan: Plan) -> RegionError:
    if plan.kind == "cannot":
        return RegionError("memory cannot see what came with the prompt; ask about something that it was told")
    about = plan.about or " ".join(plan.asked.subject)
    if plan.asked.kind == "forget":
        what = "that" if about in ("", "that") else repr(shorten(about, 200))
        return RegionError(f"there is nothing in memory about {what} to forget", code="unknown")
    if not about:
        return RegionError('nothing in memory yet; tell me with "Remember that ..."', code="unknown")
    return RegionError(
        f'nothing in memory about {shorten(about, 200)!r}; tell me with "Remember that ..."', code="unknown"
    )


if __name__ == "__main__":
    main(Hippocampus)
