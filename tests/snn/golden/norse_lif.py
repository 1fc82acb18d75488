"""Spikes and last membranes by Norse (Pehle and Pedersen 2021), which the LIF tests hold this project's neurons to.

`python tests/snn/golden/norse_lif.py` (in an environment with Norse 1.1) writes norse_lif.json beside it.
Norse's boxed LIF cell is the neuron that resets to zero: its membrane moves by `tau_mem_inv * dt` of the way to the
current, so its decay is one minus that, and a current counts for that fraction of itself. It reports the membrane after
the reset.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_suffix(".json")
STEPS, NEURONS = 80, 8
# inverse membrane time constant (1/s) and threshold; the step is Norse's own, 1 ms
CELLS = [(100.0, 1.0), (30.0, 0.4), (700.0, 1.5)]


def currents() -> list[list[int]]:
    """In hundredths, from -0.60 to 3.40: whatever neither repeats soon nor needs anyone's random numbers."""
    return [[(t * t * 37 + n * n * 101 + t * n * 13) % 401 - 60 for n in range(NEURONS)] for t in range(STEPS)]


def simulate() -> list[dict[str, Any]]:
    """Every cell on the same currents, in float64."""
    torch = importlib.import_module("torch")
    box = importlib.import_module("norse.torch.functional.lif_box")
    module = importlib.import_module("norse.torch.module.lif_box")
    drive = torch.tensor(currents(), dtype=torch.float64) / 100
    cases = []
    for rate, threshold in CELLS:
        constants = {"tau_mem_inv": rate, "v_th": threshold, "v_leak": 0.0, "v_reset": 0.0}
        as_tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in constants.items()}
        cell = module.LIFBoxCell(box.LIFBoxParameters(**as_tensors))
        state = box.LIFBoxFeedForwardState(v=torch.zeros(NEURONS, dtype=torch.float64))
        spikes = []
        for current in drive:
            spike, state = cell(current, state)
            spikes.append([int(fired) for fired in spike])
        last = [float(v) for v in state.v]
        cases.append({"tau_mem_inv": rate, "threshold": threshold, "spikes": spikes, "last_membrane": last})
    return cases


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case) for case in simulate())
    GOLDEN.write_text(f'{{"currents": {json.dumps(currents())},\n"cases": [\n{lines}\n]}}\n')
