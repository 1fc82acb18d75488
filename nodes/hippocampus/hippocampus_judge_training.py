# mypy: allow-untyped-calls, no-warn-return-any
"""Trains and calibrates the judge of memory's answers, on small worlds that it makes itself.

`brainnet train nodes/hippocampus/hippocampus_judge_training.py`, with the weights of the judge as `--weights`.
Needs the embedder's weights beside these and WordNet (Debian's wordnet-base); with --data it also learns from the
questions of XQuAD's training articles. At last the network is blended with plain figures (`hippocampus_blend`).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from brainnet.rows import Row
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.training import Run, TrainingSettings, compare
from hippocampus_blend import fitted_blend, worded_questions
from hippocampus_judge import ASKED_WIDTH, BARRED, LEARNED, PAIR_WIDTH, SAID_WIDTH, Features, Judge
from hippocampus_prompts import understand
from hippocampus_reading import Reading, content_of, rarity
from hippocampus_senses import Lexicon
from hippocampus_texts import sentences
from hippocampus_worded import WordedWorld, worded_worlds
from hippocampus_wordnet import lexicon_tables
from hippocampus_worlds import Relation, make_world, relations

MIN_QUESTIONS = 3
"""Questions of a relation from which on one is held out."""
WORDED = frozenset("qoxt")
"""Kinds of the worded questions that are taken: those that ask for something, and not whether something is so."""
AXES_DROPOUT = 0.3
"""Share of the questions of a step without the learned axes."""
TRAINED_ARTICLES = 32
"""XQuAD's articles that the embedder was trained on; the others measure."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults take some minutes of one core."""

    wordnet: str = Field("/usr/share/wordnet", description="folder with WordNet's data.* files")
    worlds: int = Field(2500, ge=1, description="worlds to train on")
    calibration_worlds: int = Field(700, ge=1, description="worlds with held-out questions to calibrate on")
    questions: int = Field(14, ge=1, description="questions to each world")
    worded_repeats: int = Field(1, ge=0, description="how often the worded worlds are shown in each pass")
    worded_held_out: float = Field(0.08, gt=0, lt=1, description="share of the worded worlds that measure")
    held_out: float = Field(
        0.2, gt=0, lt=1, description="share of the relations that are not trained on before the last pass"
    )
    hidden: int = Field(24, ge=1, description="width of the networks over words")
    axes: int = Field(48, ge=1, description="axes of the word vectors that are learned")
    judged: int = Field(48, ge=1, description="width of the network over their sums")
    epochs: int = Field(8, ge=1, description="passes")
    batch: int = Field(256, ge=1, description="questions per step")
    learning_rate: float = Field(2e-3, gt=0, description="peak rate of Adam")
    decay: float = Field(1e-3, ge=0, description="weight decay")
    keep_network: bool = Field(False, description="leave the networks, and only blend them again")
    all_at_last: bool = Field(True, description="train again on everything once it is calibrated")
    risk: float = Field(0.03, gt=0, lt=1, description="largest share of wrong ones among what is asserted")
    worded: str = Field(
        str(Path(__file__).parent.parent / "whole_brain" / "whole_brain_worlds_validation.yaml"),
        description="worlds with questions that people have worded, to blend the network with plain figures",
    )
    blend_risk: float = Field(0.05, gt=0, lt=1, description="largest share of wrong ones among these questions")
    sure: float = Field(0.1, gt=0, lt=1, description="probability that the risk is larger all the same")


@dataclass(slots=True)
class Sample:
    """A question and its candidates, as the judge sees them."""

    asked: NDArray[np.float16]
    said: NDArray[np.float16]
    lengths: NDArray[np.int64]
    pairs: NDArray[np.float16]
    asked_words: NDArray[np.int64]
    said_words: NDArray[np.int64]
    """Numbers of the words of the question and of the candidates."""
    labels: NDArray[np.float32]
    """1 for an answer, 0 for none, -1 for what is left out."""
    kind: str


