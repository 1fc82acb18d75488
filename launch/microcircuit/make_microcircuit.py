"""Write `microcircuit.yaml`: the cortical microcircuit of Potjans and Diesmann 2014 as a connectome.

    python launch/microcircuit/make_microcircuit.py --scale 0.1

The numbers below are the published ones of the full-scale model: Potjans and Diesmann 2014, *The Cell-Type Specific
Cortical Microcircuit: Relating Structure and Activity in a Full-Scale Spiking Network Model*, Cerebral Cortex 24(3),
785-806, doi 10.1093/cercor/bhs358, tables 4 and 5.

At a scale k below 1 there are k times as many neurons, and k times as many synapses for each of them. Rates are kept as
described by van Albada, Helias and Diesmann 2015, *Scalability of Asynchronous Networks Is Limited by One-to-One
Mapping between Effective Connectivity and Correlations*, PLoS Computational Biology 11(9), e1004490: weights grow by
1 / sqrt(k), which keeps the variance of the input, and a constant current makes up for the mean that is then missing.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

POPULATIONS = ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")
NEURONS = (20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948)
# The probability that two neurons have at least one synapse; row: target, column: source.
PROBABILITY = (
    (0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0),
    (0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0),
    (0.0077, 0.0059, 0.0497, 0.135, 0.0067, 0.0003, 0.0453, 0.0),
    (0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0),
    (0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0),
    (0.0548, 0.0269, 0.0257, 0.0022, 0.06, 0.3158, 0.0086, 0.0),
    (0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252),
    (0.0364, 0.001, 0.0034, 0.0005, 0.0277, 0.008, 0.0658, 0.1443),
)
EXTERNAL_IN_DEGREE = (1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100)
EXTERNAL_RATE_HZ = 8.0  # of each external synapse
# The mean rates of the full model as the authors' first version for NEST has them, and as later versions of it have
# them (`full_mean_rates`), which `--scale 1` reproduces.
FIRST_RATE_HZ = (0.971, 2.868, 4.746, 5.396, 8.142, 9.078, 0.991, 7.523)
LATER_RATE_HZ = (0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829)

WEIGHT_PA = 87.8
WEIGHT_L4E_TO_L23E_PA = 175.6
INHIBITORY_FACTOR = -4.0
RELATIVE_SD = 0.1  # of weights
DELAY_MS = {"E": (1.5, 0.75), "I": (0.75, 0.375)}  # mean and standard deviation, by the kind of the source
TAU_SYN_MS = 0.5
NEURON = {
    "c_nf": 0.25,
    "tau_m_ms": 10,
    "refractory_ms": 2,
    "tau_excitatory_ms": TAU_SYN_MS,
    "tau_inhibitory_ms": TAU_SYN_MS,
    "v_rest_mv": -65,
    "v_reset_mv": -65,
    "v_threshold_mv": -50,
    "v_initial_mv": "{normal: [-58, 5]}",
}
DT_MS = 0.1


def synapses(target: int, source: int) -> float:
    """Return the number of synapses of a projection at full scale, of which two neurons may have several.

    It is the K for which 1 - (1 - 1 / (N_target N_source))^K is the published probability: equation 1 of the paper.
    """
    pairs = NEURONS[target] * NEURONS[source]
    return math.log(1 - PROBABILITY[target][source]) / math.log(1 - 1 / pairs)


def weight_pa(target: int, source: int) -> float:
    """Return the mean weight of a projection at full scale, in pA."""
    if POPULATIONS[source].endswith("I"):
        return INHIBITORY_FACTOR * WEIGHT_PA
    return WEIGHT_L4E_TO_L23E_PA if (target, source) == (0, 2) else WEIGHT_PA


def constant_current_pa(target: int, scale: float) -> float:
    """Return the current in pA that stands for the mean input which the scaled weights and in-degrees lack.

    It is tau_syn (1 - sqrt(k)) times the sum of weight x in-degree x rate over all sources, at full scale, with the
    mean of both published rates.
    """
    rates = [(first + later) / 2 for first, later in zip(FIRST_RATE_HZ, LATER_RATE_HZ, strict=True)]
    external = WEIGHT_PA * EXTERNAL_IN_DEGREE[target] * EXTERNAL_RATE_HZ
    within = sum(
        weight_pa(target, source) * synapses(target, source) / NEURONS[target] * rates[source]
        for source in range(len(POPULATIONS))
    )
    return TAU_SYN_MS / 1000 * (1 - math.sqrt(scale)) * (external + within)


def text(scale: float) -> str:
    """Return the connectome file at a scale, which is 1 for the published model."""
    grown = 1 / math.sqrt(scale)
    constants = [f"{name}: {value}," for name, value in NEURON.items()]
    neuron = [" ".join(constants[:5]), " ".join(constants[5:])]
    lines = [
        "# The cortical microcircuit of Potjans and Diesmann 2014; README.md beside this file says what it is.",
        f"# Written by `python launch/microcircuit/make_microcircuit.py --scale {scale:g}`; change the numbers there.",
        "version: 1",
        "seed: 1",
        f"clock: {{mode: lockstep, dt_ms: {DT_MS:g}}}",
        "",
        "populations:",
    ]
    for i, name in enumerate(POPULATIONS):
        rate = EXTERNAL_IN_DEGREE[i] * scale * EXTERNAL_RATE_HZ
        current = f", current_pa: {constant_current_pa(i, scale):.6g}" if scale != 1 else ""
        lines += [
            f"  - id: {name}",
            "    model: lif",
            f"    size: {round(NEURONS[i] * scale)}",
            "    parameters:",
            f"      {{{neuron[0]}",
            f"       {neuron[1]}",
            f"       noise: {{rate_hz: {rate:g}, weight: {WEIGHT_PA * grown:.6g}}}{current}}}",
        ]
    lines += ["", "projections:"]
    for source, source_name in enumerate(POPULATIONS):
        for target, target_name in enumerate(POPULATIONS):
            number = round(synapses(target, source) * scale * scale)
            if not number:
                continue
            weight = weight_pa(target, source) * grown
            mean, deviation = DELAY_MS[source_name[-1]]
            lines += [
                f"  - from: {source_name}",
                f"    to: {target_name}",
                "    synapses:",
                f"      {{connect: fixed_total_number, n: {number}, "
                f"weight: {{normal: [{weight:.6g}, {abs(weight) * RELATIVE_SD:.6g}]}}, "
                f"delay_ms: {{normal: [{mean:g}, {deviation:g}]}}}}",
            ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="of neurons and in-degrees; 1 is the published model")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("microcircuit.yaml"))
    arguments = parser.parse_args()
    if not 0 < arguments.scale <= 1:
        parser.error(f"--scale must lie above 0 and be at most 1, got {arguments.scale:g}")
    arguments.output.write_text(text(arguments.scale), encoding="utf-8")


if __name__ == "__main__":
    main()
