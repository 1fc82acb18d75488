# mypy: allow-untyped-calls, no-warn-return-any
"""Measures retrieval on judged collections, and speed and durability of a store with many episodes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainnet.memory import EpisodicStore, NewEpisode, TextIndex
from brainnet.memory.index import FEEDBACK_EPISODES, FEEDBACK_EXPONENT, NEXT_WEIGHT, PREVIOUS_WEIGHT
from brainnet.memory.term_embeddings import COVARIANCE_SAMPLE, FEEDBACK_WEIGHT, decorrelation_matrix
from brainnet.rows import Row, compare, percentile
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.training import ndcg, recall
from hippocampus_teacher import Teacher
from hippocampus_texts import Judged, Texts, cranfield, locomo, sentences, xquad

AT = 10
"""Number of results that are judged."""
BATCH = 1000
"""Episodes stored in one transaction."""
KILLS = 5
"""Writers that are killed with SIGKILL."""
Vectors = NDArray[np.integer] | NDArray[np.floating]
Embed = Callable[[Sequence[str]], Vectors]
Rankings = list[list[int]]

MEASURED_ONCE = {"cranfield": (0.400, 0.439), "locomo": (0.516, 0.596)}
"""all-MiniLM-L6-v2 alone, and in fusion with BM25, measured once on the same collections.

They stand in for the model's own figures when it is not installed."""


def retrieval_rows(data: Path, embedder: SpikingTextEmbedder, teacher: Teacher | None) -> Iterator[Row]:
    """Measure every collection whose data exists: the fusion beside BM25 and beside the teacher model."""
    yield from _collection_rows("xquad", [xquad(data)], embedder, teacher, None)
    if (data / "cranfield").is_dir():
        yield from _collection_rows("cranfield", [cranfield(data)], embedder, teacher, 0.44)
    if (data / "locomo_dev.json").is_file():
        yield from _collection_rows("locomo", locomo(data), embedder, teacher, 0.62)


def _collection_rows(
    name: str, parts: list[Judged], embedder: SpikingTextEmbedder, teacher: Teacher | None, bar: float | None
) -> Iterator[Row]:
    """Measure one collection: nDCG at 10 where judgements are graded, else recall of the evidence at 10.

    "In context" means that texts that belong together, such as the turns of a conversation, are stored in one session;
    otherwise every text is stored by itself.
    """
    graded = name == "cranfield"
    metric, unit = ("ndcg_10", "nDCG") if graded else ("recall_10", "recall")

    def mean(search: Callable[[Judged], Rankings]) -> float:
        values: list[float] = []
        for judged in parts:
            for best, gains in zip(search(judged), judged.gains, strict=True):
                values.append(ndcg(best, gains, AT) if graded else recall(best, set(gains), AT))
        return round(float(np.mean(values)), 4)

    def score(embed: Embed | None, *, words: float = 0.5, context: bool = False) -> float:
        return mean(lambda judged: rankings(judged, embed, words=words, context=context))

    def vectors_alone(embed: Embed) -> float:
        return mean(lambda judged: exact_rankings(judged, embed))

    def row(suffix: str, value: float, rival: str, rival_value: float, bar: float | None = None) -> Row:
        label = f"{name}_{metric}{suffix}"
        if bar is None:
            return compare(label, value, unit, rival=rival, rival_value=rival_value)
        return compare(label, value, unit, rival=rival, rival_value=rival_value, limit=("value", ">=", bar))

    bm25, fused, alone = score(None), score(embedder.counts), vectors_alone(embedder.counts)
    together = fused if graded else score(embedder.counts, context=True)
    yield row("", together, "BM25", bm25, bar)
    if not graded:
        yield row("_without_context", fused, "BM25", bm25)
        yield row("_bm25_in_context", score(None, context=True), "BM25", bm25)
    yield row("_embedder", alone, "BM25", bm25)
    yield row("_embedder_and_meanings", score(embedder.counts, words=0), "embedder", alone)
    yield row("_spikes", alone, "its currents, without spikes", vectors_alone(embedder.currents))
    if teacher is not None:

        def teacher_vectors(texts: Sequence[str]) -> Vectors:
            vectors: NDArray[np.float32] = teacher.embed(texts).numpy()
            return vectors

        rival, minilm = "all-MiniLM-L6-v2", vectors_alone(teacher_vectors)
        minilm_fused = score(teacher_vectors, context=not graded)
        with_teacher = f"the same with {rival}"
    elif name in MEASURED_ONCE:
        rival, (minilm, minilm_fused) = "all-MiniLM-L6-v2 (measured once)", MEASURED_ONCE[name]
        with_teacher = f"BM25 and {rival}"
    else:
        return
    yield row("_embedder_to_teacher", alone, rival, minilm)
    yield row("_to_teacher", together, with_teacher, minilm_fused)