class Network(nn.Module):
    """The networks of `hippocampus_judge.Judge`."""

    def __init__(self, hidden: int, judged: int, axes: int, vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self.vectors: Tensor
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        self.axes = nn.Linear(vectors.shape[1], axes, bias=False)
        self.asked, self.said = nn.Linear(ASKED_WIDTH, hidden), nn.Linear(SAID_WIDTH, hidden)
        self.hidden, self.out = nn.Linear(4 * hidden + PAIR_WIDTH, judged), nn.Linear(judged, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, batch: Sequence[Sample]) -> Tensor:
        """Compute the logits of all candidates of the samples, one sample after the other."""
        asked, asked_of, said, said_of, pairs, first = [], [], [], [], [], 0
        at_asked, at_said, left, right, asked_rows, said_rows = [], [], [], [], 0, 0
        for sample in batch:
            count, words = sample.asked.shape[:2]
            asked.append(sample.asked.reshape(-1, ASKED_WIDTH))
            asked_of.append(np.repeat(np.arange(first, first + count), words))
            said.append(sample.said)
            said_of.append(np.repeat(np.arange(first, first + count), sample.lengths))
            pairs.append(sample.pairs)
            # Every word of the question with every word of each candidate.
            candidate = np.repeat(np.arange(count), sample.lengths)
            at_asked.append((asked_rows + candidate[None] * words + np.arange(words)[:, None]).ravel())
            at_said.append(np.tile(said_rows + np.arange(len(sample.said)), words))
            left.append(np.repeat(sample.asked_words, len(sample.said)))
            right.append(np.tile(sample.said_words, words))
            asked_rows, said_rows, first = asked_rows + count * words, said_rows + len(sample.said), first + count
        projected = self.axes(self.vectors)
        near = (projected[np.concatenate(left)] * projected[np.concatenate(right)]).sum(1)
        if self.training:
            # Words of relations that were never met have learned nothing: the rest has to do without, too.
            kept = torch.rand(len(batch)) >= AXES_DROPOUT
            near = near * kept.repeat_interleave(torch.tensor([len(pairs) for pairs in left]))
        asked_near = near.new_zeros(asked_rows).scatter_reduce(
            0, torch.from_numpy(np.concatenate(at_asked)), near, "amax"
        )
        said_near = near.new_zeros(said_rows).scatter_reduce(0, torch.from_numpy(np.concatenate(at_said)), near, "amax")
        sums = [
            *_pooled(self.asked, asked, asked_near, asked_of, first),
            *_pooled(self.said, said, said_near, said_of, first),
            torch.from_numpy(np.concatenate(pairs)).float(),
        ]
        logits: Tensor = self.out(self.dropout(torch.relu(self.hidden(torch.cat(sums, 1))))).squeeze(1)
        return logits - BARRED * sums[-1][:, -1]


def _pooled(
    layer: nn.Linear, parts: list[NDArray[np.float16]], near: Tensor, owners: list[NDArray[np.int64]], count: int
) -> tuple[Tensor, Tensor]:
    features = torch.from_numpy(np.concatenate(parts)).float()
    features = torch.cat([features[:, :LEARNED], near[:, None], features[:, LEARNED + 1 :]], 1)
    values = torch.relu(layer(features))
    at = torch.from_numpy(np.concatenate(owners))[:, None].expand_as(values)
    zeros = values.new_zeros(count, values.shape[1])
    return zeros.scatter_add(0, at, values), zeros.scatter_reduce(0, at, values, "amax", include_self=True)


class Maker:
    """Makes samples.

    Args:
        judge: Computes the features.
        embedder: Computes the vectors.
    """

    def __init__(self, judge: Judge, embedder: SpikingTextEmbedder) -> None:
        self.judge, self.embedder = judge, embedder
        self.words: dict[str, int] = {}
        self._projected = np.zeros((0, 0), np.float32)

    def _numbers(self, words: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self.words.setdefault(word, len(self.words)) for word in words], np.int64)

    def projected(self) -> NDArray[np.float32]:
        """Return all words on the learned axes, float32 [words, A]."""
        if len(self._projected) != len(self.words):
            self._projected = self.embedder.word_vectors(list(self.words)) @ self.judge.weights["axes.weight"].T
        return self._projected

    def sample(
        self,
        question: str,
        texts: Sequence[str],
        readings: Sequence[Reading],
        vectors: NDArray[np.float32],
        labels: NDArray[np.float32],
        kind: str,
    ) -> Sample | None:
        """Make a sample; None for a question without content words."""
        asked = understand(question)
        content = content_of(asked.subject)
        reading = self.judge.read(question, content, asked.language)
        if not reading.words:
            return None
        rarity = [rarity_of(word.terms, readings) for word in reading.words]
        (vector,) = self.embedder.embed([" ".join(content)])
        features = self.judge.features(
            reading, asked.answer_type, readings, rarity, (vectors @ vector).tolist(), len(texts)
        )
        lengths = np.diff(np.append(features.starts, len(features.said)))
        return Sample(
            features.asked.astype(np.float16),
            features.said.astype(np.float16),
            lengths,
            features.pairs.astype(np.float16),
            self._numbers([word.word for word in reading.words]),
            self._numbers([word.word for one in readings for word in one.words]),
            labels,
            kind,
        )

    def of_worlds(self, rng: random.Random, pool: Sequence[Relation], worlds: int, questions: int) -> Iterator[Sample]:
        """Make the samples of worlds."""
        for _ in range(worlds):
            world = make_world(rng, pool, rng.choice([1, 2, 4, 6, 10, 15, 25, 40]), questions)
            texts = [told.text for told in world.told]
            readings = [self.judge.read(text) for text in texts]
            vectors = self.embedder.embed(texts)
            for question in world.questions:
                labels = np.zeros(len(texts), np.float32)
                labels[list(question.unclear)] = -1
                labels[list(question.answers)] = 1
                sample = self.sample(question.text, texts, readings, vectors, labels, question.kind)
                if sample is not None:
                    yield sample

    def of_worded(self, worlds: Sequence[WordedWorld]) -> Iterator[Sample]:
        """Make the samples of worlds that were worded one by one."""
        for world in worlds:
            readings = [self.judge.read(text) for text in world.statements]
            vectors = self.embedder.embed(world.statements)
            for question in world.questions:
                if question.kind in WORDED:
                    labels = np.zeros(len(readings), np.float32)
                    labels[list(question.answers)] = 1
                    sample = self.sample(
                        question.text, world.statements, readings, vectors, labels, f"worded_{question.kind}"
                    )
                    if sample is not None:
                        yield sample

    def of_articles(self, path: Path, *, trained: bool) -> Iterator[Sample]:
        """Make samples of the sentences of XQuAD's passages; of every third question the answer is left out."""
        articles = json.loads(path.read_text("utf-8"))["data"]
        number = 0
        for article in articles[:TRAINED_ARTICLES] if trained else articles[TRAINED_ARTICLES:]:
            texts: list[str] = []
            asked: list[tuple[str, list[int]]] = []
            for paragraph in article["paragraphs"]:
                parts = sentences(paragraph["context"])
                for qa in paragraph["qas"]:
                    held = [
                        len(texts) + i for i, part in enumerate(parts)
                        if qa["answers"][0]["text"] in part
                        and abs(paragraph["context"].find(part) - qa["answers"][0]["answer_start"]) <= len(part)
                    ]  # fmt: skip
                    asked.append((qa["question"], held))
                texts += parts
            readings = [self.judge.read(text) for text in texts]
            vectors = self.embedder.embed(texts)
            for question, held in asked:
                number += 1
                keep = np.ones(len(texts), bool)
                if number % 3 == 0:
                    keep[held] = False
                labels = np.zeros(len(texts), np.float32)
                labels[held] = 1
                (vector,) = self.embedder.embed([question])
                # The nearest, as a search would find them.
                near = [i for i in np.argsort(-(vectors @ vector)).tolist() if keep[i]][:20]
                sample = self.sample(
                    question,
                    [texts[i] for i in near],
                    [readings[i] for i in near],
                    vectors[near],
                    labels[near],
                    "xquad",
                )  # fmt: skip
                if sample is not None:
                    yield sample


