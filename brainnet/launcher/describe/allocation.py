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

Every mistake is one `AllocationError` that names file, line, field and what is accepted. Parameters are not checked
here, because that needs the program, which is not imported.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainnet.errors import AllocationError
from brainnet.launcher.describe.located_yaml import Document, Location, read
from brainnet.node.program import ENTRY_POINT_GROUP, SCHEME_GROUP
from brainnet.node.spec import DEVICE_PATTERN, NAME_PATTERN, NodeEntry, Restart
from brainnet.paths import share_dir


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Host(_Part):
    """One host: the endpoints of its hub (besides the loopback port) and those of the hubs that it connects to."""

    listen: tuple[str, ...] = Field((), description="Zenoh endpoints, such as tcp/192.168.1.20:7447")
    connect: tuple[str, ...] = Field((), description="Zenoh endpoints of other hosts' hubs")


class Defaults(_Part):
    """Values for every node that has none of its own."""

    threads: int = Field(1, ge=1, description="compute threads of numerical libraries")
    device: str = Field("cpu", pattern=DEVICE_PATTERN, description="cpu, cuda or cuda:N")
    restart: Restart = Field(Restart(), description="what happens after an unexpected exit, see restart")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of the processes")


class AllocationFile(_Part):
    """The fields at the top of an allocation file, as they are written there."""

    version: Literal[1] = Field(description="version of this format: 1")
    namespace: str | None = Field(
        None, pattern=NAME_PATTERN, description="first chunk of every key, in place of the setting"
    )
    port: int | None = Field(None, ge=1, le=65535, description="TCP port of the hub, in place of the setting")
    hosts: dict[str, Host] = Field(default_factory=dict, description="the hosts of the brain; left out for one machine")
    preload: tuple[str, ...] = Field(
        (), description="modules that are imported once per host, before the nodes are forked"
    )
    defaults: Defaults = Field(Defaults(), description="what holds for every node that does not say otherwise")
    nodes: tuple[NodeEntry, ...] = Field(min_length=1, description="the nodes")


@dataclass(frozen=True, slots=True)
class Allocation:
    """A whole allocation.

    Attributes:
        path: The file.
        namespace: Of the brain; None where the settings decide.
        port: Of the hub; None where the settings decide.
        hosts: By name; empty when everything runs on the host that launches it.
        preload: Modules that the zygote imports.
        nodes: With the file's defaults and absolute paths.
        lines: The line of each node in the file, by id.
    """

    path: Path
    namespace: str | None
    port: int | None
    hosts: dict[str, Host] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    nodes: tuple[NodeEntry, ...] = ()
    lines: dict[str, int] = field(default_factory=dict)

    def choose_host(self, named: str | None, this_host: str) -> str:
        """Return the host whose nodes are to run.

        Args:
            named: The host that the user named; None to choose the only one, or the one with the name of this machine.
            this_host: Name of this machine.

        Raises:
            AllocationError: The file has no host of the given name, or several hosts and none of this machine's name.
        """
        if not self.hosts:
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
                    f"{self.path} places no node {name!r} on {host}{_did_you_mean(name, known)}; "
                    f"it has {', '.join(sorted(known))}"
                )
        return [n for n in placed if not only or n.id in only]


def load(path: Path) -> Allocation:
    """Read and check an allocation file.

    Raises:
        AllocationError: The file cannot be used; names file, line, field and what is accepted.
    """
    path = path.absolute()
    document = read(path)
    if not isinstance(document.value, dict):
        raise AllocationError(f"{path}: an allocation is a map with version and nodes, see config/node_allocation.yaml")
    try:
        parsed = AllocationFile.model_validate(document.value)
    except ValidationError as error:
        # One mistake is reported. A misspelt field is both unknown and missing; only the first names the misspelling.
        mistakes = error.errors()
        item = next((e for e in mistakes if e["type"] == "extra_forbidden"), mistakes[0])
        raise document.error(item["loc"], _explain(item)) from None
    _check_ids_and_hosts(document, parsed)
    nodes = tuple(_complete(document, parsed, index) for index in range(len(parsed.nodes)))
    lines = {
        node.id: document.position(("nodes", index, "parameters" if node.parameters else "id")).line
        for index, node in enumerate(nodes)
    }
    return Allocation(path, parsed.namespace, parsed.port, parsed.hosts, parsed.preload, nodes, lines)


