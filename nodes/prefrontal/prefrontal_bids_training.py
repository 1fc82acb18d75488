"""Trains what the router makes of bids, of examples, and of prompts about the brain itself.

Three small models, after the network and without changing it: the intent of prompts about the brain itself, the bid of
a region that is known by its examples, and the neurons that add bids to the scores. The last need bids. Those by
examples and those about the brain itself are the real ones; what the standard regions bid is drawn, from distributions
that say what each can know (`drawn_bids`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from brainnet.snn.models.bid_layer import BID_NEURONS, bid_counts
from brainnet.snn.models.router import Router, RouteRequest
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.snn.neurons.lif_steps import Floats
from prefrontal_examples import (
    FEATURES,
    LEAST_ABOUT,
    OTHER,
    Examples,
    ExampleWeights,
    Known,
    features,
    intent_inputs,
    known,
)
from prefrontal_prompt_sets import OwnRegion, conversation, memory_questions, own_regions
from routing_prompts import ROUTES, Example, written, written_training

BACKGROUND = 400
"""Prompts for the standard regions that a prompt is compared with."""
IN_ENGLISH, IN_OTHERS = 1500, 300
"""Questions to memory in English, and in each other language, that are no conversation."""
INSTALLED = 4
"""Made-up regions that are installed together at most, in training."""
SELF = "self"
"""Stands for the router's own node, which answers what is about the brain itself."""
OWN = "own"
"""Begins the names of made-up regions."""


def fitted_examples(embedder: SpikingTextEmbedder, seed: int) -> ExampleWeights:
    """Fit the intents and the bids by examples."""
    prompts = [example.text for example in _written(held_out=False) if not example.has_image]
    rng = random.Random(seed)
    chosen = rng.sample(prompts, min(BACKGROUND, len(prompts)))
    background = embedder.embed(chosen)
    return ExampleWeights(
        background=background,
        similar=_fitted_similar(embedder, background, prompts, rng),
        intents=(*sorted(set(conversation()) - {OTHER}), OTHER),
        intent=_fitted_intents(embedder, prompts, _to_memory(rng)),
        embedder=embedder.fingerprint,
    )


def _written(*, held_out: bool) -> list[Example]:
    return [example for prompts in written_training(held_out=held_out).values() for example in prompts]


def _to_memory(rng: random.Random) -> list[str]:
    """Return questions to memory, the most of them in English and up to so many in each other language."""
    return [
        text
        for language, texts in sorted(memory_questions(held_out=False).items())
        for text in rng.sample(texts, min(len(texts), IN_ENGLISH if language == "en" else IN_OTHERS))
    ]


def _fitted_intents(embedder: SpikingTextEmbedder, prompts: list[str], to_memory: list[str]) -> NDArray[np.float32]:
    """Fit a multinomial logistic regression on `intent_inputs`, [intents, D + PHRASES + 1].

    Without questions to memory in other languages, one in five of them was taken for conversation: nearly all other
    prompts in these languages are.
    """
    by_intent = conversation(held_out=False)
    names = [*sorted(set(by_intent) - {OTHER}), OTHER]
    others = [*by_intent[OTHER], *prompts]
    others += [text for region in own_regions(held_out=False) for text in (*region.prompts, *region.examples)]
    others += to_memory
    texts = [(text, number) for number, name in enumerate(names[:-1]) for text in by_intent[name]]
    texts += [(text, len(names) - 1) for text in others]
    plain = [text for text, _ in texts]
    inputs = torch.from_numpy(intent_inputs(embedder.embed(plain), plain))
    target = torch.tensor([number for _, number in texts])
    # The hard negatives count more than prompts that nobody would take for conversation.
    hard = len(texts) - len(others)
    weight = torch.ones(len(texts))
    weight[hard : hard + len(by_intent[OTHER])] = 3.0
    weight[len(texts) - len(to_memory) :] = 0.5
    rows = torch.zeros((len(names), inputs.shape[1]), requires_grad=True)

    def loss() -> Tensor:
        each = cross_entropy(inputs @ rows.T, target, reduction="none")
        return (each * weight).sum() / weight.sum() + 2e-5 * rows[:, :-1].square().sum()

    _minimise(loss, [rows])
    fitted: NDArray[np.float32] = rows.detach().numpy().astype(np.float32)
    return fitted


