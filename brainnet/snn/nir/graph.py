"""The structure of a NIR graph: nodes and edges without subgraphs, their order in one time step, and chains of LIF."""

from __future__ import annotations

import importlib
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from brainnet.errors import ModelError
from brainnet.texts import shorten

KINDS: Final = (
    "Affine",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "CubaLI",
    "CubaLIF",
    "Delay",
    "Flatten",
    "I",
    "IF",
    "Input",
    "LI",
    "LIF",
    "Linear",
    "NIRGraph",
    "Output",
    "Scale",
    "SumPool2d",
    "Threshold",
)
"""The types of nodes of NIR 1.0."""
MAX_DEPTH: Final = 32
"""The most subgraphs that may be inside one another."""
MAX_NODES: Final = 4096
"""The most nodes of a graph, those of its subgraphs included."""
MAX_EDGES: Final = 1 << 16
MAX_VALUES: Final = 1 << 24
"""The most values of one node in one time step."""
Shape = tuple[int, ...]
Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FlatGraph:
    """A graph without subgraphs.

    Attributes:
        nodes: by name; inside a subgraph `outer.inner`. Inputs and outputs of subgraphs remain as such nodes.
        edges: each from a node to a node of `nodes`; no two are equal.
        source: the name of the input of the whole graph.
        sink: the name of its output.
        shape: the shape of the input, without batch and time.
        notes: what was repaired in the graph, as sentences.
    """

    nodes: dict[str, Any]
    edges: list[Edge]
    source: str
    sink: str
    shape: Shape
    notes: tuple[str, ...] = ()

    def before(self) -> dict[str, list[str]]:
        """Return the sources of the edges to each node, sorted."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in sorted(self.edges):
            found[target].append(source)
        return found

    def after(self) -> dict[str, list[str]]:
        """Return the targets of the edges from each node, sorted."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in sorted(self.edges):
            found[source].append(target)
        return found


@dataclass(frozen=True, slots=True)
class Schedule:
    """The order of the nodes in one time step.

    Attributes:
        order: all nodes.
        delayed: the edges that carry the value of the previous step, because their source comes later in `order`.
    """

    order: list[str]
    delayed: set[Edge] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ChainLayer:
    """One layer of a chain, as nodes of the graph.

    Attributes:
        name: the name of the LIF node.
        lif: the LIF node.
        dense: the Linear or Affine node before it, or None.
        recurrent: the Linear or Affine node from its output to its input, or None.
    """

    name: str
    lif: Any
    dense: Any = None
    recurrent: Any = None


