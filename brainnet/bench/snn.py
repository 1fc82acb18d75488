"""Benchmark of a layer of LIF neurons over time, forward and forward+backward, with other libraries as baselines.

All run on the same currents in the same process, one after the other in each round, with torch's number of threads. A
turn repeats the run for at least 20 ms; reported is the median over the turns. An implementation that has used its
share of time is left out of the later rounds.

snnTorch is measured twice: with the loop of its documentation (`x[t]`, which makes backward quadratic in T), and over
`x.unbind(0)`. Norse and spikingjelly are measured where they are installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from brainnet.rows import Row, compare
from brainnet.snn.neurons.lif import LIFParams, Reset, lif_sequence

BETA = 0.875
"""A decay that a float represents exactly, so that beta v and v - v / tau round alike and every spike is comparable."""
SHAPES = ((100, 1, 1024), (100, 16, 1024), (500, 16, 2048))
LOOP = "snntorch loop"
UNBOUND = "snntorch over unbind"
NORSE = "norse"
SPIKINGJELLY = "spikingjelly"
BARS = {
    ("forward", SHAPES[0], LOOP): 50,
    ("forward_backward", SHAPES[1], LOOP): 20,
    ("forward_backward", SHAPES[2], SPIKINGJELLY): 5,
}

TURN_S = 0.02
"""Least seconds of a turn: far above the resolution of the clock, also for runs of some microseconds."""

Layer = Callable[[Tensor], Tensor]
Limit = tuple[Literal["ratio", "value"], Literal["<=", ">=", "=="], float]
Run = Callable[[Layer, Tensor, Tensor], None]


@dataclass(frozen=True)
class Plan:
    """Size of the measurement: rounds, and seconds after which an implementation is not run again."""

    rounds: int = 15
    share_s: float = 4.0

    @classmethod
    def quick(cls) -> Plan:
        """Return a smaller plan with noisier results."""
        return cls(rounds=5, share_s=0.5)


def measure(plan: Plan, progress: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Run the benchmark, which takes about a minute.

    Args:
        plan: Size of the measurement.
        progress: Called with a description of each step.
    """
    rows = [compare("threads", torch.get_num_threads(), "threads")]
    rivals = _rivals()
    for shape in SHAPES:
        progress(f"spikes and gradients at {'x'.join(map(str, shape))}")
        rows += _agreement(shape, rivals)
    for shape, (work, run) in itertools.product(
        SHAPES, {"forward": _forward, "forward_backward": _forward_backward}.items()
    ):
        steps, batch, neurons = shape
        size = f"{steps}x{batch}x{neurons}"
        progress(f"{work} at {size}")
        layers = {"subtract": _ours("subtract"), "zero": _ours("zero"), **rivals}
        seconds = _medians(plan, layers, shape, run)
        for rival in (LOOP, UNBOUND, NORSE, SPIKINGJELLY):
            mine = seconds[_reset_of(rival)]
            name = f"lif_{work}_{size}"
            rows.append(
                _row(name, steps * batch * neurons, mine, rival, seconds.get(rival), BARS.get((work, shape, rival)))
            )
    return rows


def _row(name: str, size: int, ours: float, rival: str, theirs: float | None, bar: float | None) -> Row:
    mega = size / 1e6
    row = compare(
        name,
        mega / ours,
        "M neuron-steps/s",
        rival=rival if theirs else f"{rival} (not installed)",
        rival_value=mega / theirs if theirs else None,
        limit=("ratio", ">=", bar) if bar else None,
    )
    return row if theirs else row.model_copy(update={"ok": None})


def _medians(plan: Plan, layers: dict[str, Layer], shape: tuple[int, ...], run: Run) -> dict[str, float]:
    """Return the median seconds per run of each layer; the first run of each loads its code and is not counted."""
    currents, weights = _currents(*shape), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for layer in layers.values():  # compiles or loads kernels; two steps, because the code does not depend on them
        run(layer, currents[:2], weights[:2])
    turns: dict[str, list[float]] = {name: [] for name in layers}
    used = dict.fromkeys(layers, 0.0)
    for _ in range(plan.rounds):
        for name, layer in layers.items():
            # Round robin, so that a change of the machine's load affects all; without a limit, the slowest would take
            # nearly all of the time.
            if used[name] < plan.share_s:
                runs, start = 0, time.perf_counter()
                while (passed := time.perf_counter() - start) < TURN_S:
                    run(layer, currents, weights)
                    runs += 1
                turns[name].append(passed / runs)
                used[name] += passed
    return {name: statistics.median(turn) for name, turn in turns.items()}