def _minimise(loss: object, values: list[Tensor]) -> None:
    optimiser = torch.optim.LBFGS(values, max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value: Tensor = loss()  # type: ignore[operator]
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def installed(embedder: SpikingTextEmbedder, regions: Sequence[OwnRegion]) -> list[Known]:
    """Return regions as the router knows them when they run."""
    return [known(embedder, f"{OWN}_{r.name}", r.about, r.examples, own=True) for r in regions]


def _fitted_similar(
    embedder: SpikingTextEmbedder, background: NDArray[np.float32], prompts: list[str], rng: random.Random
) -> NDArray[np.float32]:
    """Fit a logistic regression on the features of a bid by examples, [FEATURES + 1]."""
    regions = own_regions(held_out=False)
    inputs: list[NDArray[np.float64]] = []
    target: list[float] = []
    for _ in range(60):
        chosen = rng.sample(regions, rng.randint(1, INSTALLED))
        there = installed(embedder, chosen)
        absent = [text for region in regions if region not in chosen for text in region.prompts]
        asked = [(text, index) for index, region in enumerate(chosen) for text in region.prompts]
        asked += [(text, -1) for text in rng.sample(prompts, 40) + rng.sample(absent, 10)]
        for (_, right), vector in zip(asked, embedder.embed([text for text, _ in asked]), strict=True):
            for index, region in enumerate(there):
                others = [other for other in there if other is not region]
                inputs.append(features(vector, region, others, background))
                target.append(float(index == right))
    x, y = torch.tensor(np.array(inputs), dtype=torch.float32), torch.tensor(target)
    row = torch.zeros(FEATURES + 1, requires_grad=True)

    def loss() -> Tensor:
        logits = x @ row[:-1] + row[-1]
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, y) + 1e-5 * row[:-1].square().sum()

    _minimise(loss, [row])
    return row.detach().numpy().astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Case:
    """One prompt with its bids; `right` is a route, SELF, or the name of a made-up region."""

    text: str
    has_image: bool
    right: dict[str, float]
    bids: dict[str, float]


def drawn_bids(example: Example, route: str, rng: random.Random) -> tuple[dict[str, float], str]:
    """Draw what the standard regions bid on a prompt, and who is right then.

    Vision knows whether there is a picture. Memory knows whether it holds something: of questions to it seven tenths
    are known, and of questions that nobody else answers a fifth is held by chance. The motor cortex knows whether there
    is a target; sometimes there is one in a statement. The language region knows whether there is a text to continue.
    """
    question = "?" in example.text
    bids: dict[str, float] = {}
    right = route
    bids["vision"] = rng.uniform(0.8, 1.0) if example.has_image else 0.0
    statement = route == "hippocampus" and not question
    if statement:
        bids["hippocampus"] = rng.uniform(0.9, 1.0) if rng.random() < 0.9 else rng.betavariate(6, 3)
    elif route == "hippocampus":
        bids["hippocampus"] = rng.betavariate(8, 2) if rng.random() < 0.7 else rng.betavariate(1, 12)
    elif route == "language" and question and rng.random() < 0.2:
        bids["hippocampus"], right = rng.betavariate(8, 2), "hippocampus"
    else:
        bids["hippocampus"] = rng.betavariate(1, 12)
    if route == "motor_cortex":
        bids["motor_cortex"] = rng.uniform(0.7, 1.0) if rng.random() < 0.75 else 0.0
    else:
        bids["motor_cortex"] = rng.uniform(0.0, 0.5) if rng.random() < 0.03 else 0.0
    if route == "language" and right == "language":
        bids["language"] = 0.0 if question else rng.choice([0.0, rng.uniform(0.4, 1.0), rng.uniform(0.7, 1.0)])
    else:
        bids["language"] = rng.uniform(0.0, 0.4) if not question and rng.random() < 0.1 else 0.0
    # Late, or no bid at all.
    kept = {name: bid for name, bid in bids.items() if rng.random() > 0.15}
    return ({} if rng.random() < 0.1 else kept), right


def _cases(
    embedder: SpikingTextEmbedder, weights: ExampleWeights, rng: random.Random, *, held_out: bool
) -> list[_Case]:
    """Draw prompts with their bids."""
    regions = own_regions(held_out=held_out)
    by_intent = conversation(held_out=held_out)
    examples = [e for e in _written(held_out=held_out) if e.follows is None and e.target]
    examples += [example for example in written("validation") if held_out and example.follows is None]
    cases: list[_Case] = []
    own = Examples(embedder, weights)
    for _ in range(12):
        chosen = rng.sample(regions, rng.randint(0, INSTALLED))
        own.install(installed(embedder, chosen))
        plain = rng.sample(examples, min(150, len(examples)))
        for example, (by_examples, _, about) in zip(plain, own.bids([e.text for e in plain]), strict=True):
            route = max(example.target, key=lambda name: example.target[name])
            bids, right = drawn_bids(example, route, rng)
            said = bids | {name: bid.score for name, bid in by_examples.items()}
            if about >= LEAST_ABOUT and not example.has_image:
                said[SELF] = about
            target = example.target if right == route else {right: 1.0}
            cases.append(_Case(example.text, example.has_image, dict(target), said))
        talk = [(text, SELF) for name, texts in by_intent.items() if name != OTHER for text in rng.sample(texts, 5)]
        talk += [(text, f"{OWN}_{region.name}") for region in chosen for text in region.prompts]
        for (text, right), (by_examples, _, about) in zip(talk, own.bids([t for t, _ in talk]), strict=True):
            bids, _ = drawn_bids(Example(text, {}), "", rng)
            said = bids | {name: bid.score for name, bid in by_examples.items()}
            if about >= LEAST_ABOUT:
                said[SELF] = about
            cases.append(_Case(text, has_image=False, right={right: 1.0}, bids=said))
    return cases


