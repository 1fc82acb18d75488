# mypy: allow-untyped-calls
"""Trains what answers do to working memory: one weight vector for each region, with the rest of the router fixed.

A session is drawn as a first prompt, the region that answered it and how sure it was, and a next prompt. A follow-up
("once more") belongs to who answered; any other next prompt keeps its own route, whoever answered before it. In a part
of the sessions the network has not seen the first prompt, because the client named the region.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from brainnet.snn.models.router import Router, embedding_rows, prompt_tokens
from brainnet.snn.models.router_network import RouterNet
from routing_prompts import ROUTES, Example

NAMED_SHARE = 0.3
"""Share of the sessions whose first prompt named its region: working memory is at rest when the answer comes."""
LEAST_SURE = 0.3
"""Smallest confidence of an answer that is drawn."""


@dataclass(frozen=True)
class Session:
    """A first prompt, its answer, and the next prompt.

    Attributes:
        first: The first prompt; None where the client named the region.
        answered: Index of the route that answered.
        confidence: How sure it was.
        then: The next prompt, with its route.
    """

    first: Example | None
    answered: int
    confidence: float
    then: Example


def sessions(rng: random.Random, drawn: Sequence[Example]) -> list[Session]:
    """Make a session of each drawn example: most are prompts that have nothing to do with the one before."""
    follow_ups = [example.text for example in drawn if example.follow_up]
    firsts = [example for example in drawn if example.follows is None and example.target]
    made = []
    for example in drawn:
        then, first = example, example.follows
        if first is None and len(example.target) > 1 and follow_ups:  # two may answer; "once more" is for who did
            then, first = replace(example, text=rng.choice(follow_ups), has_image=False, follow_up=True), example
        elif first is None or not first.target:
            first = rng.choice(firsts)
        route = rng.choice(sorted(first.target))
        if then.follow_up:
            then = replace(then, target={route: 1.0})
        named = rng.random() < NAMED_SHARE
        made.append(Session(None if named else first, ROUTES.index(route), rng.uniform(LEAST_SURE, 1.0), then))
    return made


def fit_answers(
    router: Router,
    draw: Callable[[int], Sequence[Example]],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int, float], None],
) -> Router:
    """Return the router with weights of answers, fitted to sessions; all other weights stay as they are.

    Args:
        router: The trained router.
        draw: Draws the examples of a step, given its number.
        steps: Optimiser steps.
        learning_rate: Of Adam, falling to zero.
        seed: Of what is drawn here.
        on_step: Called with the number of steps done and the loss.
    """
    net = RouterNet.of(router).requires_grad_(False)
    answers = nn.Parameter(torch.zeros_like(net.answers))
    optimiser = torch.optim.Adam([answers], learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
    for step in range(steps):
        rng = random.Random(f"{seed} {step}")
        batch = sessions(rng, draw(step))
        loss = _loss(router, net, answers, batch, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(step + 1, float(loss.detach()))
    weights = {**router.weights, "answers": answers.detach().numpy().copy()}
    return Router(router.config, weights, router.vocabulary)


def _loss(router: Router, net: RouterNet, answers: Tensor, batch: Sequence[Session], rng: random.Random) -> Tensor:
    threshold = net.config.base_threshold * rng.uniform(1.0, 1.2)  # as in the training of the router
    blank = Example("", {})
    with torch.no_grad():
        spikes, mask = _encoded(router, net, [session.first or blank for session in batch])
        _, membrane = net.run_working_memory(spikes, mask, None, threshold)
    seen = torch.tensor([[session.first is not None] for session in batch])
    confidence = torch.tensor([[session.confidence] for session in batch])
    membrane = membrane * seen + confidence * answers[[session.answered for session in batch]]
    spikes, mask = _encoded(router, net, [session.then for session in batch])
    scores, _ = net(spikes, mask, membrane, threshold)
    target = torch.tensor([[session.then.target.get(route, 0.0) for route in ROUTES] for session in batch])
    return cross_entropy(scores, target)


def _encoded(router: Router, net: RouterNet, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
    tokens = [
        prompt_tokens(one.text, has_image=one.has_image, has_audio=False, limit=router.config.positions)
        for one in batch
    ]
    rows = np.zeros((len(batch), max(map(len, tokens))), np.int64)
    for i, own in enumerate(tokens):
        rows[i, : len(own)] = embedding_rows(own, router.vocabulary)
    padded = torch.from_numpy(rows)
    spikes: Tensor = net.encoder(padded)
    return spikes, padded != 0
