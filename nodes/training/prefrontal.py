"""Trains the router on labelled prompts and reports what it does on phrasings that training has not seen.

Training reads text/books.txt.gz (free text for language to continue) and text/trivia_qa.txt.gz (general questions) in
the data folder. Evaluation needs no data: the prompts of the test are part of the program.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from brainnet.snn.models.quantum import choose, modulate, softmax
from brainnet.snn.models.router import Router, RouterConfig, RouterNet, RouterState, prompt_tokens
from brainnet.snn.models.text_features import HashedVocabulary
from brainnet.training import Row, Run, TrainingSettings, compare, expected_calibration_error
from nodes.prefrontal import Prefrontal
from nodes.training.prefrontal_rules import route_by_rules
from nodes.training.routing_prompts import ROUTES, Example, FreeText, examples, written

Floats = NDArray[np.float64]
BATCHES_DRAWN = 32
"""Batches that are drawn together, sorted by length and shuffled; checkpoints lie between them."""
SHIPPED = Prefrontal.Parameters()


class Settings(TrainingSettings):
    """The default takes about 1 minute on one core."""

    steps: int = Field(600, ge=1, description="optimiser steps")
    batch: int = Field(64, ge=1, description="prompts a step")
    learning_rate: float = Field(4e-3, gt=0, description="peak of the one-cycle schedule")
    embedding_rate: float = Field(
        0.16, gt=0, description="peak for the embeddings, which learn only from the prompts that hold their word"
    )
    weight_decay: float = Field(0.02, ge=0, description="of AdamW")
    word_dropout: float = Field(0.18, ge=0, lt=1, description="share of the words that training makes unknown")
    label_smoothing: float = Field(0.02, ge=0, lt=1, description="of the cross-entropy")
    counted: int = Field(40_000, ge=1, description="prompts whose words are counted")
    min_count: int = Field(12, ge=1, description="how often a word must be counted to be known")
    calibrated: int = Field(1500, ge=1, description="prompts of kept templates that help to fit the scale")
    width: int = Field(64, ge=2, description="channels and neurons a token")


def free_text(run: Run[Settings]) -> FreeText:
    """Beginnings of paragraphs of prose (no questions, no dialogue), and general questions."""
    with gzip.open(run.file("text/books.txt.gz"), "rt", encoding="utf-8") as file:
        books = file.read()
    openings = []
    for paragraph in re.split(r"\n\s*\n", books)[::3]:
        words = " ".join(paragraph.split()).split(" ")[:28]
        if len(words) >= 3 and words[0][0].isalpha() and "?" not in paragraph and "##" not in paragraph:
            openings.append(" ".join(words))
    with gzip.open(run.file("text/trivia_qa.txt.gz"), "rt", encoding="utf-8", errors="replace") as file:
        lines = [line[3:].strip() for line in file if line.startswith("#Q ")]
    return FreeText(openings, [line for line in lines if line.endswith("?") and len(line) < 120][::5])


def parts(text: FreeText) -> tuple[FreeText, FreeText]:
    """For training, and the last fifth of either for validation."""
    opening, question = (len(items) * 4 // 5 for items in (text.openings, text.questions))
    return (
        FreeText(text.openings[:opening], text.questions[:question]),
        FreeText(text.openings[opening:], text.questions[question:]),
    )


class Batcher:
    """Turns examples into padded token rows."""

    def __init__(self, vocabulary: HashedVocabulary, config: RouterConfig) -> None:
        self.vocabulary = vocabulary
        self.config = config

    def rows(self, batch: Sequence[Example], drop: float, rng: np.random.Generator) -> Tensor:
        """Token rows int64 [B, L], 0-padded; a share ``drop`` of the tokens becomes unknown."""
        found = [self.vocabulary.rows(tokens_of(example, self.config)) for example in batch]
        rows = np.zeros((len(batch), max(map(len, found))), np.int64)
        for i, row in enumerate(found):
            rows[i, : len(row)] = row
        if drop:
            lost = (rng.random(rows.shape) < drop) & (rows > 0)
            lost[:, 0] = False
            rows[lost] = rng.integers(1, 1 + self.vocabulary.unknown_rows, int(lost.sum()))
        return torch.from_numpy(rows)


def tokens_of(example: Example, config: RouterConfig) -> list[str]:
    return prompt_tokens(example.text, has_image=example.has_image, has_audio=False, limit=config.positions)


def targets(batch: Sequence[Example]) -> Tensor:
    return torch.tensor([[example.target.get(route, 0.0) for route in ROUTES] for example in batch])


def scores_of(
    net: RouterNet, batcher: Batcher, batch: Sequence[Example], drop: float, rng: np.random.Generator, device: str
) -> Tensor:
    """Scores [B, N], each session's earlier prompt heard first where there is one."""
    threshold = net.config.base_threshold * (rng.uniform(1.0, 1.2) if drop else 1.0)
    blank = Example("", {})
    earlier = batcher.rows([example.follows or blank for example in batch], drop, rng).to(device)
    _, membrane = net.remember(net.encoder(earlier), earlier != 0, None, threshold)
    heard = torch.tensor([[example.follows is not None] for example in batch], device=device)
    rows = batcher.rows(batch, drop, rng).to(device)
    scores: Tensor = net(net.encoder(rows), rows != 0, membrane * heard, threshold)[0]
    return scores


