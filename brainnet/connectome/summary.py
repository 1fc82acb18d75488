"""What a network will be, and what it will need, found without making its synapses.

`summary` refuses what `build` refuses, in the same words, as far as it shows without the synapses: weights and delays
that are drawn are known within bounds only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from brainnet.connectome.building import (
    MAX_WINDOW,
    Kind,
    check_signs,
    check_window,
    crossing,
    kind_of,
    links,
    populations,
    window_of,
)
from brainnet.connectome.files import Connectome, Projection, at_place, processes_of
from brainnet.connectome.learning import rules_of
from brainnet.errors import BrainnetError
from brainnet.simulation import connectivity
from brainnet.simulation.connectivity import Delays, Drawn, Estimate, SynapseRule
from brainnet.simulation.fixed_point import to_fixed
from brainnet.simulation.plasticity.arrival_rows import ArrivalRows
from brainnet.simulation.rows import Rows
from brainnet.wire.packet import MAX_ELEMENTS

if TYPE_CHECKING:
    from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses
    from brainnet.simulation.plasticity.base import PlasticityRule

_MOST_DELAYS: Final = 1000
"""Different delays that an estimate of plastic synapses tells apart."""


@dataclass(frozen=True, slots=True)
class PopulationSummary:
    """One population.

    Attributes:
        name: Its id.
        model: As the file names it.
        neurons: How many fire.
        inputs: How many targets a projection to it has; only some models have more or fewer than neurons.
        process: Where it is computed.
        line: Of the file.
    """

    name: str
    model: str
    neurons: int
    inputs: int
    process: str
    line: int


@dataclass(frozen=True, slots=True)
class ProjectionSummary:
    """One projection.

    Attributes:
        name: Its own, or FROM->TO.
        source: The population that fires.
        target: The population that the spikes arrive at.
        port: Of the target's model.
        rule: Which neurons are connected.
        synapses: Their number, the mean one where it is random.
        nbytes: Bytes of the synapses, with what a rule of plasticity keeps.
        shortest_ms: No delay is shorter.
        longest_ms: No delay is longer.
        plasticity: The rules by which weights, or the effect of spikes, change; None where they do not.
        line: Of the file.
    """

    name: str
    source: str
    target: str
    port: str
    rule: str
    synapses: int
    nbytes: int
    shortest_ms: float
    longest_ms: float
    plasticity: str | None
    line: int


@dataclass(frozen=True, slots=True)
class ProcessSummary:
    """One process: the populations that are computed in it, and the synapses that end in them.

    Attributes:
        name: As the file names it, or the id of its only population.
        populations: Their ids.
        neurons: Of all of them.
        synapses: Of all projections that end in them.
        nbytes: Bytes of these synapses.
    """

    name: str
    populations: tuple[str, ...]
    neurons: int
    synapses: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """The steps that are sent together.

    Attributes:
        steps: How many.
        ms: Their duration.
        limit: What says so: the name of a projection, `clock.window`, or in words.
    """

    steps: int
    ms: float
    limit: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A network.

    Attributes:
        populations: In the order of the file.
        projections: In the order of the file.
        processes: In the order of their first populations.
        window: Of the spikes that processes send each other; in one process, of what is computed at once.
    """

    populations: tuple[PopulationSummary, ...]
    projections: tuple[ProjectionSummary, ...]
    processes: tuple[ProcessSummary, ...]
    window: Window


def summary(connectome: Connectome) -> Summary:
    """Check a network without making its synapses, and return what it will be.

    Raises:
        ConnectomeError: It cannot be built; names the place in the file.
    """
    check_signs(connectome)
    check_window(connectome)
    kinds = {name: kind_of(connectome, name) for name in connectome.populations}
    delays: dict[str, Delays] = {}

    def sample(projection: Projection) -> Rows | ProceduralSynapses:
        entry = projection.entry
        source, target = kinds[entry.source].setting.size, kinds[entry.target].inputs
        rule = entry.synapses.located(connectome.folder)
        delays[projection.name], made = connectivity.check(
            rule, source, target, projection.name, connectome.clock.dt_ms
        )
        return made

    ports: dict[str, str] = {}
    for population in populations(connectome, kinds, connectome.populations, 1, sample):
        for incoming in population.incoming:
            ports[incoming.name] = population.model.ports[incoming.port]
    projections = tuple(
        _projection(connectome, each, kinds, delays[each.name], ports[each.name]) for each in connectome.projections
    )
    return Summary(
        tuple(_population(connectome, name, kind) for name, kind in kinds.items()),
        projections,
        _processes(connectome, kinds, projections),
        _window(connectome, kinds),
    )


def _line(connectome: Connectome, *location: str | int) -> int:
    return connectome.document.position(connectome.place(location)).line


def _population(connectome: Connectome, name: str, kind: Kind) -> PopulationSummary:
    return PopulationSummary(
        name,
        connectome.populations[name].model,
        kind.setting.size,
        kind.inputs,
        connectome.process_of(name),
        _line(connectome, *connectome.location_of(name)),
    )


