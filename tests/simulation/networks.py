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
def _plasticity(draw: st.DrawFn, modulators: list[str]) -> Any:
    """Draw the rules of a projection: one that learns, one of efficacy, both or none."""
    stdp = {
        "rule": "stdp",
        "potentiation": 0.1,
        "depression": 0.12,
        "triplet_potentiation": draw(st.sampled_from([0.0, 0.05])),
        "triplet_depression": draw(st.sampled_from([0.0, 0.02])),
        "w_max": 400.0,
    }
    dopamine_stdp = {
        "rule": "dopamine_stdp",
        "modulator": draw(st.sampled_from(modulators)),
        "modulator_delay_ms": draw(st.sampled_from([2.0, 5.0])),
        "per_spike": draw(st.sampled_from([0.5, -0.3])),
        "potentiation": 20.0,
        "depression": 22.0,
        # epochs of four time constants: of 28 steps, and longer than all steps
        "tau_c_ms": draw(st.sampled_from([7.0, 1000.0])),
        "w_max": 400.0,
    }
    learning = draw(st.sampled_from([None, stdp, dopamine_stdp]))
    short_term = {"rule": "short_term", "tau_facilitation_ms": draw(st.sampled_from([20.0, 200.0]))}
    if not draw(st.booleans()):
        return learning
    return short_term if learning is None else draw(st.permutations([learning, short_term]))


@st.composite
def connectomes(draw: st.DrawFn, populations: int = 3) -> dict[str, Any]:
    """Draw the description of a network with some recurrent, plastic and static projections.

    The modulator of a projection is one of the populations, or `outside`.
    """
    entries: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, populations))):
        model = draw(st.sampled_from(sorted(_NEURONS)))
        size = draw(st.integers(1, 30))
        entry = {"id": f"p{index}", "model": model, "size": size, "parameters": _NEURONS[model]}
        if model == "lif" and draw(st.booleans()):
            entry["homeostasis"] = {"gain": 0.5, "window_ms": draw(st.integers(1, 25)), "target_hz": 20.0}
        entries.append(entry)
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
        plasticity = draw(_plasticity([*(entry["id"] for entry in entries), "outside"]))
        if plasticity is not None:
            projection["plasticity"] = plasticity
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
