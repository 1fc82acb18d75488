"""Makes the populations of a process, with the synapses that end in them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brainnet.connectome.files import Connectome, Projection, at_place
from brainnet.errors import BrainnetError
from brainnet.simulation import connectivity
from brainnet.simulation.connectivity.values import Drawn
from brainnet.simulation.models.base import (
    EXCITATORY,
    INHIBITORY,
    Model,
    ModelParameters,
    Setting,
    parameters_of,
)
from brainnet.simulation.models.registry import make_model, model_class

if TYPE_CHECKING:
    from brainnet.simulation.network import Network

MAX_WINDOW = 1000
"""Steps of the longest window, where the delays would allow more."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a population before its neurons are made.

    Attributes:
        model: The class of its model.
        parameters: Of the model.
        setting: Where it runs, with its neurons.
        inputs: Targets of the projections to it.
    """

    model: type[Model]
    parameters: ModelParameters
    setting: Setting
    inputs: int


def kind_of(connectome: Connectome, name: str) -> Kind:
    """Find the model of a population, and its size, which the file or the model says.

    Raises:
        ConnectomeError: There is no such model, a parameter is not accepted, or the size is missing or does not fit;
            names the place in the file.
    """
    entry = connectome.populations[name]
    at = connectome.location_of(name)
    field = "model"
    try:
        model = model_class(entry.model, connectome.folder)
        field = "parameters"
        parameters = parameters_of(model, entry.parameters, f"population {name}")
        checkpoint = None if entry.checkpoint is None else connectome.folder / entry.checkpoint
        setting = Setting(name, entry.size or 1, connectome.clock.dt_ms, connectome.seed, connectome.folder, checkpoint)
        shape = model.shape(parameters, setting)
    except BrainnetError as error:
        raise at_place(connectome, (*at, field), error) from None
    if shape is None:
        if entry.size is None:
            raise connectome.error(at, "size is missing")
        return Kind(model, parameters, setting, entry.size)
    inputs, neurons = shape
    if entry.size not in (None, neurons):
        raise connectome.error((*at, "size"), f"{entry.model} has {neurons} neurons; leave size out")
    return Kind(model, parameters, replace(setting, size=neurons), inputs)


def port_of(connectome: Connectome, projection: Projection, ports: tuple[str, ...]) -> str:
    """Return the port that a projection goes to.

    Raises:
        ConnectomeError: The target's model has no such port, or the sign of the weights does not fit it.
    """
    entry, at = projection.entry, projection.location
    if not ports:
        raise connectome.error((*at, "to"), f"{entry.target!r} takes no input; its model is a source")
    sign = sign_of(entry.synapses.weight)
    named = entry.port or (INHIBITORY if sign < 0 and INHIBITORY in ports else ports[0])
    if named not in ports:
        raise connectome.error(
            (*at, "port"), f"the model of {entry.target!r} has no port {named!r}; it has {', '.join(ports)}"
        )
    if (named == EXCITATORY and sign < 0) or (named == INHIBITORY and sign > 0):
        wanted = "at least 0" if named == EXCITATORY else "at most 0"
        raise connectome.error((*at, "synapses", "weight"), f"weights to the port {named} must be {wanted}")
    return named


def sign_of(weight: float | Drawn | None) -> int:
    """Return -1 or 1 for weights of one sign, and 0 where both are possible, or none is known."""
    if weight is None:
        return 0
    if not isinstance(weight, Drawn):
        return (weight > 0) - (weight < 0)
    factor = (weight.factor > 0) - (weight.factor < 0)
    if weight.lognormal is not None:
        return factor
    if weight.normal is not None:
        return factor * ((weight.normal[0] > 0) - (weight.normal[0] < 0))
    assert weight.uniform is not None
    low, high = weight.uniform
    return factor * (1 if low >= 0 and high > 0 else -1 if high <= 0 and low < 0 else 0)


def check_signs(connectome: Connectome) -> None:
    """Check Dale's principle: all projections that leave a population have weights of one sign.

    Raises:
        ConnectomeError: They have not, and the population does not say `dale: false`.
    """
    first: dict[str, tuple[int, Projection]] = {}
    for projection in connectome.projections:
        sign = sign_of(projection.entry.synapses.weight)
        source = projection.entry.source
        if not sign or not connectome.populations[source].dale:
            continue
        known = first.setdefault(source, (sign, projection))
        if known[0] != sign:
            raise connectome.error(
                (*projection.location, "synapses", "weight"),
                f"{source!r} excites and inhibits ({known[1].name} and {projection.name}); neurons do one of them "
                "(Dale's principle): divide the population, or write `dale: false` there",
            )


def shortest_delay(connectome: Connectome, projection: Projection) -> int:
    """Return a lower bound of the delays of a projection in steps, known without making its synapses."""
    delay = projection.entry.synapses.delay_ms
    if delay is None:
        return 1
    if not isinstance(delay, Drawn):
        return max(1, math.floor(delay / connectome.clock.dt_ms + 0.5))
    if delay.uniform is not None and delay.factor > 0:
        return max(1, math.floor(delay.uniform[0] * delay.factor / connectome.clock.dt_ms + 0.5))
    return 1


def window_of(connectome: Connectome, between: Collection[Projection]) -> int:
    """Return the steps that may be computed at once: the shortest delay of some projections, or what the file says."""
    shortest = min((shortest_delay(connectome, projection) for projection in between), default=MAX_WINDOW)
    return min(shortest, connectome.clock.window or MAX_WINDOW, MAX_WINDOW)


def build(connectome: Connectome, names: Collection[str] | None = None, longest_window: int | None = None) -> Network:
    """Make a network of some populations, or of all, with the synapses that end in them.

    Args:
        connectome: The description.
        names: The populations; None for all.
        longest_window: Steps of the longest window that their sources send; by default that of the whole network.

    Raises:
        ConnectomeError: A model or a rule cannot be made; names the place in the file.
    """
    from brainnet.simulation.delivery import StaticSynapses
    from brainnet.simulation.network import Network
    from brainnet.simulation.population import Incoming, Population
    from brainnet.simulation.rows import Rows

    check_signs(connectome)
    own = list(connectome.populations) if names is None else list(names)
    kinds = {name: kind_of(connectome, name) for name in connectome.populations}
    dt_ms = connectome.clock.dt_ms
    within = [p for p in connectome.projections if p.entry.target in own and p.entry.source in own]
    inner = window_of(connectome, within)
    longest = max(inner, longest_window or window_of(connectome, connectome.projections))
    populations = []
    for name in own:
        kind = kinds[name]
        try:
            model = make_model(kind.model, kind.setting, connectome.populations[name].parameters)
        except BrainnetError as error:
            raise at_place(connectome, connectome.location_of(name, "parameters"), error) from None
        incoming = []
        for projection in connectome.projections:
            if projection.entry.target != name:
                continue
            entry, at = projection.entry, projection.location
            port = port_of(connectome, projection, model.ports)
            try:
                made = connectivity.build(
                    entry.synapses.located(connectome.folder),
                    kinds[entry.source].setting.size,
                    kind.inputs,
                    connectome.seed,
                    projection.name,
                    dt_ms,
                )
            except BrainnetError as error:
                raise at_place(connectome, (*at, "synapses"), error) from None
            ends = Incoming(projection.name, entry.source, model.ports.index(port), made.longest_delay)
            if entry.plasticity is not None:
                from brainnet.simulation.plasticity.registry import rule_of

                if not isinstance(made, Rows):
                    raise connectome.error((*at, "plasticity"), "synapses of which nothing is stored cannot learn")
                try:
                    rule = rule_of(entry.plasticity, connectome.folder)
                    ends.plastic = rule.synapses(made, kind.inputs, dt_ms)
                except BrainnetError as error:
                    raise at_place(connectome, (*at, "plasticity"), error) from None
            else:
                ends.static = StaticSynapses(made) if isinstance(made, Rows) else made
            incoming.append(ends)
        try:
            populations.append(Population(model, incoming, longest))
        except BrainnetError as error:
            raise at_place(connectome, connectome.location_of(name), error) from None
    return Network(populations, inner)
