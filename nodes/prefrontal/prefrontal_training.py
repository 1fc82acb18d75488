# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the router on labelled prompts, and measures it on wordings that are not in training.

Training reads text/books.txt.gz (free text for language to continue) and text/trivia_qa.txt.gz (general questions) in
the data folder. Evaluation needs no data: the prompts of both tests are in the region's folder.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from brainnet.snn.models.quantum import softmax
from brainnet.snn.models.router import (
    Router,
    RouterConfig,
    RouteRequest,
    embedding_rows,
    prompt_tokens,
    suffix_token,
)
from brainnet.snn.models.router_network import RouterNet
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.snn.models.text_features import HashedVocabulary, route_tokens
from brainnet.training import Row, Run, TrainingSettings, compare
from prefrontal_bids_training import bid_accuracy, fitted_bids, fitted_examples
from prefrontal_measures import fitted_scale, measures, modulated, targets
from prefrontal_real_bids import real_bids
from prefrontal_words import WordTable, vocabulary_of
from routing_prompts import ROUTES, Example, FreeText, examples, written, written_training

BATCHES_PER_DRAW = 32
"""Batches that are drawn together and sorted by length; a checkpoint is written after each draw."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults, those of the shipped weights, take about 2 to 4 minutes on one core."""

    steps: int = Field(1500, ge=1, description="optimiser steps")
    batch: int = Field(64, ge=1, description="prompts per step")
    learning_rate: float = Field(4e-3, gt=0, description="peak learning rate of the one-cycle schedule")
    embedding_rate: float = Field(
        0.1,
        gt=0,
        description="peak learning rate of the embeddings' offsets, which get gradients only from their own word",
    )
    projection_rate: float = Field(0.012, gt=0, description="peak learning rate of the word vectors' projection")
    weight_decay: float = Field(0.02, ge=0, description="weight decay of AdamW")
    written_share: float = Field(0.4, ge=0, le=1, description="share of the prompts that were written one by one")
    word_dropout: float = Field(0.15, ge=0, lt=1, description="share of the words that are replaced by their ending")
    offset_dropout: float = Field(0.2, ge=0, lt=1, description="share of the words embedded by their word vector alone")
    label_smoothing: float = Field(0.02, ge=0, lt=1, description="label smoothing")
    memory_weight: float = Field(0.5, ge=0, description="weight of the loss of the route read out of working memory")
    vocabulary_prompts: int = Field(20_000, ge=1, description="prompts whose words are counted for the vocabulary")
    min_count: int = Field(5, ge=1, description="smallest number of occurrences of a word in these prompts")
    words: int = Field(8000, ge=1, description="known words, filled up with the most frequent of the free text")
    vector_width: int = Field(96, ge=1, description="width of the word vectors")
    calibration_prompts: int = Field(800, ge=1, description="prompts of held-out templates that help to fit the scale")
    width: int = Field(64, ge=2, description="channels and neurons per token")
    keep_network: bool = Field(
        False, description="keep the network of the weights file, and fit only bids and examples again"
    )
    embedder: str = Field(
        str(Path(__file__).parent.parent / "hippocampus" / "hippocampus.safetensors"),
        description="weights of the text embedder",
    )


def free_text(paragraphs: Sequence[str], questions: Sequence[str]) -> FreeText:
    """Select beginnings of paragraphs of prose (without questions), and general questions."""
    openings = []
    for paragraph in paragraphs[::3]:
        words = " ".join(paragraph.split()).split(" ")[:28]
        begins = words[0].lstrip("\"'“‘")[:1].isalpha()
        if len(words) >= 3 and begins and "?" not in paragraph and "##" not in paragraph:
            openings.append(" ".join(words))
    return FreeText(openings, [line for line in questions if line.endswith("?") and len(line) < 120][::5])


def paragraphs(run: Run[Settings]) -> list[str]:
    """Read the paragraphs of the books."""
    with gzip.open(run.file("text/books.txt.gz"), "rt", encoding="utf-8") as file:
        return [paragraph for paragraph in re.split(r"\n\s*\n", file.read()) if paragraph.strip()]


def questions(run: Run[Settings]) -> list[str]:
    """Read the trivia questions."""
    with gzip.open(run.file("text/trivia_qa.txt.gz"), "rt", encoding="utf-8", errors="replace") as file:
        return [line[3:].strip() for line in file if line.startswith("#Q ")]