def train(run: Run[Settings]) -> None:
    settings = run.settings
    config = RouterConfig(routes=ROUTES, width=settings.width)
    training, validation = parts(free_text(run))
    vocabulary = vocabulary_of(
        list(examples(random.Random(run.seed), settings.counted, training)), config, settings.min_count
    )
    batcher = Batcher(vocabulary, config)
    net = RouterNet(config, len(vocabulary)).to(run.device)
    rates = [settings.embedding_rate, settings.learning_rate]
    others = [value for name, value in net.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": list(net.encoder.parameters())}, {"params": others}]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=settings.steps, pct_start=0.15)
    done = 0
    if (kept := run.load_checkpoint()) is not None:
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        done = kept["done"]
    run.say(f"{len(vocabulary)} token rows, {sum(p.numel() for p in net.parameters())} parameters")
    with run.progress() as bar:
        task = bar.add_task("training", total=settings.steps, completed=done)
        while done < settings.steps:
            for batch in drawn(run, training, config, done):
                rng = np.random.default_rng([run.seed, done])
                scores = scores_of(net, batcher, batch, settings.word_dropout, rng, run.device)
                wanted = targets(batch).to(run.device)
                loss = torch.nn.functional.cross_entropy(scores, wanted, label_smoothing=settings.label_smoothing)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                done += 1
                bar.update(task, completed=done, description=f"training, loss {float(loss.detach()):.3f}")
                if done == settings.steps:
                    break
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            run.save_checkpoint({**state, "done": done})
    router = Router(net.cpu(), vocabulary)
    chosen_by = [
        *written("validation"),
        *examples(random.Random(run.seed + 1), settings.calibrated, validation, kept=True),
    ]
    scale = fitted_scale(router, chosen_by, modulated)
    router.net.config = router.config = replace(config, scale=scale)
    router.save(run.weights)
    run.forget_checkpoints()
    run.say(f"scale {scale:.3f}; wrote {run.weights} ({run.weights.stat().st_size / 1e6:.2f} MB)")


def drawn(run: Run[Settings], text: FreeText, config: RouterConfig, done: int) -> list[list[Example]]:
    """The batches that follow ``done``. Prompts of like length together: attention costs (steps * tokens)^2."""
    rng = random.Random(f"{run.seed} {done}")
    size = run.settings.batch
    found = sorted(examples(rng, BATCHES_DRAWN * size, text), key=lambda e: len(tokens_of(e, config)))
    batches = [found[i : i + size] for i in range(0, len(found), size)]
    rng.shuffle(batches)
    return batches


def vocabulary_of(prompts: list[Example], config: RouterConfig, min_count: int) -> HashedVocabulary:
    counts: dict[str, int] = {}
    for example in prompts:
        for token in set(tokens_of(example, config)):
            counts[token] = counts.get(token, 0) + 1
    known = [token for token, count in counts.items() if count >= min_count] + ["<audio>"]
    return HashedVocabulary.build(known, config.unknown_rows)


# -- what the scores become --------------------------------------------------------------------------------------


def modulated(scores: Floats) -> Floats:
    """Routing probabilities of one prompt as the shipped region has them."""
    return modulate(scores, max_temperature=SHIPPED.max_temperature).route_probs


def decided(router: Router, example: Example, *, hear: bool = True, plastic: bool = True) -> Floats:
    """Scores [N] after the session's earlier prompt, heard by working memory or not, with its threshold or the base."""
    state: RouterState | None = None
    if hear and example.follows is not None:
        before = example.follows
        state = router.decide(before.text, has_image=before.has_image, max_temperature=SHIPPED.max_temperature).state
        if not plastic:
            state = replace(state, threshold=router.config.base_threshold)
    return router.decide(example.text, has_image=example.has_image, state=state).scores


def fitted_scale(router: Router, prompts: Sequence[Example], probabilities: Callable[[Floats], Floats]) -> float:
    """The factor of the scores at which ``probabilities`` of them give the right routes the highest likelihood."""
    prompts = [example for example in prompts if example.follows is None]
    scores = [decided(router, example) for example in prompts]
    wanted = targets(prompts).double().numpy()

    def loss(scale: float) -> float:
        given = np.array([probabilities(scale * row) for row in scores])
        return float(-(wanted * np.log(np.maximum(given, 1e-12))).sum(1).mean())

    return float(min(np.geomspace(0.2, 8.0, 75), key=loss))


# -- measuring ------------------------------------------------------------------------------------------------------


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    router = Router.load(run.weights)
    prompts = written("test")
    alone = [example for example in prompts if not example.follow_up]
    clear = [example for example in alone if len(example.target) == 1]
    unclear = [example for example in alone if len(example.target) > 1]
    scores = [decided(router, example) for example in clear + unclear]
    yield from routing(clear, scores)
    yield from modulation(clear, unclear, scores, fitted_scale(router, written("validation"), softmax))
    yield from working_memory(router, [example for example in prompts if example.follow_up])


def routing(clear: list[Example], scores: list[Floats]) -> Iterator[Row]:
    """Top-1 accuracy beside keyword rules, in all and by route."""
    wanted = targets(clear).numpy().argmax(1)
    right = np.array([row.argmax() for row in scores[: len(clear)]]) == wanted
    by_rules = [ROUTES.index(route_by_rules(example.text, has_image=example.has_image)) for example in clear]
    ruled = np.array(by_rules) == wanted
    yield compare("test_prompts", len(clear), "prompts")
    yield compare(
        "top1_accuracy",
        percent(right),
        "%",
        rival="keyword rules",
        rival_value=percent(ruled),
        limit=("value", ">=", 97),
    )
    for i, route in enumerate(ROUTES):
        mine = wanted == i
        yield compare(
            f"top1_{route}", percent(right[mine]), "%", rival="keyword rules", rival_value=percent(ruled[mine])
        )


def modulation(clear: list[Example], unclear: list[Example], scores: list[Floats], scale: float) -> Iterator[Row]:
    """What modulation buys beside plain softmax of ``scale`` times the scores, its own on the validation prompts."""
    found = {"modulated": [modulated(row) for row in scores], "plain": [softmax(scale * row) for row in scores]}
    wanted = targets(clear + unclear).numpy() > 0
    n = len(clear)

    def beside(name: str, measure: Callable[[list[Floats]], float], unit: str, bar: float | None = None) -> Row:
        mine, plain = (measure(found[kind]) for kind in ("modulated", "plain"))
        limit = ("value", "<=", bar) if bar is not None else None
        return compare(name, mine, unit, rival="plain softmax", rival_value=plain, limit=limit)  # type: ignore[arg-type]

    def calibration(probs: list[Floats]) -> float:
        top = np.array([row.max() for row in probs[:n]])
        return expected_calibration_error(top, [wanted[i, row.argmax()] for i, row in enumerate(probs[:n])])

    def asked(probs: list[Floats]) -> list[list[int]]:
        return [choose(row, SHIPPED.mass) for row in probs]

    def covered(probs: list[Floats]) -> NDArray[np.bool_]:
        return np.array([set(np.flatnonzero(wanted[i])) <= set(chosen) for i, chosen in enumerate(asked(probs))])

    def regions(probs: list[Floats]) -> NDArray[np.int64]:
        return np.array([len(chosen) for chosen in asked(probs)])

    yield beside("ece", calibration, "", bar=0.05)
    yield beside("regions_asked", lambda probs: float(regions(probs)[:n].mean()), "regions")
    yield beside("one_region_asked", lambda probs: percent(regions(probs)[:n] == 1), "%")
    yield beside("right_region_asked", lambda probs: percent(covered(probs)[:n]), "%")
    yield compare(
        "right_region_asked_at_equal_cost",
        percent(covered(found["modulated"])[:n]),
        "%",
        rival="plain softmax, mass raised to ask as many regions",
        rival_value=at_equal_cost(found["plain"][:n], wanted[:n], int(regions(found["modulated"])[:n].sum())),
    )
    yield beside("regions_asked_two_right", lambda probs: float(regions(probs)[n:].mean()), "regions")
    yield beside("both_right_regions_asked", lambda probs: percent(covered(probs)[n:]), "%")


def at_equal_cost(probs: list[Floats], wanted: NDArray[np.bool_], regions: int) -> float:
    """Prompts (%) whose right region is asked at the largest mass that asks no more than ``regions`` in all."""
    best = [choose(row, 1e-6) for row in probs]
    for mass in np.linspace(0.5, 0.9999, 500):
        sets = [choose(row, float(mass)) for row in probs]
        if sum(map(len, sets)) > regions:
            break
        best = sets
    return percent([set(np.flatnonzero(wanted[i])) <= set(chosen) for i, chosen in enumerate(best)])


def working_memory(router: Router, follow_ups: list[Example]) -> Iterator[Row]:
    """Follow-ups ("once more") with working memory beside without, and with its threshold beside a fixed one."""
    wanted = targets(follow_ups).numpy().argmax(1)

    def accuracy(hear: bool, plastic: bool) -> float:
        found = [decided(router, example, hear=hear, plastic=plastic).argmax() for example in follow_ups]
        return percent(np.array(found) == wanted)

    value = accuracy(True, True)
    yield compare("follow_up_accuracy", value, "%", rival="no working memory", rival_value=accuracy(False, True))
    yield compare("follow_up_threshold", value, "%", rival="fixed threshold", rival_value=accuracy(True, False))


def percent(flags: Sequence[bool] | NDArray[np.bool_]) -> float:
    return 100.0 * float(np.mean(flags))
