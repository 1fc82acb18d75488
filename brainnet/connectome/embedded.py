"""A network whose populations are nodes of an allocation, and whose projections stand beside them.

```yaml
clock: {dt_ms: 1}
nodes:
  - {id: retina, program: population, parameters: {model: poisson, size: 100, parameters: {rate_hz: 20}}}
  - {id: v1, program: nir:v1.nir}
projections:
  - {from: retina, to: v1, synapses: {connect: one_to_one, weight: 1, delay_ms: 2}}
```

A node is a population when its program is `population`, or when a projection begins or ends at it: then its program is
the model. `device` and `encoder` are always the model of a population.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from brainnet.limits import DEVICE, ENCODER, POPULATION
from brainnet.yaml_text import Location

KEYS: Final = ("clock", "seed", "projections")
"""The fields of a connectome that an allocation may have."""
_PROGRAMS: Final = (POPULATION, DEVICE, ENCODER)
_OF_NODE: Final = ("id", "host", "checkpoint")


def is_allocation(value: Mapping[str, Any]) -> bool:
    """Return whether what a file holds is an allocation, and not a connectome."""
    return "nodes" in value and "populations" not in value


def populations_in(value: Mapping[str, Any]) -> list[int]:
    """Return the indices of the nodes of an allocation that are populations; what is no node is left out."""
    ends = set()
    projections = value.get("projections")
    for entry in projections if isinstance(projections, list) else ():
        if isinstance(entry, dict):
            ends |= {str(entry.get(end)) for end in ("from", "to")}
    nodes = value.get("nodes")
    return [
        index
        for index, node in enumerate(nodes if isinstance(nodes, list) else ())
        if isinstance(node, dict) and (node.get("program") in _PROGRAMS or str(node.get("id")) in ends)
    ]


class Embedded:
    """The connectome that an allocation holds.

    Args:
        allocation: What the file holds.

    Attributes:
        value: The same as a connectome file would say it.
    """

    def __init__(self, allocation: Mapping[str, Any]) -> None:
        self._nodes = populations_in(allocation)
        self._is_population = [allocation["nodes"][index].get("program") == POPULATION for index in self._nodes]
        self.value: dict[str, Any] = {"version": 1}
        self.value |= {key: allocation[key] for key in KEYS if allocation.get(key) is not None}
        self.value["populations"] = [_population(allocation["nodes"][index]) for index in self._nodes]

    def place(self, location: Location) -> Location:
        """Return where the allocation says what a connectome file would say at a location."""
        match location:
            case ("populations", int() as index, *rest):
                return ("nodes", self._nodes[index], *self._in_node(index, rest))
        return location

    def _in_node(self, index: int, rest: list[Any]) -> list[Any]:
        if not rest or rest[0] in _OF_NODE:
            return rest
        if self._is_population[index]:
            return ["parameters", *rest]
        if rest[0] == "model":
            return ["program"]
        return rest if rest[0] == "parameters" else ["parameters", *rest]


def _population(node: Mapping[str, Any]) -> dict[str, Any]:
    parameters = node.get("parameters")
    known = dict(parameters) if isinstance(parameters, dict) else {}
    if node.get("program") != POPULATION:
        own = {"model": node.get("program")}
        if "size" in known:
            own["size"] = known.pop("size")
        known = own | {"parameters": known}
    known |= {name: node[name] for name in _OF_NODE if node.get(name) is not None}
    return known | {"id": str(node.get("id")), "process": str(node.get("id"))}
