"""Networks of populations in an allocation: which nodes compute them, and what each of them has to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainnet.paths import digest_of

if TYPE_CHECKING:
    from brainnet.connectome import Connectome


PRELOAD = ("brainnet.programs.population", "brainnet.simulation.population", "brainnet.simulation.connectivity.kernels")
"""What the processes of a network import, so that they share it: the compiler is the largest part of their memory."""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A network that the nodes of an allocation compute together.

    Attributes:
        file: Its description.
        digest: SHA-256 of that file.
        processes: The populations of each process.
        hosts: The host of each process that names one.
    """

    file: Path
    digest: str
    processes: dict[str, tuple[str, ...]]
    hosts: dict[str, str]


def read_network(path: Path) -> NetworkPlan:
    """Read a connectome file, and divide it among processes as it says.

    Raises:
        ConnectomeError: The file cannot be used; names file, line, field and what is accepted.
    """
    # Imported here: a brain without a network does not need it, and would start later.
    from brainnet.connectome import load

    return _plan_of(load(path))


def _plan_of(connectome: Connectome) -> NetworkPlan:
    from brainnet.connectome import processes_of

    processes = processes_of(connectome)
    hosts: dict[str, str] = {}
    for process, names in processes.items():
        for name in names:
            host = connectome.populations[name].host
            if host is None:
                continue
            if hosts.setdefault(process, host) != host:
                raise connectome.error(
                    connectome.location_of(name, "host"),
                    f"process {process!r} runs on {hosts[process]!r}; all populations of a process run on one host",
                )
    return NetworkPlan(
        connectome.path, digest_of(connectome.path), {name: tuple(own) for name, own in processes.items()}, hosts
    )
