"""Bids in the router: more never hurts its own region, nothing changes without one, and new names become routes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.snn.models.bid_layer import BID_NEURONS, BidLayer, bid_counts, untrained

ROUTES = ("eye", "ear", "nose")
TEXT = np.array([1.0, 0.5, -2.0])
bid = st.floats(0.0, 1.0)
quick = settings(deadline=None, max_examples=100)


def layer(seed: int = 0) -> BidLayer:
    """A layer with some trained weights."""
    rng = np.random.default_rng(seed)
    weights = {
        "bids.readout": rng.uniform(0, 2, (len(ROUTES) + 1, BID_NEURONS)).astype(np.float32),
        "bids.said": rng.normal(size=len(ROUTES) + 1).astype(np.float32),
        "bids.text": np.array([0.9], np.float32),
        "bids.unknown": np.array([-3.0], np.float32),
    }
    return BidLayer(ROUTES, weights)


def test_without_bids_the_scores_are_those_of_the_text() -> None:
    names, scores = layer().scores(TEXT, {})
    assert names == ROUTES
    np.testing.assert_array_equal(scores, TEXT)


def test_an_untrained_layer_leaves_the_scores_of_known_routes_as_they_are() -> None:
    names, scores = BidLayer(ROUTES, untrained(len(ROUTES))).scores(TEXT, {"ear": 1.0, "mine": 1.0})
    assert names == (*ROUTES, "mine")
    np.testing.assert_array_equal(scores[:3], TEXT)
    assert scores[3] < scores[:3].min()


@quick
@given(low=bid, high=bid, name=st.sampled_from([*ROUTES, "mine"]))
def test_a_higher_bid_never_lowers_the_score_of_its_region_and_changes_no_other(
    low: float, high: float, name: str
) -> None:
    low, high = sorted((low, high))
    names, less = layer().scores(TEXT, {name: low, "other": 0.5})
    _, more = layer().scores(TEXT, {name: high, "other": 0.5})
    at = names.index(name)
    assert more[at] >= less[at]
    np.testing.assert_array_equal(np.delete(more, at), np.delete(less, at))


@quick
@given(bids=st.dictionaries(st.sampled_from([*ROUTES, "mine", "yours"]), bid, max_size=5), seed=st.integers(0, 9))
def test_the_order_in_which_bids_came_does_not_matter(bids: dict[str, float], seed: int) -> None:
    order = list(bids)
    np.random.default_rng(seed).shuffle(order)
    names, scores = layer().scores(TEXT, bids)
    again, same = layer().scores(TEXT, {name: bids[name] for name in order})
    assert names == again
    np.testing.assert_array_equal(scores, same)


def test_the_neurons_of_a_bid_fire_like_leaky_neurons_that_reset_by_subtraction() -> None:
    counts = bid_counts([0.0, 0.05, 1.0])
    assert not counts[0].any()
    assert counts.max() <= 1.0
    # the slowest neuron: a constant current of 0.11 reaches (1 - 0.9^n) 1.1 after n steps, first above 1 at n = 23
    assert counts[2][0] == pytest.approx(1 / 24)
    assert (np.diff(counts, axis=1) >= 0).all()
