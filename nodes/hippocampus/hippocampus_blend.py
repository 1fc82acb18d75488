"""Fits the logistic regressions of the judge and of the cross-encoder on questions that people have worded.

Used by their trainings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from brainnet.memory import EpisodicStore, plain_words
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from hippocampus_cross_encoder import CrossEncoder, figures
from hippocampus_judge import Judge
from hippocampus_prompts import understand
from hippocampus_reading import content_of
from hippocampus_recall import Recall, Sought

KINDS = ("same_words", "other_words", "unanswerable")
"""Kinds of the questions that are taken: those that one statement answers, or none."""
DECAY = 3e-3
"""Weight decay of the standardised figures."""
_WHOLE = 3
"""Letters up to which an expected word has to stand alone."""
PARTS = 5
"""Parts of the worlds; each is judged by what was fitted on the others, and so the threshold is chosen."""


@dataclass(frozen=True)
class Case:
    """A question and what memory found.

    Attributes:
        world: The world that was told.
        figures: Of each statement that was found, `Judge.figures`.
        right: Whether it answers, [statements].
        kind: Kind of the question.
    """

    world: str
    figures: NDArray[np.float32]
    right: NDArray[np.bool_]
    kind: str = ""


class _Watched(Judge):
    """Keeps the figures of the last search."""

    seen: NDArray[np.float32] | None = None

    def probabilities(self, figures: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen = figures
        return super().probabilities(figures)


class _WatchedReader(CrossEncoder):
    """Keeps the figures of the last reading, and the statements."""

    def __init__(self, reader: CrossEncoder) -> None:
        vars(self).update(vars(reader))
        self.seen: tuple[NDArray[np.float32], list[str]] | None = None

    def judge(
        self, question: str, statements: Sequence[str], judged: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.seen = figures(self.logits(question, statements), judged), list(statements)
        return super().judge(question, statements, judged)


def read_questions(judge: Judge, reader: CrossEncoder, embedder: SpikingTextEmbedder, path: Path) -> list[Case]:
    """Tell and ask the worlds of such a file, and read with the cross-encoder."""
    watched = _WatchedReader(reader)
    recall = Recall(judge, lambda text: embedder.counts([text])[0], watched)
    cases: list[Case] = []
    for world, store, step in _asked(path, embedder, KINDS):
        asked = understand(str(step["ask"]))
        watched.seen = None
        words = tuple(content_of(asked.subject))
        recall.find(store, Sought(str(step["ask"]), words, asked.answer_type, asked.language))
        if watched.seen is not None:
            seen, texts = watched.seen
            cases.append(Case(world, seen, np.array([_answers(text, step) for text in texts]), str(step["kind"])))
    return cases


def _asked(
    path: Path, embedder: SpikingTextEmbedder, kinds: Sequence[str]
) -> Iterator[tuple[str, EpisodicStore, dict[str, object]]]:
    """Tell the worlds of a file of `brainnet eval whole_brain`, each to a memory of its own, and give the questions."""
    for world in yaml.safe_load(path.read_text("utf-8"))["worlds"]:
        with EpisodicStore(":memory:", vector_model=embedder.fingerprint) as store:
            for step in world["steps"]:
                if "say" in step:
                    asked = understand(step["say"])
                    if asked.kind != "forget":
                        fact = asked.fact or step["say"]
                        store.store(fact, "statement", {}, embedder.counts([fact])[0])
                elif step.get("kind") in kinds:
                    yield world["id"], store, step


def worded_questions(judge: Judge, embedder: SpikingTextEmbedder, path: Path) -> list[Case]:
    """Tell and ask the worlds of such a file."""
    watched = _Watched(embedder, judge.lexicon, judge.weights, judge.scale, judge.threshold)
    recall = Recall(watched, lambda text: embedder.counts([text])[0])
    cases = [_case(watched, recall, store, step, world) for world, store, step in _asked(path, embedder, KINDS)]
    return [case for case in cases if case is not None]


def _case(watched: _Watched, recall: Recall, store: EpisodicStore, step: dict[str, object], world: str) -> Case | None:
    text = str(step["ask"])
    asked = understand(text)
    watched.seen = None
    found = recall.find(store, Sought(text, tuple(content_of(asked.subject)), asked.answer_type, asked.language))
    if watched.seen is None:
        return None
    # In the order in which they were judged.
    right = [_answers(one.text, step) for one in sorted(found, key=lambda one: one.position)]
    return Case(world, watched.seen, np.array(right), str(step["kind"]))


def _answers(text: str, step: dict[str, object]) -> bool:
    expect, excluded = step.get("expect") or [], step.get("not") or []
    return any(_holds(text, part) for part in expect) and not any(_holds(text, part) for part in excluded)  # type: ignore[attr-defined]


def _holds(text: str, part: object) -> bool:
    """Return whether a text holds a part, as `brainnet eval whole_brain` has it: "Mondays" holds "Monday"."""
    words, wanted = " ".join(plain_words(text)), " ".join(plain_words(str(part)))
    end = r"(?!\w)" if len(wanted) <= _WHOLE or wanted[-1:].isdigit() else ""
    begin = r"(?<!\w)" if wanted.isascii() else ""
    return re.search(f"{begin}{re.escape(wanted)}{end}", words) is not None


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
        weights = fitted([case for case in cases if case.world not in out])
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
    return fitted(cases), round(float(threshold), 3)


def fitted(cases: list[Case]) -> NDArray[np.float32]:
    """Fit a logistic regression of what is right; returns its weights with the bias last."""
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