def split_text(text: FreeText) -> tuple[FreeText, FreeText]:
    """Split free text into a part for training and, the last fifth, a part for validation."""
    opening, question = (len(items) * 4 // 5 for items in (text.openings, text.questions))
    return (
        FreeText(text.openings[:opening], text.questions[:question]),
        FreeText(text.openings[opening:], text.questions[question:]),
    )


class Batcher:
    """Turns examples into padded token rows, with random dropout of words and offsets.

    Args:
        vocabulary: The known tokens.
        config: Configuration of the router.
        settings: The hyper-parameters.
    """

    def __init__(self, vocabulary: HashedVocabulary, config: RouterConfig, settings: Settings) -> None:
        self.vocabulary = vocabulary
        self.config = config
        self.settings = settings

    def rows(self, batch: Sequence[Example], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Returns:
            Token rows int64 [B, L], padded with 0, and bool [B, L]: where the offset of the row is used.
        """
        token_lists = [tokens_of(example, self.config) for example in batch]
        rows = np.zeros((len(batch), max(map(len, token_lists))), np.int64)
        for i, tokens in enumerate(token_lists):
            dropped = rng.random(len(tokens)) < self.settings.word_dropout
            endings = self.vocabulary.rows([suffix_token(token) for token in tokens])
            # Marks such as `<image>` are never dropped; they are not words with an ending.
            marks = np.array([token[0] == "<" for token in tokens])
            rows[i, : len(tokens)] = np.where(dropped & ~marks, endings, embedding_rows(tokens, self.vocabulary))
        own = rng.random(rows.shape) >= self.settings.offset_dropout
        return torch.from_numpy(rows), torch.from_numpy(own)


def tokens_of(example: Example, config: RouterConfig) -> list[str]:
    """Return the tokens of an example as the router sees them."""
    return prompt_tokens(example.text, has_image=example.has_image, has_audio=False, limit=config.positions)


class RouterTraining(nn.Module):
    """The router with the parts that only its training needs.

    Args:
        config: Configuration of the router.
        vectors: Word vectors of the vocabulary's rows.
    """

    def __init__(self, config: RouterConfig, vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self.net = RouterNet(config, len(vectors))
        self.table = WordTable(vectors, config.width)
        self.memory_readout = nn.Linear(config.width, len(config.routes))

    def groups(self, settings: Settings) -> list[dict[str, Any]]:
        """Group the parameters by peak learning rate; the encoder's own table is computed from the word table."""
        others = [value for name, value in self.net.named_parameters() if not name.startswith("encoder.")]
        return [
            {"params": [self.table.offset], "lr": settings.embedding_rate},
            {"params": [self.table.projection], "lr": settings.projection_rate},
            {"params": [*others, *self.memory_readout.parameters()], "lr": settings.learning_rate},
        ]

    def loss(self, batcher: Batcher, batch: Sequence[Example], rng: np.random.Generator) -> Tensor:
        """Compute the cross-entropy of the routes; working memory gets each session's earlier prompt first.

        A second loss makes working memory hold the route of the prompt: after either prompt a linear readout, which is
        trained together with the router, must find the route.
        """
        device, settings = self.memory_readout.weight.device, batcher.settings
        # At run time the threshold of working memory is plastic; training draws it from a range.
        threshold = self.net.config.base_threshold * rng.uniform(1.0, 1.2)
        blank = Example("", {})
        before = [example.follows or blank for example in batch]
        spikes, mask = self._encoded(batcher, before, rng)
        _, membrane = self.net.run_working_memory(spikes, mask, None, threshold)
        # Where there is no earlier prompt, the membrane starts at zero.
        has_earlier = torch.tensor([[example.follows is not None] for example in batch], device=device)
        spikes, mask = self._encoded(batcher, batch, rng)
        scores, memory = self.net(spikes, mask, membrane * has_earlier, threshold)
        target = targets(batch).to(device)
        loss = cross_entropy(scores, target, label_smoothing=settings.label_smoothing)
        memory_loss = cross_entropy(self.memory_readout(memory), target) + cross_entropy(
            self.memory_readout(membrane), targets(before).to(device)
        )
        return loss + settings.memory_weight * memory_loss

    def _encoded(self, batcher: Batcher, batch: Sequence[Example], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows, own = (part.to(self.memory_readout.weight.device) for part in batcher.rows(batch, rng))
        return self.table.encode(rows, own, self.net.encoder.window), rows != 0

    def folded(self) -> RouterNet:
        """Return the router, on the CPU, with the trained embedding table."""
        self.net.encoder.embedding.weight.data.copy_(self.table.folded())
        return self.net.cpu()


def train(run: Run[Settings]) -> None:
    """Train the router, fit what it makes of bids and examples, and write both files of weights."""
    router = Router.load(run.weights) if run.settings.keep_network else trained_network(run)
    embedder = SpikingTextEmbedder.load(run.settings.embedder)
    run.log("fitting what is about the brain itself, and bids by examples")
    examples_ = fitted_examples(embedder, run.seed)
    run.log("fitting bids")
    router = router.with_bids(fitted_bids(router, embedder, examples_, run.seed))
    for name, (right, total) in bid_accuracy(router, embedder, examples_, run.seed + 1).items():
        run.log(f"held-out prompts with bids, {name}: {right} of {total} go first where they should")
    examples_.save(examples_file(run))
    router.save(run.weights)
    run.delete_checkpoints()
    for path in (run.weights, examples_file(run)):
        run.log(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")


def examples_file(run: Run[Settings]) -> Path:
    """Return the file of the weights of the examples, beside that of the network."""
    return run.weights.with_name(f"{run.weights.stem}_examples.safetensors")


def trained_network(run: Run[Settings]) -> Router:
    """Train the network, and fit the scale of its scores on the validation prompts."""
    settings = run.settings
    config = RouterConfig(routes=ROUTES, width=settings.width)
    prose, general = paragraphs(run), questions(run)
    training, validation = split_text(free_text(prose, general))
    share = settings.written_share
    prompts = examples(random.Random(run.seed), settings.vocabulary_prompts, training, written_share=share)
    vocabulary, vectors = vocabulary_of(
        [tokens_of(example, config) for example in prompts],
        # Every second paragraph of the books, which is enough for the word vectors.
        [route_tokens(text) for text in (*prose[::2], *general)],
        min_count=settings.min_count,
        words=settings.words,
        width=settings.vector_width,
        unknown_rows=config.unknown_rows,
    )
    batcher = Batcher(vocabulary, config, settings)
    model = RouterTraining(config, vectors).to(run.device)
    groups = model.groups(settings)
    optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=settings.steps, pct_start=0.15)
    done = 0
    if (checkpoint := run.load_checkpoint()) is not None:
        model.load_state_dict(checkpoint["model"])
        optimiser.load_state_dict(checkpoint["optimiser"])
        schedule.load_state_dict(checkpoint["schedule"])
        done = checkpoint["done"]
    run.log(f"{len(vocabulary)} token rows, {sum(p.numel() for p in model.net.parameters())} parameters")
    with run.progress() as bar:
        task = bar.add_task("training", total=settings.steps, completed=done)
        while done < settings.steps:
            for batch in draw_batches(run, training, config, done):
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
    router = model.folded().to_router(vocabulary)
    calibration = [
        *written("validation"),
        *held_out_prompts(),
        *examples(random.Random(run.seed + 1), settings.calibration_prompts, validation, held_out=True),
    ]
    scale = fitted_scale(router, calibration, modulated)
    run.log(f"scale {scale:.3f}")
    return router.rescaled(scale).with_answers(requests_by_route())


def draw_batches(run: Run[Settings], text: FreeText, config: RouterConfig, done: int) -> list[list[Example]]:
    """Draw the batches that follow update `done`, each of prompts of similar length.

    Padding is expensive, because attention costs (steps * tokens)^2.
    """
    rng = random.Random(f"{run.seed} {done}")
    size = run.settings.batch
    drawn = examples(rng, BATCHES_PER_DRAW * size, text, written_share=run.settings.written_share)
    by_length = sorted(drawn, key=lambda example: len(tokens_of(example, config)))
    batches = [by_length[i : i + size] for i in range(0, len(by_length), size)]
    rng.shuffle(batches)
    return batches


def held_out_prompts() -> list[Example]:
    """Return the held-out tenth of the prompts written for training, without follow-ups."""
    return [example for prompts in written_training(held_out=True).values() for example in prompts if example.target]


def requests_by_route() -> dict[str, list[RouteRequest]]:
    """Return the prompts written for training that have one right route, by this route."""
    prompts: dict[str, list[RouteRequest]] = {route: [] for route in ROUTES}
    for examples_ in written_training(held_out=False).values():
        for example in examples_:
            if len(example.target) == 1 and example.follows is None:
                prompts[next(iter(example.target))].append(RouteRequest(example.text, has_image=example.has_image))
    return prompts


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure both tests separately; the names of the second's rows end in `_2`."""
    router = Router.load(run.weights)
    scale = fitted_scale(router, written("validation"), softmax)
    yield from measures(router, written("test"), scale)
    for row in measures(router, written("test_2"), scale):
        yield row.model_copy(update={"name": f"{row.name}_2"})
    for name, part in (("top1_with_bids", "test"), ("top1_with_bids_2", "test_2")):
        one_route = [e for e in written(part) if not e.follow_up and len(e.target) == 1]
        yield with_bids(router, name, one_route)


def with_bids(router: Router, name: str, prompts: list[Example]) -> Row:
    """Measure top-1 accuracy with what the regions of the default brain bid, beside that of the text alone."""
    said = real_bids(prompts)
    right = {"bids": 0, "text": 0}
    for example, bids in zip(prompts, said, strict=True):
        (found,) = router.score_batch([RouteRequest(example.text, has_image=example.has_image)])
        for way, given in (("bids", bids), ("text", {})):
            made = router.choose(found, given, available=ROUTES)
            right[way] += made.names[int(made.route_probs.argmax())] in example.target
    share = {way: 100 * count / len(prompts) for way, count in right.items()}
    return compare(
        name, share["bids"], "%", rival="without bids", rival_value=share["text"], limit=("value", ">=", share["text"])
    )
