"""Answers questions for the weights of a network that runs."""

from __future__ import annotations

import asyncio
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.connectome import Connectome, rows_of
from brainnet.errors import ModelError
from brainnet.simulation.fixed_point import from_fixed, to_fixed
from brainnet.simulation.incoming import Incoming
from brainnet.simulation.population import Population
from brainnet.simulation.rows import Rows
from brainnet.streams.runner import Runner
from brainnet.wire.messages import ProjectionWeights, Weights, WeightsQuery

MAX_SYNAPSES: Final = 7_000_000
"""Synapses that one reply describes: with 16 bytes each it stays below what a receiver reads of one message."""


async def answer(query: WeightsQuery, population: Population, connectome: Connectome, runner: Runner) -> Weights:
    """Set weights, if the query holds some, and return what it asks for.

    Raises:
        ModelError: There is no such projection to the population, its weights are not stored or cannot be set, or
            there are too many for a reply.
    """
    incoming = [population.projection(query.projection)] if query.projection else population.incoming
    if not query.projection and (query.with_synapses or query.values is not None):
        raise ModelError("name the projection whose synapses are asked for, or whose weights are set")
    if query.values is not None:
        given = _given(query)

        def change() -> None:
            population.set_weights(query.projection, given)
            runner.save_now()

        await runner.in_thread(change)
    # The network stands meanwhile, so only those that change are read there.
    step, learned = await runner.in_thread(
        lambda: (population.next_step, {each.name: each.weights for each in incoming if each.plastic is not None})
    )

    def described() -> list[ProjectionWeights]:
        found = []
        for each in incoming:
            weights = learned[each.name] if each.name in learned else _fixed_weights(each)
            rows = _rows(connectome, each, weights) if query.with_synapses else None
            found.append(_described(each, weights, rows))
        return found

    projections = await asyncio.get_running_loop().run_in_executor(None, described)
    dt_ms = population.model.setting.dt_ms
    return Weights(population=population.name, step=step, dt_ms=dt_ms, projections=projections)


def _fixed_weights(incoming: Incoming) -> NDArray[np.float64] | None:
    """Return weights that never change; None where none are stored."""
    try:
        return incoming.weights
    except ModelError:
        return None


def _given(query: WeightsQuery) -> NDArray[np.float64]:
    values = query.values or b""
    if not values or len(values) % 4:
        raise ModelError(f"{query.projection}: {len(values)} bytes are no weights of 4 bytes each")
    weights = from_fixed(np.frombuffer(values, "<i4"))
    return weights if weights.size > 1 else weights[0]  # one for all


def _rows(connectome: Connectome, incoming: Incoming, weights: NDArray[np.float64] | None) -> Rows:
    if weights is not None and weights.size > MAX_SYNAPSES:
        raise ModelError(
            f"{incoming.name} has {weights.size:,} synapses; a reply holds at most {MAX_SYNAPSES:,}; divide the "
            "projection"
        )
    return rows_of(connectome, next(each for each in connectome.projections if each.name == incoming.name))


def _described(incoming: Incoming, weights: NDArray[np.float64] | None, rows: Rows | None) -> ProjectionWeights:
    found = ProjectionWeights(projection=incoming.name, source=incoming.source, learns=incoming.plastic is not None)
    if weights is None:
        return found
    found.synapses = weights.size
    if weights.size:
        found.mean, found.deviation = float(weights.mean()), float(weights.std())
        found.smallest, found.largest = float(weights.min()), float(weights.max())
    if rows is not None:
        found.start = rows.start.astype("<i8").tobytes()
        found.targets = rows.targets.astype("<i4").tobytes()
        found.delays = rows.delays.astype("<i4").tobytes()
        found.values = to_fixed(weights).astype("<i4").tobytes()
    return found
