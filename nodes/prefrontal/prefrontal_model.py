"""The models of the router: the spiking network, the examples of regions, and the choice with the bids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brainnet import Bid, Decision, Health, Prompt
from brainnet.errors import BrainnetError
from brainnet.snn.models.decision import DecisionParams
from brainnet.snn.models.router import RouteDecision, Router, RouteRequest, RouterState, TextScores
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from prefrontal_examples import LEAST_ABOUT, OTHER, Examples, ExampleWeights

NOBODY = "cannot_answer"
"""Code of a prompt that no region is for."""
LEAST_ALONE = 0.3
"""A bid below is too little where none of the regions is there that the network knows: nobody contradicts it."""
CANNOT, MAY = 0.05, 0.08
"""A region with a bid below the first says that it cannot answer; one with a bid from the second on, that it may."""
EXAMPLES = Path(__file__).with_name("prefrontal_examples.safetensors")
"""The weights of the examples."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the models find in the text of a prompt.

    Attributes:
        scores: Those of the network.
        bids: For regions that are known by their examples.
        about: What it asks of the brain itself, `other` where nothing.
        about_sure: How likely it is that it asks something of the brain itself.
    """

    scores: TextScores
    bids: Mapping[str, Bid]
    about: str = OTHER
    about_sure: float = 0.0


@dataclass(frozen=True, slots=True)
class Made:
    """A decision of the network, the bids that it took in, and what the prompt asks of the brain itself."""

    route: RouteDecision
    bids: Mapping[str, Bid]
    about: str

    def decision(self, prompt_id: str, router: str) -> Decision:
        """Return it as the message."""
        route = self.route
        return Decision(
            prompt_id=prompt_id,
            route_probs=dict(zip(route.names, map(float, route.route_probs), strict=True)),
            scores=dict(zip(route.names, map(float, route.scores), strict=True)),
            text_scores=route.text_scores,
            bids={name: bid.score for name, bid in self.bids.items()},
            bid_reasons={name: bid.why for name, bid in self.bids.items() if bid.why},
            # float rounding may leave the bounds that the message checks by one part in 10^16
            entropy=max(0.0, float(route.entropy)),
            alpha=min(1.0, max(0.0, float(route.alpha))),
            temperature=float(route.temperature),
            threshold=float(route.threshold),
            chosen=list(route.chosen),
            router=router,
        )


class RouterModel:
    """The models together. `find` is called in one thread; `choose` may be called in another.

    Args:
        router: The network.
        examples: Compares prompts with examples of regions; None where its weights are not there.
        name: The id of the router, under which the brain answers what is about itself.
    """

    def __init__(self, router: Router, examples: Examples | None, name: str) -> None:
        self.router = router
        self._examples = examples
        self._name = name

    @staticmethod
    def load_examples(embedder: Path) -> Examples:
        """Load what compares prompts with the examples of regions.

        Raises:
            ModelError: The weights are missing, or were made with another embedder.
        """
        return Examples(SpikingTextEmbedder.load(embedder), ExampleWeights.load(EXAMPLES))

    def know(self, regions: Iterable[Health], own: Iterable[str]) -> None:
        """Take in which regions there are, and which of them are known by their examples alone."""
        if self._examples is not None:
            self._examples.know(regions, own)

    def find(self, prompts: Sequence[Prompt], states: Sequence[RouterState | None], *, compare: bool) -> list[Found]:
        """Run the network, and compare the texts with the examples.

        Args:
            prompts: The prompts.
            states: The working memory of the session of each.
            compare: Whether to compare.
        """
        requests = [
            RouteRequest(p.text, has_image=p.image is not None, has_audio=p.audio is not None, state=state)
            for p, state in zip(prompts, states, strict=True)
        ]
        scores = self.router.score_batch(requests)
        if self._examples is None or not compare:
            return [Found(one, {}) for one in scores]
        found = []
        meant = self._examples.bids([prompt.text for prompt in prompts])
        for prompt, one, (bids, about, sure) in zip(prompts, scores, meant, strict=True):
            # What comes with a prompt is what it is about.
            bare = prompt.image is None and prompt.audio is None and not prompt.arrays
            found.append(Found(one, bids, about, sure) if bare else Found(one, bids))
        return found

    def choose(self, found: Found, said: Mapping[str, Bid], available: Sequence[str], params: DecisionParams) -> Made:
        """Choose the regions of one prompt.

        Args:
            found: What `find` made of it.
            said: What regions have bid.
            available: The regions to choose from.
            params: The constants.

        Raises:
            BrainnetError: With code NOBODY: no region is for such a prompt.
        """
        usable = set(available)
        bids = {name: bid for name, bid in {**found.bids, **said}.items() if name in usable}
        if found.about != OTHER and found.about_sure >= LEAST_ABOUT:
            bids[self._name] = Bid(found.about_sure, f"about the brain itself: {found.about}")
        scores = {name: bid.score for name, bid in bids.items()}
        if not usable.intersection(self.router.config.routes) and max(scores.values(), default=0.0) < LEAST_ALONE:
            raise BrainnetError(
                f"no region that is alive ({', '.join(available)}) is for a prompt like this", code=NOBODY
            )
        route = self.router.choose(found.scores, scores, available=[*available, self._name], params=params)
        return Made(replace(route, chosen=self._with_one_that_may(route.chosen, scores)), bids, found.about)

    def _with_one_that_may(self, chosen: Sequence[str], bids: Mapping[str, float]) -> tuple[str, ...]:
        """Return the chosen regions, and where all of them say that they cannot answer, the one that says it best may.

        The text alone decided then; a region that knows what it holds knows better.
        """
        if self._name in chosen or any(bids.get(region, 1.0) >= CANNOT for region in chosen):
            return tuple(chosen)
        others = {region: bid for region, bid in bids.items() if region not in chosen and bid >= MAY}
        return (*chosen, *sorted(others, key=lambda region: -others[region])[:1])
