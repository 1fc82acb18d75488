# mypy: allow-untyped-calls, no-warn-return-any
"""Learns the trust in each region from prompts that need a picture and memory together. About 3 minutes of one core.

A prompt asks what is on or in a thing ("Which digit is on Anna's red door?") and has a picture of it, which is blurred
and has missing pixels, by a random degree. Statements about every thing are stored in memory beforehand. They are right
(case `right`), out of date (`stale`), or two that contradict each other, one of which is right (`torn`). No region can
know which case it is, so none is always right alone; case and damage are drawn independently.

Nothing is simulated: the router chooses the regions, vision and hippocampus are the shipped programs with their
weights, and hundreds of statements are in memory at once. Pictures are those of MNIST, and of Fashion-MNIST and
CIFAR-10 if vision knows their classes. Training uses the last 5,000 training pictures, on which vision is not trained;
the test uses test pictures.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import Field
from torch import Tensor

from brainnet import Partial, Prompt
from brainnet.errors import TrainingError
from brainnet.node import load_program, logs
from brainnet.paths import region_file
from brainnet.prompts import Fused, Trust, claim, fuse, load_trust
from brainnet.snn.models.router import Router
from brainnet.testing import MemoryBrain
from brainnet.training import Row, Run, TrainingSettings, compare, save_weights

REGIONS = ("vision", "hippocampus")
"""The regions that are asked, by their names in the router. They run as programs, as in a brain."""
MIN_FLOOR = 1e-6
"""Smallest value of the learned floor of a probability."""
CASES = {"right": 0.40, "stale": 0.25, "torn": 0.35}
"""How often each case is drawn."""
MAX_BLUR, MAX_MISSING = 1.5, 0.3
"""Largest standard deviation of the blur, in pixels, and largest share of missing pixels.

They were set so that vision alone is right about as often as memory alone on the training prompts."""
HELD_OUT_PICTURES = 5000
"""Number of training pictures of each data set, the last ones, on which vision is not trained."""

Pixels = NDArray[np.uint8]


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults, those of the shipped weights, take about 3 minutes on one core."""

    training_prompts: int = Field(900, ge=10, description="training prompts")
    test_prompts: int = Field(900, ge=10, description="evaluation: test prompts")
    steps: int = Field(500, ge=1, description="optimiser steps over all training prompts")


@dataclass(frozen=True)
class Kind:
    """One kind of picture.

    Attributes:
        file: The data set.
        names: Names of its classes.
        questions: Questions about a `{thing}`.
        statements: Statements that the `{thing}` shows the class `{name}`.
    """

    file: str
    names: tuple[str, ...]
    questions: tuple[str, ...]
    statements: tuple[str, ...]


KINDS = (
    Kind(
        "mnist.npz",
        tuple("0123456789"),
        ("Which digit is on {thing}?", "What number is on {thing}?", "Tell me the digit on {thing}"),
        ("the digit on {thing} is a {name}", "{thing} shows the digit {name}", "the number on {thing} is {name}"),
    ),
    Kind(
        "fashion_mnist.npz",
        ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ("Which garment is in {thing}?", "What piece of clothing is in {thing}?", "What is in {thing}?"),
        ("the garment in {thing} is a {name}", "in {thing} there is a {name}", "{thing} has a {name} in it"),
    ),
    Kind(
        "cifar10_jpeg.npz",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        ("What is on {thing}?", "Which animal or vehicle is on {thing}?", "Tell me what is on {thing}"),
        ("the picture on {thing} is of a {name}", "on {thing} there is a {name}", "{thing} shows a {name}"),
    ),
)
# fmt: off
OWNERS = (
    "Anna", "Tom", "Maria", "Peter", "Julia", "Kenji", "Lena", "Omar", "Carlos", "Ingrid", "Paul", "Sarah", "Emma",
    "Yuki", "Noah", "Hans", "Priya", "Ivan",
)
COLOURS = (
    "red", "blue", "green", "yellow", "black", "white", "grey", "brown", "orange", "purple", "pink", "golden",
)
THINGS = (
    "door", "locker", "box", "mug", "poster", "badge", "key", "folder", "stamp", "bag", "drawer", "card", "parcel",
    "cupboard", "jar", "label", "sign", "flag",
)
# fmt: on


@dataclass(frozen=True)
class Task:
    """One prompt with its right answer.

    Attributes:
        question: Text of the prompt.
        picture: Picture of the prompt, PNG.
        statements: Statements that are stored in memory before.
        truth: The right answer.
        case: Which of `CASES`.
    """

    question: str
    picture: bytes
    statements: tuple[str, ...]
    truth: str
    case: str


