"""The node_allocation file: which programs run as nodes, where, and how they are kept running.

```yaml
version: 1
preload: [torch]                 # imported once, shared by all nodes of a host
defaults: {threads: 1, device: cpu, restart: {policy: always}}
nodes:
  - id: olfactory                # its name on the bus
    program: nodes/olfactory.py  # or package.module:Class, an entry point of brainnet.nodes, or nir:FILE
    parameters: {temperature: 0.5}
```

Every mistake is one `AllocationError` that names file, line, field and what is accepted. What only a program can say of
its parameters is in `programs`, what only the host can say is in `here`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from brainnet import yaml_text
from brainnet.endpoints import ConnectEndpoint, ListenEndpoint, address_of
from brainnet.errors import AllocationError, TextError
from brainnet.launcher.describe.networks import NetworkPlan, read_network
from brainnet.launcher.describe.source import (
    Source,
    allocation_error,
    find,
    find_file,
    find_program,
    is_importable,
    not_found,
)
from brainnet.limits import (
    DEVICE,
    DEVICE_PATTERN,
    ENCODER,
    MAX_THREADS,
    NAME_RULE,
    POPULATION,
    RESERVED_IDS,
    Environment,
    Line,
    Name,
    is_name,
    mistake,
)
from brainnet.node.spec import NodeEntry, Restart
from brainnet.texts import did_you_mean, printable, shorten
from brainnet.wire.extension import Extension, load_extension
from brainnet.yaml_text import Location


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Host(_Part):
    """One host: the endpoints of its hub (besides the loopback port) and those of the hubs that it connects to."""

    listen: tuple[ListenEndpoint, ...] = Field((), description="Zenoh endpoints, such as tcp/192.168.1.20:7447")
    connect: tuple[ConnectEndpoint, ...] = Field((), description="Zenoh endpoints of other hosts' hubs")


class Defaults(_Part):
    """Values for every node that has none of its own."""

    threads: int = Field(1, ge=1, le=MAX_THREADS, description="compute threads of numerical libraries")
    device: str = Field("cpu", pattern=DEVICE_PATTERN, description="cpu, cuda or cuda:N")
    restart: Restart = Field(Restart(), description="what happens after an unexpected exit, see restart")
    environment: Environment = Field(default_factory=dict, description="variables of the processes")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class AllocationFile(_Part):
    """The fields at the top of an allocation file, as they are written there."""

    version: Literal[1] = Field(description="version of this format: 1")
    namespace: Name | None = Field(None, description="first chunk of every key, in place of the setting")
    port: int | None = Field(None, ge=1, le=65535, description="TCP port of the hub, in place of the setting")
    hosts: dict[Name, Host] = Field(
        default_factory=dict, description="the hosts of the brain; left out for one machine"
    )
    preload: tuple[Line, ...] = Field(
        (), description="modules that are imported once per host, before the nodes are forked"
    )
    topics: Annotated[tuple[Line, ...], BeforeValidator(_as_list)] = Field(
        (), max_length=64, description="files with topics of the brain's own, which extend the contract; one or a list"
    )
    defaults: Defaults = Field(Defaults(), description="what holds for every node that does not say otherwise")
    connectome: Line | None = Field(
        None, description="file of a network of populations, whose processes run as nodes beside the others"
    )
    clock: dict[str, Any] | None = Field(
        None, description="how the steps of the network are driven, as in a connectome"
    )
    seed: int | None = Field(None, description="of the network: every random number follows from it")
    projections: list[Any] | None = Field(
        None, description="synapses between nodes, which are populations then, as in a connectome"
    )
    nodes: tuple[NodeEntry, ...] = Field((), description="the nodes")


@dataclass(frozen=True, slots=True)
class Allocation:
    """A whole allocation.

    Attributes:
        path: The file.
        namespace: Of the brain; None where the settings decide.
        port: Of the hub; None where the settings decide.
        hosts: By name; empty when everything runs on the host that launches it.
        preload: Modules that the zygote imports.
        nodes: With the file's defaults and absolute paths; those that compute a network come last.
        extension: The topics of the brain's own.
        network: The network of populations; None without one.
        lines: The line of each node in the file, by id.
        source: Makes the errors that name a place of the file.
    """

    path: Path
    namespace: str | None
    port: int | None
    hosts: dict[str, Host] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    nodes: tuple[NodeEntry, ...] = ()
    extension: Extension = field(default_factory=Extension)
    network: NetworkPlan | None = None
    lines: dict[str, int] = field(default_factory=dict)
    source: Source | None = field(default=None, repr=False, compare=False)

    def error(self, location: Location, message: str) -> AllocationError:
        """Make the error for a mistake at a location of the file."""
        if self.source is None:  # made by a program, and not read from a file
            return AllocationError(f"{self.path}: {yaml_text.dotted(location)}: {message}", path=self.path)
        return self.source.error(location, message)

    def location_of(self, id: str) -> Location:
        """Return the location of a node."""
        if self.network is not None and self.network.file != self.path and id in self.network.processes:
            return ("connectome",)
        return ("nodes", next(index for index, node in enumerate(self.nodes) if node.id == id))

    def choose_host(self, named: str | None, this_host: str) -> str:
        """Return the host whose nodes are to run.

        Args:
            named: The host that the user named; None to choose the only one, or the one with the name of this machine.
            this_host: Name of this machine.

        Raises:
            AllocationError: The file has no host of the given name, or several hosts and none of this machine's name,
                or the given name is no name.
        """
        if not self.hosts:
            if named is not None and not is_name(named):
                raise AllocationError(f"the name of a host {NAME_RULE}, got {printable(shorten(repr(named), 80))}")
            return named or this_host
        known = ", ".join(self.hosts)
        if named is not None:
            if named not in self.hosts:
                raise AllocationError(f"{self.path} has no host {named!r}; its hosts are {known}")
            return named
        if len(self.hosts) == 1:
            return next(iter(self.hosts))
        if this_host in self.hosts:
            return this_host
        raise AllocationError(f"{self.path} has the hosts {known}; say which one this is with --host")

    def placed_on(self, host: str, only: list[str] | None = None) -> list[NodeEntry]:
        """Return the nodes of one host, or those of them that `only` names.

        Raises:
            AllocationError: There are none, or `only` names one that is not there.
        """
        placed = [n for n in self.nodes if n.host is None or n.host == host]
        known = {n.id for n in placed}
        if not placed:
            raise AllocationError(f"{self.path} places no node on {host}")
        for name in only or ():
            if name not in known:
                raise AllocationError(
                    f"{self.path} places no node {name!r} on {host}{did_you_mean(name, known)}; "
                    f"it has {', '.join(sorted(known))}"
                )
        return [n for n in placed if not only or n.id in only]


def load(path: Path) -> Allocation:
    """Read and check an allocation file.

    Raises:
        AllocationError: The file cannot be used; names file, line, field and what is accepted.
        ContractError: A file with topics that it names cannot be used; in the same way.
    """
    source = _read(path)
    path = source.path
    if not isinstance(source.value, dict):
        raise AllocationError(f"{path}: an allocation is a map with version and nodes, see config/node_allocation.yaml")
    if "populations" in source.value and "nodes" not in source.value:  # a connectome file, which is launched as it is
        source.value = {"version": 1, "connectome": str(path)}
    try:
        parsed = AllocationFile.model_validate(source.value)
    except ValidationError as error:
        # One mistake is reported. A misspelt field is both unknown and missing; only the first names the misspelling.
        mistakes = error.errors()
        item = next((e for e in mistakes if e["type"] == "extra_forbidden"), mistakes[0])
        # A key of a map that is not accepted ends in "[key]".
        location = item["loc"][:-1] if item["loc"] and item["loc"][-1] == "[key]" else item["loc"]
        raise source.error(location, _explain(item)) from None
    _check_hosts(source, parsed)
    _check_ids_and_hosts(source, parsed)
    _check_preload(source, parsed)
    extension = _read_topics(source, parsed)
    network = _read_network(source, parsed)
    nodes = tuple(_complete(source, parsed, index, network) for index in range(len(parsed.nodes)))
    lines = {
        node.id: source.line(("nodes", index, "parameters" if node.parameters else "id"))
        for index, node in enumerate(nodes)
    }
    if parsed.connectome is not None and network is not None:
        nodes += tuple(_network_node(source, parsed, network, process) for process in network.processes)
    elif not nodes:
        raise source.error(
            ("nodes",), "an allocation has at least one node, or names a network with `connectome: FILE`"
        )
    return Allocation(
        path, parsed.namespace, parsed.port, parsed.hosts, parsed.preload, nodes, extension, network, lines, source
    )


def _read_topics(source: Source, parsed: AllocationFile) -> Extension:
    """Return the topics of the brain's own."""
    paths = []
    for index, name in enumerate(parsed.topics):
        found = find(name, source.path)
        if found is None:
            raise source.error(("topics", index), not_found(name, source.path))
        paths.append(found)
    return load_extension(paths)


