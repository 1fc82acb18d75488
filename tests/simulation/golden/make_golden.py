"""Write the files NAME.npz beside this one: networks, and what Brian2 says they fire.

    python -m venv brian && brian/bin/pip install brian2==2.9.0 'numpy<2'
    brian/bin/python tests/simulation/golden/make_golden.py

`parameters.json` says what the networks are. Brian2 solves the linear equations exactly, with its own integrator; what
arrives, and when, is arranged as the models describe it:

- A delay of n steps means: what is fired in step s acts in step s + n. Brian2 adds what arrives after the integration
  of a step. For the currents of `lif` this is what the model does. Where the input lasts one step (`izhikevich`,
  `biological_lif`, `adaptive_lif`), the delay is n - 1 here, and the input is set to zero after the integration.
- The refractory time of a model is counted from the step after that of the spike, as in NEST. Brian2 counts that of the
  spike, so it is given one step more.
- Euler's steps of `izhikevich` are written out, one addition at a time, because Brian2 adds in an order of its own.
  Rounding matters there: with Brian2's own `euler` the first 1,401 steps are the same too, but then neuron 48 passes
  its unstable equilibrium so closely that the last bit decides when it fires.

A file holds `sources`, `targets`, `weights` (whole multiples of 2**-16, times 2**16) and `delays` (steps) of the
synapses, the parameters that vary from neuron to neuron, and `steps` and `neurons` of the spikes. The first neurons are
the excitatory ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import brian2
import numpy as np
from brian2 import ms

HERE = Path(__file__).parent
UNIT = 1 << 16


def drawn(seed: int, about: dict[str, Any]) -> dict[str, Any]:
    """Draw the synapses of a network, and what varies from neuron to neuron."""
    random = np.random.default_rng(seed)
    size = about["excitatory"] + about["inhibitory"]
    sources = np.repeat(np.arange(size), about["out_degree"])
    excites = sources < about["excitatory"]
    mean = np.where(excites, *about["weights"])
    low, high = about["delay_steps"]
    network = {
        "sources": sources.astype(np.uint8),
        "targets": np.concatenate(
            [np.sort(random.choice(size, about["out_degree"], replace=False)) for _ in range(size)]
        ).astype(np.uint8),
        "weights": np.round(mean * random.uniform(0.5, 1.5, sources.size) * UNIT).astype(np.int32),
        "delays": random.integers(low, high + 1, sources.size).astype(np.uint8),
    }
    for name, (least, most) in about["varied"].items():
        network[name] = np.round(random.uniform(least, most, size), 4)
    return network


EQUATIONS = {
    "lif": """
        dv/dt = (v_rest_mv - v) / (tau_m_ms * ms) + I / (1000 * c_nf * ms) : 1 (unless refractory)
        I = I_e + I_i + current_pa : 1
        dI_e/dt = -I_e / (tau_excitatory_ms * ms) : 1
        dI_i/dt = -I_i / (tau_inhibitory_ms * ms) : 1
        current_pa : 1 (constant)
    """,
    "izhikevich": """
        v : 1
        u : 1
        x : 1
        a : 1 (constant)
        b : 1 (constant)
        c_mv : 1 (constant)
        d : 1 (constant)
        current : 1 (constant)
    """,
    "biological_lif": """
        dv/dt = (v_rest_mv - v + drive_mv + x) / (tau_m_ms * ms) : 1 (unless refractory)
        x : 1
        drive_mv : 1 (constant)
    """,
    "adaptive_lif": """
        dv/dt = -v / (tau_m_ms * ms) : 1
        da/dt = -a / (tau_adaptation_ms * ms) : 1
        x : 1
        fired : 1
        current : 1 (constant)
        kappa : 1 (constant)
    """,
}
NEURONS: dict[str, dict[str, Any]] = {
    "lif": {"method": "exact", "threshold": "v >= v_threshold_mv", "reset": "v = v_reset_mv"},
    "izhikevich": {"threshold": "v >= 30", "reset": "v = c_mv; u += d"},
    "biological_lif": {"method": "exact", "threshold": "v > v_threshold_mv", "reset": "v = v_reset_mv"},
    "adaptive_lif": {"method": "exact", "threshold": "v > threshold + kappa * a", "reset": "fired = 1"},
}
# What is done between the integration of a step and the test for a spike.
THEN = {
    "lif": "",
    "izhikevich": """
        drive = current + x
        slope = 0.04 * (v * v) + 5.0 * v
        slope += 140.0
        slope -= u
        slope += drive
        rate = 0.5 * a
        u += rate * (b * v - u)
        v += 0.5 * slope
        x = 0
    """,
    "biological_lif": "x = 0",
    "adaptive_lif": "v += current + x - threshold * fired; a += fired; fired = 0; x = 0",
}


def spikes(name: str, about: dict[str, Any], network: dict[str, Any]) -> tuple[Any, Any]:
    """Return steps and neurons of all spikes, in order."""
    brian2.start_scope()
    step = about["dt_ms"] * ms
    brian2.defaultclock.dt = step
    constants = dict(about["model"])
    options = dict(NEURONS[name])
    if "refractory_ms" in constants:
        held = np.ceil(constants.pop("refractory_ms") / about["dt_ms"] - 1e-9)
        options["refractory"] = (held + 1) * step
    neurons = brian2.NeuronGroup(
        about["excitatory"] + about["inhibitory"], EQUATIONS[name], namespace=constants, **options
    )
    neurons.v = constants.get("v_rest_mv", 0)
    for parameter in about["varied"]:
        setattr(neurons, parameter.replace("v_initial_mv", "v"), network[parameter])
    if name == "izhikevich":
        neurons.u = "b * v"
    if THEN[name]:
        neurons.run_regularly(THEN[name], when="after_groups")
    groups = [neurons]
    excites = network["sources"] < about["excitatory"]
    for chosen, into in ((excites, "I_e"), (~excites, "I_i")):
        variable = into if name == "lif" else "x"
        synapses = brian2.Synapses(neurons, neurons, "w : 1 (constant)", on_pre=f"{variable}_post += w")
        synapses.connect(i=network["sources"][chosen].astype(int), j=network["targets"][chosen].astype(int))
        synapses.w = network["weights"][chosen] / UNIT
        synapses.delay = (network["delays"][chosen] - (0 if name == "lif" else 1)) * step
        groups.append(synapses)
    monitor = brian2.SpikeMonitor(neurons)
    brian2.Network(*groups, monitor).run(about["steps"] * step)
    at = np.round(np.asarray(monitor.t / step)).astype(np.uint16)
    fired = np.asarray(monitor.i).astype(np.uint8)
    order = np.lexsort((fired, at))
    return at[order], fired[order]


def main() -> None:
    """Write the files."""
    brian2.prefs.codegen.target = "numpy"
    for seed, (name, about) in enumerate(json.loads((HERE / "parameters.json").read_text()).items()):
        network = drawn(seed, about)
        network["steps"], network["neurons"] = spikes(name, about, network)
        np.savez_compressed(HERE / f"{name}.npz", **network)
        print(f"{name}: {network['steps'].size} spikes")


if __name__ == "__main__":
    main()