@dataclass(frozen=True)
class Responses:
    """What router and regions answer to one task.

    Attributes:
        task: The task.
        route_probs: The router's probability of each region.
        chosen: The regions that the router chose.
        partials: The partial of every region, chosen or not.
    """

    task: Task
    route_probs: Mapping[str, float]
    chosen: list[str]
    partials: Mapping[str, Partial]

    def fused(self, trust: Mapping[str, Trust], arrived: Sequence[str] | None = None) -> Fused:
        """Fuse the partials of the regions in `arrived`, by default of all that were chosen, as the integrator does."""
        asked = [r for r in self.chosen if r in self.partials]
        partials = {r: self.partials[r] for r in (asked if arrived is None else arrived)}
        return fuse(partials, self.route_probs, asked, {}, trust, self.task.question)

    def is_right(self, text: str | None) -> bool:
        """Return whether an answer makes the same claim as the right answer."""
        return text is not None and claim(text, self.task.question) == claim(self.task.truth, self.task.question)


# -- the prompts -----------------------------------------------------------------------------------------------------


class Album:
    """Pictures of one kind, for training or for the test.

    Args:
        run: The training run.
        kind: The kind of picture.
        split: `training` or `test`.
    """

    def __init__(self, run: Run[Settings], kind: Kind, split: str) -> None:
        self.kind = kind
        with np.load(run.file(kind.file)) as file:
            self._arrays = dict(file)
        self._split = "test" if split == "test" else "train"
        labels = self._arrays[f"y_{self._split}"]
        self._labels = labels
        self._first = 0 if split == "test" else max(0, len(labels) - HELD_OUT_PICTURES)

    def draw(self, rng: random.Random) -> tuple[Pixels, str]:
        """Draw a picture and the name of its class."""
        at = rng.randrange(self._first, len(self._labels))
        name = self.kind.names[int(self._labels[at])]
        if (pixels := self._arrays.get(f"x_{self._split}")) is not None:
            return pixels[at], name
        # CIFAR-10 is stored as concatenated JPEG files.
        ends = self._arrays[f"end_{self._split}"]
        jpeg = self._arrays[f"jpeg_{self._split}"][ends[at - 1] if at else 0 : ends[at]]
        return np.asarray(Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB")), name


def damaged(pixels: Pixels, severity: float, rng: random.Random) -> bytes:
    """Blur a picture and remove pixels, by `severity` in 0..1, and encode it as PNG."""
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(MAX_BLUR * severity)))
    missing = np.random.default_rng(rng.getrandbits(64)).random(pixels.shape[:2]) < MAX_MISSING * severity
    result = np.where(missing if pixels.ndim == 2 else missing[..., None], 0, blurred).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(result).save(file, "PNG")
    return file.getvalue()


def tasks(albums: Sequence[Album], count: int, rng: random.Random) -> list[Task]:
    """Draw `count` prompts, each about another thing, so that memory cannot confuse them."""
    things = [f"{owner}'s {colour} {thing}" for owner in OWNERS for colour in COLOURS for thing in THINGS]
    return [_task(rng.choice(albums), thing, rng) for thing in rng.sample(things, count)]


def _task(album: Album, thing: str, rng: random.Random) -> Task:
    kind = album.kind
    pixels, truth = album.draw(rng)
    case = rng.choices(list(CASES), list(CASES.values()))[0]
    wrong = rng.choice([name for name in kind.names if name != truth])
    named = {"right": [truth], "stale": [wrong], "torn": rng.sample([truth, wrong], 2)}[case]
    statements = tuple(_article(rng.choice(kind.statements).format(thing=thing, name=name)) for name in named)
    question = rng.choice(kind.questions).format(thing=thing)
    return Task(question, damaged(pixels, rng.random(), rng), statements, truth, case)


def _article(statement: str) -> str:
    """Correct the article before a vowel: "a airplane" becomes "an airplane"."""
    return statement.replace(" a a", " an a")


# -- the regions' answers --------------------------------------------------------------------------------------------


def responses(run: Run[Settings], count: int, split: str) -> list[Responses]:
    """Ask router and regions `count` prompts of a split."""
    rng = random.Random(f"{split} {run.seed}")
    router = Router.load(region_file("prefrontal", ".safetensors"))
    return asyncio.run(_ask(run, router, count, split, rng))