def _read_network(source: Source, parsed: AllocationFile) -> NetworkPlan | None:
    """Return the network of the allocation: its own, or that of the connectome file that it names."""
    embedded = (
        any(node.program in (POPULATION, DEVICE, ENCODER) for node in parsed.nodes) or parsed.projections is not None
    )
    if parsed.connectome is None:
        return read_network(source.path) if embedded else None
    if embedded or parsed.clock is not None or parsed.seed is not None:
        raise source.error(
            ("connectome",),
            "names a file with the whole network; its clock, seed, populations and projections stand there",
        )
    found = find(parsed.connectome, source.path)
    if found is None:
        raise source.error(("connectome",), not_found(parsed.connectome, source.path))
    network = read_network(found)
    taken = {node.id for node in parsed.nodes}
    for process in network.processes:
        if process in taken or process in RESERVED_IDS:
            raise source.error(
                ("connectome",), f"{process!r} is a process of the network and also a node; ids must differ"
            )
    return network


def _network_node(source: Source, parsed: AllocationFile, network: NetworkPlan, process: str) -> NodeEntry:
    host = network.hosts.get(process) or next(iter(parsed.hosts), None)
    if host is not None and host not in parsed.hosts:
        known = f"hosts are {', '.join(parsed.hosts)}" if parsed.hosts else "the allocation has no `hosts:`"
        raise source.error(("connectome",), f"process {process!r} of the network runs on {host!r}; {known}")
    return NodeEntry(
        id=process,
        program=POPULATION,
        host=host,
        device=parsed.defaults.device,
        threads=parsed.defaults.threads,
        restart=parsed.defaults.restart,
        environment=parsed.defaults.environment,
    )


