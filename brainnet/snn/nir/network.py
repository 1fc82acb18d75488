"""A network of any NIR nodes, run step by step in the order of its graph."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.nir.conventions import Method, Reset, Settings, check_settings
from brainnet.snn.nir.conversion import MAX_PRODUCTS, operation
from brainnet.snn.nir.graph import FlatGraph, Shape, import_nir, schedule, shown
from brainnet.snn.nir.nodes import NEURONS, SPIKING, Delays, Operation, State, Stateless

Emits = Literal["spikes", "counts", "values"]
"""What the outputs of a network are."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One node in the order of a time step.

    Attributes:
        name: of the node.
        operation: what it does.
        inputs: the places, in the order, of the nodes whose output of this step it gets.
        delayed: the places of those whose output of the step before it gets.
    """

    name: str
    operation: Operation
    inputs: tuple[int, ...]
    delayed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GraphState:
    """The state of a network after a step.

    Attributes:
        nodes: the state of each node, in order.
        previous: the outputs of the step before, of the nodes with a delayed edge, by place.
    """

    nodes: tuple[State, ...]
    previous: Mapping[int, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class GraphNetwork:
    """A network of NIR nodes.

    Attributes:
        steps: the nodes in the order of a time step.
        output: the place of the output.
        shape: the shape of the input, without batch and time.
        output_shape: the shape of the output.
        dt: one time step in seconds.
        reset: what a spike does.
        method: how the differential equations become steps.
        emits: what the outputs are: spikes (0 or 1), counts of spikes, or values (potentials, currents).
        products: the multiplications of a step.
        graph: the `nir.NIRGraph` that it was made of.
        notes: what was repaired in the graph.
        verified: whether a golden trace was replayed.
    """

    steps: tuple[Step, ...]
    output: int
    shape: Shape
    output_shape: Shape
    dt: float
    reset: Reset
    method: Method
    emits: Emits
    products: int
    graph: Any
    notes: tuple[str, ...] = ()
    verified: bool = False

    @property
    def inputs(self) -> int:
        """The number of input values of a step."""
        return math.prod(self.shape)

    @property
    def outputs(self) -> int:
        """The number of output values of a step."""
        return math.prod(self.output_shape)

    def start(self, batch: int) -> GraphState:
        """Return the state before the first step."""
        delayed = {place for step in self.steps for place in step.delayed}
        return GraphState(
            tuple(step.operation.start(batch) for step in self.steps),
            {place: torch.zeros(batch, *self.steps[place].operation.shape) for place in delayed},
        )

    def run(self, spikes: Tensor, state: GraphState | None, record: str | None = None) -> tuple[Tensor, GraphState]:
        """Return the outputs [T, B, outputs] of inputs [T, B, inputs], and the state after the last step.

        Args:
            spikes: the inputs; axes behind the batch are those of `shape`, flattened.
            state: the state to continue from; None for rest.
            record: the name of a node whose outputs are returned instead, flattened.

        Raises:
            ModelError: there is no such node, the state is of another network or batch, or a value overflowed.
        """
        batch = spikes.shape[1]
        state = self.start(batch) if state is None else state
        place = self.output if record is None else self.place(record)
        # a step overwrites the memory of its delays, and the caller may use the state again
        nodes = [
            tuple(part.clone() for part in kept) if isinstance(step.operation, Delays) else kept
            for step, kept in zip(self.steps, state.nodes, strict=True)
        ]
        previous = dict(state.previous)
        recorded = []
        for values in spikes.reshape(len(spikes), batch, *self.shape).unbind(0):
            # a copy: see `brainnet.snn.nir.models.run`
            results = self._advance(values.clone(), nodes, previous)
            recorded.append(results[place].reshape(batch, -1))
        for step, after in zip(self.steps, nodes, strict=True):
            if not all(bool(torch.isfinite(part).all()) for part in after):
                raise ModelError(
                    f"node {shown(step.name)} overflowed; give smaller inputs, or the dt of the program that "
                    "wrote the file"
                )
        return torch.stack(recorded), GraphState(tuple(nodes), previous)

    def place(self, name: str) -> int:
        """Return the place of a node in the order.

        Raises:
            ModelError: there is no such node.
        """
        names = [step.name for step in self.steps]
        if name not in names:
            raise ModelError(f"there is no node {shown(name)}; the nodes are {', '.join(sorted(names))}")
        return names.index(name)

    def _advance(self, values: Tensor, nodes: list[State], previous: dict[int, Tensor]) -> list[Tensor]:
        """Run one step, and leave the states after it in `nodes` and `previous`."""
        results: list[Tensor] = []
        late = []
        for place, step in enumerate(self.steps):
            operation = step.operation
            if isinstance(operation, Delays) and operation.late:
                results.append(operation.read(nodes[place]))
                late.append(place)
                continue
            inputs = [results[each] for each in step.inputs] + [previous[each] for each in step.delayed]
            result, nodes[place] = operation.step(inputs or [values], nodes[place])
            results.append(result)
        for place in late:
            step, delay = self.steps[place], self.steps[place].operation
            assert isinstance(delay, Delays)
            inputs = [results[each] for each in step.inputs] + [previous[each] for each in step.delayed]
            nodes[place] = delay.write(inputs, nodes[place])
        for place in previous:
            previous[place] = results[place]
        return results


def build(flat: FlatGraph, graph: Any, settings: Settings) -> GraphNetwork:
    """Return the network of a graph.

    Args:
        flat: the graph without subgraphs.
        graph: the `nir.NIRGraph` that it was made of.
        settings: what NIR does not specify.

    Raises:
        ModelError: a node whose parameters or shapes do not fit, or a cycle without a neuron; names the node.
    """
    check_settings(settings)
    operations = _operations(flat, settings)
    products = sum(each.products for each in operations.values() if isinstance(each, Stateless))
    if products > MAX_PRODUCTS:
        raise ModelError(f"a step of the graph takes {products} products; at most {MAX_PRODUCTS} can be run")
    stateful = {name for name, node in flat.nodes.items() if type(node).__name__ in NEURONS}
    late = {name for name, each in operations.items() if isinstance(each, Delays) and each.late}
    plan = schedule(flat, stateful, late)
    places = {name: place for place, name in enumerate(plan.order)}
    before = flat.before()
    steps = []
    for name in plan.order:
        now = tuple(places[each] for each in before[name] if (each, name) not in plan.delayed)
        then = tuple(places[each] for each in before[name] if (each, name) in plan.delayed)
        steps.append(Step(name, operations[name], now, then))
    output = operations[flat.sink]
    return GraphNetwork(
        steps=tuple(steps),
        output=places[flat.sink],
        shape=flat.shape,
        output_shape=output.shape,
        dt=settings.dt,
        reset=settings.reset,
        method=settings.method,
        emits=_emits(flat, settings.reset),
        products=products,
        graph=graph,
        notes=flat.notes,
    )


def _operations(flat: FlatGraph, settings: Settings) -> dict[str, Operation]:
    """Return the operation of each node; the shapes follow from that of the input."""
    after = flat.after()
    operations = {flat.source: operation(flat.source, flat.nodes[flat.source], flat.shape, settings)}
    given = {flat.source: flat.shape}
    queue = deque([flat.source])
    while queue:
        name = queue.popleft()
        shape = operations[name].shape
        for target in after[name]:
            if target not in operations:
                given[target] = shape
                operations[target] = operation(target, flat.nodes[target], shape, settings)
                queue.append(target)
            elif given[target] != shape:
                raise ModelError(
                    f"node {shown(target)} gets shape {list(shape)} from {shown(name)}, and {list(given[target])} from "
                    "another node; they must agree"
                )
    return operations


def _emits(flat: FlatGraph, reset: Reset) -> Emits:
    """Return what the last node gives that is not only a shape or a delay."""
    nir = import_nir()
    before, name = flat.before(), flat.sink
    while isinstance(flat.nodes[name], nir.Output | nir.Input | nir.Flatten | nir.Delay):
        # an edge back to the output of a subgraph would add a second value
        if len(before[name]) != 1:
            return "values"
        (name,) = before[name]
    if isinstance(flat.nodes[name], nir.Threshold):
        return "spikes"
    if type(flat.nodes[name]).__name__ not in SPIKING:
        return "values"
    return "counts" if reset == "subtract_multiple" else "spikes"