async def _ask(run: Run[Settings], router: Router, count: int, split: str, rng: random.Random) -> list[Responses]:
    with tempfile.TemporaryDirectory() as folder, _only_warnings():
        async with MemoryBrain(Path(folder)) as brain:
            for name in REGIONS:
                await brain.start(load_program(str(region_file(name))), name)
            albums = [Album(run, kind, split) for kind in KINDS]
            known = [album for album in albums if await _is_known(brain, album, random.Random(0))]
            run.log(f"{split}: pictures of {', '.join(album.kind.file for album in known)}")
            drawn = tasks(known, count, rng)
            # All first statements before all second ones, so that contradicting statements are far apart in time.
            first, second = ([t.statements[i] for t in drawn if len(t.statements) > i] for i in (0, 1))
            for statements in (first, second):
                for statement in run.track(rng.sample(statements, len(statements)), "storing statements"):
                    stored = await brain.query("hippocampus", Prompt(text=f"Remember that {statement}."))
                    assert stored.content.get("stored"), statement
            return [await _respond(brain, router, task) for task in run.track(drawn, "asking", len(drawn))]


@contextlib.contextmanager
def _only_warnings() -> Iterator[None]:
    """Let the nodes log only warnings."""
    before = structlog.get_config()
    logs.configure("regions", "warning")
    try:
        yield
    finally:
        structlog.configure(**before)


async def _is_known(brain: MemoryBrain, album: Album, rng: random.Random) -> bool:
    """Return whether vision knows these classes: it gives more than half of ten undamaged pictures one of them."""
    named = 0
    for _ in range(10):
        partial = await brain.query("vision", Prompt(image=damaged(album.draw(rng)[0], 0.0, rng)))
        named += partial.best is not None and partial.best.text in album.kind.names
    return named > 5


async def _respond(brain: MemoryBrain, router: Router, task: Task) -> Responses:
    routed = router.decide(task.question, has_image=True)
    prompt = Prompt(text=task.question, image=task.picture)
    partials = {name: await brain.query(name, prompt) for name in REGIONS}
    for partial in partials.values():
        partial.spikes = None  # not needed, and large
    probs = dict(zip(routed.names, map(float, routed.route_probs), strict=True))
    return Responses(task, probs, list(routed.chosen), partials)


# -- learning --------------------------------------------------------------------------------------------------------


def train(run: Run[Settings]) -> None:
    """Ask the training prompts, fit the trust in each region, and write it."""
    trust = fit_trust(responses(run, run.settings.training_prompts, "training"), run.settings.steps)
    rows = torch.tensor([[t.slope, t.offset, t.floor] for t in trust.values()])
    save_weights(run.weights, {"trust": rows}, {"regions": json.dumps(list(trust))}, torch.float32)
    for region, t in trust.items():
        run.log(f"{region}: slope {t.slope:.2f}, offset {t.offset:.2f}, floor {t.floor:.2g}")