def _read(path: Path) -> Source:
    try:
        path = path.absolute()
        return Source(path, yaml_text.read(path))
    except TextError as error:
        raise allocation_error(error, path) from None
    except FileNotFoundError:  # the file, or the current folder
        raise AllocationError(f"allocation {path} does not exist", path=path) from None


def _explain(item: Any) -> str:
    """Return a mistake that pydantic found as text, with what is accepted instead."""
    kind, location = item["type"], item["loc"]
    if kind == "extra_forbidden":
        known = list(_model_at(location[:-1]).model_fields)
        return f"unknown field{did_you_mean(str(location[-1]), known)}; fields here are {', '.join(known)}"
    return "is missing" if kind == "missing" else mistake(item)


def _model_at(location: Location) -> type[BaseModel]:
    match location:
        case ("hosts", _):
            return Host
        case ("nodes", int()):
            return NodeEntry
        case ("defaults",):
            return Defaults
        case (*_, "restart"):
            return Restart
    return AllocationFile


def _check_hosts(source: Source, parsed: AllocationFile) -> None:
    """Check that the hubs of all hosts can listen at the same time."""
    seen: list[tuple[str, int, Any]] = []
    for name, host in parsed.hosts.items():
        for index, endpoint in enumerate(host.listen):
            address = address_of(endpoint)
            for other, at, taken in seen:
                if other == name and address.collides(taken):
                    first = source.line(("hosts", other, "listen", at))
                    raise source.error(
                        ("hosts", name, "listen", index), f"{endpoint} collides with the endpoint on line {first}"
                    )
                # A wildcard and the path of a socket mean another place on each host; an address is of one host.
                if other != name and address == taken and address.names_one_host:
                    raise source.error(
                        ("hosts", name, "listen", index),
                        f"{endpoint} is already listened on by {other}; each host listens on addresses of its own",
                    )
            seen.append((name, index, address))


