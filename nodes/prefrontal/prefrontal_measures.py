"""What the router's scores are worth: top-1 accuracy, what the modulation buys, and what working memory does."""

from __future__ import annotations

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


def targets(batch: Sequence[Example]) -> Tensor:
    return torch.tensor([[example.target.get(route, 0.0) for route in ROUTES] for example in batch])


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
    """The factor of the scores at which `probabilities` of them give the right routes the highest likelihood."""
    prompts = [example for example in prompts if example.follows is None]
    scores = [decided(router, example) for example in prompts]
    wanted = targets(prompts).double().numpy()

    def loss(scale: float) -> float:
        given = np.array([probabilities(scale * row) for row in scores])
        return float(-(wanted * np.log(np.maximum(given, 1e-12))).sum(1).mean())

    return float(min(np.geomspace(0.2, 8.0, 75), key=loss))


def measures(router: Router, prompts: list[Example], scale: float) -> Iterator[Row]:
    """All that is measured on the prompts of one test; plain softmax is of `scale` times the scores."""
    alone = [example for example in prompts if not example.follow_up]
    clear = [example for example in alone if len(example.target) == 1]
    unclear = [example for example in alone if len(example.target) > 1]
    scores = [decided(router, example) for example in clear + unclear]
    yield from routing(clear, scores)
    yield from modulation(clear, unclear, scores, scale)
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
    """What modulation buys beside plain softmax of `scale` times the scores, its own on the validation prompts."""
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
        return [select_routes(row, SHIPPED.mass) for row in probs]

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
    """Prompts (%) whose right region is asked at the largest mass that asks no more than `regions` in all."""
    best = [select_routes(row, 1e-6) for row in probs]
    for mass in np.linspace(0.5, 0.9999, 500):
        sets = [select_routes(row, float(mass)) for row in probs]
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
