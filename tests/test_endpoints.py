"""Endpoints: what is accepted, a session of Zenoh can be opened with."""

from __future__ import annotations

import json

import pytest
import zenoh
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brainnet.endpoints import address_of, check_connect, check_listen


@pytest.mark.parametrize(
    ("endpoint", "transport", "host", "port"),
    [
        ("tcp/192.168.1.20:7447", "tcp", "192.168.1.20", 7447),
        ("tcp/localhost:7447", "tcp", "127.0.0.1", 7447),
        ("tcp/Board.local.:7447", "tcp", "board.local", 7447),
        ("ws/[0:0::1]:1", "tcp", "::1", 1),
        ("quic/10.0.0.1:7447", "udp", "10.0.0.1", 7447),
        ("udp/10.0.0.1:7447#iface=eth0", "udp", "10.0.0.1", 7447),
        ("tcp/10.0.0.1:7447?rel=1;prio=1-3", "tcp", "10.0.0.1", 7447),
        ("unixsock-stream//tmp/hub", "unix", "/tmp/hub", 0),
    ],
)
def test_the_address_of_an_endpoint(endpoint: str, transport: str, host: str, port: int) -> None:
    assert address_of(endpoint) == (transport, host, port)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("tcp/10.0.0.1:1", "ws/10.0.0.1:1", True),
        ("tcp/10.0.0.1:1", "udp/10.0.0.1:1", False),
        ("tcp/10.0.0.1:1", "tcp/10.0.0.2:1", False),
        ("tcp/10.0.0.1:1", "tcp/0.0.0.0:1", True),
        ("tcp/[::]:1", "tcp/10.0.0.1:1", True),
        ("tcp/10.0.0.1:0", "tcp/10.0.0.1:0", False),
        ("unixsock-stream//a", "unixsock-stream//a", True),
        ("unixsock-stream//a", "unixsock-stream//b", False),
    ],
)
def test_what_collides(one: str, other: str, both: bool) -> None:
    assert address_of(one).collides(address_of(other)) is both
    assert address_of(other).collides(address_of(one)) is both


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("tcp/127.0.0.1:1", True),
        ("tcp/localhost:1", True),
        ("tcp/[::1]:1", True),
        ("unixsock-stream//a", True),
        ("tcp/0.0.0.0:1", False),
        ("tcp/10.0.0.1:1", False),
        ("tcp/board.local:1", False),
    ],
)
def test_what_only_the_own_host_reaches(endpoint: str, local: bool) -> None:
    assert address_of(endpoint).is_local is local


@pytest.mark.parametrize("endpoint", ["tcp/0.0.0.0:1", "tcp/[::]:1", "tcp/10.0.0.1:0"])
def test_nobody_connects_to_a_wildcard(endpoint: str) -> None:
    assert check_listen(endpoint) == endpoint
    with pytest.raises(ValueError, match="no single program"):
        check_connect(endpoint)


def test_a_name_of_a_host_has_a_length() -> None:
    name = "a" * 60 + ".b" * 96 + "c"
    assert address_of(f"tcp/{name}:1").host == name
    with pytest.raises(ValueError, match="no name"):
        address_of(f"tcp/{name}d:1")


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["tcp", "udp", "ws", "tls", "quic", "vsock", "TCP", ""]),
    st.sampled_from(["127.0.0.1", "[::1]", "localhost", "::1", "127.0.0.300", "", "a b", "[::1"]),
    st.sampled_from([":0", ":70000", ":x", "", ":"]),
    st.sampled_from(["", "?rel=1", "?rel=x", "?prio=2", "?a", "?prio=1-9"]),
    st.sampled_from(["", "#iface=lo"]),
)
@example("tcp", "127.0.0.1", ":0", "?rel=1;prio=1-3", "#iface=lo")
def test_what_is_accepted_can_be_listened_on(protocol: str, host: str, port: str, metadata: str, options: str) -> None:
    endpoint = f"{protocol}/{host}{port}{metadata}{options}"
    try:
        check_listen(endpoint)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017
        return
    config = zenoh.Config()
    for name, value in {"mode": "router", "listen/endpoints": [endpoint], "scouting/multicast/enabled": False}.items():
        config.insert_json5(name, json.dumps(value))
    zenoh.open(config).close()  # type: ignore[no-untyped-call]
