"""The weights of a network that runs: read, saved and set from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.bus import Bus
from brainnet.client.clocks import clock_states
from brainnet.errors import BrainnetError, ModelError
from brainnet.simulation.fixed_point import from_fixed, to_fixed
from brainnet.simulation.weights_file import save_weights
from brainnet.wire.keys import key
from brainnet.wire.messages import ProjectionWeights, Weights, WeightsQuery

_SUMMARY_TIMEOUT_S: Final = 10.0
"""Seconds for what all processes reply. It is waited for only while one of them is there and has not replied."""
_TIMEOUT_S: Final = 60.0
"""Seconds for a reply. The synapses of a large projection are made anew for it."""


async def all_weights(bus: Bus) -> list[Weights]:
    """Return the projections of the brain's network, by the population that they end in, without single weights.

    Raises:
        BrainnetError: No process of a network replied.
    """
    replies = await bus.call_all(key("weights"), WeightsQuery(), timeout=_SUMMARY_TIMEOUT_S)
    found = [reply.message for reply in replies if isinstance(reply.message, Weights)]
    if not found:
        raise BrainnetError(
            "this brain computes no network of populations; launch a connectome file, or name one in the allocation",
            code="not_found",
        )
    return sorted(found, key=lambda weights: weights.population)


async def weights_of(
    bus: Bus, projection: str, *, with_synapses: bool = False, new: NDArray[np.float64] | None = None
) -> tuple[Weights, ProjectionWeights]:
    """Return one projection, after its weights were set if new ones are given.

    Args:
        bus: A bus of a client.
        projection: Its name, such as `a->b`.
        with_synapses: Return the synapses, too.
        new: Weights [synapses] in the order of the synapses, or [1] for all.

    Raises:
        BrainnetError: There is no such projection, or its weights cannot be set.
    """
    everything = await all_weights(bus)
    names = {each.projection: weights.population for weights in everything for each in weights.projections}
    if projection not in names:
        away = [state.process for state in await clock_states(bus) if not state.digests]
        if away:
            raise BrainnetError(
                f"nothing is known of {projection!r} now, because {', '.join(away)} does not reply", code="unavailable"
            )
        raise BrainnetError(
            f"there is no projection {projection!r}; there are {', '.join(names) or 'none'}", code="not_found"
        )
    values = None if new is None else to_fixed(new).astype("<i4").tobytes()
    query = WeightsQuery(projection=projection, with_synapses=with_synapses, values=values)
    reply: Weights = await bus.call(key("weights", population=names[projection]), query, timeout=_TIMEOUT_S)
    return reply, reply.projections[0]


def save(path: Path, reply: Weights, found: ProjectionWeights) -> None:
    """Write the synapses of a reply that has them as a file for `connect: explicit`.

    Raises:
        ModelError: Its weights are not stored, or the file cannot be written.
    """
    if found.synapses is None:
        raise ModelError(f"{found.projection}: synapses of which nothing is stored have no weights to save")
    save_weights(
        path,
        np.frombuffer(found.start, "<i8"),
        np.frombuffer(found.targets, "<i4"),
        from_fixed(np.frombuffer(found.values, "<i4")),
        np.frombuffer(found.delays, "<i4") * reply.dt_ms,
    )