def rankings(judged: Judged, embed: Embed | None, *, words: float = 0.5, context: bool = False) -> Rankings:
    """Find the ten best texts for every query through the store itself.

    Args:
        judged: The collection.
        embed: Computes the vectors; None for BM25 alone.
        words: Share of BM25 in the fused score, the rest being that of the vectors.
        context: Whether texts that belong together are stored in one session.

    Returns:
        For each query the numbers of the best texts.
    """
    sessions = [str(number) for number, (first, end) in enumerate(judged.groups) for _ in range(first, end)]
    vectors = [None] * len(judged.texts) if embed is None else list(embed(judged.texts))
    asked = [None] * len(judged.queries) if embed is None else list(embed(judged.queries))
    with tempfile.TemporaryDirectory() as folder, EpisodicStore(Path(folder) / "memory.sqlite") as store:
        stored = store.store_many(
            [
                NewEpisode(said.strip() or "-", metadata={"session_id": session} if context else {}, vector=vector)
                for said, session, vector in zip(judged.texts, sessions, vectors, strict=True)
            ]
        )
        number = {episode.episode_id: i for i, episode in enumerate(stored)}
        return [
            [number[hit.episode.episode_id] for hit in store.search(query, vector, AT, text_weight=words)]
            for query, vector in zip(judged.queries, asked, strict=True)
        ]


def exact_rankings(judged: Judged, embed: Embed) -> Rankings:
    """Find the ten texts with the largest cosine similarity to each query, by exact search."""
    similarities = unit(embed(judged.queries)) @ unit(embed(judged.texts)).T
    # Of equal similarities the newest text comes first, as in the store.
    return [np.lexsort((-np.arange(len(row)), -row))[:AT].tolist() for row in similarities]


def unit(vectors: Vectors) -> NDArray[np.float32]:
    """Normalise rows to unit length; rows of zeros stay zero."""
    wide = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)


