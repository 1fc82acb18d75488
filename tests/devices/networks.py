"""NIR files that the tests of devices run, and spikes that drive them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.snn.nir import models
from brainnet.snn.nir.graph import import_nir

STEP_S = 1e-3


def lif(n: int, *, leak: int = 230, threshold: float = 1023, reset: float = 0.0, v_leak: float = 0.0) -> Any:
    """Neurons that decay to `leak` / 256 a step, with the gain 1."""
    share = 1 - leak / 256
    # NIR has no neuron without leak; the exact decay stands in the metadata
    tau = STEP_S / max(share, 1e-7)

    def full(value: float) -> NDArray[np.float64]:
        return np.full(n, value, np.float64)

    node = import_nir().LIF(
        tau=full(tau), r=full(tau / STEP_S), v_leak=full(v_leak), v_threshold=full(threshold), v_reset=full(reset)
    )
    node.metadata["beta"] = full(leak / 256)
    return node


def write(path: Path, inputs: int, parts: list[Any], *, reset: str = "value", recurrent: Any = None) -> Path:
    """Write a chain of nodes; `recurrent` is a Linear node around the last neurons."""
    nir = import_nir()
    nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": np.array([inputs])})}
    nodes |= {f"part{index}": part for index, part in enumerate(parts)}
    width = len(np.asarray(parts[-1].tau))
    nodes["output"] = nir.Output(output_type={"output": np.array([width])})
    edges = list(itertools.pairwise(nodes))
    if recurrent is not None:
        nodes["back"] = recurrent
        last = f"part{len(parts) - 1}"
        edges += [(last, "back"), ("back", last)]
    graph = nir.NIRGraph(nodes=nodes, edges=edges)
    graph.metadata[models.KEY] = {"dt": STEP_S, "reset": reset}
    nir.write(str(path), graph)
    return path


def dense(weights: Any, bias: Any = None) -> Any:
    nir = import_nir()
    weights = np.asarray(weights, np.float32)
    return nir.Linear(weight=weights) if bias is None else nir.Affine(weight=weights, bias=np.asarray(bias, np.float32))


def whole(path: Path, inputs: int = 12, outputs: int = 7, seed: int = 1, **constants: Any) -> Path:
    """One layer with whole weights."""
    weights = np.random.default_rng(seed).integers(-200, 500, (outputs, inputs))
    return write(path, inputs, [dense(weights), lif(outputs, **constants)])


def deep(path: Path, *, recurrent: bool = True) -> Path:
    """Two layers with weights that are no whole numbers, and with different decays."""
    random = np.random.default_rng(3)
    hidden, last = lif(20, leak=200, threshold=0.9), lif(5, leak=240, threshold=1.1, reset=-0.2, v_leak=0.05)
    back = dense(random.normal(0, 0.2, (5, 5))) if recurrent else None
    parts = [dense(random.normal(0.15, 0.3, (20, 12)), random.normal(0, 0.02, 20)), hidden]
    return write(path, 12, [*parts, dense(random.normal(0.1, 0.4, (5, 20))), last], recurrent=back)


def spikes(inputs: int, steps: int, rate: float = 0.25, seed: int = 4) -> NDArray[np.int64]:
    """Random counts [steps, inputs]; a few are above one."""
    random = np.random.default_rng(seed)
    counts: NDArray[np.int64] = np.where(
        random.random((steps, inputs)) < rate, random.integers(1, 3, (steps, inputs)), 0
    )
    return counts
