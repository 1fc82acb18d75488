"""Connects to a brain as a client."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from brainnet.bus import Bus, Endpoint, learn_topics, open_bus
from brainnet.endpoints import tcp_address
from brainnet.errors import ConnectError, LaunchError
from brainnet.wire.keys import key
from brainnet.wire.messages import HostStatus, StatusQuery


async def connect(endpoint: Endpoint, *, timeout: float = 3.0, topics: bool = True) -> Bus:
    """Join the brain as a client.

    Example: `async with await connect(endpoint) as bus: ...`

    Args:
        endpoint: Where the hub is, and the namespace of the brain.
        timeout: Seconds to wait for the hub.
        topics: Learn from the launchers which topics the brain has of its own, so that the bus knows them.

    Raises:
        ConnectError: No brain answers at the hub's endpoint.
        ContractError: Two hosts of the brain have different topics.
        MessageError: The brain has topics that contradict the contract of this installation.
    """
    # Zenoh retries until the timeout. A TCP connection that is refused shows at once that no hub listens.
    await asyncio.get_running_loop().run_in_executor(None, _check_listening, endpoint.hub)
    bus = await open_bus(endpoint, timeout=timeout)
    if topics:
        try:
            await learn_topics(bus)
        except BaseException:
            await bus.close()
            raise
    return bus


def _check_listening(hub: str) -> None:
    address = tcp_address(hub)
    if address is None:
        return
    with contextlib.suppress(TimeoutError, socket.gaierror):  # not conclusive: Zenoh tries, and reports its own error
        try:
            socket.create_connection(address, 1.0).close()
        except ConnectionRefusedError:
            raise ConnectError(
                f"no brain runs at {hub}; start one with `brainnet launch`, or name its port with --port"
            ) from None


async def host_statuses(bus: Bus, *, needed: bool = True) -> list[HostStatus]:
    """Query the supervisor of every host for the state of its nodes.

    Args:
        bus: A connection to the brain.
        needed: Raise an error when no supervisor replies.

    Returns:
        One status per host, sorted by host name.

    Raises:
        LaunchError: `needed` is set and no supervisor replies: there is a hub, but of a brain with another namespace.
    """
    replies = await bus.call_all(key("host_status"), StatusQuery())
    hosts = [reply.message for reply in replies if isinstance(reply.message, HostStatus)]
    if needed and not hosts:
        raise LaunchError(
            f"no launcher of a brain {bus.namespace!r} answers; see `brainnet config show` and --namespace"
        )
    return sorted(hosts, key=lambda status: status.host)
