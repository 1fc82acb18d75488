# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the router on labelled prompts and reports what it does on phrasings that training has not seen.

Training reads text/books.txt.gz (free text for language to continue) and text/trivia_qa.txt.gz (general questions) in
the data folder. Evaluation needs no data: the prompts of both tests are part of the program.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from brainnet.snn.models.quantum import softmax
from brainnet.snn.models.router import Router, RouterConfig, RouterNet, embedding_rows, prompt_tokens, suffix_token
from brainnet.snn.models.text_features import HashedVocabulary, route_tokens
from brainnet.training import Row, Run, TrainingSettings
from prefrontal_measures import fitted_scale, measures, modulated, targets
from prefrontal_words import WordTable, vocabulary_of
from routing_prompts import ROUTES, Example, FreeText, examples, written, written_to_learn

BATCHES_DRAWN = 32
"""Batches that are drawn together, sorted by length and shuffled; checkpoints lie between them."""


class Settings(TrainingSettings):
    """The default takes about 2 to 4 minutes on one core."""

    steps: int = Field(1500, ge=1, description="optimiser steps")
    batch: int = Field(64, ge=1, description="prompts a step")
    learning_rate: float = Field(4e-3, gt=0, description="peak of the one-cycle schedule")
    embedding_rate: float = Field(
        0.1,
        gt=0,
        description="peak for the embeddings' offsets, which learn only from the prompts that hold their word",
    )
    projection_rate: float = Field(0.012, gt=0, description="peak for the projection of the word vectors")
    weight_decay: float = Field(0.02, ge=0, description="of AdamW")
    written_share: float = Field(0.4, ge=0, le=1, description="share of the prompts that were written one by one")
    word_dropout: float = Field(0.15, ge=0, lt=1, description="share of the words of which only the ending is left")
    offset_dropout: float = Field(0.2, ge=0, lt=1, description="share of the words embedded by their word vector alone")
    label_smoothing: float = Field(0.02, ge=0, lt=1, description="of the cross-entropy")
    recall: float = Field(
        0.5, ge=0, description="weight of the loss that lets working memory hold what a prompt was for"
    )
    counted: int = Field(20_000, ge=1, description="prompts whose words are counted")
    min_count: int = Field(5, ge=1, description="how often a word of the prompts must be counted to be known")
    words: int = Field(8000, ge=1, description="words that are known, filled up by the most frequent of the free text")
    vector_width: int = Field(96, ge=1, description="of the word vectors")
    calibrated: int = Field(800, ge=1, description="prompts of kept templates that help to fit the scale")
    width: int = Field(64, ge=2, description="channels and neurons a token")


def free_text(paragraphs: Sequence[str], questions: Sequence[str]) -> FreeText:
    """Beginnings of paragraphs of prose (no questions), and general questions."""
    openings = []
    for paragraph in paragraphs[::3]:
        words = " ".join(paragraph.split()).split(" ")[:28]
        begins = words[0].lstrip("\"'“‘")[:1].isalpha()
        if len(words) >= 3 and begins and "?" not in paragraph and "##" not in paragraph:
            openings.append(" ".join(words))
    return FreeText(openings, [line for line in questions if line.endswith("?") and len(line) < 120][::5])


def paragraphs(run: Run[Settings]) -> list[str]:
    with gzip.open(run.file("text/books.txt.gz"), "rt", encoding="utf-8") as file:
        return [found for found in re.split(r"\n\s*\n", file.read()) if found.strip()]


def questions(run: Run[Settings]) -> list[str]:
    with gzip.open(run.file("text/trivia_qa.txt.gz"), "rt", encoding="utf-8", errors="replace") as file:
        return [line[3:].strip() for line in file if line.startswith("#Q ")]


