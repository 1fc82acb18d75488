"""Reads a connectome file; every mistake is one error that names file, line, field and what is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from brainnet import yaml_text
from brainnet.connectome.description import Clock, ConnectomeFile, PopulationEntry, ProjectionEntry
from brainnet.connectome.embedded import Embedded, is_allocation
from brainnet.errors import BrainnetError, ConnectomeError, ModelError, TextError
from brainnet.limits import mistake
from brainnet.simulation.connectivity import Rule
from brainnet.simulation.plasticity.homeostasis import Homeostasis
from brainnet.texts import did_you_mean
from brainnet.yaml_text import Document, Location


def _same(location: Location) -> Location:
    return location


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection with its name.

    Attributes:
        name: Unlike that of all others.
        entry: What the file says.
        location: Where the file says it.
    """

    name: str
    entry: ProjectionEntry
    location: Location


@dataclass(frozen=True, slots=True)
class Connectome:
    """A network as a file describes it; what only its models and rules can say is not checked yet.

    Attributes:
        path: The file.
        seed: Every random number follows from it.
        clock: How the steps are driven.
        populations: By id.
        projections: In the order of the file.
        document: Makes the errors that name a place of the file.
        place: Where the file says what a connectome file says at a location: an allocation says it elsewhere.
    """

    path: Path
    seed: int
    clock: Clock
    populations: Mapping[str, PopulationEntry]
    projections: tuple[Projection, ...]
    document: Document = field(repr=False, compare=False)
    place: Callable[[Location], Location] = field(repr=False, compare=False, default=_same)

    @property
    def folder(self) -> Path:
        """The folder of the file, where relative paths begin."""
        return self.path.parent

    def error(self, location: Location, problem: str) -> ConnectomeError:
        """Make the error for a mistake at a location of the file."""
        return _located(self.document.error(self.place(location), problem), self.path)

    def location_of(self, population: str, *more: str) -> Location:
        """Return the location of a population, or of a field of it."""
        return ("populations", list(self.populations).index(population), *more)

    def process_of(self, population: str) -> str:
        """Return the process in which a population is computed: what the file says, or one of its own."""
        return self.populations[population].process or population

    def with_seed(self, seed: int | None) -> Connectome:
        """Return the same network with another seed; None keeps that of the file."""
        if seed is None:
            return self
        return replace(self, seed=seed)


def load(path: Path) -> Connectome:
    """Read a connectome file, or the network in an allocation.

    Raises:
        ConnectomeError: It cannot be used; names file, line, field and what is accepted.
    """
    path = path.absolute()
    try:
        document = yaml_text.read(path)
    except TextError as error:
        raise _located(error, path) from None
    except FileNotFoundError:
        raise ConnectomeError(f"connectome {path} does not exist", path=path) from None
    if not isinstance(document.value, dict):
        raise ConnectomeError(f"{path}: a connectome is a map with version, populations and projections", path=path)
    value, place = document.value, _same
    if is_allocation(value):
        embedded = Embedded(value)
        value, place = embedded.value, embedded.place
    try:
        parsed = ConnectomeFile.model_validate(value)
    except ValidationError as error:
        mistakes = error.errors()
        item = next((e for e in mistakes if e["type"] == "extra_forbidden"), mistakes[0])
        location = _in_file(item["loc"], value)
        raise _located(document.error(place(location), _explain(item, location)), path) from None
    populations: dict[str, PopulationEntry] = {}
    for index, entry in enumerate(parsed.populations):
        if entry.id in populations:
            twice = document.error(place(("populations", index, "id")), f"there are two populations {entry.id!r}")
            raise _located(twice, path)
        populations[entry.id] = entry
    projections = _named(parsed.projections)
    connectome = Connectome(path, parsed.seed, parsed.clock, populations, projections, document, place)
    _check_ends(connectome)
    return connectome


def processes_of(connectome: Connectome) -> dict[str, list[str]]:
    """Return the populations of each process, in the order of the file; by default each has a process of its own."""
    found: dict[str, list[str]] = {}
    for name in connectome.populations:
        found.setdefault(connectome.process_of(name), []).append(name)
    return found


def _located(error: TextError, path: Path) -> ConnectomeError:
    return ConnectomeError(str(error), path=path, line=error.line, field=error.where)


def _in_file(location: tuple[Any, ...], value: Any) -> Location:
    """Return the part of pydantic's location that is in the file: it also names the kinds of a union."""
    found: list[str | int] = []
    for part in location:
        inside = isinstance(value, dict) and part in value
        if inside or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            value = value[part]
            found.append(part)
        elif part == location[-1]:
            found.append(part)
    return tuple(found)


def _explain(item: Any, location: Location) -> str:
    if item["type"] == "extra_forbidden":
        known = _fields_at(location[:-1], item["loc"])
        return f"unknown field{did_you_mean(str(location[-1]), known)}" + (
            f"; fields are {', '.join(known)}" * bool(known)
        )
    return "is missing" if item["type"] == "missing" else mistake(item)


def _fields_at(location: Location, of_model: tuple[Any, ...]) -> list[str]:
    """Return the fields that are known at a location; pydantic's also names the rule."""
    kinds: dict[int, type[BaseModel]] = {0: ConnectomeFile}
    kind = kinds.get(len(location))
    match location:
        case ("populations", int()):
            kind = PopulationEntry
        case ("projections", int()):
            kind = ProjectionEntry
        case ("projections", int(), "synapses"):
            rules: list[type[BaseModel]] = list(get_args(get_args(Rule)[0]))
            kind = next((rule for rule in rules if rule.model_fields["connect"].default in of_model), None)
        case ("populations", int(), "homeostasis"):
            kind = Homeostasis
        case ("clock",):
            kind = Clock
    if kind is None:
        return []
    return [found.alias or name for name, found in kind.model_fields.items()]


def _named(entries: tuple[ProjectionEntry, ...]) -> tuple[Projection, ...]:
    """Give every projection a name: its own, or FROM->TO with a number from the second on."""
    taken = {entry.name for entry in entries if entry.name is not None}
    found = []
    for index, entry in enumerate(entries):
        name = entry.name
        number = 1
        while name is None or (entry.name is None and name in taken):
            name = f"{entry.source}->{entry.target}" + (f"#{number}" if number > 1 else "")
            number += 1
            if name not in taken:
                break
        taken.add(name)
        found.append(Projection(name, entry, ("projections", index)))
    return tuple(found)


def _check_ends(connectome: Connectome) -> None:
    known = connectome.populations
    seen: set[str] = set()
    for projection in connectome.projections:
        for end, name in (("from", projection.entry.source), ("to", projection.entry.target)):
            if name not in known:
                raise connectome.error(
                    (*projection.location, end),
                    f"there is no population {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}",
                )
        if projection.name in seen:
            raise connectome.error((*projection.location, "name"), f"there are two projections {projection.name!r}")
        seen.add(projection.name)


def at_place(connectome: Connectome, location: Location, error: BrainnetError) -> ConnectomeError:
    """Return an error of a model or a rule as one that names the place in the file, with the field that it names."""
    value = connectome.document.value
    for part in connectome.place(location):
        value = _inside(value, part)
    for name in error.field.split(".") if isinstance(error, ModelError) and error.field else ():
        part = int(name) if isinstance(value, list) and name.isdecimal() else name
        value = _inside(value, part)
        if value is None:
            break
        location = (*location, part)
    return connectome.error(location, str(error))


def _inside(value: Any, part: str | int) -> Any:
    """Return a part of a value of the file, or None where it is not written."""
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) and part < len(value) else None
