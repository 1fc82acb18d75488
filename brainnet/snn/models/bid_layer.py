r"""Bids as input of the router: a small population of LIF neurons for each route, whose spikes add to its score.

A bid b in [0, 1] is a constant current $g_k b$ into K neurons with different gains; neuron k fires $n_k(b)$ times in T
steps. With $w_{rk} \ge 0$ no bid is worse for its own route than a lower one:

$$s_r = \gamma x_r + c_r + \sum_k w_{rk} n_k(b_r) / T$$

where $x_r$ is the score that the network finds in the text, and $c_r$ is added when the route has bid. A route that the
network does not know has no $x_r$: it starts from a score of its own, and uses the weights of the last row. Without any
bid the scores are those of the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.snn.neurons.lif_steps import Floats

__all__ = ["BID_NEURONS", "BidLayer", "bid_counts", "untrained"]

BID_NEURONS: Final = 8
"""Neurons of a route's population, K."""
_STEPS: Final = 24
_BETA: Final = 0.9
_GAINS: Final = np.geomspace(0.11, 4.0, BID_NEURONS).astype(np.float32)
"""From a neuron that only the surest bid makes fire, to one that fires at nearly every step when half sure."""


def _fired(bids: NDArray[np.float32]) -> NDArray[np.float64]:
    """Run the neurons for some bids; returns the share of the steps in which each fires, [bids, K]."""
    currents = np.multiply.outer(bids, _GAINS)
    membrane = np.zeros_like(currents)
    counts = np.zeros(currents.shape, np.float64)
    for _ in range(_STEPS):
        membrane = membrane * np.float32(_BETA) + currents
        fired = membrane > 1.0
        # More than one threshold a step: the neuron still fires once, and the rest is lost with the reset.
        membrane = np.where(fired, np.minimum(membrane - 1.0, 1.0), membrane)
        counts += fired
    return counts / _STEPS


# The neurons start from rest, so that a bid always gives the same spikes: all of them are computed once.
_LEVELS: Final = 1024
_COUNTS: Final = _fired(np.linspace(0.0, 1.0, _LEVELS + 1, dtype=np.float32))


def bid_counts(bids: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of the steps in which each neuron fires, float64 [bids, K]; monotone in the bid.

    Args:
        bids: In [0, 1]; read to 1 / 1024.
    """
    return _COUNTS[np.rint(np.asarray(bids, np.float64) * _LEVELS).astype(np.int64)]


def untrained(routes: int) -> dict[str, Floats]:
    """Return the weights of a layer that leaves the scores of known routes as they are."""
    return {
        "bids.readout": np.zeros((routes + 1, BID_NEURONS), np.float32),
        "bids.said": np.zeros(routes + 1, np.float32),
        "bids.text": np.ones(1, np.float32),
        "bids.unknown": np.full(1, -20.0, np.float32),
    }


class BidLayer:
    """Adds bids to the scores of a text.

    Args:
        routes: the names that the network knows.
        weights: those of `untrained`, or trained ones of the same shapes.
    """

    def __init__(self, routes: tuple[str, ...], weights: Mapping[str, Floats]) -> None:
        self._routes = routes
        self._row = {name: row for row, name in enumerate(routes)}
        self._readout = np.maximum(weights["bids.readout"], 0.0).astype(np.float64)
        self._said = weights["bids.said"].astype(np.float64)
        self._text = float(weights["bids.text"][0])
        self._unknown = float(weights["bids.unknown"][0])

    def scores(
        self, text_scores: NDArray[np.float64], bids: Mapping[str, float]
    ) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return the names and scores of the known routes and of those others that have bid.

        Args:
            text_scores: [routes], of the text alone.
            bids: by name, in [0, 1].
        """
        if not bids:
            return self._routes, text_scores
        others = tuple(sorted(name for name in bids if name not in self._row))
        names = self._routes + others
        scores = np.concatenate([self._text * text_scores, np.full(len(others), self._unknown)])
        said = sorted(bids)
        counts = bid_counts([bids[name] for name in said])
        last = len(self._routes)
        at = {name: number for number, name in enumerate(names)}
        for name, count in zip(said, counts, strict=True):
            row = self._row.get(name, last)
            scores[at[name]] += self._said[row] + self._readout[row] @ count
        return names, scores