def fit_trust(prompts: Sequence[Responses], steps: int) -> dict[str, Trust]:
    """Fit the trust in each region by maximum likelihood of the right claims.

    The likelihood of a claim is the softmax of its score over all claims of its prompt, at a temperature that is
    learned too. Prompts whose right claim no region made are left out. Adam over all prompts at once.

    Args:
        prompts: The regions' answers.
        steps: Number of optimiser steps.

    Returns:
        The trust by region.

    Raises:
        TrainingError: No prompt can be used.
    """
    probabilities, logits, truth = _to_tensors(prompts)
    # Slope and floor are optimised as logarithms, because they are positive.
    slope, offset, floor = (torch.full((len(REGIONS),), start, requires_grad=True) for start in (-1.0, 0.0, -3.0))
    sharpness = torch.tensor(2.0, requires_grad=True)
    optimiser = torch.optim.Adam([slope, offset, floor, sharpness], lr=0.05)
    made = probabilities.sum(1) > 0
    for _ in range(steps):
        floors = floor.exp().clamp(min=MIN_FLOOR)[:, None]
        shares = torch.log1p(probabilities / floors) / torch.log1p(1 / floors)
        weights = torch.sigmoid(slope.exp() * logits + offset)
        scores = sharpness.exp() * (weights[..., None] * shares).sum(1)
        # Prompts have different numbers of claims; the places of missing ones get no probability.
        loss = torch.nn.functional.cross_entropy(scores.masked_fill(~made, -1e9), truth)
        loss = loss + 1e-3 * (offset.square().sum() + slope.square().sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    learned = torch.stack([slope.exp(), offset, floor.exp().clamp(min=MIN_FLOOR)], 1).tolist()
    return {region: Trust(*row) for region, row in zip(REGIONS, learned, strict=True)}


def _to_tensors(prompts: Sequence[Responses]) -> tuple[Tensor, Tensor, Tensor]:
    """Collect the prompts for which all regions were asked and a claim is right.

    Returns:
        Probability of each claim by each region [prompts, regions, claims], logits of the confidences
        [prompts, regions], and the number of the right claim [prompts].
    """
    rows = []
    for prompt in prompts:
        fused = prompt.fused({}, list(REGIONS))
        places = [i for i, claimed in enumerate(fused.ranked) if prompt.is_right(claimed.text)]
        if places and set(REGIONS) <= set(prompt.chosen):
            rows.append((fused.ranked, [prompt.partials[region].confidence for region in REGIONS], places[0]))
    if not rows:
        raise TrainingError("there is nothing to learn from: the router asks no two regions, or no claim is right")
    probabilities = torch.zeros(len(rows), len(REGIONS), max(len(ranked) for ranked, _, _ in rows))
    for i, (ranked, _, _) in enumerate(rows):
        for j, region in enumerate(REGIONS):
            for k, claimed in enumerate(ranked):
                probabilities[i, j, k] = claimed.support.get(region, {}).get("probability", 0.0)
    confidences = torch.tensor([confidences for _, confidences, _ in rows])
    return probabilities, torch.logit(confidences, 1e-4), torch.tensor([place for _, _, place in rows])


# -- measuring -------------------------------------------------------------------------------------------------------


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure the fused answers beside each region alone and beside the plain average, and early answers."""
    trust = load_trust(run.weights)
    prompts = responses(run, run.settings.test_prompts, "test")
    alone = {region: [p.is_right(_best(p.partials[region])) for p in prompts] for region in REGIONS}
    single = max(alone, key=lambda region: sum(alone[region]))
    fused = [p.is_right(_first(p.fused(trust))) for p in prompts]
    average = [p.is_right(_averaged(p)) for p in prompts]
    yield compare("test_prompts", len(prompts), "prompts")
    yield compare("both_regions_asked", _percent([set(REGIONS) <= set(p.chosen) for p in prompts]), "%")
    for rival, rights in ((f"best single region, {single}", alone[single]), ("plain average", average)):
        name = "accuracy" if rights is not average else "accuracy_beside_average"
        value, other = _percent(fused), _percent(rights)
        yield compare(name, value, "%", rival=rival, rival_value=other, limit=("ratio", ">=", 1.0))
    untrained = [p.is_right(_first(p.fused({}))) for p in prompts]
    yield compare(
        "accuracy_of_trust", _percent(fused), "%", rival="the same without trust", rival_value=_percent(untrained)
    )
    for case in CASES:
        of_case = [p.task.case == case for p in prompts]
        both = (_percent([r for r, m in zip(rights, of_case, strict=True) if m]) for rights in (fused, average))
        yield compare(f"accuracy_memory_{case}", next(both), "%", rival="plain average", rival_value=next(both))
    yield from early(prompts, trust)


def early(prompts: Sequence[Responses], trust: Mapping[str, Trust]) -> Iterator[Row]:
    """Measure, over all orders of arrival, how often the first partial settles the outcome, and changes it."""
    settled = orders = changed = 0
    for prompt in prompts:
        asked = [r for r in prompt.chosen if r in prompt.partials]
        if len(asked) < 2:
            continue
        late = _first(prompt.fused(trust))
        for first in asked:
            orders += 1
            so_far = prompt.fused(trust, [first])
            if so_far.settled:
                settled += 1
                changed += claim(_first(so_far) or "", prompt.task.question) != claim(late or "", prompt.task.question)
    yield compare("early_answers", 100.0 * settled / max(orders, 1), "% of orders of arrival")
    yield compare("early_answers_that_differ", changed, "answers", limit=("value", "==", 0))


def _best(partial: Partial) -> str | None:
    return None if partial.error is not None or partial.best is None else partial.best.text


def _first(fused: Fused) -> str | None:
    return fused.ranked[0].text if fused.ranked else None


def _averaged(prompt: Responses) -> str | None:
    """Return the claim with the highest mean probability over the regions that were asked, with equal weights."""
    totals: dict[str, float] = {}
    for region in prompt.chosen:
        partial = prompt.partials.get(region)
        for candidate in [] if partial is None or partial.error is not None else partial.candidates:
            text = claim(candidate.text, prompt.task.question)
            totals[text] = totals.get(text, 0.0) + candidate.probability
    return max(totals, key=lambda text: totals[text], default=None)


def _percent(flags: Sequence[bool]) -> float:
    return 100.0 * float(np.mean(flags))
