"""How this process joins a brain: Zenoh sessions as hub, peer or client.

Each host has one hub, a session in router mode on a known port, loopback only unless more is written out. A node's data
session is a peer that finds the other peers of its host through the hub's gossip and talks to them directly; its
control session, the command line and foreign clients are clients of the hub.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from dataclasses import dataclass
from typing import Any, Literal

from brainnet.bus.bus import Bus
from brainnet.errors import AddressInUseError, BusError, ConnectError

LEASE_MS = 2000
"""A frozen process is dropped by its peers after this long."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the hub of this host is, and the namespace of the brain."""

    namespace: str = "evospikenet"
    hub: str = "tcp/127.0.0.1:7447"


async def open_bus(
    endpoint: Endpoint,
    *,
    role: str = "client",
    source: str = "",
    mode: Literal["client", "peer"] = "client",
    timeout: float = 3.0,
) -> Bus:
    """Join the brain at `endpoint`. Use it as `async with await open_bus(...) as bus`.

    Raises:
        ConnectError: nobody answers at the hub's endpoint within `timeout` seconds.
    """
    session = await asyncio.get_running_loop().run_in_executor(None, open_session, endpoint, mode, timeout)
    from brainnet.bus.zenoh_transport import ZenohTransport

    return Bus(ZenohTransport(session), namespace=endpoint.namespace, role=role, source=source)


def open_session(endpoint: Endpoint, mode: Literal["client", "peer"] = "client", timeout: float = 3.0) -> Any:
    """A plain `zenoh.Session` that joins the brain the way `open_bus` does; the caller closes it.

    Raises:
        ConnectError: nobody answers at the hub's endpoint within `timeout` seconds.
    """
    listen = ["tcp/127.0.0.1:0"] if mode == "peer" else []
    try:
        return _open(_config(mode, listen=listen, connect=[endpoint.hub], connect_timeout=timeout))
    except BusError as error:
        raise ConnectError(
            f"no brain answers at {endpoint.hub} ({error}); "
            "start one with `brainnet launch`, or name its port with --port"
        ) from None


def open_hub(listen: list[str], connect: list[str]) -> Any:
    """Open the hub of this host: a router that listens on `listen` and keeps trying to reach the hubs in `connect`.

    Raises:
        AddressInUseError: another program listens at one of the endpoints.
        BusError: an endpoint cannot be listened on for another reason.
    """
    try:
        return _open(_config("router", listen=listen, connect=connect, connect_timeout=None))
    except BusError as error:
        # Zenoh says why in words only; the operating system says it in a number.
        taken = next((endpoint for endpoint in listen if _is_taken(endpoint)), None)
        if taken is not None:
            raise AddressInUseError(f"{taken} is in use by another program", endpoint=taken) from None
        raise BusError(f"cannot listen on {', '.join(listen)}: {error}") from None


def _is_taken(endpoint: str) -> bool:
    """Whether another program listens at a TCP endpoint."""
    kind, _, address = endpoint.partition("/")
    host, _, port = address.partition("?")[0].partition("#")[0].rpartition(":")
    if kind not in ("tcp", "tls") or not port.isdigit():
        return False
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not take the port
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _config(mode: str, *, listen: list[str], connect: list[str], connect_timeout: float | None) -> Any:
    import zenoh

    config = zenoh.Config()
    settings: dict[str, Any] = {
        "mode": mode,
        "listen/endpoints": listen,
        "connect/endpoints": connect,
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": True,
        # no half second at every start in case somebody turns up; whoever must be there is waited for by matching
        "scouting/delay": 0,
        "open/return_conditions/connect_scouted": False,
        # a SIGKILL would leave a shared-memory pool behind in /dev/shm
        "transport/shared_memory/enabled": False,
        "transport/link/tx/lease": LEASE_MS,
    }
    if mode == "router":
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
        raise BusError(str(error).split(" at ")[0]) from None
