"""Zenoh endpoints as people write them: `tcp/192.168.1.20:7447`, checked before a session uses them."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator

from brainnet.limits import MAX_LINE

PROTOCOLS: Final = ("tcp", "udp", "tls", "quic", "ws", "unixsock-stream")
"""What the Zenoh of the Python package speaks."""
_FORM: Final = "write PROTOCOL/HOST:PORT, such as tcp/192.168.1.20:7447"
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")
_MAX_HOST_NAME: Final = 253
"""Characters that a name may have in DNS."""
_METADATA: Final = re.compile(r"(rel=[01]|prio=[0-7](-[0-7])?)(;(rel=[01]|prio=[0-7](-[0-7])?))*")
_WILDCARDS: Final = ("0.0.0.0", "::")


class Address(NamedTuple):
    """What an endpoint occupies on a host.

    Attributes:
        transport: tcp, udp or unix: endpoints of different transports never collide.
        host: Address or name in its shortest form; the path of a Unix socket.
        port: The port; 0 for any free one, and for a Unix socket.
    """

    transport: str
    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Whether it is every address of a host."""
        return self.host in _WILDCARDS

    @property
    def names_one_host(self) -> bool:
        """Whether only one host can have it: it is no wildcard, no socket of a host's own and no port of any number."""
        return self.transport != "unix" and self.port != 0 and not self.is_wildcard

    @property
    def is_local(self) -> bool:
        """Whether only programs of its own host can reach it."""
        if self.transport == "unix":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, which may mean anything
            return False

    def collides(self, other: Address) -> bool:
        """Return whether one host cannot listen on both."""
        if self.transport != other.transport or self.port != other.port:
            return False
        if self.transport == "unix":
            return self.host == other.host
        return self.port != 0 and (self.host == other.host or self.is_wildcard or other.is_wildcard)


def address_of(endpoint: str) -> Address:
    """Return the address of an endpoint.

    Raises:
        ValueError: The endpoint is not one that this installation can use; says what is accepted.
    """
    protocol, slash, rest = endpoint.partition("/")
    address = rest.partition("?")[0].partition("#")[0]
    if not slash or not address or len(endpoint) > MAX_LINE:
        raise ValueError(f"is not a Zenoh endpoint; {_FORM}")
    if protocol not in PROTOCOLS:
        raise ValueError(f"has the protocol {protocol!r}; this Zenoh has {', '.join(PROTOCOLS)}")
    if not endpoint.isprintable() or " " in endpoint:
        raise ValueError(f"holds a blank or a control character; {_FORM}")
    _check_with_zenoh(endpoint)
    metadata = endpoint.partition("#")[0].partition("?")[2]
    if metadata and not _METADATA.fullmatch(metadata):
        # Zenoh ends the process for some of what it does not know here.
        raise ValueError("has metadata that Zenoh does not know; after '?' stand rel=0 or 1, and prio=FIRST-LAST")
    if protocol == "unixsock-stream":
        return Address("unix", address, 0)
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"has no port between 0 and 65535 at its end; {_FORM}")
    transport = "udp" if protocol in ("udp", "quic") else "tcp"
    return Address(transport, _host(host), int(port))


def tcp_address(endpoint: str) -> tuple[str, int] | None:
    """Return host and port of a Zenoh endpoint such as `tcp/[::1]:7447?key=value`, or None for one that is not TCP."""
    kind, _, address = endpoint.partition("/")
    host, _, port = address.partition("?")[0].partition("#")[0].rpartition(":")
    if kind not in ("tcp", "tls") or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


def _host(text: str) -> str:
    """Return a host in its shortest form."""
    try:
        if text.startswith("[") and text.endswith("]"):
            return str(ipaddress.IPv6Address(text[1:-1]))
        if re.fullmatch(r"[0-9.]+", text):
            return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"has the address {text!r}, which is no IP address; {_FORM}") from None
    if ":" in text:
        raise ValueError("has an IPv6 address without brackets; write tcp/[::1]:7447")
    if len(text) > _MAX_HOST_NAME or not _HOST_NAME.fullmatch(text):
        raise ValueError(f"has the host {text!r}, which is no name and no IP address; {_FORM}")
    return "127.0.0.1" if text.lower() == "localhost" else text.lower().rstrip(".")


def _check_with_zenoh(endpoint: str) -> None:
    # Zenoh's own parser accepts more than its links do, so it is not the only check. It opens nothing.
    import zenoh

    try:
        zenoh.Config().insert_json5("connect/endpoints", json.dumps([endpoint]))
    except zenoh.ZError:
        raise ValueError(f"is not a Zenoh endpoint; {_FORM}") from None


def check_listen(endpoint: str) -> str:
    """Return an endpoint that a hub can listen on.

    Raises:
        ValueError: The endpoint cannot be used; says what is accepted.
    """
    address_of(endpoint)
    protocol = endpoint.partition("/")[0]
    options = endpoint.partition("#")[2]
    if protocol in ("tls", "quic") and not ("listen_private_key" in options and "listen_certificate" in options):
        raise ValueError(
            f"needs a certificate: add #listen_private_key_file=FILE;listen_certificate_file=FILE to {endpoint}"
        )
    return endpoint


def check_connect(endpoint: str) -> str:
    """Return an endpoint that a session can connect to.

    Raises:
        ValueError: The endpoint cannot be used; says what is accepted.
    """
    address = address_of(endpoint)
    if address.transport != "unix" and (address.port == 0 or address.is_wildcard):
        raise ValueError(f"names no single program to connect to; {_FORM}")
    return endpoint


def loopback(port: int) -> str:
    """Return the endpoint of the loopback at which the programs of a host find its hub."""
    return f"tcp/127.0.0.1:{port}"


def hub_endpoints(port: int, listen: Iterable[str]) -> list[str]:
    """Return the endpoints on which a hub listens: those listed, and the loopback unless one of them includes it."""
    listed, hub = list(listen), loopback(port)
    # A second listener on a port that a wildcard address already has would fail with "address in use".
    covers = {f"tcp/0.0.0.0:{port}", f"tcp/[::]:{port}", hub}
    return listed if covers.intersection(listed) else [hub, *listed]


ListenEndpoint = Annotated[str, AfterValidator(check_listen)]
"""An endpoint that a hub can listen on."""
ConnectEndpoint = Annotated[str, AfterValidator(check_connect)]
"""An endpoint that a session can connect to."""
