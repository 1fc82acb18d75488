"""Networks in which every spike is given: two sources with a list of spikes, and neurons that pass on one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainnet.connectome import build
from brainnet.simulation.network import Network
from tests.simulation.networks import written

PLASTIC = "pre->post"


def description(
    pre: list[tuple[int, int]], post: list[tuple[int, int]], plasticity: Any, more: tuple[dict[str, Any], ...] = (),
    weight: Any = 0.5, neurons: int = 2, delay_ms: Any = 1, dt_ms: float = 1.0,
    drive_delay_ms: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Neurons of `post` fire a delay after those of the list, which drives them; `pre` is too weak for that.

    Args:
        pre: Spikes of the source as (ms, neuron).
        post: Spikes of what drives the target, as (ms, neuron).
        plasticity: Of the projection `pre->post`.
        more: Populations besides.
        weight: Of that projection.
        neurons: Of each population.
        delay_ms: Of that projection.
        dt_ms: One step.
        drive_delay_ms: From what drives the target to the target; one step unless given.
    """

    def pattern(name: str, spikes: list[tuple[int, int]]) -> dict[str, Any]:
        parameters = {"spikes": [list(spike) for spike in spikes]}
        return {"id": name, "model": "pattern", "size": neurons, "parameters": parameters}

    projection = {
        "from": "pre",
        "to": "post",
        "synapses": {"connect": "all_to_all", "weight": weight, "delay_ms": delay_ms},
    }
    drive = {
        "from": "driver",
        "to": "post",
        "synapses": {"connect": "one_to_one", "weight": 1000, "delay_ms": drive_delay_ms or dt_ms},
    }
    relay = {"id": "post", "model": "relay", "size": neurons, "parameters": {"threshold": 500}}
    return {
        "version": 1,
        "clock": {"dt_ms": dt_ms},
        "populations": [pattern("pre", pre), pattern("driver", post), relay, *more],
        "projections": [projection | ({} if plasticity is None else {"plasticity": plasticity}), drive],
    }


def made(folder: Path, description: dict[str, Any]) -> Network:
    return build(written(folder, description))