def import_nir() -> Any:
    """Return the `nir` package.

    Raises:
        ModelError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module("nir")
    except ModuleNotFoundError as error:
        raise ModelError("NIR needs the package nir: pip install 'brainnet[nir]'") from error


def shown(name: str) -> str:
    """Return a name from a file as it may stand in a message: on one line, and not longer than 80 characters."""
    return shorten("".join(char if char.isprintable() else "?" for char in name), 80)


def flatten(graph: Any) -> FlatGraph:
    """Return the graph with every subgraph replaced by its nodes.

    One mistake is repaired, which files of the NIR paper have: where the edges of a graph name exactly one node that it
    does not have, and exactly one node has no edge, both are taken for the same.

    Raises:
        ModelError: no input or no output, or several; an edge to a node that is not there, or twice; a node that is not
            between input and output; an input without a shape; the message names the node.
    """
    nir = import_nir()
    if not isinstance(graph, nir.NIRGraph):
        raise ModelError(f"the file holds one node of type {type(graph).__name__}; a NIRGraph is expected")
    nodes: dict[str, Any] = {}
    edges: list[Edge] = []
    notes: list[str] = []
    _collect(graph, "", 0, nodes, edges, notes)
    if len(nodes) > MAX_NODES or len(edges) > MAX_EDGES:
        raise ModelError(
            f"the graph has {len(nodes)} nodes and {len(edges)} edges; at most {MAX_NODES} and {MAX_EDGES} can be run"
        )
    ends = [_only(nodes, graph, kind) for kind in (nir.Input, nir.Output)]
    flat = FlatGraph(nodes, edges, ends[0], ends[1], (), tuple(notes))
    _check_connected(flat)
    return FlatGraph(nodes, edges, ends[0], ends[1], _input_shape(flat), tuple(notes))


def schedule(flat: FlatGraph, stateful: set[str], late: set[str]) -> Schedule:
    """Return an order in which every node comes after the nodes that it gets its input from.

    In a cycle this is impossible. There, an edge that leaves a neuron carries the spikes of the previous step (zeros in
    the first), as recurrent layers of snnTorch do. Only as many edges are delayed as the order needs: of each cycle,
    the neuron nearest to the input comes first, and gets the previous step of the others.

    Args:
        flat: the graph.
        stateful: the neurons, whose edges may be delayed.
        late: nodes whose output does not depend on the input of the same step: delays of one step or more. They close
            a cycle without a further step.

    Raises:
        ModelError: a cycle has neither neuron nor delay; names its nodes.
    """
    before = {name: ([] if name in late else sources) for name, sources in flat.before().items()}
    distance = _distances(flat)
    delayed: set[Edge] = set()
    order: list[str] = []
    placed: set[str] = set()
    waiting = sorted(flat.nodes, key=lambda name: (distance[name], name))
    while waiting:
        rest = []
        for name in waiting:
            if all(source in placed or (source, name) in delayed for source in before[name]):
                order.append(name)
                placed.add(name)
            else:
                rest.append(name)
        if len(rest) == len(waiting):
            delayed |= _cut(rest, before, delayed, placed, stateful)
        waiting = rest
    return Schedule(order, delayed)


def chain(flat: FlatGraph) -> list[ChainLayer] | None:
    """Return the layers from input to output, or None if the graph is no chain of LIF layers.

    In a chain every layer is a LIF, after one Linear or Affine or none, and one Linear or Affine may lead from its
    output to its input.
    """
    nir = import_nir()
    after, before = flat.after(), flat.before()
    for name, node in flat.nodes.items():
        if isinstance(node, nir.Input | nir.Output) and name not in (flat.source, flat.sink):
            sources, targets = before.pop(name), after.pop(name)
            if len(sources) * len(targets) > 4:
                return None
            for source in sources:
                after[source] = [each for each in after[source] if each != name] + targets
            for target in targets:
                before[target] = [each for each in before[target] if each != name] + sources
    # a dense node whose source is also its target is the recurrent connection of that LIF node
    loops = {
        before[name][0]: name
        for name in before
        if _dense(flat.nodes[name]) and len(before[name]) == 1 and before[name] == after[name]
    }
    name, dense, layers = flat.source, None, []
    # at most one turn per node, so that a cycle ends
    for _ in flat.nodes:
        following = [each for each in after[name] if each != loops.get(name)]
        if len(following) != 1 or len(before[following[0]]) != 1 + (following[0] in loops):
            return None
        (name,) = following
        node = flat.nodes[name]
        if isinstance(node, nir.LIF):
            layers.append(ChainLayer(name, node, dense, flat.nodes[loops[name]] if name in loops else None))
            dense = None
        elif _dense(node) and dense is None and name not in loops:
            dense = node
        else:
            return layers if name == flat.sink and dense is None and layers else None
    return None


def _dense(node: Any) -> bool:
    nir = import_nir()
    return isinstance(node, nir.Linear | nir.Affine)


def _collect(graph: Any, prefix: str, depth: int, nodes: dict[str, Any], edges: list[Edge], notes: list[str]) -> None:
    nir = import_nir()
    if depth > MAX_DEPTH:
        raise ModelError(f"subgraphs of node {shown(prefix[:-1])} are nested too deeply; at most {MAX_DEPTH} are read")
    alias, pairs = _endpoints(graph, prefix, notes)
    entries: dict[str, str] = {}
    exits: dict[str, str] = {}
    for key, node in graph.nodes.items():
        name = prefix + key
        if isinstance(node, nir.NIRGraph):
            _collect(node, f"{name}.", depth + 1, nodes, edges, notes)
            for kind, ports in ((nir.Input, entries), (nir.Output, exits)):
                inner = [each for each, part in node.nodes.items() if isinstance(part, kind)]
                if len(inner) != 1:
                    kinds = "inputs" if kind is nir.Input else "outputs"
                    raise ModelError(f"subgraph {shown(name)} has {len(inner)} {kinds}; it must have one")
                ports[key] = f"{name}.{inner[0]}"
        elif type(node).__name__ not in KINDS:
            raise ModelError(
                f"node {shown(name)} is of type {type(node).__name__}, which is not known; known are {', '.join(KINDS)}"
            )
        elif name in nodes:
            raise ModelError(f"two nodes have the name {shown(name)}; rename one")
        else:
            nodes[name] = node
    for source, target in pairs:
        start, end = alias.get(source, source), alias.get(target, target)
        edges.append((exits.get(start, prefix + start), entries.get(end, prefix + end)))


def _endpoints(graph: Any, prefix: str, notes: list[str]) -> tuple[dict[str, str], list[Edge]]:
    """Return the edges of one graph, and the right names for wrong ones."""
    pairs = [(str(source), str(target)) for source, target in graph.edges]
    if len(set(pairs)) != len(pairs):
        twice = Counter(pairs).most_common(1)[0][0]
        raise ModelError(f"the edge {shown(prefix + twice[0])} -> {shown(twice[1])} stands twice; remove one")
    named = {name for pair in pairs for name in pair}
    absent = sorted(named - set(graph.nodes))
    alone = sorted(set(graph.nodes) - named)
    if not absent:
        return {}, pairs
    if len(absent) == len(alone) == 1:
        notes.append(
            f"the edges name a node {shown(prefix + absent[0])}, which is not there; it is taken to be "
            f"{shown(prefix + alone[0])}, the only node without an edge"
        )
        return {absent[0]: alone[0]}, pairs
    raise ModelError(
        f"an edge names the node {shown(prefix + absent[0])}, which is not there; the nodes are "
        f"{shown(', '.join(sorted(graph.nodes)))}"
    )


def _only(nodes: dict[str, Any], graph: Any, kind: Any) -> str:
    found = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        what = kind.__name__.lower()
        given = f": {shown(', '.join(found))}" if found else ""
        raise ModelError(f"the graph must have one {what}, found {len(found)}{given}; split it, or add a node")
    assert found[0] in nodes
    return str(found[0])


def _reachable(start: str, neighbours: dict[str, list[str]]) -> set[str]:
    found, queue = {start}, deque([start])
    while queue:
        for name in neighbours[queue.popleft()]:
            if name not in found:
                found.add(name)
                queue.append(name)
    return found


def _check_connected(flat: FlatGraph) -> None:
    forward = _reachable(flat.source, flat.after())
    backward = _reachable(flat.sink, flat.before())
    for name in sorted(flat.nodes):
        if name not in forward:
            raise ModelError(f"node {shown(name)} gets nothing from the input; connect it, or remove it")
        if name not in backward:
            raise ModelError(f"node {shown(name)} does not lead to the output; connect it, or remove it")
    for name, what in ((flat.source, "input"), (flat.sink, "output")):
        if flat.before()[name] if what == "input" else flat.after()[name]:
            raise ModelError(f"the {what} {shown(name)} of the graph has an edge on its other side; remove that edge")


def _distances(flat: FlatGraph) -> dict[str, int]:
    after = flat.after()
    found, queue = {flat.source: 0}, deque([flat.source])
    while queue:
        name = queue.popleft()
        for target in after[name]:
            if target not in found:
                found[target] = found[name] + 1
                queue.append(target)
    return found


def _cut(
    rest: list[str], before: dict[str, list[str]], delayed: set[Edge], placed: set[str], stateful: set[str]
) -> set[Edge]:
    """Return further edges to delay, so that the first neuron of one cycle can be placed."""
    open_ = {
        name: [each for each in before[name] if each not in placed and (each, name) not in delayed] for name in rest
    }
    cycle = _first_cycle(rest, open_)
    first = next((name for name in rest if name in cycle and name in stateful), None)
    if first is None:
        raise ModelError(
            f"the nodes {shown(', '.join(sorted(cycle)))} form a cycle without a neuron or a delay, so no order "
            "computes them; put a neuron or a Delay into it"
        )
    # back from the neuron through nodes without state, to the neurons that they get their input from
    found: set[Edge] = set()
    seen, queue = {first}, deque([first])
    while queue:
        name = queue.popleft()
        for source in open_[name]:
            if source not in cycle:
                continue
            if source in stateful:
                found.add((source, name))
            elif source not in seen:
                seen.add(source)
                queue.append(source)
    if not found:
        raise ModelError(
            f"the nodes {shown(', '.join(sorted(seen - {first})))} form a cycle without a neuron or a delay, so no "
            "order computes them; put a neuron or a Delay into it"
        )
    return found


def _first_cycle(rest: list[str], waits_for: dict[str, list[str]]) -> set[str]:
    """Return the first strongly connected set that Tarjan's algorithm completes: it waits for no node outside it."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    path = [(rest[0], iter(waits_for[rest[0]]))]
    while True:
        name, sources = path[-1]
        if name not in number:
            number[name] = lowest[name] = len(number)
            stack.append(name)
        # nothing is complete yet, so every numbered node is on the stack
        new = next((source for source in sources if source not in number or _lower(lowest, name, number[source])), None)
        if new is not None:
            path.append((new, iter(waits_for[new])))
            continue
        if lowest[name] == number[name]:
            return set(stack[stack.index(name) :])
        path.pop()
        _lower(lowest, path[-1][0], lowest[name])


