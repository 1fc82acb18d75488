"""Fits the judge's logistic regression on questions that people have worded; used by its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from brainnet.memory import EpisodicStore, plain_words
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from hippocampus_judge import Features, Judge
from hippocampus_prompts import understand
from hippocampus_reading import content_of
from hippocampus_recall import Recall, Sought

KINDS = frozenset(("same_words", "other_words", "unanswerable"))
"""Kinds of the questions that are taken: those that one statement answers, or none."""
DECAY = 3e-3
"""Weight decay of the standardised figures."""
PARTS = 5
"""Parts of the worlds; each is judged by what was fitted on the others, and so the threshold is chosen."""


@dataclass(frozen=True)
class Case:
    """A question and what memory found.

    Attributes:
        world: The world that was told.
        figures: Of each statement that was found, `Judge.figures`.
        right: Whether it answers, [statements].
    """

    world: str
    figures: NDArray[np.float32]
    right: NDArray[np.bool_]


class _Watched(Judge):
    """Keeps the figures of the last search."""

    seen: NDArray[np.float32] | None = None

    def probabilities(self, features: Features) -> NDArray[np.float32]:
        self.seen = self.figures(features)
        return super().probabilities(features)


def worded_questions(judge: Judge, embedder: SpikingTextEmbedder, path: Path) -> list[Case]:
    """Tell and ask the worlds of a file of `brainnet eval whole_brain`, each in a memory of its own."""
    watched = _Watched(embedder, judge.lexicon, judge.weights, judge.scale, judge.threshold)
    recall = Recall(watched, lambda text: embedder.counts([text])[0])
    cases = []
    for world in yaml.safe_load(path.read_text("utf-8"))["worlds"]:
        with EpisodicStore(":memory:", vector_model=embedder.fingerprint) as store:
            for step in world["steps"]:
                if "say" in step:
                    asked = understand(step["say"])
                    if asked.kind != "forget":
                        fact = asked.fact or step["say"]
                        store.store(fact, "statement", {}, embedder.counts([fact])[0])
                elif step.get("kind") in KINDS:
                    case = _case(watched, recall, store, step, world["id"])
                    if case is not None:
                        cases.append(case)
    return cases


def _case(watched: _Watched, recall: Recall, store: EpisodicStore, step: dict[str, object], world: str) -> Case | None:
    text = str(step["ask"])
    asked = understand(text)
    watched.seen = None
    found = recall.find(store, Sought(text, tuple(content_of(asked.subject)), asked.answer_type, asked.language))
    if watched.seen is None:
        return None
    # In the order in which they were judged.
    judged = sorted(found, key=lambda one: one.position)
    right = [_answers(one.text, step) for one in judged]
    return Case(world, watched.seen, np.array(right))


def _answers(text: str, step: dict[str, object]) -> bool:
    words = f" {' '.join(plain_words(text))} "

    def holds(part: object) -> bool:
        return f" {' '.join(plain_words(str(part)))} " in words

    expect, excluded = step.get("expect") or [], step.get("not") or []
    return any(map(holds, expect)) and not any(map(holds, excluded))  # type: ignore[call-overload]


def fitted_blend(cases: list[Case], risk: float) -> tuple[NDArray[np.float32], float]:
    """Fit the weights on all cases, and the threshold by cross-validation over the worlds.

    Returns:
        The weights with the bias last, and the lowest threshold at which at most a share `risk` of what is asserted is
        wrong, one more wrong one included for the finite sample.
    """
    worlds = sorted({case.world for case in cases})
    judged: list[tuple[float, bool]] = []
    for part in range(PARTS):
        out = set(worlds[part::PARTS])
        weights = _fitted([case for case in cases if case.world not in out])
        for case in (case for case in cases if case.world in out):
            logits = case.figures @ weights[:-1] + weights[-1]
            best = int(logits.argmax())
            judged.append((float(1 / (1 + np.exp(-logits[best]))), bool(case.right[best])))
    judged.sort(reverse=True)
    threshold, wrong = 0.99, 0
    for count, (probability, right) in enumerate(judged, 1):
        wrong += not right
        if (wrong + 1) / (count + 1) <= risk:
            threshold = probability
    return _fitted(cases), round(float(threshold), 3)


def _fitted(cases: list[Case]) -> NDArray[np.float32]:
    figures = np.concatenate([case.figures for case in cases])
    right = torch.from_numpy(np.concatenate([case.right for case in cases]).astype(np.float32))
    middle, spread = figures.mean(0), figures.std(0) + 1e-6
    inputs = torch.from_numpy(((figures - middle) / spread).astype(np.float32))
    row = torch.zeros(figures.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([row], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = binary_cross_entropy_with_logits(inputs @ row[:-1] + row[-1], right) + DECAY * row[:-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    weights = row.detach().numpy()
    plain = weights[:-1] / spread
    return np.append(plain, weights[-1] - plain @ middle).astype(np.float32)