def fitted_bids(router: Router, embedder: SpikingTextEmbedder, weights: ExampleWeights, seed: int) -> dict[str, Floats]:
    """Fit the neurons that add bids to the scores of the text; the network stays as it is."""
    cases = _cases(embedder, weights, random.Random(seed), held_out=False)
    scored = router.score_batch([RouteRequest(case.text, has_image=case.has_image) for case in cases])
    others = 1 + INSTALLED
    width = len(ROUTES) + others
    text = np.zeros((len(cases), width), np.float32)
    counts = np.zeros((len(cases), width, BID_NEURONS), np.float32)
    said = np.zeros((len(cases), width), np.float32)
    there = np.zeros((len(cases), width), np.bool_)
    target = np.zeros((len(cases), width), np.float32)
    for number, (case, found) in enumerate(zip(cases, scored, strict=True)):
        unknown = sorted({*case.bids, *case.right} - set(ROUTES))[:others]
        at = {name: place for place, name in enumerate((*ROUTES, *unknown))}
        text[number, : len(ROUTES)] = found.scores
        there[number, : len(at)] = True
        for name, bid in case.bids.items():
            if name in at:
                counts[number, at[name]], said[number, at[name]] = bid_counts([bid])[0], 1.0
        for name, share in case.right.items():
            target[number, at[name]] = share
    any_bid = torch.from_numpy(said.any(1))
    x, c, s, y = (torch.from_numpy(array) for array in (text, counts, said, target))
    present = torch.from_numpy(there)
    row = torch.tensor([min(place, len(ROUTES)) for place in range(width)])
    raw = torch.full((len(ROUTES) + 1, BID_NEURONS), -2.0, requires_grad=True)
    bias = torch.zeros(len(ROUTES) + 1, requires_grad=True)
    scale, unknown_score = torch.tensor([0.8], requires_grad=True), torch.tensor([-5.0], requires_grad=True)

    def loss() -> Tensor:
        base = torch.where(row < len(ROUTES), scale * x, unknown_score.expand_as(x))
        scores = base + s * bias[row] + (c * softplus(raw)[row]).sum(-1)
        scores = scores.masked_fill(~present, -1e9)
        each = -(y * torch.log_softmax(scores, dim=1).clamp(min=-60.0)).sum(1)
        decay = 1e-3 * (softplus(raw).square().sum() + bias.square().sum())
        return (each * any_bid).sum() / any_bid.sum() + decay

    _minimise(loss, [raw, bias, scale, unknown_score])
    return {
        "bids.readout": softplus(raw).detach().numpy().astype(np.float32),
        "bids.said": bias.detach().numpy().astype(np.float32),
        "bids.text": scale.detach().numpy().astype(np.float32),
        "bids.unknown": unknown_score.detach().numpy().astype(np.float32),
    }


def bid_accuracy(
    router: Router, embedder: SpikingTextEmbedder, weights: ExampleWeights, seed: int
) -> dict[str, tuple[int, int]]:
    """Return how many held-out prompts with bids are routed right, and of how many: by sort of prompt."""
    cases = _cases(embedder, weights, random.Random(seed), held_out=True)
    scored = router.score_batch([RouteRequest(case.text, has_image=case.has_image) for case in cases])
    counts: dict[str, list[int]] = {}
    for case, found in zip(cases, scored, strict=True):
        made = router.choose(found, case.bids, available=[*ROUTES, *case.bids])
        name = max(case.right, key=lambda one: case.right[one])
        sort = name if name in (*ROUTES, SELF) else OWN
        best = made.names[int(made.route_probs.argmax())]
        entry = counts.setdefault(sort, [0, 0])
        entry[0] += best in case.right
        entry[1] += 1
    return {name: (right, total) for name, (right, total) in sorted(counts.items())}
