"""Random networks of populations, as descriptions in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from brainnet.connectome import Connectome, load

_NEURONS = {
    "lif": {"v_reset_mv": -65.0, "noise": {"rate_hz": 900.0, "weight": 700.0}},
    "izhikevich": {"noise": {"rate_hz": 400.0, "weight": 9.0}},
}
_WEIGHTS = {"lif": 150.0, "izhikevich": 3.0}
_DELAYS = st.sampled_from([2.0, 3.0, {"uniform": [2, 5]}])


@st.composite
def connectomes(draw: st.DrawFn, populations: int = 3) -> dict[str, Any]:
    """Draw the description of a network with some recurrent, plastic and static projections."""
    entries: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, populations))):
        model = draw(st.sampled_from(sorted(_NEURONS)))
        size = draw(st.integers(1, 30))
        entries.append({"id": f"p{index}", "model": model, "size": size, "parameters": _NEURONS[model]})
    projections = []
    for _ in range(draw(st.integers(0, 4))):
        source, target = (draw(st.sampled_from(entries)) for _ in range(2))
        weight: Any = _WEIGHTS[target["model"]]
        if draw(st.booleans()):
            weight = {"uniform": [0.0, 2 * weight]}
        rule: dict[str, Any] = draw(
            st.sampled_from(
                [
                    {"connect": "all_to_all"},
                    {"connect": "fixed_probability", "p": 0.4},
                    {"connect": "fixed_in_degree", "n": 1},
                ]
            )
        )
        projection = {
            "from": source["id"],
            "to": target["id"],
            "synapses": {**rule, "weight": weight, "delay_ms": draw(_DELAYS)},
        }
        if draw(st.booleans()):
            projection["plasticity"] = {
                "rule": "stdp",
                "potentiation": 0.1,
                "depression": 0.12,
                "triplet_potentiation": draw(st.sampled_from([0.0, 0.05])),
                "triplet_depression": draw(st.sampled_from([0.0, 0.02])),
                "w_max": 400.0,
            }
        projections.append(projection)
    return {
        "version": 1,
        "seed": draw(st.integers(0, 1000)),
        "clock": {"dt_ms": 1.0},
        "populations": entries,
        "projections": projections,
    }


def written(folder: Path, description: dict[str, Any]) -> Connectome:
    """Write a description to a file, and read it."""
    path = folder / "network.yaml"
    path.write_text(yaml.safe_dump(description))
    return load(path)