def _lower(lowest: dict[str, int], name: str, value: int) -> bool:
    lowest[name] = min(lowest[name], value)
    return False


def _input_shape(flat: FlatGraph) -> Shape:
    given = flat.nodes[flat.source].input_type
    value = given.get("input") if isinstance(given, dict) else given
    if value is None:  # exporters that trace a graph may leave it out; the first node then says it
        following = [flat.nodes[name] for name in flat.after()[flat.source]]
        known = [node.input_type.get("input") for node in following if isinstance(node.input_type, dict)]
        value = next((each for each in known if each is not None), None)
        if value is None:
            raise ModelError(f"the input {shown(flat.source)} has no shape; write it with one")
    return as_shape(f"the shape of the input {shown(flat.source)}", value)


def as_shape(what: str, value: Any) -> Shape:
    """Return a shape from a file as integers.

    Raises:
        ModelError: it is not a list of whole numbers above 0, or has more than `MAX_VALUES` values; `what` names it.
    """
    array = np.asarray(value)
    if (
        array.ndim > 1
        or array.dtype.kind not in "iuf"
        or not np.isfinite(array).all()
        or (array != np.rint(array)).any()
    ):
        raise ModelError(f"{what} must be a list of whole numbers, not {shown(str(value))}")
    shape = tuple(int(each) for each in array.reshape(-1)) or (1,)
    if min(shape) < 1 or max(shape) > MAX_VALUES or len(shape) > 8:
        raise ModelError(f"{what} must have 1 to 8 axes, each of 1 to {MAX_VALUES}, not {shown(str(list(shape)))}")
    if math.prod(shape) > MAX_VALUES:
        raise ModelError(f"{what} has {math.prod(shape)} values; at most {MAX_VALUES} can be run")
    return shape
