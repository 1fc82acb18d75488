"""Makes the populations of a process, with the synapses that end in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brainnet.connectome.files import Connectome, Projection, at_place
from brainnet.connectome.learning import Link, learn, modulator_of
from brainnet.errors import BrainnetError, ConnectomeError, ModelError
from brainnet.simulation import connectivity
from brainnet.simulation.connectivity.base import delays_of
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
    from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses
    from brainnet.simulation.network import Network
    from brainnet.simulation.population import Population
    from brainnet.simulation.rows import Rows

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
    try:
        model = model_class(entry.model, connectome.folder)
    except BrainnetError as error:
        raise at_place(connectome, (*at, "model"), error) from None
    try:
        parameters = parameters_of(model, entry.parameters, f"population {name}")
        checkpoint = None if entry.checkpoint is None else connectome.folder / entry.checkpoint
        clock = connectome.clock
        realtime = clock.mode == "realtime"
        setting = Setting(
            name,
            entry.size or 1,
            clock.dt_ms,
            connectome.seed,
            connectome.folder,
            checkpoint,
            realtime,
            clock.time_scale,
        )
        shape = model.shape(parameters, setting)
    except BrainnetError as error:
        raise _of_model(connectome, name, error) from None
    if shape is None:
        if entry.size is None:
            raise connectome.error(at, f"size is missing; write how many neurons of {entry.model} there are")
        return Kind(model, parameters, setting, entry.size)
    inputs, neurons = shape
    if entry.size not in (None, neurons):
        raise connectome.error((*at, "size"), f"{entry.model} has {neurons} neurons; leave size out")
    return Kind(model, parameters, replace(setting, size=neurons), inputs)


def _of_model(connectome: Connectome, name: str, error: BrainnetError) -> ConnectomeError:
    """Return an error of a model as one that names the place in the file: its parameters, its checkpoint or itself."""
    at = connectome.location_of(name)
    if isinstance(error, ModelError) and error.field == "checkpoint":
        return at_place(connectome, at, error)
    return at_place(connectome, (*at, "parameters" if connectome.populations[name].parameters else "model"), error)


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
    return 1 if delay is None else delays_of(delay, connectome.clock.dt_ms).shortest


def links(connectome: Connectome) -> list[Link]:
    """Return who needs whose spikes: the two ends of each projection, and its modulator if that is a population.

    Where populations are computed by different processes, these links say which spikes go from one to another.

    Raises:
        ConnectomeError: A rule of plasticity cannot be used; names the place in the file.
    """
    found = []
    for projection in connectome.projections:
        entry = projection.entry
        found.append(Link(projection.name, entry.source, entry.target, shortest_delay(connectome, projection)))
        modulator = modulator_of(connectome, projection)
        if modulator is not None:
            found.append(modulator)
    return found


def crossing(connectome: Connectome) -> list[Link]:
    """Return the links between populations of different processes.

    Raises:
        ConnectomeError: A rule of plasticity cannot be used; names the place in the file.
    """
    process_of = connectome.process_of
    return [link for link in links(connectome) if process_of(link.source) != process_of(link.target)]


def window_of(connectome: Connectome, between: Collection[Projection]) -> int:
    """Return the steps that may be computed at once: the shortest delay of some projections, or what the file says.

    The delays of all modulators that are populations count as well, whoever computes them: a window that is too short
    costs little, and changes no spike.

    Raises:
        ConnectomeError: A rule of plasticity cannot be used; names the place in the file.
    """
    delays = [shortest_delay(connectome, projection) for projection in between]
    modulators = [modulator_of(connectome, projection) for projection in connectome.projections]
    delays += [link.shortest_delay for link in modulators if link is not None]
    return min([*delays, connectome.clock.window or MAX_WINDOW, MAX_WINDOW])


def check_window(connectome: Connectome) -> None:
    """Check the window that the file asks for: between processes no spike may arrive before its window was sent.

    Raises:
        ConnectomeError: It is longer than the shortest delay of a projection, or of a modulator, between two processes;
            names it.
    """
    window, dt_ms = connectome.clock.window, connectome.clock.dt_ms
    if window is None:
        return
    for link in crossing(connectome):
        shortest = link.shortest_delay
        if window > shortest:
            raise connectome.error(
                ("clock", "window"),
                f"{window} steps are longer than the shortest delay of {link.name}, which leads to another "
                f"process: {shortest} steps, {shortest * dt_ms:g} ms; write at most {shortest}, leave window out, or "
                "give both populations one process",
            )


def build(connectome: Connectome, names: Collection[str] | None = None, longest_window: int | None = None) -> Network:
    """Make a network of some populations, or of all, with the synapses that end in them.

    Args:
        connectome: The description.
        names: The populations; None for all.
        longest_window: Steps of the longest window that their sources send, and that is computed at once; by default
            that of the whole network.

    Raises:
        ConnectomeError: A model or a rule cannot be made; names the place in the file.
    """
    from brainnet.simulation.network import Network

    check_signs(connectome)
    check_window(connectome)
    own = list(connectome.populations) if names is None else list(names)
    kinds = {name: kind_of(connectome, name) for name in connectome.populations}

    def made(projection: Projection) -> Rows | ProceduralSynapses:
        return _made(connectome, kinds, projection)

    within = [p for p in connectome.projections if p.entry.target in own and p.entry.source in own]
    inner = window_of(connectome, within)
    longest = longest_window or window_of(connectome, connectome.projections)
    # Never more steps at once than the others send: the sums of what arrives are kept for three windows, and a process
    # whose populations do not project to each other would keep them for 3,000 steps.
    inner = min(inner, longest)
    return Network(populations(connectome, kinds, own, longest, made), inner)


def rows_of(connectome: Connectome, projection: Projection) -> Rows:
    """Make the synapses of one projection, as they are at the beginning: the same each time.

    Raises:
        ConnectomeError: They cannot be made, or nothing of them is stored; names the place in the file.
    """
    from brainnet.simulation.rows import Rows

    ends = {name: kind_of(connectome, name) for name in (projection.entry.source, projection.entry.target)}
    try:
        made = _made(connectome, ends, projection)
    except BrainnetError as error:
        raise at_place(connectome, (*projection.location, "synapses"), error) from None
    if not isinstance(made, Rows):
        raise connectome.error((*projection.location, "synapses"), "nothing of these synapses is stored")
    return made


def _made(connectome: Connectome, kinds: Mapping[str, Kind], projection: Projection) -> Rows | ProceduralSynapses:
    entry = projection.entry
    rule, source, target = entry.synapses.located(connectome.folder), kinds[entry.source], kinds[entry.target]
    name, dt_ms = projection.name, connectome.clock.dt_ms
    return connectivity.build(rule, source.setting.size, target.inputs, connectome.seed, name, dt_ms)


def populations(
    connectome: Connectome,
    kinds: Mapping[str, Kind],
    names: Iterable[str],
    longest_window: int,
    make: Callable[[Projection], Rows | ProceduralSynapses],
) -> Iterator[Population]:
    """Make populations one after the other, with the projections that end in them.

    Args:
        connectome: The description.
        kinds: What `kind_of` says of all its populations.
        names: Those to be made.
        longest_window: Steps of the longest window that their sources send.
        make: Makes the synapses of a projection.

    Raises:
        ConnectomeError: A model or a rule cannot be made; names the place in the file.
    """
    from brainnet.simulation.incoming import Incoming
    from brainnet.simulation.population import Population

    for name in names:
        kind = kinds[name]
        try:
            model = make_model(kind.model, kind.setting, connectome.populations[name].parameters)
        except BrainnetError as error:
            raise _of_model(connectome, name, error) from None
        incoming = []
        for projection in connectome.projections:
            if projection.entry.target != name:
                continue
            entry, at = projection.entry, projection.location
            port = port_of(connectome, projection, model.ports)
            try:
                made = make(projection)
            except BrainnetError as error:
                raise at_place(connectome, (*at, "synapses"), error) from None
            ends = Incoming(projection.name, entry.source, model.ports.index(port), made.longest_delay)
            learn(connectome, projection, ends, made, kind.inputs, longest_window)
            incoming.append(ends)
        try:
            population = Population(model, incoming, longest_window)
        except BrainnetError as error:
            raise at_place(connectome, connectome.location_of(name), error) from None
        homeostasis = connectome.populations[name].homeostasis
        if homeostasis is not None:
            try:
                population.keep_rate(homeostasis)
            except BrainnetError as error:
                raise at_place(connectome, connectome.location_of(name, "homeostasis"), error) from None
        yield population
