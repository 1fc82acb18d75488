"""Measures the router: top-1 accuracy, the effect of the modulation, and the effect of working memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainnet.snn.models.quantum import modulate, select_routes, softmax
from brainnet.snn.models.router import Router, RouterState
from brainnet.training import Row, compare, expected_calibration_error
from prefrontal import Prefrontal
from prefrontal_rules import route_by_rules
from routing_prompts import ROUTES, Example

Floats = NDArray[np.float64]
SHIPPED = Prefrontal.Parameters()
"""The region's default parameters, with which everything here is measured."""


def targets(batch: Sequence[Example]) -> Tensor:
    """Return the target probabilities [B, routes]."""
    return torch.tensor([[example.target.get(route, 0.0) for route in ROUTES] for example in batch])


def modulated(scores: Floats) -> Floats:
    """Compute the routing probabilities of one prompt as the region does."""
    return modulate(scores, max_temperature=SHIPPED.max_temperature).route_probs


def route_scores(router: Router, example: Example, *, use_memory: bool = True, plastic: bool = True) -> Floats:
    """Compute the scores [N] of an example, after the earlier prompt of its session if it has one.

    Args:
        router: The router.
        example: The prompt.
        use_memory: Whether working memory receives the earlier prompt.
        plastic: Whether the firing threshold after that prompt is used; otherwise the base threshold.
    """
    state: RouterState | None = None
    if use_memory and example.follows is not None:
        before = example.follows
        state = router.decide(before.text, has_image=before.has_image, max_temperature=SHIPPED.max_temperature).state
        if not plastic:
            state = replace(state, threshold=router.config.base_threshold)
    return router.decide(example.text, has_image=example.has_image, state=state).scores


def fitted_scale(router: Router, prompts: Sequence[Example], probabilities: Callable[[Floats], Floats]) -> float:
    """Find the factor of the scores with the smallest cross-entropy (temperature scaling).

    Args:
        router: The router.
        prompts: Labelled prompts; follow-ups are left out.
        probabilities: From scores to routing probabilities.
    """
    prompts = [example for example in prompts if example.follows is None]
    scores = [route_scores(router, example) for example in prompts]
    target = targets(prompts).double().numpy()

    def loss(scale: float) -> float:
        predicted = np.array([probabilities(scale * row) for row in scores])
        return float(-(target * np.log(np.maximum(predicted, 1e-12))).sum(1).mean())

    return float(min(np.geomspace(0.2, 8.0, 75), key=loss))


def measures(router: Router, prompts: list[Example], scale: float) -> Iterator[Row]:
    """Measure everything on the prompts of one test; `scale` is the factor of the scores for plain softmax."""
    single_prompts = [example for example in prompts if not example.follow_up]
    one_route = [example for example in single_prompts if len(example.target) == 1]
    two_routes = [example for example in single_prompts if len(example.target) > 1]
    scores = [route_scores(router, example) for example in one_route + two_routes]
    yield from routing(one_route, scores)
    yield from modulation(one_route, two_routes, scores, scale)
    follow_ups = [example for example in prompts if example.follow_up]
    yield from working_memory(router, follow_ups)
    yield from answers(router, follow_ups, one_route)


def routing(examples: list[Example], scores: list[Floats]) -> Iterator[Row]:
    """Measure top-1 accuracy beside keyword rules, for all prompts and by route."""
    target = targets(examples).numpy().argmax(1)
    correct = np.array([row.argmax() for row in scores[: len(examples)]]) == target
    by_rules = [ROUTES.index(route_by_rules(example.text, has_image=example.has_image)) for example in examples]
    rules_correct = np.array(by_rules) == target
    yield compare("test_prompts", len(examples), "prompts")
    yield compare(
        "top1_accuracy",
        percent(correct),
        "%",
        rival="keyword rules",
        rival_value=percent(rules_correct),
        limit=("value", ">=", 97),
    )
    for i, route in enumerate(ROUTES):
        of_route = target == i
        yield compare(
            f"top1_{route}",
            percent(correct[of_route]),
            "%",
            rival="keyword rules",
            rival_value=percent(rules_correct[of_route]),
        )