def _currents(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 0.6


def _forward(layer: Layer, currents: Tensor, _: Tensor) -> None:
    with torch.no_grad():
        layer(currents)


def _forward_backward(layer: Layer, currents: Tensor, weights: Tensor) -> None:
    currents = currents.detach().requires_grad_()
    torch.autograd.grad(layer(currents), currents, weights)


def _agreement(shape: tuple[int, ...], rivals: dict[str, Layer]) -> list[Row]:
    """Compare spikes and gradients with those of each baseline.

    Norse rounds differently, and has another surrogate gradient: one spike in millions may differ, and the gradients
    are not comparable.
    """
    currents, weights = _currents(*shape), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    size, rows = "x".join(map(str, shape)), []
    for rival in (UNBOUND, NORSE, SPIKINGJELLY):
        if rival not in rivals:
            continue
        (ours, our_gradient), (theirs, their_gradient) = (
            _spikes_and_gradient(layer, currents, weights) for layer in (_ours(_reset_of(rival)), rivals[rival])
        )
        name = f"{size}_to_{rival.split()[0]}"
        differing = int((ours != theirs).sum())
        limit: Limit | None = None if rival == NORSE else ("value", "==", 0)
        rows.append(compare(f"lif_spikes_differing_{name}", differing, f"of {ours.numel():,}", limit=limit))
        if rival != NORSE:
            error = float((our_gradient - their_gradient).abs().max())
            rows.append(compare(f"lif_gradient_error_{name}", error, "max abs", limit=("value", "<=", 1e-5)))
    return rows


def _spikes_and_gradient(layer: Layer, currents: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spikes, and the gradient of their weighted sum with respect to the currents."""
    inputs = currents.clone().requires_grad_()
    spikes = layer(inputs)
    return spikes.detach(), torch.autograd.grad(spikes, inputs, weights)[0]


def _reset_of(rival: str) -> Reset:
    """Return the reset of the membrane potential in a baseline."""
    return "zero" if rival in (NORSE, SPIKINGJELLY) else "subtract"


def _ours(reset: Reset) -> Layer:
    params = LIFParams(torch.tensor(BETA), reset=reset)
    return lambda currents: lif_sequence(currents, None, params)[0]


def _rivals() -> dict[str, Layer]:
    layers = {LOOP: _snntorch(unbind=False), UNBOUND: _snntorch(unbind=True)}
    for name, build in ((NORSE, _norse), (SPIKINGJELLY, _spikingjelly)):
        if importlib.util.find_spec(name) is not None:
            with contextlib.redirect_stdout(io.StringIO()):  # they print when imported; standard output is for the rows
                layers[name] = build()
    return layers


def _snntorch(*, unbind: bool) -> Layer:
    import snntorch

    cell = snntorch.Leaky(beta=BETA)

    def layer(currents: Tensor) -> Tensor:
        membrane = torch.zeros_like(currents[0])
        spikes = []
        for current in currents.unbind(0) if unbind else (currents[t] for t in range(len(currents))):
            spike, membrane = cell(current, membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    return layer


def _norse() -> Layer:
    module = importlib.import_module("norse.torch.module.lif_box")
    rate, dt = 1000 * (1 - BETA), 1e-3
    cell: Any = module.LIFBoxCell(module.LIFBoxParameters(tau_mem_inv=torch.as_tensor(rate)), dt=dt)
    gain = 1 / (1 - BETA)  # its membrane potential is a leaky average of the currents, not a leaky sum

    def layer(currents: Tensor) -> Tensor:
        state, spikes = None, []
        for current in currents.unbind(0):
            spike, state = cell(current * gain, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return layer


def _spikingjelly() -> Layer:
    based = importlib.import_module("spikingjelly.activation_based")
    neuron, functional, surrogate = (
        importlib.import_module(f"{based.__name__}.{part}") for part in ("neuron", "functional", "surrogate")
    )
    node = neuron.LIFNode(
        tau=1 / (1 - BETA),
        decay_input=False,
        # It fires at the threshold, the others only above it: with the next float above 1 both are the same.
        v_threshold=1 + 2**-23,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
        step_mode="m",
    )

    def layer(currents: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(currents)
        return spikes

    return layer
