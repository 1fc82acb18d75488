"""The rules of plasticity that a file gives to a projection, and what they need of other populations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brainnet.connectome.files import Connectome, Projection, at_place
from brainnet.errors import BrainnetError
from brainnet.simulation.connectivity.base import MAX_DELAY_STEPS
from brainnet.simulation.plasticity import EfficacyRule, ModulatedRule, PlasticityRule
from brainnet.simulation.plasticity.registry import rule_of
from brainnet.simulation.rows import Rows
from brainnet.yaml_text import Location

if TYPE_CHECKING:
    from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses
    from brainnet.simulation.incoming import Incoming


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one projection.

    Attributes:
        learning: By which the weights change; None for none.
        efficacy: By which spikes differ in their strength; None for none.
        at: Where the file gives each of the two.
    """

    learning: PlasticityRule | None
    efficacy: EfficacyRule | None
    at: Mapping[str, Location]


def rules_of(connectome: Connectome, projection: Projection) -> Rules:
    """Return the rules of a projection.

    Raises:
        ConnectomeError: A rule cannot be used, there are two of one kind, or a modulator's delay is below one step;
            names the place in the file.
    """
    given = projection.entry.plasticity
    learning: PlasticityRule | None = None
    efficacy: EfficacyRule | None = None
    at: dict[str, Location] = {}
    if given is None:
        return Rules(None, None, at)
    place = (*projection.location, "plasticity")
    listed: list[tuple[Location, dict[str, Any]]] = (
        [(place, given)] if isinstance(given, dict) else [((*place, index), each) for index, each in enumerate(given)]
    )
    for where, description in listed:
        try:
            rule = rule_of(description, connectome.folder)
        except BrainnetError as error:
            raise at_place(connectome, where, error) from None
        if isinstance(rule, PlasticityRule) and learning is None:
            learning, at["learning"] = rule, where
        elif isinstance(rule, EfficacyRule) and efficacy is None:
            efficacy, at["efficacy"] = rule, where
        else:
            kind = "changes weights" if isinstance(rule, PlasticityRule) else "scales spikes"
            raise connectome.error(
                where, f"{rule.rule} {kind}, as a rule before it does; a projection has one rule of a kind"
            )
        if isinstance(rule, ModulatedRule):
            steps = rule.modulator_delay_ms / connectome.clock.dt_ms
            if not 1 - 1e-9 <= steps <= MAX_DELAY_STEPS:
                raise connectome.error(
                    (*where, "modulator_delay_ms"),
                    f"a delay of {rule.modulator_delay_ms:g} ms is {steps:g} steps; 1 to {MAX_DELAY_STEPS} are "
                    f"possible, of {connectome.clock.dt_ms:g} ms",
                )
    return Rules(learning, efficacy, at)


@dataclass(frozen=True, slots=True)
class Link:
    """A population that needs the spikes of another, or its own: for a projection, or as its modulator.

    Attributes:
        name: Of the projection, or `modulator of` that.
        source: Whose spikes.
        target: Who needs them.
        shortest_delay: Steps, a lower bound.
        modulates: Whether it is for a modulator.
    """

    name: str
    source: str
    target: str
    shortest_delay: int
    modulates: bool = False


def modulator_of(connectome: Connectome, projection: Projection) -> Link | None:
    """Return who modulates a projection; None where nobody does, or it comes from outside.

    Raises:
        ConnectomeError: A rule cannot be used.
    """
    rule = rules_of(connectome, projection).learning
    if not isinstance(rule, ModulatedRule) or rule.modulator not in connectome.populations:
        return None
    steps = max(1, math.floor(rule.modulator_delay_ms / connectome.clock.dt_ms + 0.5))
    return Link(f"modulator of {projection.name}", rule.modulator, projection.entry.target, steps, True)


def learn(
    connectome: Connectome, projection: Projection, ends: Incoming, made: Rows | ProceduralSynapses, targets: int,
    longest_window: int,
) -> None:  # fmt: skip
    """Put synapses into the end of a projection, as its rules have them.

    Args:
        connectome: The description.
        projection: The projection.
        ends: Its end, still without synapses.
        made: The synapses.
        targets: Number of target neurons.
        longest_window: Steps of the longest window.

    Raises:
        ConnectomeError: A rule cannot be used with these synapses; names the place in the file.
    """
    from brainnet.simulation.delivery import ScaledSynapses, StaticSynapses
    from brainnet.simulation.incoming import takes_efficacy
    from brainnet.simulation.modulation import Modulation

    rules = rules_of(connectome, projection)
    if rules.learning is None and rules.efficacy is None:
        ends.static = StaticSynapses(made) if isinstance(made, Rows) else made
        return
    if not isinstance(made, Rows):
        place = (*projection.location, "plasticity")
        raise connectome.error(place, "synapses of which nothing is stored cannot learn")
    dt_ms = connectome.clock.dt_ms
    if rules.efficacy is not None:
        try:
            ends.efficacies = rules.efficacy.efficacies(made.sources, dt_ms)
        except BrainnetError as error:
            raise at_place(connectome, rules.at["efficacy"], error) from None
    rule = rules.learning
    if rule is None:
        ends.scaled = ScaledSynapses(made)
        return
    try:
        ends.plastic = rule.synapses(made, targets, dt_ms)
    except BrainnetError as error:
        raise at_place(connectome, rules.at["learning"], error) from None
    if rules.efficacy is not None and not takes_efficacy(ends.plastic):
        raise connectome.error(
            rules.at["efficacy"],
            f"{rule.rule} cannot be used with {rules.efficacy.rule}: its arrive has no parameter efficacy",
        )
    if isinstance(rule, ModulatedRule):
        link = modulator_of(connectome, projection)
        source, delay = (link.source, link.shortest_delay) if link is not None else (None, 1)
        ends.modulation = Modulation(rule.modulator, source, delay, rule.per_spike, longest_window)
