"""Trains the router on labelled prompts and reports what it does on phrasings that training has not seen.

    python nodes/training/prefrontal.py --data DIR

DIR holds text/books.txt.gz (free text) and text/trivia_qa.txt.gz (general questions).
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from brainnet.snn.quantum import choose, modulate, softmax
from brainnet.snn.router import Router, RouterConfig, RouterNet, prompt_tokens
from brainnet.snn.text_features import HashedVocabulary
from nodes.training.common import arguments, progress, seeded
from nodes.training.routing_prompts import TEMPLATES, Example, examples, written

DESCRIPTION = "Train the router on labelled prompts and report what it does on phrasings it has not seen."
ROUTES = tuple(TEMPLATES)
BATCH = 64
TEST_EXAMPLES = 3000


def free_text(data: Path) -> list[str]:
    """Beginnings of paragraphs of prose, in the order of the books; no questions and no dialogue."""
    with gzip.open(data / "text" / "books.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    openings = []
    for paragraph in re.split(r"\n\s*\n", text)[::3]:
        words = " ".join(paragraph.split()).split(" ")[:28]
        if len(words) >= 3 and words[0][0].isalpha() and "?" not in paragraph and "##" not in paragraph:
            openings.append(" ".join(words))
    return openings


def general_questions(data: Path) -> list[str]:
    """General-knowledge questions, in the order of the file."""
    with gzip.open(data / "text" / "trivia_qa.txt.gz", "rt", encoding="utf-8", errors="replace") as file:
        lines = [line[3:].strip() for line in file if line.startswith("#Q ")]
    return [line for line in lines if line.endswith("?") and len(line) < 120][::5]


def split(items: list[str], *, test: bool) -> list[str]:
    """The last fifth is for the test."""
    cut = len(items) * 4 // 5
    return items[cut:] if test else items[:cut]


class Batcher:
    """Turns examples into padded token rows."""

    def __init__(self, vocabulary: HashedVocabulary, config: RouterConfig) -> None:
        self.vocabulary = vocabulary
        self.config = config

    def rows(self, batch: list[Example], drop: float, rng: np.random.Generator) -> Tensor:
        """Token rows int64 [B, L], 0-padded; a share `drop` of the tokens becomes unknown."""
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


def targets(batch: list[Example]) -> Tensor:
    return torch.tensor([[example.target.get(route, 0.0) for route in ROUTES] for example in batch])


def scores_of(
    net: RouterNet, batcher: Batcher, batch: list[Example], drop: float, rng: np.random.Generator, device: str
) -> Tensor:
    """Scores [B, N], each session's earlier prompt heard first where there is one."""
    threshold = net.config.base_threshold * rng.uniform(1.0, 1.2) if drop else net.config.base_threshold
    blank = Example("", {})
    earlier = batcher.rows([example.follows or blank for example in batch], drop, rng).to(device)
    _, membrane = net.remember(net.encoder(earlier), earlier != 0, None, threshold)
    heard = torch.tensor([[example.follows is not None] for example in batch], device=device)
    rows = batcher.rows(batch, drop, rng).to(device)
    scores: Tensor = net(net.encoder(rows), rows != 0, membrane * heard, threshold)[0]
    return scores


def train(data: Path, out: Path, device: str, seed: int, steps: int) -> None:
    texts = random.Random(seed)
    rng = np.random.default_rng(seed)
    config = RouterConfig(routes=ROUTES)
    openings = split(free_text(data), test=False)
    questions = split(general_questions(data), test=False)

    def draw(count: int) -> list[Example]:
        return list(examples(texts, test=False, count=count, openings=openings, questions=questions))

    counts: dict[str, int] = {}
    for example in draw(40_000):
        for token in set(tokens_of(example, config)):
            counts[token] = counts.get(token, 0) + 1
    known = [token for token, count in counts.items() if count >= 12] + ["<audio>"]
    vocabulary = HashedVocabulary.build(known, config.unknown_rows)
    net = RouterNet(config, len(vocabulary)).to(device)
    batcher = Batcher(vocabulary, config)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    print(f"{len(vocabulary)} token rows, {sum(p.numel() for p in net.parameters())} parameters")
    pool: list[list[Example]] = []
    with progress() as bar:
        task = bar.add_task("training", total=steps)
        for _ in range(steps):
            if not pool:
                # Prompts of like length together: attention costs (steps * tokens)^2.
                drawn = sorted(draw(32 * BATCH), key=lambda example: len(tokens_of(example, config)))
                pool = [drawn[i : i + BATCH] for i in range(0, len(drawn), BATCH)]
                texts.shuffle(pool)
            batch = pool.pop()
            scores = scores_of(net, batcher, batch, 0.12, rng, device)
            loss = torch.nn.functional.cross_entropy(scores, targets(batch).to(device), label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            bar.update(task, advance=1, description=f"training, loss {float(loss.detach()):.3f}")
    Router(net.cpu(), vocabulary).save(out)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.2f} MB)")


