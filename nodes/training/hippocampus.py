"""Trains the spiking text embedder by contrast and reports what it finds, beside BM25 and fused with it.

    python nodes/training/hippocampus.py --data DIR

DIR holds text/books.txt.gz, text/trivia_qa.txt.gz and xquad_en.json, from which pairs of related texts are made;
locomo_dev.json and cranfield/, where present, only measure.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from brainnet.memory import EpisodicStore, NewEpisode
from brainnet.snn.lif import LIFParams, lif_sequence
from brainnet.snn.text_embedder import EmbedderConfig, SpikingTextEmbedder
from brainnet.snn.text_features import bag_of_features, words
from nodes.training.common import arguments, progress, seeded

DESCRIPTION = "Train the spiking text embedder by contrast and measure what it finds."
HELD_OUT_ARTICLES = 8
BATCH = 256
SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9])")
QUESTION_STARTS = ["where is", "what about", "who", "when", "what", "which", "do you remember", "tell me about", ""]
COMMON_WORDS = 150

Pair = tuple[str, str]
Judged = tuple[str, list[str], list[tuple[str, set[int]]]]


def sentences(text: str) -> list[str]:
    return [part.strip() for part in SENTENCE.split(" ".join(text.split())) if len(words(part)) >= 3]


def book_paragraphs(data: Path) -> list[list[str]]:
    """Paragraphs of prose as lists of sentences."""
    with gzip.open(data / "text" / "books.txt.gz", "rt", encoding="utf-8") as file:
        paragraphs = re.split(r"\n\s*\n", file.read())
    return [found for paragraph in paragraphs if len(found := sentences(paragraph)) >= 2]


def trivia_pairs(data: Path) -> list[Pair]:
    """Questions and their answers, the answer with the question's category left out."""
    pairs, question = [], ""
    with gzip.open(data / "text" / "trivia_qa.txt.gz", "rt", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("#Q "):
                question = line[3:].strip()
            elif line.startswith("^ ") and len(words(line)) >= 3:
                pairs.append((question, line[2:].strip()))
    return pairs


def passages(data: Path, *, held_out: bool) -> list[tuple[list[str], list[tuple[str, int]]]]:
    """Per passage: its sentences, and its questions with the index of the sentence that holds the answer."""
    articles = json.loads((data / "xquad_en.json").read_text(encoding="utf-8"))["data"]
    found = []
    for article in articles[-HELD_OUT_ARTICLES:] if held_out else articles[:-HELD_OUT_ARTICLES]:
        for paragraph in article["paragraphs"]:
            parts = SENTENCE.split(paragraph["context"])
            ends = np.cumsum([len(part) + 1 for part in parts])
            questions = [
                (qa["question"], int(np.searchsorted(ends, qa["answers"][0]["answer_start"], side="right")))
                for qa in paragraph["qas"]
            ]
            found.append((parts, [(q, min(i, len(parts) - 1)) for q, i in questions]))
    return found


class Pairs:
    """Draws pairs of related texts."""

    def __init__(self, data: Path, rng: random.Random) -> None:
        self.rng = rng
        self.books = book_paragraphs(data)
        self.trivia = trivia_pairs(data)
        self.questions = [
            (question, parts[at]) for parts, qas in passages(data, held_out=False) for question, at in qas
        ]
        counts: dict[str, int] = {}
        for paragraph in rng.sample(self.books, 4000):
            for word in words(" ".join(paragraph)):
                counts[word] = counts.get(word, 0) + 1
        self.common = set(sorted(counts, key=lambda word: -counts[word])[:COMMON_WORDS])

    def batch(self, size: int) -> list[Pair]:
        """No two pairs of a batch come from the same paragraph, so what is not paired is not related."""
        paragraphs = self.rng.sample(self.books, size)
        return [self._pair(paragraph) for paragraph in paragraphs]

    def _pair(self, paragraph: list[str]) -> Pair:
        kind = self.rng.random()
        if kind < 0.12:
            return self.rng.choice(self.questions)
        if kind < 0.22:
            return self.rng.choice(self.trivia)
        at = self.rng.randrange(len(paragraph) - 1)
        if kind < 0.4:
            return paragraph[at], paragraph[at + 1]
        return self._asked(paragraph[at]), paragraph[at]

    def _asked(self, sentence: str) -> str:
        """A question about a sentence: some of its telling words, perhaps in another order."""
        found = [word for word in words(sentence) if word not in self.common] or words(sentence)
        kept = self.rng.sample(range(len(found)), min(len(found), self.rng.randint(1, 4)))
        if self.rng.random() < 0.7:
            kept.sort()
        return f"{self.rng.choice(QUESTION_STARTS)} {' '.join(found[i] for i in kept)}"


class TrainableEmbedder(nn.Module):
    """`SpikingTextEmbedder` with surrogate gradients."""

    def __init__(self, config: EmbedderConfig, rarity: Tensor) -> None:
        super().__init__()
        self.config = config
        self.bag = nn.EmbeddingBag(config.buckets, config.width, mode="sum")
        with torch.no_grad():
            self.bag.weight.normal_(0.0, 0.4).mul_(rarity[:, None])
        self.log_scale = nn.Parameter(torch.tensor(math.log(15.0)))

    def forward(self, texts: list[str]) -> Tensor:
        """Counts of ON minus counts of OFF at unit length, [len(texts), D]."""
        config = self.config
        bags = [bag_of_features(text, config.buckets, config.ngram_sizes, config.ngram_weight) for text in texts]
        device = self.bag.weight.device
        ids = torch.from_numpy(np.concatenate([ids for ids, _ in bags])).to(device)
        weights = torch.from_numpy(np.concatenate([weights for _, weights in bags])).to(device)
        starts = torch.from_numpy(np.cumsum([0, *(len(ids) for ids, _ in bags[:-1])])).to(device)
        currents = self.bag(ids, starts, per_sample_weights=weights)
        both = torch.cat([currents, -currents], dim=-1)
        params = LIFParams(torch.tensor(config.beta, device=device), config.threshold)
        spikes, _ = lif_sequence(both.expand(config.steps, *both.shape), None, params)
        on, off = spikes.sum(0).chunk(2, dim=-1)
        return F.normalize(on - off, dim=-1, eps=1e-6)


def rarity_of_buckets(config: EmbedderConfig, texts: list[str]) -> Tensor:
    """Inverse document frequency of each feature bucket, 1 on average."""
    counts = np.zeros(config.buckets)
    for text in texts:
        counts[bag_of_features(text, config.buckets, config.ngram_sizes, config.ngram_weight)[0]] += 1
    rarity = np.log((len(texts) + 1) / (counts + 1))
    return torch.from_numpy((rarity / rarity.mean()).astype(np.float32))


def train(data: Path, out: Path, device: str, seed: int, steps: int) -> None:
    config = EmbedderConfig()
    pairs = Pairs(data, random.Random(seed))
    sample = [sentence for paragraph in pairs.rng.sample(pairs.books, 6000) for sentence in paragraph]
    net = TrainableEmbedder(config, rarity_of_buckets(config, sample)).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    with progress() as bar:
        task = bar.add_task("training", total=steps)
        for _ in range(steps):
            batch = pairs.batch(BATCH)
            asked, told = net([a for a, _ in batch]), net([b for _, b in batch])
            logits = asked @ told.T * net.log_scale.exp()
            # The same text may have been drawn twice; it must not count against itself.
            same = torch.tensor(
                [[i != j and a == b for j, (_, b) in enumerate(batch)] for i, (_, a) in enumerate(batch)]
            )
            logits = logits.masked_fill(same.to(device), -1e4)
            right = torch.arange(len(batch), device=device)
            loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.update(task, advance=1, description=f"training, loss {float(loss.detach()):.3f}")
    embedder = SpikingTextEmbedder(config, net.bag.weight.detach().cpu().numpy())
    out.parent.mkdir(parents=True, exist_ok=True)
    embedder.save(out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def held_out_passages(data: Path) -> Iterator[Judged]:
    """Questions on passages of articles kept from training, all their sentences in one store."""
    texts: list[str] = []
    asked: list[tuple[str, set[int]]] = []
    for parts, questions in passages(data, held_out=True):
        asked += [(question, {len(texts) + at}) for question, at in questions]
        texts += parts
    yield "xquad, held-out articles", texts, asked


def conversations(data: Path) -> Iterator[Judged]:
    """LoCoMo: each turn a text, speaker prefixed; questions with the turns that hold the evidence."""
    for sample in json.loads((data / "locomo_dev.json").read_text(encoding="utf-8")):
        talk = sample["conversation"]
        turns = [
            turn
            for i in range(1, 100)
            for turn in (talk[f"session_{i}"] if isinstance(talk.get(f"session_{i}"), list) else [])
        ]
        at = {turn["dia_id"]: i for i, turn in enumerate(turns)}
        asked = []
        for qa in sample["qa"]:
            evidence = {at[turn] for turn in qa.get("evidence", []) if turn in at}
            if evidence and qa["category"] != 5:
                asked.append((qa["question"], evidence))
        yield "LoCoMo dev", [f"{turn['speaker']}: {turn['text']}" for turn in turns], asked


def cranfield(data: Path) -> Iterator[tuple[list[str], list[tuple[str, dict[int, int]]]]]:
    """Abstracts, and queries with graded judgements."""
    folder = data / "cranfield"
    documents = _xml(folder / "cran.all.1400.xml")
    texts = [doc.findtext("text") or "" for doc in documents.iter("doc")]
    numbers = {(doc.findtext("docno") or "").strip(): i for i, doc in enumerate(documents.iter("doc"))}
    queries = [(query.findtext("title") or "").strip() for query in _xml(folder / "cran.qry.xml").iter("top")]
    grades: list[dict[int, int]] = [{} for _ in queries]
    for line in (folder / "cranqrel.trec.txt").read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split()
        if document in numbers and int(grade) > 0:
            grades[int(query) - 1][numbers[document]] = int(grade)
    yield texts, [(query, judged) for query, judged in zip(queries, grades, strict=True) if judged]


def _xml(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(f"<all>{re.sub(r'<[?!][^>]*>', '', path.read_text(encoding='utf-8'))}</all>")


def rankings(embedder: SpikingTextEmbedder, texts: list[str], queries: list[str]) -> dict[str, list[list[int]]]:
    """The ten best texts for every query by BM25 alone, by vector alone, and fused: through the store itself."""
    vectors = embedder.embed(texts)
    with tempfile.TemporaryDirectory() as folder, EpisodicStore(Path(folder) / "memory.sqlite") as store:
        kept = store.store_many(
            [NewEpisode(text.strip() or "-", vector=vector) for text, vector in zip(texts, vectors, strict=True)]
        )
        first = kept[0].episode_id
        asked = list(zip(queries, embedder.embed(queries), strict=True))
        found = {
            "bm25": [store.search(query, None, 10) for query, _ in asked],
            "spiking embedder": [store.search("", vector, 10) for _, vector in asked],
            "fused": [store.search(query, vector, 10) for query, vector in asked],
        }
    return {way: [[hit.episode.episode_id - first for hit in hits] for hits in all_] for way, all_ in found.items()}


def recalls(embedder: SpikingTextEmbedder, judged: Iterator[Judged]) -> dict[str, object]:
    """Share of the evidence found among the best 1, 5 and 10, averaged over questions."""
    shares: dict[str, list[list[float]]] = {}
    name = ""
    for name, texts, asked in judged:  # noqa: B007 (the name is the same for all)
        for way, found in rankings(embedder, texts, [query for query, _ in asked]).items():
            for (_, evidence), ids in zip(asked, found, strict=True):
                shares.setdefault(way, []).append([len(evidence & set(ids[:k])) / len(evidence) for k in (1, 5, 10)])
    table = {
        way: dict(zip(("at 1", "at 5", "at 10"), np.mean(rows, 0).round(3).tolist(), strict=True))
        for way, rows in shares.items()
    }
    return {"set": name, "questions": len(next(iter(shares.values()))), "evidence recall": table}


def ndcg(embedder: SpikingTextEmbedder, data: Path) -> dict[str, object]:
    """Normalised discounted cumulative gain at 10 on Cranfield."""
    gains: dict[str, list[float]] = {}
    for texts, asked in cranfield(data):
        for way, found in rankings(embedder, texts, [query for query, _ in asked]).items():
            for (_, grades), ids in zip(asked, found, strict=True):
                ideal = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(grades.values(), reverse=True)[:10]))
                gain = sum(grades.get(item, 0) / math.log2(i + 2) for i, item in enumerate(ids))
                gains.setdefault(way, []).append(gain / ideal)
    return {"set": "Cranfield", "nDCG at 10": {way: round(float(np.mean(rows)), 3) for way, rows in gains.items()}}


def evaluate(data: Path, weights: Path) -> Iterator[dict[str, object]]:
    """Every measure whose data is there."""
    embedder = SpikingTextEmbedder.load(weights)
    yield recalls(embedder, held_out_passages(data))
    if (data / "locomo_dev.json").exists():
        yield recalls(embedder, conversations(data))
    if (data / "cranfield").exists():
        yield ndcg(embedder, data)


def main() -> None:
    parser = arguments(DESCRIPTION, "hippocampus.safetensors")
    parser.add_argument("--steps", type=int, default=700, help="optimiser steps")
    parser.add_argument("--evaluate", action="store_true", help="only measure the weights at --out")
    options = parser.parse_args()
    seeded(options.seed, options.threads)
    if not options.evaluate:
        train(options.data, options.out, options.device, options.seed, options.steps)
    for measured in evaluate(options.data, options.out):
        print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
