# mypy: allow-untyped-calls, no-warn-return-any
"""Measures what is kept when the memory is full, and whether the right passage of a document is found."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from brainnet.documents import Document, passages_of
from brainnet.memory import EXCHANGE, PASSAGE, EpisodicStore, NewEpisode
from brainnet.rows import Row, compare
from brainnet.snn.models.text_embedder import SpikingTextEmbedder

KEPT = 200
"""Episodes that the simulated memory keeps."""
LIVED = 4000
"""Episodes that are stored in it, one after the other."""
SEED = 11
ARTICLES_HELD_OUT = 8
"""The last articles of XQuAD, on which nothing was trained."""


def keeping_rows() -> Iterator[Row]:
    """Measure how often an episode that is needed again is still kept, beside dropping the oldest first.

    The logs of needs are simulated, and are no recordings. In the first the needs end: two of three episodes are never
    needed again, the others several times, at intervals without a typical length (Pareto, exponent 1.2). In the second
    they do not: each moment needs one episode, the same ones more often than others (Pareto, exponent 1).
    """
    for name, needs_of in (("needed_and_kept", needs_that_end), ("needed_for_ever_and_kept", needs_for_ever)):
        needs = needs_of(random.Random(SEED))
        ours = _share_kept(needs, by_retention())
        oldest, recent = (_share_kept(needs, dropping(renew)) for renew in (False, True))
        yield compare(name, ours, "of needs", rival="oldest first", rival_value=oldest, limit=("ratio", ">=", 1.1))
        yield compare(f"{name}_to_recent", ours, "of needs", rival="least recently needed first", rival_value=recent)


def needs_that_end(rng: random.Random) -> list[list[int]]:
    """Return for each moment which earlier episodes are needed; one episode is stored in each moment."""
    needs: list[list[int]] = [[] for _ in range(LIVED)]
    for episode in range(LIVED):
        times = rng.choice([0, 0, 1 + int(rng.expovariate(0.2))])
        scale, at = rng.lognormvariate(2.5, 1.0), float(episode)
        for _ in range(times):
            at += 1 + scale * (rng.paretovariate(1.2) - 1)
            if at >= LIVED:
                break
            needs[int(at)].append(episode)
    return needs


def needs_for_ever(rng: random.Random) -> list[list[int]]:
    """Return the same for episodes whose need does not end."""
    weights = [rng.paretovariate(1.0) for _ in range(LIVED)]
    return [[]] + [rng.choices(range(moment), weights[:moment]) for moment in range(1, LIVED)]


Policy = Callable[[int, list[int]], int]
"""Takes the episode that is stored and those that are needed, and returns how many of these are still kept."""


def _share_kept(needs: list[list[int]], policy: Policy) -> float:
    found = sum(policy(moment, needed) for moment, needed in enumerate(needs))
    return round(found / sum(map(len, needs)), 4)


def by_retention() -> Policy:
    """Keep episodes as the memory does."""
    store = EpisodicStore(":memory:")
    ids: dict[int, int] = {}

    def step(new: int, needed: list[int]) -> int:
        kept = [ids[each] for each in needed if store.get(ids[each]) is not None]
        store.note_access(kept)
        ids[new] = store.store(f"episode {new}", EXCHANGE).episode_id
        store.forget_weakest(EXCHANGE, keep=KEPT, keep_bytes=1 << 40)
        return len(kept)

    return step


def dropping(renew: bool) -> Policy:
    """Drop the oldest, or with `renew` the one whose last need is the oldest, as many at once as the memory does."""
    held: OrderedDict[int, None] = OrderedDict()

    def step(new: int, needed: list[int]) -> int:
        kept = [each for each in needed if each in held]
        for each in kept if renew else []:
            held.move_to_end(each)
        held[new] = None
        if len(held) > KEPT:
            while len(held) > KEPT - KEPT // 16:
                held.popitem(last=False)
        return len(kept)

    return step


def passage_rows(data: Path, embedder: SpikingTextEmbedder) -> Iterator[Row]:
    """Measure for how many questions on XQuAD's articles the passage that holds the answer is found first.

    Each article is a document, divided as `brainnet memory ingest` does, and all are in one memory. The embedder was
    trained with other questions on the articles before the last ones, so these are measured by themselves, too.
    """
    articles = json.loads((data / "xquad_en.json").read_text(encoding="utf-8"))["data"]
    texts = ["\n\n".join(paragraph["context"] for paragraph in article["paragraphs"]) for article in articles]
    with EpisodicStore(":memory:", vector_model=embedder.fingerprint) as store:
        places = []
        for number, text in enumerate(texts):
            passages = passages_of(Document("", [text], False, str(number)))
            vectors = embedder.counts([passage.text for passage in passages])
            stored = store.store_many(
                [
                    NewEpisode(passage.text, PASSAGE, {"session_id": str(number)}, vector)
                    for passage, vector in zip(passages, vectors, strict=True)
                ]
            )
            places.append([(p.offset, e.episode_id) for p, e in zip(passages, stored, strict=True)])
        store.consolidate()
        found: dict[float, list[list[bool]]] = {0.5: [], 1.0: []}
        for article, text, offsets in zip(articles, texts, places, strict=True):
            asked = list(_questions(article, text))
            vectors = embedder.counts([question for question, _ in asked])
            for weight, results in found.items():
                results.append([])
                for (question, at), vector in zip(asked, vectors, strict=True):
                    right = max(offset for offset in offsets if offset[0] <= at)[1]
                    hits = store.search(question, vector, 1, [PASSAGE], weight)
                    results[-1].append(bool(hits) and hits[0].episode.episode_id == right)
    for name, part in (("passage_first", slice(None)), ("passage_first_held_out", slice(-ARTICLES_HELD_OUT, None))):
        ours, words = (round(float(np.mean(np.concatenate(found[weight][part]))), 4) for weight in (0.5, 1.0))
        yield compare(name, ours, "of questions", rival="BM25", rival_value=words, limit=("value", ">=", 0.9))


def _questions(article: dict[str, list[dict[str, object]]], text: str) -> Iterator[tuple[str, int]]:
    """Yield the questions on an article, and where in its text the answer stands."""
    begin = 0
    for paragraph in article["paragraphs"]:
        begin = text.index(str(paragraph["context"]), begin)
        for asked in paragraph["qas"]:  # type: ignore[attr-defined]
            yield asked["question"], begin + asked["answers"][0]["answer_start"]