def parts(text: FreeText) -> tuple[FreeText, FreeText]:
    """For training, and the last fifth of either for validation."""
    opening, question = (len(items) * 4 // 5 for items in (text.openings, text.questions))
    return (
        FreeText(text.openings[:opening], text.questions[:question]),
        FreeText(text.openings[opening:], text.questions[question:]),
    )


class Batcher:
    """Turns examples into padded token rows."""

    def __init__(self, vocabulary: HashedVocabulary, config: RouterConfig, settings: Settings) -> None:
        self.vocabulary = vocabulary
        self.config = config
        self.settings = settings

    def rows(self, batch: Sequence[Example], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Token rows int64 [B, L], 0-padded, some of them those of endings, and bool [B, L]: whose offset counts."""
        found = [tokens_of(example, self.config) for example in batch]
        rows = np.zeros((len(batch), max(map(len, found))), np.int64)
        for i, tokens in enumerate(found):
            lost = rng.random(len(tokens)) < self.settings.word_dropout
            endings = self.vocabulary.rows([suffix_token(token) for token in tokens])
            spared = np.array([token[0] == "<" for token in tokens])
            rows[i, : len(tokens)] = np.where(lost & ~spared, endings, embedding_rows(tokens, self.vocabulary))
        own = rng.random(rows.shape) >= self.settings.offset_dropout
        return torch.from_numpy(rows), torch.from_numpy(own)


def tokens_of(example: Example, config: RouterConfig) -> list[str]:
    return prompt_tokens(example.text, has_image=example.has_image, has_audio=False, limit=config.positions)


class Trained(nn.Module):
    """The router with what only its training needs."""

    def __init__(self, config: RouterConfig, vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self.net = RouterNet(config, len(vectors))
        self.table = WordTable(vectors, config.width)
        self.recalled = nn.Linear(config.width, len(config.routes))

    def groups(self, settings: Settings) -> list[dict[str, Any]]:
        """Parameters by their peak rates; the encoder's table is what the word table folds into."""
        others = [value for name, value in self.net.named_parameters() if not name.startswith("encoder.")]
        return [
            {"params": [self.table.offset], "lr": settings.embedding_rate},
            {"params": [self.table.projection], "lr": settings.projection_rate},
            {"params": [*others, *self.recalled.parameters()], "lr": settings.learning_rate},
        ]

    def loss(self, batcher: Batcher, batch: Sequence[Example], rng: np.random.Generator) -> Tensor:
        """Cross-entropy of the routes, each session's earlier prompt heard first where there is one.

        Working memory must hold after either prompt what it was for: a linear read-out of it is trained along.
        """
        device, settings = self.recalled.weight.device, batcher.settings
        threshold = self.net.config.base_threshold * rng.uniform(1.0, 1.2)
        blank = Example("", {})
        before = [example.follows or blank for example in batch]
        spikes, mask = self._encoded(batcher, before, rng)
        _, membrane = self.net.run_working_memory(spikes, mask, None, threshold)
        heard = torch.tensor([[example.follows is not None] for example in batch], device=device)
        spikes, mask = self._encoded(batcher, batch, rng)
        scores, kept = self.net(spikes, mask, membrane * heard, threshold)
        wanted = targets(batch).to(device)
        loss = cross_entropy(scores, wanted, label_smoothing=settings.label_smoothing)
        recalled = cross_entropy(self.recalled(kept), wanted) + cross_entropy(
            self.recalled(membrane), targets(before).to(device)
        )
        return loss + settings.recall * recalled

    def _encoded(self, batcher: Batcher, batch: Sequence[Example], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows, own = (part.to(self.recalled.weight.device) for part in batcher.rows(batch, rng))
        return self.table.encode(rows, own, self.net.encoder.window), rows != 0

    def folded(self) -> RouterNet:
        """The router with the embedding table that training found."""
        self.net.encoder.embedding.weight.data.copy_(self.table.folded())
        return self.net.cpu()


def train(run: Run[Settings]) -> None:
    settings = run.settings
    config = RouterConfig(routes=ROUTES, width=settings.width)
    prose, general = paragraphs(run), questions(run)
    training, validation = parts(free_text(prose, general))
    share = settings.written_share
    said = examples(random.Random(run.seed), settings.counted, training, written_share=share)
    vocabulary, vectors = vocabulary_of(
        [tokens_of(example, config) for example in said],
        [route_tokens(text) for text in (*prose[::2], *general)],
        min_count=settings.min_count,
        words=settings.words,
        width=settings.vector_width,
        unknown_rows=config.unknown_rows,
    )
    batcher = Batcher(vocabulary, config, settings)
    model = Trained(config, vectors).to(run.device)
    groups = model.groups(settings)
    optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=settings.steps, pct_start=0.15)
    done = 0
    if (kept := run.load_checkpoint()) is not None:
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        done = kept["done"]
    run.log(f"{len(vocabulary)} token rows, {sum(p.numel() for p in model.net.parameters())} parameters")
    with run.progress() as bar:
        task = bar.add_task("training", total=settings.steps, completed=done)
        while done < settings.steps:
            for batch in drawn(run, training, config, done):
                loss = model.loss(batcher, batch, np.random.default_rng([run.seed, done]))
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                done += 1
                bar.update(task, completed=done, description=f"training, loss {float(loss.detach()):.3f}")
                if done == settings.steps:
                    break
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            run.save_checkpoint({**state, "schedule": schedule.state_dict(), "done": done})
    router = Router(model.folded(), vocabulary)
    chosen_by = [
        *written("validation"),
        *kept_prompts(),
        *examples(random.Random(run.seed + 1), settings.calibrated, validation, kept=True),
    ]
    scale = fitted_scale(router, chosen_by, modulated)
    router.net.config = router.config = replace(config, scale=scale)
    router.save(run.weights)
    run.delete_checkpoints()
    run.log(f"scale {scale:.3f}; wrote {run.weights} ({run.weights.stat().st_size / 1e6:.2f} MB)")


def drawn(run: Run[Settings], text: FreeText, config: RouterConfig, done: int) -> list[list[Example]]:
    """The batches that follow `done`. Prompts of like length together: attention costs (steps * tokens)^2."""
    rng = random.Random(f"{run.seed} {done}")
    size = run.settings.batch
    wanted = examples(rng, BATCHES_DRAWN * size, text, written_share=run.settings.written_share)
    found = sorted(wanted, key=lambda e: len(tokens_of(e, config)))
    batches = [found[i : i + size] for i in range(0, len(found), size)]
    rng.shuffle(batches)
    return batches


def kept_prompts() -> list[Example]:
    """The prompts written to learn from that are kept from training; no follow-ups."""
    return [example for prompts in written_to_learn(kept=True).values() for example in prompts if example.target]


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Both tests apart; the rows of the second end in `_2`."""
    router = Router.load(run.weights)
    scale = fitted_scale(router, written("validation"), softmax)
    yield from measures(router, written("test"), scale)
    for row in measures(router, written("test_2"), scale):
        yield row.model_copy(update={"name": f"{row.name}_2"})