def modulation(
    one_route: list[Example], two_routes: list[Example], scores: list[Floats], scale: float
) -> Iterator[Row]:
    """Compare modulated probabilities with plain softmax of `scale` times the scores.

    Args:
        one_route: Prompts with one right route.
        two_routes: Prompts with two right routes.
        scores: Scores of both, in this order.
        scale: Factor of the scores for plain softmax, fitted on the validation prompts.
    """
    probabilities = {"modulated": [modulated(row) for row in scores], "plain": [softmax(scale * row) for row in scores]}
    correct = targets(one_route + two_routes).numpy() > 0
    n = len(one_route)

    def beside(name: str, measure: Callable[[list[Floats]], float], unit: str, bar: float | None = None) -> Row:
        ours, plain = (measure(probabilities[kind]) for kind in ("modulated", "plain"))
        limit = ("value", "<=", bar) if bar is not None else None
        return compare(name, ours, unit, rival="plain softmax", rival_value=plain, limit=limit)  # type: ignore[arg-type]

    def calibration(probs: list[Floats]) -> float:
        top = np.array([row.max() for row in probs[:n]])
        return expected_calibration_error(top, [correct[i, row.argmax()] for i, row in enumerate(probs[:n])])

    def asked(probs: list[Floats]) -> list[list[int]]:
        return [select_routes(row, SHIPPED.mass) for row in probs]

    def covered(probs: list[Floats]) -> NDArray[np.bool_]:
        return np.array([set(np.flatnonzero(correct[i])) <= set(chosen) for i, chosen in enumerate(asked(probs))])

    def regions(probs: list[Floats]) -> NDArray[np.int64]:
        return np.array([len(chosen) for chosen in asked(probs)])

    yield beside("ece", calibration, "", bar=0.05)
    yield beside("regions_asked", lambda probs: float(regions(probs)[:n].mean()), "regions")
    yield beside("one_region_asked", lambda probs: percent(regions(probs)[:n] == 1), "%")
    yield beside("right_region_asked", lambda probs: percent(covered(probs)[:n]), "%")
    yield compare(
        "right_region_asked_at_equal_cost",
        percent(covered(probabilities["modulated"])[:n]),
        "%",
        rival="plain softmax, mass raised to ask as many regions",
        rival_value=at_equal_cost(
            probabilities["plain"][:n], correct[:n], int(regions(probabilities["modulated"])[:n].sum())
        ),
    )
    yield beside("regions_asked_two_right", lambda probs: float(regions(probs)[n:].mean()), "regions")
    yield beside("both_right_regions_asked", lambda probs: percent(covered(probs)[n:]), "%")


def at_equal_cost(probs: list[Floats], correct: NDArray[np.bool_], regions: int) -> float:
    """Raise the mass until `regions` regions are asked in total, and count the prompts whose right region is asked.

    Args:
        probs: Routing probabilities of each prompt.
        correct: Which routes are right for each prompt, [prompts, routes].
        regions: Largest total number of regions asked.

    Returns:
        Share of the prompts in per cent.
    """

    def sets(mass: float) -> list[list[int]]:
        return [select_routes(row, mass) for row in probs]

    # the larger the mass, the more regions are asked; the first mass asks one for each prompt, and always counts
    masses = [1e-6, *np.linspace(0.5, 0.9999, 500).tolist()]
    allowed = bisect_right(masses, regions, lo=1, key=lambda mass: sum(map(len, sets(mass))))
    best = sets(masses[allowed - 1])
    return percent([set(np.flatnonzero(correct[i])) <= set(chosen) for i, chosen in enumerate(best)])


def working_memory(router: Router, follow_ups: list[Example]) -> Iterator[Row]:
    """Measure follow-ups ("once more") with and without working memory, and with a fixed firing threshold."""
    target = targets(follow_ups).numpy().argmax(1)

    def accuracy(use_memory: bool, plastic: bool) -> float:
        predicted = [
            route_scores(router, example, use_memory=use_memory, plastic=plastic).argmax() for example in follow_ups
        ]
        return percent(np.array(predicted) == target)

    value = accuracy(True, True)
    yield compare("follow_up_accuracy", value, "%", rival="no working memory", rival_value=accuracy(False, True))
    yield compare("follow_up_threshold", value, "%", rival="fixed threshold", rival_value=accuracy(True, False))


def answers(router: Router, follow_ups: list[Example], others: list[Example]) -> Iterator[Row]:
    """Measure what the spikes of an answer do where the client named the region, which the network then did not see.

    Follow-ups must go to who answered; of other prompts, each after an answer of one of the regions in turn, the route
    must stay as it is.
    """

    def accuracy(prompts: list[Example], answered: Sequence[int] | NDArray[np.int64], strength: float) -> float:
        right = []
        for example, route in zip(prompts, answered, strict=True):
            state = router.after_answer(None, ROUTES[route], strength) if strength else None
            scores = router.decide(example.text, has_image=example.has_image, state=state).scores
            right.append(example.target.get(ROUTES[int(scores.argmax())], 0.0) > 0.0)
        return percent(right)

    by_follow_up = targets(follow_ups).numpy().argmax(1)
    in_turn = [i % len(ROUTES) for i in range(len(others))]
    for name, prompts, answered in (
        ("follow_up_to_answer", follow_ups, by_follow_up),
        ("other_after_answer", others, in_turn),
    ):
        value, silent = (accuracy(prompts, answered, strength) for strength in (1.0, 0.0))
        yield compare(name, value, "%", rival="answers silenced", rival_value=silent)


def percent(flags: Sequence[bool] | NDArray[np.bool_]) -> float:
    """Compute the share of true values in per cent."""
    return 100.0 * float(np.mean(flags))
