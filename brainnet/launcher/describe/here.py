"""What only a host itself can say of an allocation: its CPUs, its devices, its ports."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterable

from brainnet.endpoints import address_of, hub_endpoints, loopback
from brainnet.launcher.describe.allocation import Allocation, Host
from brainnet.node.spec import NodeEntry


def check_here(allocation: Allocation, host: str, nodes: Iterable[NodeEntry], port: int) -> None:
    """Check that this host can run its nodes of an allocation.

    Whether a port is free is not checked: the brain may run already.

    Args:
        allocation: The allocation.
        host: Which of its hosts this one is.
        nodes: The nodes that are to run here.
        port: TCP port of the hub.

    Raises:
        AllocationError: This host has no such CPU or device, or the hub's own endpoints collide; names file, line,
            field and what there is.
    """
    _check_hub(allocation, host, port)
    for node in nodes:
        at = allocation.location_of(node.id)
        missing = [number for number in node.cpu_affinity or () if not _has_cpu(number)]
        if missing:
            listed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
            raise allocation.error(
                (*at, "cpu_affinity"), f"this host has no CPU {missing[0]} for {node.id}; it has {listed}"
            )
        if node.device != "cpu":
            count = cuda_devices()
            wanted = int(node.device.partition(":")[2] or 0)
            if wanted >= count:
                there = "no CUDA device" if count == 0 else f"the CUDA devices 0 to {count - 1}"
                raise allocation.error(
                    (*at, "device"), f"this host does not have {node.device} for {node.id}: PyTorch finds {there}"
                )


def _check_hub(allocation: Allocation, host: str, port: int) -> None:
    hub, listen = loopback(port), allocation.hosts.get(host, Host()).listen
    if len(hub_endpoints(port, listen)) == len(listen):  # the list covers the hub's own port
        return
    for index, endpoint in enumerate(listen):
        if address_of(endpoint).collides(address_of(hub)):
            raise allocation.error(
                ("hosts", host, "listen", index), f"{endpoint} collides with the hub's own port, {hub}"
            )


def _has_cpu(number: int) -> bool:
    """Return whether this process may use a CPU."""
    # Only the kernel knows: a container may have fewer CPUs than the machine, and a process more than it uses now.
    before = os.sched_getaffinity(0)
    if number in before:
        return True
    try:
        os.sched_setaffinity(0, {number})
    except OSError:
        return False
    os.sched_setaffinity(0, before)
    return True


@functools.cache
def cuda_devices() -> int:
    """Return how many CUDA devices PyTorch finds on this host."""
    # In a process of its own: a process that has used CUDA cannot fork any more, and torch takes a second to import.
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = run.stdout.split()
    return int(last[-1]) if run.returncode == 0 and last and last[-1].isdigit() else 0