def rarity_of(terms: frozenset[str], readings: Sequence[Reading]) -> float:
    """Compute the rarity of a word among statements, in [0, 1]."""
    held = sum(terms <= reading.terms for reading in readings)
    return rarity(held, len(readings))


def split_relations(share: float, seed: int) -> tuple[list[Relation], list[Relation], list[Relation]]:
    """Divide what is trained on from what measures.

    Returns:
        The relations to train on, without the last of their questions where there are three or more; the same with
        only that question; and a share of the relations of each language that is held out altogether.
    """
    rng = random.Random(seed)
    trained, paraphrased, held_out = [], [], []
    for group in ([r for r in relations() if r.language == "en"], [r for r in relations() if r.language != "en"]):
        held = set(rng.sample(range(len(group)), round(share * len(group))))
        for number, relation in enumerate(group):
            if number in held:
                held_out.append(relation)
            elif len(relation.questions) < MIN_QUESTIONS:
                trained.append(relation)
                paraphrased.append(relation)
            else:
                trained.append(replace(relation, questions=relation.questions[:-1]))
                paraphrased.append(replace(relation, questions=relation.questions[-1:]))
    return trained, paraphrased, held_out


def fit(run: Run[Settings], samples: list[Sample], maker: Maker) -> None:
    """Train the networks, and put their weights into the judge."""
    settings, judge = run.settings, maker.judge
    torch.manual_seed(run.seed)
    net = Network(settings.hidden, settings.judged, settings.axes, maker.embedder.word_vectors(list(maker.words)))
    optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate, weight_decay=settings.decay)
    steps = settings.epochs * math.ceil(len(samples) / settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    rng = np.random.default_rng(run.seed)
    for epoch in run.track(range(settings.epochs), "training the judge"):
        net.train()
        order, total = rng.permutation(len(samples)), 0.0
        for start in range(0, len(order), settings.batch):
            batch = [samples[i] for i in order[start : start + settings.batch]]
            labels = torch.from_numpy(np.concatenate([sample.labels for sample in batch]))
            logits = net(batch)
            wanted = labels >= 0
            loss = nn.functional.binary_cross_entropy_with_logits(logits[wanted], labels[wanted], reduction="sum")
            loss = loss / len(batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        run.log(f"judge, epoch {epoch + 1}: loss {total / len(samples):.4f}")
    judge.weights = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    judge.weights = {name: value.astype(np.float16).astype(np.float32) for name, value in judge.weights.items()}


def logits_of(maker: Maker, sample: Sample) -> NDArray[np.float32]:
    """Compute the logits of a sample as the judge does."""
    judge = maker.judge
    projected = maker.projected()
    asked, said = sample.asked.astype(np.float32), sample.said.astype(np.float32)
    near = np.maximum(projected[sample.asked_words] @ projected[sample.said_words].T, 0)
    starts = np.cumsum(sample.lengths) - sample.lengths
    for i, (start, length) in enumerate(zip(starts.tolist(), sample.lengths.tolist(), strict=True)):
        asked[i, :, LEARNED] = near[:, start : start + length].max(1) if length else 0
    said[:, LEARNED] = near.max(0) if len(said) else 0
    empty = np.zeros((0, 0), np.float32)
    return judge.logits(Features(asked, said, starts, sample.pairs.astype(np.float32), empty, empty))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The best candidate of a question: its logit, whether it is right, and whether there is an answer at all."""

    logit: float
    right: bool
    answerable: bool
    kind: str


def outcomes(maker: Maker, samples: Sequence[Sample]) -> list[Outcome]:
    """Compute the outcomes of questions; those whose best candidate is unclear are left out."""
    found = []
    for sample in samples:
        logits = logits_of(maker, sample)
        best = int(logits.argmax())
        if sample.labels[best] >= 0:
            found.append(
                Outcome(
                    float(logits[best]), bool(sample.labels[best] > 0), bool((sample.labels > 0).any()), sample.kind
                )
            )
    return found


def calibrate(judge: Judge, found: Sequence[Outcome], risk: float, sure: float) -> None:
    """Fit slope and offset of the logits (Platt 1999), and the smallest threshold that keeps the risk.

    The risk among what is asserted is kept with the probability 1 - sure for each threshold of a grid, from high to low
    until one fails: fixed sequence testing of Angelopoulos et al. 2021, *Learn then Test*, with the binomial tail.
    """
    logits = torch.tensor([outcome.logit for outcome in found])
    right = torch.tensor([float(outcome.right) for outcome in found])
    scale = torch.tensor([1.0, 0.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([scale], max_iter=100)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(scale[0] * logits + scale[1], right)
        loss.backward()
        return loss

    optimiser.step(closure)
    judge.scale = float(scale[0].detach()), float(scale[1].detach())
    probabilities = 1 / (1 + np.exp(-(judge.scale[0] * logits.numpy() + judge.scale[1])))
    judge.threshold = 0.99
    for threshold in np.arange(0.99, 0.2, -0.01):
        asserted = probabilities >= threshold
        wrong = int((asserted & (right.numpy() == 0)).sum())
        if binomial_tail(wrong, int(asserted.sum()), risk) > sure:
            break
        judge.threshold = round(float(threshold), 2)


def binomial_tail(wrong: int, count: int, risk: float) -> float:
    """Compute the probability of at most `wrong` errors among `count` where each has the probability `risk`."""
    if not count:
        return 0.0
    terms = (
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(risk) + (count - k) * math.log1p(-risk)
        for k in range(wrong + 1)
    )  # fmt: skip
    return min(1.0, sum(map(math.exp, terms)))


def risk_coverage(judge: Judge, found: Sequence[Outcome], threshold: float) -> tuple[float, float, float]:
    """Return three shares: wrong of the asserted, right of the answerable, and refused of the others."""
    asserted = [
        outcome for outcome in found
        if 1 / (1 + math.exp(-max(-30, judge.scale[0] * outcome.logit + judge.scale[1]))) >= threshold
    ]  # fmt: skip
    answerable = sum(outcome.answerable for outcome in found)
    wrong = sum(not outcome.right for outcome in asserted) / max(1, len(asserted))
    unanswerable = len(found) - answerable
    refused = 1 - sum(not outcome.answerable for outcome in asserted) / max(1, unanswerable)
    return wrong, sum(outcome.right for outcome in asserted) / max(1, answerable), refused


def train(run: Run[Settings]) -> None:
    """Make the lexicon, train the networks, calibrate, and write the weights."""
    settings = run.settings
    embedder = SpikingTextEmbedder.load(run.sibling("hippocampus.safetensors"))
    if settings.keep_network:
        judge = Judge.load(run.weights, embedder)
        blend(judge, embedder, settings)
        run.log(f"blended: {np.round(judge.blend, 3).tolist()}, asserted from {judge.threshold}")
        judge.save(run.weights)
        return
    tables = lexicon_tables(Path(settings.wordnet), set(embedder.vocabulary.hashes.tolist()))
    judge = Judge(embedder, Lexicon(tables), {})
    maker = Maker(judge, embedder)
    trained, paraphrased, held_out = split_relations(settings.held_out, run.seed)
    samples = list(maker.of_worlds(random.Random(run.seed), trained, settings.worlds, settings.questions))
    if settings.worded_repeats:
        worded = [world for world in worded_worlds() if not world.is_held_out(settings.worded_held_out)]
        samples += settings.worded_repeats * list(maker.of_worded(worded))
    xquad = run.data_dir / "xquad_en.json" if run.data_dir else None
    if xquad is not None and xquad.is_file():
        samples += maker.of_articles(xquad, trained=True)
    run.log(f"{len(samples)} questions, {sum(len(sample.labels) for sample in samples)} candidates")
    rng = random.Random(run.seed + 1)
    unseen = list(maker.of_worlds(rng, paraphrased, settings.calibration_worlds, settings.questions))
    fit(run, samples, maker)
    calibrate(judge, outcomes(maker, unseen), settings.risk, settings.sure)
    run.log(f"calibrated: slope {judge.scale[0]:.3f}, offset {judge.scale[1]:.3f}, threshold {judge.threshold}")
    if settings.all_at_last:
        # What was held out is learned at last: the calibration is that of a judge that knew less.
        new = maker.of_worlds(rng, held_out, round(settings.held_out * settings.worlds), settings.questions)
        fit(run, [*samples, *unseen, *new], maker)
    blend(judge, embedder, settings)
    run.log(f"blended: {np.round(judge.blend, 3).tolist()}, asserted from {judge.threshold}")
    judge.save(run.weights)


def blend(judge: Judge, embedder: SpikingTextEmbedder, settings: Settings) -> None:
    """Fit what the network's logit counts beside plain figures, on questions that people have worded."""
    cases = worded_questions(judge, embedder, Path(settings.worded))
    judge.blend, judge.threshold = fitted_blend(cases, settings.blend_risk)


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure the judge on other worlds of the held-out relations, and on the other articles of XQuAD."""
    settings = run.settings
    embedder = SpikingTextEmbedder.load(run.sibling("hippocampus.safetensors"))
    judge = Judge.load(run.weights, embedder)
    maker = Maker(judge, embedder)
    _, paraphrased, held_out = split_relations(settings.held_out, run.seed)
    rng = random.Random(run.seed + 2)
    found = outcomes(maker, list(maker.of_worlds(rng, paraphrased, settings.calibration_worlds, settings.questions)))
    for threshold in (0.3, 0.5, 0.7, 0.9):
        yield from _rows(judge, found, f"at_{round(100 * threshold)}", threshold)
    yield from _rows(judge, found, "other_words", judge.threshold, bar=True)
    for kind in sorted({outcome.kind for outcome in found}):
        yield from _rows(judge, [o for o in found if o.kind == kind], f"other_words_{kind}", judge.threshold)
    worded = [world for world in worded_worlds() if world.is_held_out(settings.worded_held_out)]
    yield from _rows(judge, outcomes(maker, list(maker.of_worded(worded))), "worded", judge.threshold)
    # Only for a judge that was trained without `all_at_last` these are new.
    new = outcomes(maker, list(maker.of_worlds(rng, held_out, settings.calibration_worlds // 4, settings.questions)))
    yield from _rows(judge, new, "relations_held_out", judge.threshold)
    if run.data_dir is not None and (path := run.data_dir / "xquad_en.json").is_file():
        yield from _rows(judge, outcomes(maker, list(maker.of_articles(path, trained=False))), "xquad", judge.threshold)


def _rows(judge: Judge, found: Sequence[Outcome], name: str, threshold: float, *, bar: bool = False) -> Iterator[Row]:
    wrong, right, refused = risk_coverage(judge, found, threshold)
    if any(outcome.answerable for outcome in found):
        yield compare(f"{name}_right", round(right, 3), "of the answerable")
    yield compare(f"{name}_wrong", round(wrong, 3), "of the asserted", limit=("value", "<=", 0.05) if bar else None)
    if not all(outcome.answerable for outcome in found):
        yield compare(f"{name}_refused", round(refused, 3), "of the unanswerable")
