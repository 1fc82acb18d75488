"""Networks fire exactly what Brian2 says, neuron by neuron and step by step (golden/make_golden.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from brainnet.connectome import build, load
from brainnet.simulation.fixed_point import UNIT

GOLDEN = Path(__file__).parent / "golden"
NETWORKS: dict[str, Any] = json.loads((GOLDEN / "parameters.json").read_text())


def described(name: str, golden: dict[str, Any], folder: Path) -> Path:
    """Write the connectome of a golden network and the files of its synapses, and return its path."""
    about = NETWORKS[name]
    first, size = about["excitatory"], about["excitatory"] + about["inhibitory"]
    ranges = {"excitatory": (0, first), "inhibitory": (first, size)}
    populations = []
    for kind, (low, high) in ranges.items():
        varied = {parameter: golden[parameter][low:high].tolist() for parameter in about["varied"]}
        parameters = about["model"] | varied
        populations.append({"id": kind, "model": name, "size": high - low, "parameters": parameters})
    projections = []
    sources, targets = golden["sources"].astype(int), golden["targets"].astype(int)
    for source, (source_low, source_high) in ranges.items():
        for target, (target_low, target_high) in ranges.items():
            own = (source_low <= sources) & (sources < source_high) & (target_low <= targets) & (targets < target_high)
            file = folder / f"{source}_{target}.npz"
            np.savez(
                file,
                sources=sources[own] - source_low,
                targets=targets[own] - target_low,
                weights=golden["weights"][own] / UNIT,
                delays=golden["delays"][own] * about["dt_ms"],
            )
            synapses = {"connect": "explicit", "file": file.name}
            projections.append({"from": source, "to": target, "port": source, "synapses": synapses})
    clock = {"dt_ms": about["dt_ms"]}
    text = {"version": 1, "clock": clock, "populations": populations, "projections": projections}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_fires_what_brian2_says(name: str, tmp_path: Path) -> None:
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = dict(file)
    about = NETWORKS[name]
    fired = build(load(described(name, golden, tmp_path))).advance(about["steps"])
    pairs = []
    for kind, low in (("excitatory", 0), ("inhibitory", about["excitatory"])):
        spikes = fired[kind]
        steps = np.repeat(np.arange(spikes.steps), np.diff(spikes.offsets))
        pairs.append(np.stack([steps, spikes.neurons + low]))
    steps, neurons = np.concatenate(pairs, axis=1)
    order = np.lexsort((neurons, steps))
    golden_pairs = np.stack([golden["steps"], golden["neurons"]]).astype(int)
    different = np.stack([steps, neurons])[:, order]
    assert different.shape == golden_pairs.shape
    np.testing.assert_array_equal(different, golden_pairs)
    # the synapses matter: without their spikes each neuron would repeat itself
    assert golden_pairs.shape[1] > 5 * (about["excitatory"] + about["inhibitory"])
