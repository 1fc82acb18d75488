"""Opens Zenoh sessions that join a brain: as hub, peer or client.

Each host has one hub, a session in router mode on a known port, which listens on loopback unless the allocation lists
more endpoints. The data session of a node is a peer: it finds the other peers of its host through the hub's gossip and
sends to them directly. The control session of a node, the command line and foreign clients are clients of the hub.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from dataclasses import dataclass
from typing import Any, Literal

from brainnet.bus.bus import Bus
from brainnet.bus.hub_links import new_hub_id
from brainnet.endpoints import address_of, tcp_address
from brainnet.errors import AddressInUseError, BusError, ConnectError
from brainnet.wire.topics import Contract

LEASE_MS = 2000
"""Milliseconds without a keep-alive after which Zenoh closes the link to a process on another host, and withdraws its
liveliness tokens. Zenoh's default is 10 s; at 2 s a host that is cut off is noticed within one prompt's deadline."""

LOCAL_LEASE_MS = 10_000
"""The same for a process that only programs of its own host can reach. The end of a process closes its links at once,
and frozen nodes are killed by their supervisor, so a process that is silent for seconds is one that a busy machine
gives no time to. If its link were closed then, what was sent on it would be lost."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The hub of this host as a Zenoh endpoint, and the namespace of the brain."""

    namespace: str = "evospikenet"
    hub: str = "tcp/127.0.0.1:7447"


async def open_bus(
    endpoint: Endpoint,
    *,
    role: str = "client",
    source: str = "",
    mode: Literal["client", "peer"] = "client",
    timeout: float = 3.0,
    contract: Contract | None = None,
) -> Bus:
    """Join the brain at `endpoint`.

    Example: `async with await open_bus(endpoint) as bus: ...`

    Args:
        endpoint: The hub and the namespace.
        role: The role in the contract.
        source: Id of the sender; a random one by default.
        mode: The Zenoh mode of the session.
        timeout: Seconds to wait for the hub.
        contract: The contract of the brain; that of this installation by default.

    Raises:
        ConnectError: No hub answers at the endpoint within `timeout` seconds.
    """
    session = await asyncio.get_running_loop().run_in_executor(None, open_session, endpoint, mode, timeout)
    from brainnet.bus.zenoh_transport import ZenohTransport

    return Bus(ZenohTransport(session), namespace=endpoint.namespace, role=role, source=source, contract=contract)


def open_session(endpoint: Endpoint, mode: Literal["client", "peer"] = "client", timeout: float = 3.0) -> Any:
    """Open a plain `zenoh.Session` that joins the brain as `open_bus` does; the caller closes it.

    Raises:
        ConnectError: No hub answers at the endpoint within `timeout` seconds.
    """
    # A peer listens on a free port of the loopback, which the hub's gossip tells the other peers.
    listen = ["tcp/127.0.0.1:0"] if mode == "peer" else []
    is_local = address_of(endpoint.hub).is_local
    try:
        return _open(_config(mode, listen=listen, connect=[endpoint.hub], connect_timeout=timeout, is_local=is_local))
    except BusError as error:
        raise ConnectError(
            f"no brain answers at {endpoint.hub} ({error}); "
            "start one with `brainnet launch`, or name its port with --port"
        ) from None


def open_hub(listen: list[str], connect: list[str]) -> Any:
    """Open the hub of this host: a router that listens on `listen` and keeps trying to reach the hubs in `connect`.

    Raises:
        AddressInUseError: Another program listens at one of the endpoints.
        BusError: An endpoint cannot be listened on for another reason.
    """
    try:
        is_local = not connect and all(address_of(endpoint).is_local for endpoint in listen)
        return _open(_config("router", listen=listen, connect=connect, connect_timeout=None, is_local=is_local))
    except BusError as error:
        # Zenoh gives the reason as text only, so it is asked again from the operating system, as an errno.
        taken = next((endpoint for endpoint in listen if _is_taken(endpoint)), None)
        if taken is not None:
            raise AddressInUseError(f"{taken} is in use by another program", endpoint=taken) from None
        raise BusError(f"cannot listen on {', '.join(listen)}: {error}") from None


def _is_taken(endpoint: str) -> bool:
    """Return whether another program listens at a TCP endpoint."""
    address = tcp_address(endpoint)
    if address is None:
        return False
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        # Without it, closed connections in state TIME_WAIT would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _config(mode: str, *, listen: list[str], connect: list[str], connect_timeout: float | None, is_local: bool) -> Any:
    import zenoh

    config = zenoh.Config()
    settings: dict[str, Any] = {
        "mode": mode,
        "listen/endpoints": listen,
        "connect/endpoints": connect,
        # Multicast would join brains of other people on the same network; peers are found through the hub only.
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": True,
        # By default `zenoh.open` waits half a second for peers. Here nobody relies on it: who needs a subscriber
        # waits until its publisher matches.
        "scouting/delay": 0,
        "open/return_conditions/connect_scouted": False,
        # A process killed by SIGKILL would leave its shared-memory segment in /dev/shm.
        "transport/shared_memory/enabled": False,
        # Windows of networks come in bursts, and are dropped when this queue is full: 4 batches of 64 KB, made on need.
        "transport/link/tx/queue/size/data_high": 4,
        "transport/link/tx/lease": LOCAL_LEASE_MS if is_local else LEASE_MS,
    }
    if mode == "router":  # a hub starts before the hubs of other hosts, and retries for ever
        settings["id"] = new_hub_id()
        settings["connect/timeout_ms"] = -1
        settings["connect/exit_on_failure"] = False
    elif connect_timeout is not None:
        settings["connect/timeout_ms"] = int(connect_timeout * 1000)
        settings["connect/exit_on_failure"] = True
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return config


def _open(config: Any) -> Any:
    import zenoh

    try:
        return zenoh.open(config)
    except zenoh.ZError as error:
        raise BusError(str(error).split(" at ")[0]) from None  # Zenoh appends the line of its source file
