"""Write `senses.yaml` and `network.yaml`: four sensors, and a small spiking network behind each.

    python launch/senses/make_senses.py                                            # the two files beside this script
    python launch/senses/make_senses.py --audio my.wav --events my.raw --folder mine

A sensor whose recording is not named is a signal that is computed. What an encoder has to know of a recording, such as
the rate of its samples or the size of its camera, is read from it.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from brainnet.sensors.opening import open_source

EDGE = 8  # of the grid of neurons of the event camera, at most, and twice that of the grid of space
CELLS = 4


@dataclass(frozen=True)
class Sense:
    """One sensor with what is behind it.

    Attributes:
        sensor: Id of the node that sends.
        modality: What it senses.
        kind: What its recording holds.
        signal: What it sends without a recording.
        options: Arguments of the signal.
        encoder: The population that encodes, and the name of its encoder.
        target: The population behind it, its neurons, how many sources each has, and the weight (mV; 15 mV suffice).
    """

    sensor: str
    modality: str
    kind: str
    signal: str
    options: dict[str, Any]
    encoder: tuple[str, str]
    target: tuple[str, int, int, float]


SENSES = (
    Sense(
        "microphone", "audio", "audio", "ToneSweep", {"rate_hz": 16000, "seconds": 4.0},
        ("cochlea", "cochlea"), ("hearing", 24, 3, 16.0),
    ),
    Sense(
        "depth_camera", "points", "points", "RotatingPoints", {"points": 300, "fps": 10.0, "seconds": 4.0},
        ("grid", "voxels"), ("space", 16, 6, 6.0),
    ),
    Sense(
        "fingertip", "force", "samples", "RandomWalk", {"channels": 6, "seconds": 4.0, "rows": 20},
        ("skin", "sample_change"), ("touch", 12, 3, 16.0),
    ),
    Sense(
        "event_camera", "events", "events", "MovingEdge", {"height": 32, "width": 32, "speed": 50.0, "noise_hz": 100.0},
        ("retina", "addresses"), ("motion", 16, 8, 8.0),
    ),
)  # fmt: skip


def encoder_options(sense: Sense, file: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the encoder for what a sensor sends."""
    source: Any = open_source(file, sense.kind if file is not None else sense.signal, options)
    blocks = iter(source)
    first = next(blocks)
    match sense.encoder[1]:
        case "cochlea":
            return {"rate_hz": round(first.rate_hz or 0), "channels": first.shape[-1], "bands": 24}
        case "addresses":
            pool = math.ceil(max(source.width, source.height) / EDGE)
            return {"width": source.width, "height": source.height, "pool": pool}
        case "sample_change":
            rows = [np.atleast_2d(block.payload) for block in islice(chain([first], blocks), 1000)]
            spread = np.concatenate(rows).std(axis=0)
            thresholds = [float(f"{max(each / 5, 1e-9):.2g}") for each in spread]
            return {"channels": len(thresholds), "threshold": thresholds}
    low, high = np.nanpercentile(first.payload, [1, 99], axis=0)
    low, high = low - 0.1, np.maximum(high, low) + 0.1  # metres: a cloud may be flat
    corners = {name: [float(f"{x:.3g}") for x in corner] for name, corner in (("low", low), ("high", high))}
    return corners | {"cells": [CELLS] * 3}


def flow(values: dict[str, Any]) -> str:
    """Return a map as YAML in one line."""
    return "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"


def files(recordings: dict[str, Path]) -> tuple[str, str]:
    """Return the allocation and the network.

    Args:
        recordings: Files by the id of the sensor that sends them.
    """
    allocation = ["version: 1", "connectome: network.yaml", "nodes:"]
    populations, projections = ["populations:"], ["projections:"]
    for sense in SENSES:
        file = recordings.get(sense.sensor)
        program = "sensor" if file is None else f"sensor:{file.resolve()}"
        sent = {"modality": sense.modality, "kind": sense.kind if file is not None else sense.signal}
        options = sense.options if file is None else {}
        if options:
            sent["options"] = flow(options)
        allocation += [f"  - id: {sense.sensor}", f"    program: {program}", f"    parameters: {flow(sent)}"]
        (id, encoder), (target, size, sources, weight) = sense.encoder, sense.target
        populations += [
            f"  - id: {id}",
            "    model: encoder",
            f"    process: {target}",
            "    parameters:",
            f"      encoder: {encoder}",
            f"      options: {flow(encoder_options(sense, file, options))}",
            f"      source: {{topic: input/{sense.modality}/{sense.sensor}}}",
            f"  - {{id: {target}, model: lif, size: {size}, parameters: {{synapses: delta}}, process: {target}}}",
        ]
        synapses = {"connect": "fixed_in_degree", "n": sources, "weight": weight, "delay_ms": 2}
        projections.append(f"  - {{from: {id}, to: {target}, synapses: {flow(synapses)}}}")
    network = ["version: 1", "clock: {mode: realtime, dt_ms: 1, window: 20}", *populations, *projections]
    made = "# Written by launch/senses/make_senses.py; README.md beside it says what it is.\n"
    return made + "\n".join(allocation) + "\n", made + "\n".join(network) + "\n"


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description="Write an allocation with four sensors and the network behind them.")
    parser.add_argument("--audio", type=Path, help="a WAV file for the microphone")
    parser.add_argument("--points", type=Path, help="npz or CSV: t_us, x, y, z in metres, for the depth camera")
    parser.add_argument("--forces", type=Path, help="npz or CSV with times, for the fingertip")
    parser.add_argument("--events", type=Path, help="npz, EVT2, EVT3, AEDAT4, Event Stream, for the event camera")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the files are written")
    given = parser.parse_args()
    named = {"microphone": given.audio, "depth_camera": given.points, "fingertip": given.forces}
    named["event_camera"] = given.events
    allocation, network = files({sensor: file for sensor, file in named.items() if file is not None})
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "senses.yaml").write_text(allocation)
    (given.folder / "network.yaml").write_text(network)


if __name__ == "__main__":
    main()
