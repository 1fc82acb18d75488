"""The structure of a NIR graph: from nodes and edges to a chain of LIF layers."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from brainnet.errors import ModelError


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


def chain(graph: Any) -> tuple[int, list[ChainLayer]]:
    """Return the number of inputs, and the layers from input to output.

    Raises:
        ModelError: the graph is no such chain; the message names the node that does not fit.
    """
    nir = import_nir()
    nodes, edges = _flatten(graph)
    after: dict[str, list[str]] = {name: [] for name in nodes}
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        after[source].append(target)
        before[target].append(source)
    # a dense node whose source is also its target is the recurrent connection of that LIF node
    loops = {
        before[name][0]: name
        for name, node in nodes.items()
        if isinstance(node, nir.Linear | nir.Affine) and len(before[name]) == 1 and before[name] == after[name]
    }
    start = [name for name, node in nodes.items() if isinstance(node, nir.Input)]
    if len(start) != 1:
        raise ModelError(f"the graph must have one input, found {len(start)}")
    (shape,) = nodes[start[0]].input_type.values()
    if len(shape) != 1:
        raise ModelError(f"the input must be of one axis, got shape {[int(s) for s in shape]}")
    name, dense, layers = start[0], None, []
    # at most one turn per node, so that a cycle ends with the error below
    for _ in nodes:
        following = [n for n in after[name] if n != loops.get(name)]
        if len(following) != 1:
            raise ModelError(f"node {name} leads to {following or 'nothing'}; layers must follow one another")
        (name,) = following
        node = nodes[name]
        if isinstance(node, nir.LIF):
            recurrent = nodes[loops[name]] if name in loops else None
            layers.append(ChainLayer(name, node, dense, recurrent))
            dense = None
        elif isinstance(node, nir.Linear | nir.Affine) and dense is None:
            dense = node
        elif isinstance(node, nir.Output) and dense is None and layers:
            return int(shape[0]), layers
        else:
            raise ModelError(
                f"node {name} is {type(node).__name__}, which does not fit here; "
                "a network is layers of LIF, each after one Linear or Affine or none"
            )
    raise ModelError("the graph does not lead from its input to an output")


def _flatten(graph: Any, prefix: str = "") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return nodes and edges with every subgraph replaced by its content."""
    nir = import_nir()
    nodes: dict[str, Any] = {}
    edges = [(prefix + a, prefix + b) for a, b in graph.edges]
    for key, node in graph.nodes.items():
        name = prefix + key
        if not isinstance(node, nir.NIRGraph):
            nodes[name] = node
            continue
        inner, inner_edges = _flatten(node, f"{name}.")
        entries = [n for n, part in inner.items() if isinstance(part, nir.Input)]
        exits = [n for n, part in inner.items() if isinstance(part, nir.Output)]
        firsts = [b for a, b in inner_edges if a in entries]
        lasts = [a for a, b in inner_edges if b in exits]
        nodes |= {n: part for n, part in inner.items() if n not in entries + exits}
        edges = [
            (outer_a, outer_b)
            for a, b in edges
            for outer_a in (lasts if a == name else [a])
            for outer_b in (firsts if b == name else [b])
        ]
        edges += [(a, b) for a, b in inner_edges if a not in entries and b not in exits]
    return nodes, edges