def _explain(item: Any) -> str:
    """Return a mistake that pydantic found as text, with what is accepted instead."""
    kind, location = item["type"], item["loc"]
    if kind == "extra_forbidden":
        known = list(_model_at(location[:-1]).model_fields)
        return f"unknown field{_did_you_mean(str(location[-1]), known)}; fields here are {', '.join(known)}"
    if kind == "missing":
        return "is missing"
    message = str(item["msg"])
    accepted = {
        DEVICE_PATTERN: "should be cpu, cuda or cuda:N",
        NAME_PATTERN: "should be a name of letters, digits, '_', '-' and '.'",
    }
    if kind == "string_pattern_mismatch":
        message = accepted.get(item["ctx"]["pattern"], message)
    value = item["input"]
    shown = "" if isinstance(value, dict | list) else f", got {value!r}"
    return message[0].lower() + message[1:] + shown


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


def _did_you_mean(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f", did you mean {close[0]}?" if close else ""


def _check_ids_and_hosts(document: Document, parsed: AllocationFile) -> None:
    seen: dict[str, int] = {}
    for index, entry in enumerate(parsed.nodes):
        at: Location = ("nodes", index)
        if entry.id in seen:
            first = document.position(("nodes", seen[entry.id])).line
            raise document.error((*at, "id"), f"{entry.id!r} is already the node on line {first}; ids must differ")
        seen[entry.id] = index
        known = ", ".join(parsed.hosts)
        if entry.host is not None and entry.host not in parsed.hosts:
            meant = _did_you_mean(entry.host, parsed.hosts)
            listed = f"hosts are {known}" if known else "the file has no `hosts:`"
            raise document.error((*at, "host"), f"unknown host {entry.host!r}{meant}; {listed}")
        if entry.host is None and len(parsed.hosts) > 1:
            raise document.error((*at, "host"), f"is missing for {entry.id!r}; hosts are {known}")


def _complete(document: Document, parsed: AllocationFile, index: int) -> NodeEntry:
    """Return an entry with the file's defaults, and with absolute paths for its program and checkpoint."""
    entry, defaults, at = parsed.nodes[index], parsed.defaults, ("nodes", index)
    changes: dict[str, Any] = {
        "program": _find_program(document, entry.program, (*at, "program")),
        "host": entry.host or next(iter(parsed.hosts), None),
        # `exclude_unset`: only what the entry sets overrides the default, field by field.
        "restart": defaults.restart.model_copy(update=entry.restart.model_dump(exclude_unset=True)),
        "environment": {**defaults.environment, **entry.environment},
    }
    for name in ("device", "threads"):
        if name not in entry.model_fields_set:
            changes[name] = getattr(defaults, name)
    if entry.checkpoint is not None:
        found = _find(str(entry.checkpoint), document.path)
        if found is None:
            raise document.error((*at, "checkpoint"), _not_found(str(entry.checkpoint), document.path))
        changes["checkpoint"] = found
    return entry.model_copy(update=changes)


def _find_program(document: Document, program: str, at: Location) -> str:
    location, colon, class_name = program.partition(":")
    if importlib.metadata.entry_points(group=SCHEME_GROUP, name=location):
        made_of = _find(class_name, document.path)
        if made_of is None:
            raise document.error(at, _not_found(class_name, document.path))
        return f"{location}:{made_of}"
    if location.endswith(".py") or "/" in location:
        found = _find(location, document.path) or _find(_in_its_folder(location), document.path)
        if found is None:
            raise document.error(at, _not_found(location, document.path))
        return str(found) + colon + class_name
    if importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=program):
        return program
    try:
        # Only the top-level package: to find a submodule, Python would import its package.
        known = importlib.util.find_spec(location.partition(".")[0]) is not None
    except (ImportError, ValueError):
        known = False
    if not known:
        raise document.error(
            at,
            f"{program!r} is no file (those end in .py), no importable module and "
            f"no entry point of {ENTRY_POINT_GROUP}",
        )
    return program


def _in_its_folder(location: str) -> str:
    """Return `nodes/olfactory/olfactory.py` for `nodes/olfactory` and for `nodes/olfactory.py`."""
    path = Path(location)
    return str(path.with_suffix("") / f"{path.stem}.py")


def _find(name: str, allocation: Path) -> Path | None:
    """Return the path of a file that an allocation names, or None; `_places` lists where it may be."""
    return next((p for folder in _places(allocation) if (p := folder / name).is_file()), None)


def _not_found(name: str, allocation: Path) -> str:
    return f"{name} does not exist; looked in {', '.join(str(p) for p in _places(allocation))}"


def _places(allocation: Path) -> list[Path]:
    """Return the folders in which a file of an allocation may be.

    The allocation's folder and its parents up to the project's root, the current folder, the installed data.
    """
    folder = allocation.parent
    up = [folder, *folder.parents]
    # Without a project around it only the allocation's own folder counts, not every folder up to `/`.
    root = next((i for i, p in enumerate(up) if (p / ".git").exists() or (p / "pyproject.toml").is_file()), 0)
    return list(dict.fromkeys([*up[: root + 1], Path.cwd(), share_dir()]))
