"""Divides a network among processes: who computes what, who reads whom, and how many steps are sent together."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from brainnet.connectome import Connectome, Link, kind_of, links, window_of
from brainnet.streams.lockstep import DEFAULT_CREDIT, Plan
from brainnet.wire.packet import MAX_ELEMENTS


def owners(processes: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the process of each population."""
    return {name: process for process, names in processes.items() for name in names}


def between(connectome: Connectome, process_of: Mapping[str, str]) -> list[Link]:
    """Return the projections, and the modulators of projections, whose ends are in different processes."""
    return [link for link in links(connectome) if process_of[link.source] != process_of[link.target]]


def window_between(connectome: Connectome, process_of: Mapping[str, str]) -> int:
    """Return the steps that all processes send together: at most the shortest delay between any two of them."""
    crossing = between(connectome, process_of)
    largest = max((kind_of(connectome, link.source).setting.size for link in crossing), default=1)
    delays = [link.shortest_delay for link in crossing]
    return max(1, min(window_of(connectome, ()), MAX_ELEMENTS // largest, *delays))


def plan_of(
    connectome: Connectome,
    processes: Mapping[str, Collection[str]],
    process: str,
    *,
    window: int | None = None,
    credit: int = DEFAULT_CREDIT,
    last_step: int | None = None,
) -> Plan:
    """Return what one process has to do with the others.

    Args:
        connectome: The whole network.
        processes: The populations of each process.
        process: The one.
        window: Steps that are sent together; by default as many as the delays allow.
        credit: Windows that may be computed beyond what the slowest reader has taken in.
        last_step: Steps after which the network stops; None to go on.
    """
    process_of = owners(processes)
    sources: dict[str, int] = {}
    readers: dict[str, set[str]] = {}
    for link in between(connectome, process_of):
        source, delay = link.source, link.shortest_delay
        if process_of[link.target] == process:
            sources[source] = min(delay, sources.get(source, delay))
        if process_of[source] == process:
            readers.setdefault(source, set()).add(process_of[link.target])
    return Plan(
        process,
        window or window_between(connectome, process_of),
        sources,
        {name: frozenset(names) for name, names in readers.items()},
        credit,
        last_step,
        {name: kind_of(connectome, name).setting.size for name in sources},
    )