def _projection(
    connectome: Connectome, projection: Projection, kinds: Mapping[str, Kind], delays: Delays, port: str
) -> ProjectionSummary:
    entry, at, dt_ms = projection.entry, projection.location, connectome.clock.dt_ms
    source, target = kinds[entry.source].setting.size, kinds[entry.target].inputs
    rule = entry.synapses.located(connectome.folder)
    try:
        estimate = connectivity.estimate(rule, source, target, projection.name)
    except BrainnetError as error:
        raise at_place(connectome, (*at, "synapses"), error) from None
    nbytes = estimate.nbytes
    rules = rules_of(connectome, projection)
    if rules.learning is not None:
        nbytes = _plastic_bytes(rules.learning, rule, estimate, source, target, delays, dt_ms)
    if rules.efficacy is not None:
        nbytes += _bytes_of(rules.efficacy.efficacies(source, dt_ms))
    plasticity = ", ".join(each.rule for each in (rules.learning, rules.efficacy) if each is not None) or None
    return ProjectionSummary(
        projection.name,
        entry.source,
        entry.target,
        port,
        entry.synapses.connect,
        estimate.synapses,
        nbytes,
        delays.shortest * dt_ms,
        delays.longest * dt_ms,
        plasticity,
        _line(connectome, *at),
    )


def _processes(
    connectome: Connectome, kinds: Mapping[str, Kind], projections: tuple[ProjectionSummary, ...]
) -> tuple[ProcessSummary, ...]:
    found = []
    for process, names in processes_of(connectome).items():
        ending = [each for each in projections if each.target in names]
        found.append(
            ProcessSummary(
                process,
                tuple(names),
                sum(kinds[name].setting.size for name in names),
                sum(each.synapses for each in ending),
                sum(each.nbytes for each in ending),
            )
        )
    return tuple(found)


def _window(connectome: Connectome, kinds: Mapping[str, Kind]) -> Window:
    """Return the window that the processes send, and what limits it."""
    sent = crossing(connectome)
    modulators = [link for link in links(connectome) if link.modulates]
    limiting = [*(sent or links(connectome)), *modulators]
    steps = min([window_of(connectome, ()), *(link.shortest_delay for link in limiting)])
    limit = next((link.name for link in limiting if link.shortest_delay == steps), "")
    if not limit:
        limit = "clock.window" if connectome.clock.window == steps else f"the most that are possible, {MAX_WINDOW}"
    largest = max((kinds[link.source].setting.size for link in sent), default=1)
    if MAX_ELEMENTS // largest < steps:
        steps, limit = max(1, MAX_ELEMENTS // largest), f"a packet, which holds {MAX_ELEMENTS:,} neurons x steps"
    return Window(steps, steps * connectome.clock.dt_ms, limit)


def _plastic_bytes(
    learning: PlasticityRule,
    rule: SynapseRule,
    estimate: Estimate,
    sources: int,
    targets: int,
    delays: Delays,
    dt_ms: float,
) -> int:
    """Return the bytes of synapses that learn.

    The rule may be anybody's, so a few synapses are made with it. What it keeps for one more synapse, source and target
    is what it keeps for each of them.
    """
    delay, weight = rule.delay_ms, rule.weight
    drawn = isinstance(delay, Drawn) or delay is None
    usual = round(delay.usual()[1] / dt_ms) if isinstance(delay, Drawn) else delays.longest
    different = max(1, min(usual, delays.longest) - delays.shortest + 1)
    different = min(different, _MOST_DELAYS, max(1, estimate.synapses)) if drawn else 1
    fixed = weight.median() if isinstance(weight, Drawn) else weight
    varied = isinstance(weight, Drawn) or weight is None

    def needed(synapses: int, sources: int, targets: int) -> int:
        start = np.full(sources + 1, synapses, np.int64)
        start[0] = 0
        weights = np.full(synapses if varied else 1, to_fixed(fixed or 0.0), np.int32)
        steps = delays.shortest + np.arange(synapses if drawn else 1, dtype=np.int32) % different
        made = Rows(start, np.zeros(synapses, np.int32), weights, steps.astype(np.int32))
        return _bytes_of(learning.synapses(made, targets, dt_ms))

    try:
        one = needed(different, 1, 1)
        each = [needed(different + s, 1 + i, 1 + j) - one for s, i, j in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    except BrainnetError:  # the weights are in a file, and nothing is known of them
        return estimate.nbytes
    more = (estimate.synapses - different, sources - 1, targets - 1)
    return one + sum(count * nbytes for count, nbytes in zip(more, each, strict=True))


def _bytes_of(made: Any) -> int:
    """Return the bytes of the arrays that an object keeps, in attributes, in maps, and in rows of synapses."""
    found: dict[int, int] = {}

    def add(value: Any) -> None:
        if isinstance(value, np.ndarray | Rows):
            found[id(value)] = value.nbytes
        elif isinstance(value, dict):
            for each in value.values():
                add(each)
        elif isinstance(value, ArrivalRows):
            add(value.__dict__)

    add(getattr(made, "__dict__", {}))
    return sum(found.values())
