"""Regions that say how well they could answer: their bids reach the decision, late ones and faults do not matter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch

from brainnet import Bid, Candidate, Decision, Node, Partial, Prompt, Query, Region
from brainnet.bus import Mailbox, Received
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.snn.models.bid_layer import BID_NEURONS
from brainnet.snn.models.router import RouterConfig
from brainnet.snn.models.router_network import RouterNet
from brainnet.snn.models.text_features import HashedVocabulary
from brainnet.testing import PATIENCE_S, MemoryBrain, until


class Bidding(Region):
    """Bids what it was made with, and answers with its own name."""

    score = 0.9

    async def setup(self) -> None:
        self.seen: list[Prompt] = []

    async def bid(self, prompt: Prompt) -> Bid:
        self.seen.append(prompt)
        return Bid(self.score, "because")

    async def answer(self, query: Query) -> Partial:
        return Partial(candidates=[Candidate(text=self.id, probability=1.0)], confidence=1.0)


class Low(Bidding):
    """Has little to say."""

    score = 0.0


class Thinking(Bidding):
    """Bids in the model thread."""

    def bid(self, prompt: Prompt) -> Bid:  # type: ignore[override]
        self.seen.append(prompt)
        return Bid(0.9)


class Faulty(Bidding):
    """Cannot bid."""

    async def bid(self, prompt: Prompt) -> Bid:
        raise ValueError("no idea")


class Stuck(Bidding):
    """Never bids."""

    async def bid(self, prompt: Prompt) -> Bid:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


@pytest.fixture(scope="module")
def program() -> type[Node]:
    return load_program(str(region_file("prefrontal")))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A router that listens to bids only: its scores of the text are untrained and small."""
    return router_weights(tmp_path_factory.mktemp("weights"), readout=4.0, unknown=0.0)


def router_weights(folder: Path, *, readout: float, unknown: float) -> Path:
    """Write a router whose bids have some weight, and whose unknown regions have some score."""
    torch.manual_seed(0)
    vocabulary = HashedVocabulary.build(["smell", "taste"], unknown_rows=16)
    config = RouterConfig(routes=("nose", "tongue"), unknown_rows=vocabulary.unknown_rows)
    router = RouterNet(config, len(vocabulary)).to_router(vocabulary)
    path = folder / "router.safetensors"
    router.with_bids(
        {
            "bids.readout": np.full((3, BID_NEURONS), readout, np.float32),
            "bids.said": np.zeros(3, np.float32),
            "bids.text": np.zeros(1, np.float32),
            "bids.unknown": np.full(1, unknown, np.float32),
        }
    ).save(path)
    return path


class Brain(MemoryBrain):
    """A prefrontal cortex; the test plays the client and listens to its decisions."""

    async def route(self, program: type[Node], weights: Path, **parameters: float) -> Node:
        self.client = self.bus()
        self.decisions: Mailbox[Received] = self.bus("integrator").subscribe("pfc/*/decisions")
        # Without the text embedder: what regions bid by themselves is what these tests are about.
        given = {"embedder": "none", **parameters}
        node = await self.start(program, "prefrontal", checkpoint=weights, parameters=given)
        await until("it to have asked for what is open", lambda: self.broker.counts["resumed"] == 1)
        return node

    async def decide(self, prompt: Prompt) -> Decision:
        self.client.publish("api/prompt", prompt)
        async with asyncio.timeout(PATIENCE_S):
            decision: Decision = (await self.decisions.get()).message
        return decision


@pytest.mark.parametrize("kind", [Bidding, Thinking])
async def test_the_highest_bid_decides_and_is_published_with_its_reason(
    tmp_path: Path, program: type[Node], weights: Path, kind: type[Bidding]
) -> None:
    async with Brain(tmp_path) as brain:
        nose, tongue = await brain.start(Low, "nose"), await brain.start(kind, "tongue")
        await brain.route(program, weights, bid_ms=1000.0)
        decision = await brain.decide(Prompt(text="smell the rose", image=b"\x01\x02", session_id="mine"))
        assert decision.chosen == ["tongue"]
        assert decision.bids["tongue"] == pytest.approx(0.9, abs=0.01)
        assert decision.bids["nose"] == 0.0
        assert decision.bid_reasons["nose"] == "because"
        assert set(decision.text_scores) == {"nose", "tongue"}
        for region in (nose, tongue):
            (asked,) = region.seen
            # what came with the text is not sent, only that it is there
            assert (asked.text, asked.image, asked.audio) == ("smell the rose", b"", None)


async def test_a_region_that_the_weights_do_not_know_is_asked_when_it_bids(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    async with Brain(tmp_path) as brain:
        await brain.start(Low, "nose")
        await brain.start(Bidding, "mine")
        node = await brain.route(program, weights, bid_ms=1000.0)
        await until("the region to be known", lambda: "mine" in node._regions)  # type: ignore[attr-defined]
        decision = await brain.decide(Prompt(text="smell"))
        assert decision.chosen == ["mine"]
        assert "mine" not in decision.text_scores


@pytest.mark.parametrize(
    ("bid", "chosen"), [(0.1, ["nose", "mine"]), (0.05, ["nose"])], ids=["who may", "who may hardly"]
)
async def test_where_the_chosen_cannot_answer_the_one_that_may_is_asked_too(
    tmp_path: Path, program: type[Node], bid: float, chosen: list[str]
) -> None:
    class May(Bidding):
        score = bid

    weights = router_weights(tmp_path, readout=0.0, unknown=-20.0)
    async with Brain(tmp_path) as brain:
        await brain.start(Low, "nose")
        await brain.start(May, "mine")
        node = await brain.route(program, weights, bid_ms=1000.0)
        await until("the region to be known", lambda: "mine" in node._regions)  # type: ignore[attr-defined]
        assert (await brain.decide(Prompt(text="smell"))).chosen == chosen


async def test_a_region_that_cannot_bid_does_not_hold_up_the_decision(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    async with Brain(tmp_path) as brain:
        await brain.start(Stuck, "nose")
        faulty = await brain.start(Faulty, "tongue")
        await brain.route(program, weights)
        decision = await brain.decide(Prompt(text="smell"))
        assert decision.bids == {}
        assert decision.chosen
        await until("the fault to be counted", lambda: faulty.last_error is not None)


async def test_without_waiting_nobody_is_asked_to_bid(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with Brain(tmp_path) as brain:
        nose = await brain.start(Bidding, "nose")
        await brain.route(program, weights, bid_ms=0.0)
        assert (await brain.decide(Prompt(text="smell"))).bids == {}
        assert nose.seen == []


@pytest.mark.parametrize("given", [-1.0, 2.0, float("nan")])
def test_a_bid_is_cut_to_its_range(given: float) -> None:
    assert 0.0 <= Bid(given).score <= 1.0