def expected_calibration_error(probs: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15) -> float:
    """ECE over equal-width bins of the top probability (Guo et al. 2017)."""
    top = probs.max(1)
    bin_of = np.minimum((top * bins).astype(int), bins - 1)
    return float(
        sum(
            abs(right[bin_of == b].mean() - top[bin_of == b].mean()) * (bin_of == b).mean()
            for b in range(bins)
            if (bin_of == b).any()
        )
    )


def measure(router: Router, prompts: list[Example]) -> dict[str, object]:
    """Accuracy, calibration and regions asked on labelled prompts, with plain softmax and modulated."""
    prompts = sorted(prompts, key=lambda example: len(example.text))
    batcher = Batcher(router.vocabulary, router.config)
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        rows = [
            scores_of(router.net, batcher, prompts[i : i + BATCH], 0.0, rng, "cpu").double().numpy()
            for i in range(0, len(prompts), BATCH)
        ]
    scores = np.concatenate(rows)
    wanted = targets(prompts).numpy()
    clear = wanted.max(1) == 1.0
    follow_up = np.array([example.follow_up for example in prompts])
    plain = np.array([softmax(row) for row in scores])
    modulated = np.array([modulate(row).route_probs for row in scores])
    right = plain.argmax(1) == wanted.argmax(1)
    alone = clear & ~follow_up
    report: dict[str, object] = {
        "prompts": len(prompts),
        "accuracy": share(right[alone]),
        "accuracy by route": {route: share(right[alone & (wanted[:, i] == 1)]) for i, route in enumerate(ROUTES)},
        "accuracy of follow-ups": share(right[clear & follow_up]),
    }
    for name, probs in (("softmax", plain), ("modulated", modulated)):
        sets = [choose(row) for row in probs]
        covered = np.array([set(np.flatnonzero(row)) <= set(chosen) for row, chosen in zip(wanted, sets, strict=True)])
        asked = np.array([len(chosen) for chosen in sets])
        report[name] = {
            "ECE": round(expected_calibration_error(probs[alone], right[alone]), 4),
            "regions asked": share(asked[alone]),
            "one region asked": share(asked[alone] == 1),
            "right region among those asked": share(covered[alone]),
            "regions asked, ambiguous": share(asked[~clear]),
            "both right regions asked, ambiguous": share(covered[~clear]),
        }
    return report


def share(values: NDArray[np.bool_ | np.int64]) -> float | None:
    """Mean to four digits; None of nothing."""
    return round(float(np.mean(values)), 4) if len(values) else None


def evaluate(data: Path, weights: Path, seed: int) -> dict[str, object]:
    """Measures the weights on unseen templates and on the prompts written for the test."""
    drawn = examples(
        random.Random(seed + 1),
        test=True,
        count=TEST_EXAMPLES,
        openings=split(free_text(data), test=True),
        questions=split(general_questions(data), test=True),
    )
    router = Router.load(weights)
    return {"unseen templates": measure(router, list(drawn)), "written one by one": measure(router, written())}


def main() -> None:
    parser = arguments(DESCRIPTION, "prefrontal.safetensors")
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps")
    parser.add_argument("--evaluate", action="store_true", help="only measure the weights at --out")
    options = parser.parse_args()
    seeded(options.seed, options.threads)
    if not options.evaluate:
        train(options.data, options.out, options.device, options.seed, options.steps)
    print(json.dumps(evaluate(options.data, options.out, options.seed), indent=2))


if __name__ == "__main__":
    main()