def store_rows(texts: Texts, embedder: SpikingTextEmbedder, episodes: int, questions: int) -> Iterator[Row]:
    """Measure a store on disk that holds sentences of books, with trivia questions as queries."""
    paragraphs = [sentences(paragraph) for paragraph in texts.book_paragraphs]
    said = [(part, str(number)) for number, parts in enumerate(paragraphs) for part in parts][:episodes]
    asked = [question for question, _ in texts.trivia[:: max(1, len(texts.trivia) // questions)]][:questions]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.sqlite"
        with EpisodicStore(path, vector_model=embedder.fingerprint) as store:
            begun, embedding = time.perf_counter(), 0.0
            for start in range(0, len(said), BATCH):
                some = said[start : start + BATCH]
                before = time.perf_counter()
                counts = embedder.counts([part for part, _ in some])
                embedding += time.perf_counter() - before
                store.store_many(
                    [
                        NewEpisode(part, metadata={"session_id": session}, vector=vector)
                        for (part, session), vector in zip(some, counts, strict=True)
                    ]
                )
            took = time.perf_counter() - begun
        yield compare("episodes", len(said), "episodes")
        yield compare("durable_stores", round(len(said) / took), "1/s", limit=("value", ">=", 5000))
        yield compare("durable_stores_vectors_given", round(len(said) / (took - embedding)), "1/s")
        begun = time.perf_counter()
        with EpisodicStore(path, vector_model=embedder.fingerprint) as store:
            yield compare("open", round(time.perf_counter() - begun, 2), "s")
            store.consolidate()  # the first call compiles the kernels
            store.store(said[0][0], vector=embedder.counts([said[0][0]])[0])
            begun = time.perf_counter()
            store.consolidate()
            yield compare("consolidate", round(time.perf_counter() - begun, 2), "s")
            store.search(asked[0], embedder.counts(asked[:1])[0], AT)
            times = [_timed(store, embedder, question) for question in asked]
            walls, busy = [wall for wall, _ in times], [cpu for _, cpu in times]
            yield compare("query_p50", round(1e3 * percentile(walls, 50), 2), "ms")
            yield compare("query_p95", round(1e3 * percentile(walls, 95), 2), "ms", limit=("value", "<=", 10))
            yield compare("query_p95_processor_time", round(1e3 * percentile(busy, 95), 2), "ms")
            vectors = embedder.counts(asked)
            found = [
                [hit.episode.episode_id for hit in store.search(question, vector, AT, text_weight=0)]
                for question, vector in zip(asked, vectors, strict=True)
            ]
        exact = _exact(embedder, [*said, (said[0][0], "")], asked)
        shares = [recall(ids, set(best), AT) for ids, best in zip(found, exact, strict=True)]
        yield compare(
            "recall_10_of_exact", round(float(np.mean(shares)), 4), "recall",
            rival="exact search", rival_value=1.0, limit=("value", ">=", 0.98),
        )  # fmt: skip
    acknowledged, lost = _lost_after_kills([part for part, _ in said[:20_000]])
    yield compare("acknowledged_before_kills", acknowledged, "episodes")
    yield compare("acknowledged_lost", lost, "episodes", limit=("value", "==", 0))


def _timed(store: EpisodicStore, embedder: SpikingTextEmbedder, question: str) -> tuple[float, float]:
    """Measure one search: seconds on the clock, which depend on other load, and seconds of processor time."""
    begun, busy = time.perf_counter(), time.process_time()
    store.search(question, embedder.counts([question])[0], AT)
    return time.perf_counter() - begun, time.process_time() - busy


def _exact(embedder: SpikingTextEmbedder, said: list[tuple[str, str]], asked: list[str]) -> Rankings:
    """Compute the ids of the ten best episodes as the store defines them, but by exact search in float32.

    That is: similarity of the embedder's vectors plus the learned word meanings, pseudo-relevance feedback, context.
    """
    texts = TextIndex()
    for part, _ in said:
        texts.add(part)
    vectors = embedder.embed([part for part, _ in said])
    starts, items, weights = texts.term_postings()
    there = np.abs(vectors).max(1) > 0
    mean = vectors.sum(0) / np.count_nonzero(there)
    away = np.where(there[:, None], vectors - mean, 0)
    meant = np.array([weights[a:b] @ away[items[a:b]] for a, b in pairwise(starts.tolist())], np.float32)
    meant = (
        unit(meant @ decorrelation_matrix(vectors[:: max(1, len(said) // COVARIANCE_SAMPLE)], mean))
        * texts.idf()[:, None]
    )
    starts, items, weights = texts.document_terms(0, len(said))
    sums = np.array([weights[a:b] @ meant[items[a:b]] for a, b in pairwise(starts.tolist())], np.float32)
    vectors = unit(np.where(there[:, None], vectors + unit(sums), 0))
    follows = np.array([False, *(a == b for (_, a), (_, b) in pairwise(said))])
    best = []
    for question, query in zip(asked, embedder.embed(asked), strict=True):
        words = meant[list(texts.query_terms(question))].sum(0)
        own = np.maximum(vectors @ unit((query + unit(words[None])[0])[None])[0], 0)
        first = np.argsort(-own)[:FEEDBACK_EPISODES]
        own += (
            FEEDBACK_WEIGHT * vectors @ unit(((own[first] / own.max()) ** FEEDBACK_EXPONENT @ vectors[first])[None])[0]
        )
        own = np.maximum(own / own.max(), 0) ** 3
        total = own.copy()
        total[1:] += NEXT_WEIGHT * own[:-1] * follows[1:]
        total[:-1] += PREVIOUS_WEIGHT * own[1:] * follows[1:]
        best.append([int(i) + 1 for i in np.lexsort((-np.arange(len(total)), -total))[:AT]])
    return best


WRITER = """
import sys
from brainnet.memory import EpisodicStore, NewEpisode

said = sys.stdin.read().split("\\n")
with EpisodicStore(sys.argv[1]) as store:
    first = store.count()
    for start in range(first, len(said), 20):
        stored = store.store_many([NewEpisode(text) for text in said[start : start + 20]])
        print(*(episode.episode_id for episode in stored), flush=True)
"""


def _lost_after_kills(said: list[str]) -> tuple[int, int]:
    """Kill writers with SIGKILL, and count the episodes that they acknowledged and those of them that are lost."""
    rng = np.random.default_rng(0)
    acknowledged: dict[int, str] = {}
    lost: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        path, source = Path(folder) / "memory.sqlite", Path(folder) / "said.txt"
        source.write_text("\n".join(said), "utf-8")
        for _ in range(KILLS):
            with source.open(encoding="utf-8") as given:
                command = [sys.executable, "-c", WRITER, str(path)]
                writer = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, text=True)
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(int(rng.integers(1, 60)))]
            writer.kill()
            # What it wrote before it died is acknowledged too; the last, unfinished line is not.
            lines += writer.stdout.read().split("\n")[:-1]
            writer.wait()
            writer.stdout.close()
            acknowledged |= {int(number): said[int(number) - 1] for line in lines for number in line.split()}
            with EpisodicStore(path) as store:
                for episode_id, text in acknowledged.items():
                    episode = store.get(episode_id)
                    if episode is None or episode.text != text:
                        lost.add(episode_id)
    return len(acknowledged), len(lost)
