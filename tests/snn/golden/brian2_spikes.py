"""Spike times by Brian2 (Stimberg, Brette and Goodman 2019), which the neuron tests hold this project's neurons to.

`python tests/snn/golden/brian2_spikes.py` (in an environment with Brian2 2.9 and numpy 2.2) writes brian2_spikes.json
beside it.
The constants stand here a second time on purpose: this program shares nothing with what it checks.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_suffix(".json")
CELLS = {
    "regular spiking": (0.02, 0.2, -65.0, 8.0),
    "intrinsically bursting": (0.02, 0.2, -55.0, 4.0),
    "chattering": (0.02, 0.2, -50.0, 2.0),
    "fast spiking": (0.1, 0.2, -65.0, 2.0),
    "low-threshold spiking": (0.02, 0.25, -65.0, 2.0),
    "thalamo-cortical": (0.02, 0.25, -65.0, 0.05),
    "resonator": (0.1, 0.26, -65.0, 2.0),
}
# current and for how many ms
STEP = [(0.0, 20.0), (10.0, 200.0)]
REBOUND = [(0.0, 20.0), (-5.0, 100.0), (0.0, 100.0)]
PULSED = [(0.0, 20.0), (0.3, 80.0), (5.0, 4.0), (0.3, 100.0)]
DRIVES = {
    "above and below threshold": [(20.0, 150.0), (14.0, 50.0), (16.0, 150.0), (60.0, 40.0)],
    "threshold within the refractory period": [(200.0, 20.0), (0.0, 20.0), (200.0, 20.0)],
}

Segments = list[tuple[float, float]]


def simulate() -> list[dict[str, Any]]:
    """Every case with the steps at which Brian2 fires."""
    cases = [izhikevich(cell, dt, STEP) for cell in CELLS for dt in (0.1, 0.5)]
    cases += [izhikevich("thalamo-cortical", 0.1, REBOUND), izhikevich("resonator", 0.1, PULSED)]
    return cases + [biological(drive, dt) for drive in DRIVES for dt in (0.1, 1.0)]


def izhikevich(cell: str, dt: float, segments: Segments) -> dict[str, Any]:
    brian = importlib.import_module("brian2")
    a, b, c, d = CELLS[cell]
    group = brian.NeuronGroup(
        1,
        "dv/dt = (0.04*v**2 + 5*v + 140 - u + I)/ms : 1\ndu/dt = a*(b*v - u)/ms : 1\nI : 1",
        threshold="v >= 30",
        reset="v = c; u += d",
        method="euler",
        dt=dt * brian.ms,
        namespace={"a": a, "b": b, "c": c, "d": d},
    )
    group.v, group.u = -65.0, -65.0 * b
    case = {"model": "izhikevich", "cell": cell, "dt": dt, "segments": segments}
    return case | {"constants": CELLS[cell], "start": [-65.0, -65.0 * b], "spikes": spikes_of(group, dt, segments)}


def biological(drive: str, dt: float) -> dict[str, Any]:
    brian = importlib.import_module("brian2")
    group = brian.NeuronGroup(
        1,
        "dv/dt = (-70 - v + I)/(20*ms) : 1 (unless refractory)\nI : 1",
        threshold="v > -55",
        reset="v = -70",
        # Brian2 dates a spike to the start of its step, so that refractory=2*ms would hold for one step less
        refractory=(2.0 + dt) * brian.ms,
        method="exact",
        dt=dt * brian.ms,
    )
    group.v = -70.0
    segments = DRIVES[drive]
    case = {"model": "biological", "drive": drive, "dt": dt, "segments": segments}
    return case | {"spikes": spikes_of(group, dt, segments)}


def spikes_of(group: Any, dt: float, segments: Segments) -> list[int]:
    brian = importlib.import_module("brian2")
    monitor = brian.SpikeMonitor(group)
    network = brian.Network(group, monitor)
    for current, duration in segments:
        group.I = current
        network.run(duration * brian.ms)
    return [round(float(time / brian.ms) / dt) for time in monitor.t]


def use_interpreted_code() -> None:
    """No compiler needed, and none waited for."""
    importlib.import_module("brian2").prefs.codegen.target = "numpy"


if __name__ == "__main__":
    use_interpreted_code()
    lines = ",\n".join(json.dumps(case) for case in simulate())
    GOLDEN.write_text(f"[\n{lines}\n]\n")
