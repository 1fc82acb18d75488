"""Watches the links between the hubs of a brain's hosts, and closes those over which nothing is routed.

Zenoh (up to 1.10) computes its routes at most once in 100 ms, and tells its subscriptions over those links only that
were not there at the computation before. A link that breaks and comes back between two computations is up on both
sides, and yet no message passes, for ever (https://github.com/eclipse-zenoh/zenoh/issues/1886). Closing it once more is
enough: Zenoh makes it anew, and the routes with it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brainnet.endpoints import tcp_address

if TYPE_CHECKING:
    import zenoh

_HUB: Final = "b7a11e75"
"""Begin of the session id of every hub. Other Zenoh routers may stand between the hosts of a brain; no link to one of
them is ever closed, because they do not show whether they route to this hub."""

_KEY: Final = "@brainnet/hub/{}"
"""What a hub with this session id subscribes to, so that others see whether they have routes to it. It is the same for
every brain. `**` does not include a chunk that begins with @: a subscriber of everything is not taken for a hub."""
PATIENCE_S: Final = 2.0
"""Seconds that a link may be up without routes; usually they are there within 0.2 s."""
_LONGEST_PATIENCE_S: Final = 60.0
_FORGET_S: Final = 2 * _LONGEST_PATIENCE_S
"""Seconds after which a hub that went away is forgotten; one that is launched again has another session id."""


def new_hub_id() -> str:
    """Return a session id for a hub, which other hubs recognise as one."""
    return _HUB + secrets.token_hex(12)


class _Neighbour:
    """What is known of another hub; times are monotonic.

    Args:
        probe: A publisher that never sends: Zenoh says whether it knows the other hub's subscription.
        patience_s: Seconds that the link may be without routes at first.

    Attributes:
        routed_at: When the link was last down or had routes.
        present_at: When the link was last up.
        patience_s: Seconds that it may be without routes now.
    """

    def __init__(self, probe: zenoh.Publisher, patience_s: float) -> None:
        self.probe = probe
        self.routed_at = self.present_at = time.monotonic()
        self.patience_s = self._first_patience_s = patience_s
        # Also for routes that come and go between two checks.
        self._listener = probe.declare_matching_listener(self._routes_changed)

    def _routes_changed(self, status: Any) -> None:
        self.patience_s = self._first_patience_s
        self.routed_at = time.monotonic()


class HubLinks:
    """The links of one hub to other hubs.

    Args:
        session: The session of the hub, in router mode, with an id of `new_hub_id`.
        patience_s: Seconds that a link may be up without routes.
    """

    def __init__(self, session: zenoh.Session, patience_s: float = PATIENCE_S) -> None:
        self._session = session
        self._patience_s = patience_s
        self._neighbours: dict[str, _Neighbour] = {}
        self._shown = session.declare_subscriber(_KEY.format(session.info.zid()), lambda sample: None)

    def check(self) -> list[str]:
        """Close each link that has been without routes for too long; to be called about twice a second.

        A link that is without routes again is given twice the time, up to a minute.

        Returns:
            The session ids of the hubs whose link was closed.
        """
        now = time.monotonic()
        present = {id for id in map(str, self._session.info.routers_zid()) if id.startswith(_HUB)}
        closed = []
        for id in present | self._neighbours.keys():
            neighbour = self._neighbours.get(id)
            if neighbour is None:
                probe = self._session.declare_publisher(_KEY.format(id))
                neighbour = self._neighbours[id] = _Neighbour(probe, self._patience_s)
            if id not in present:
                neighbour.routed_at = now
                if now - neighbour.present_at > _FORGET_S:
                    self._neighbours.pop(id).probe.undeclare()  # type: ignore[no-untyped-call]
                continue
            neighbour.present_at = now
            if neighbour.probe.matching_status.matching:  # type: ignore[attr-defined]  # the stubs call it a bool
                neighbour.routed_at = now
            elif now - neighbour.routed_at > neighbour.patience_s:
                neighbour.routed_at = now
                neighbour.patience_s = min(2 * neighbour.patience_s, _LONGEST_PATIENCE_S)
                if self._close(id):
                    closed.append(id)
        return closed

    def _close(self, id: str) -> bool:
        """Close the sockets of the links to a hub, which Zenoh has no call for; return whether there was one."""
        links = [(_address(link.src), _address(link.dst)) for link in self._session.info.links() if str(link.zid) == id]
        found = False
        for descriptor in Path("/dev/fd").iterdir():
            with contextlib.suppress(OSError), _socket_of(int(descriptor.name)) as it:  # no socket, or closed meanwhile
                ends = _name(it.getsockname()), _name(it.getpeername())
                if None not in ends and ends in links:
                    it.shutdown(socket.SHUT_RDWR)
                    found = True
        return found


def _socket_of(descriptor: int) -> socket.socket:
    """Return a second handle of a socket of this process.

    Raises:
        OSError: The descriptor is not one of a socket.
    """
    duplicate = os.dup(descriptor)
    try:
        return socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise


def _address(locator: object) -> tuple[str, int] | None:
    """Return address and port of a locator as Zenoh writes it, such as `tcp/[::1]:7447`; None for one without."""
    found = tcp_address(str(locator))
    return None if found is None else _name(found)


def _name(address: Any) -> tuple[str, int] | None:
    """Return address and port as a socket gives them, an IPv4 address within IPv6 as IPv4; None for other sockets."""
    try:
        ip = ip_address(address[0].partition("%")[0])
        return str(getattr(ip, "ipv4_mapped", None) or ip), int(address[1])
    except (AttributeError, IndexError, TypeError, ValueError):
        return None