def _check_preload(source: Source, parsed: AllocationFile) -> None:
    for index, module in enumerate(parsed.preload):
        if not all(part.isidentifier() for part in module.split(".")):
            raise source.error(("preload", index), f"{module!r} is no name of a module, such as package.module")
        if not is_importable(module):
            raise source.error(
                ("preload", index), f"there is no module {module!r} here; install its package, or leave it out"
            )


def _check_ids_and_hosts(source: Source, parsed: AllocationFile) -> None:
    seen: dict[str, int] = {}
    for index, entry in enumerate(parsed.nodes):
        at: Location = ("nodes", index)
        if entry.id in seen:
            first = source.line(("nodes", seen[entry.id]))
            raise source.error((*at, "id"), f"{entry.id!r} is already the node on line {first}; ids must differ")
        seen[entry.id] = index
        known = ", ".join(parsed.hosts)
        if entry.host is not None and entry.host not in parsed.hosts:
            meant = did_you_mean(entry.host, parsed.hosts)
            listed = f"hosts are {known}" if known else "the file has no `hosts:`"
            raise source.error((*at, "host"), f"unknown host {entry.host!r}{meant}; {listed}")
        if entry.host is None and len(parsed.hosts) > 1:
            raise source.error((*at, "host"), f"is missing for {entry.id!r}; hosts are {known}")


def _complete(source: Source, parsed: AllocationFile, index: int, network: NetworkPlan | None) -> NodeEntry:
    """Return an entry with the file's defaults, and with absolute paths for its program and checkpoint."""
    entry, defaults, at = parsed.nodes[index], parsed.defaults, ("nodes", index)
    changes: dict[str, Any] = {
        "program": entry.program,
        "host": entry.host or next(iter(parsed.hosts), None),
        # `exclude_unset`: only what the entry sets overrides the default, field by field.
        "restart": defaults.restart.model_copy(update=entry.restart.model_dump(exclude_unset=True)),
        "environment": {**defaults.environment, **entry.environment},
    }
    if parsed.connectome is None and network is not None and entry.id in network.processes:
        changes |= _as_population(source, entry, at)
    else:
        changes["program"] = find_program(source, entry.program, (*at, "program"))
    for name in ("device", "threads"):
        if name not in entry.model_fields_set:
            changes[name] = getattr(defaults, name)
    if entry.checkpoint is not None:
        changes["checkpoint"] = find_file(source, str(entry.checkpoint), (*at, "checkpoint"))
    try:
        # Checked again: the defaults add variables, and a path that was found is longer than the one that is written.
        return NodeEntry.model_validate({**dict(entry), **changes})
    except ValidationError as error:
        item = error.errors()[0]
        raise source.error((*at, *item["loc"]), _explain(item)) from None


def _as_population(source: Source, entry: NodeEntry, at: Location) -> dict[str, Any]:
    """Return what is different in the entry of a node that computes a population."""
    if not entry.program.startswith(("nir:", "torch:")):
        return {"program": POPULATION, "parameters": {}}
    # These answer prompts beside that; the rest of their parameters are those of the population.
    both = {name: value for name, value in entry.parameters.items() if name not in ("size", "ignore_dt")}
    return {"program": f"{POPULATION}:{find_program(source, entry.program, (*at, 'program'))}", "parameters": both}
