"""Devices in steps over UDP: the conformance suite against another process, losses, and peers that answer badly."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest

from brainnet.devices import Device, Events, Start, Twin
from brainnet.devices.link import SpikeLink, Wire, parse_address
from brainnet.devices.stepped import SteppedDevice
from brainnet.errors import DeviceError
from brainnet.testing import PATIENCE_S, free_port
from brainnet.testing import devices as conformance
from tests.devices import networks
from tests.devices.peers import LossyRelay, Peer, served

pytest.importorskip("nir", reason="needs brainnet[nir]")
LOCAL = ("127.0.0.1", 0)
WIRES = {
    "eieio": (Wire("eieio", 32, sends_from=0x1000, receives_from=0x70000), []),
    "eieio16": (Wire("eieio", 16, sends_from=5, receives_from=9), ["--key-bits", "16"]),
    "aer": (Wire("aer", sends_from=3, receives_from=0xFFFF0000), []),
    "aer_unnumbered": (Wire("aer", numbered=False), ["--unnumbered"]),
}


def options(wire: Wire, *more: str) -> list[str]:
    keys = ["--input-key", str(wire.sends_from), "--output-key", str(wire.receives_from)]
    return ["--format", wire.format, *keys, *more]


PeerOf = Callable[[str], tuple[Wire, Peer]]


@pytest.fixture(scope="module")
def peer_of() -> Iterator[PeerOf]:
    """Serve one host after the other, in one process for each wire; it starts when it is first asked for."""
    with ExitStack() as stack:
        running: dict[str, tuple[Wire, Peer]] = {}

        def peer(name: str) -> tuple[Wire, Peer]:
            if name not in running:
                wire, more = WIRES[name]
                running[name] = wire, stack.enter_context(served(*options(wire, *more)))
            return running[name]

        yield peer


@pytest.fixture(scope="module", params=["eieio", "eieio16", "aer"])
def peer(request: pytest.FixtureRequest, peer_of: PeerOf) -> tuple[Wire, Peer]:
    return peer_of(request.param)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.deep(tmp_path_factory.mktemp("stepped") / "net.nir")


def make(wire: Wire, peer: Peer) -> Callable[[], Device]:
    return lambda: SteppedDevice(peer.control, wire, LOCAL, PATIENCE_S)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_a_device_over_udp_conforms(check: conformance.Check, peer: tuple[Wire, Peer], network: Path) -> None:
    check(make(*peer), network)


def test_datagrams_without_numbers_do_as_well(network: Path, peer_of: PeerOf) -> None:
    conformance.check_spikes(make(*peer_of("aer_unnumbered")), network)


def test_many_spikes_in_long_windows(peer: tuple[Wire, Peer], tmp_path: Path) -> None:
    """More datagrams than the buffer of a socket holds, with times beyond 16 bits."""
    path = networks.write(tmp_path / "wide.nir", 300, [networks.dense(2000 * np.eye(300)), networks.lif(300, leak=0)])
    counts = networks.spikes(300, 600, rate=0.5)
    with make(*peer)() as device, Twin(8) as twin:
        found = []
        for each in (device, twin):
            each.load(path)
            each.start(Start())
            each.write(Events.of_counts(0, counts))
            found.append(each.read(600).counts(300))
        counted = device.counters()
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].sum() == (counts > 0).sum()
    assert (counted.lost_packets, counted.lost_keys, counted.lost_inputs) == (0, 0, 0)


@pytest.mark.parametrize("tick", [0, 65_535, 65_536, 1_000_000])
def test_times_that_need_more_bits_than_they_get(tick: int) -> None:
    wire = WIRES["eieio16"][0]
    receiver = SpikeLink(wire.reversed(), LOCAL)
    sender = SpikeLink(wire, LOCAL, ("127.0.0.1", receiver.port))
    try:
        receiver.set_size(10)
        receiver.note_tick(max(0, tick - 30_000))
        ticks = np.array([tick, tick, tick + 1])
        sender.send(np.array([1, 2, 3]), ticks)
        found = list(receiver.received(PATIENCE_S))
        while sum(each.addresses.size for each in found) < 3:
            found += receiver.received(PATIENCE_S)
    finally:
        receiver.close()
        sender.close()
    assert np.concatenate([each.ticks for each in found if each.ticks is not None]).tolist() == ticks.tolist()
    assert [address for each in found for address in each.addresses.tolist()] == [1, 2, 3]


@pytest.mark.parametrize("tolerant", [False, True])
def test_what_is_lost_is_counted_exactly(network: Path, tolerant: bool) -> None:
    wire = WIRES["eieio"][0]
    # the relay is a thread of this process, which may have to wait for a core
    with served(*options(wire, "--grace-s", "3")) as process:
        relay = LossyRelay(("127.0.0.1", process.port), lambda way, number: number % (7 if way == "in" else 5) == 3)
        with relay:
            device = SteppedDevice(
                process.control, wire, LOCAL, PATIENCE_S, tolerant=tolerant, peer=relay.to_device, grace_s=3
            )
            # the device sends to where the control connection says: to the relay
            device.report_port = relay.to_host
            with device:
                relay.set_host(device.port)
                device.load(network)
                device.start(Start())
                counts = networks.spikes(12, 40)
                device.write(Events.of_counts(0, counts))
                if not tolerant:
                    with pytest.raises(DeviceError, match="were lost"):
                        device.read(40)
                else:
                    device.read(20)
                    device.read(40)
                counted = device.counters()
    assert (counted.lost_packets, counted.lost_inputs) == (relay.dropped["out"], relay.dropped["in"])
    assert counted.lost_keys == relay.keys_dropped
    assert counted.lost_inputs
    assert counted.lost_packets


def test_nobody_answers() -> None:
    with pytest.raises(DeviceError, match=r"does not answer.*is it on"):
        SteppedDevice(("127.0.0.1", free_port()), WIRES["aer"][0], LOCAL).open()
    with pytest.raises(DeviceError, match="HOST:PORT"):
        parse_address("here")


def test_another_format(peer_of: PeerOf) -> None:
    with pytest.raises(DeviceError, match=r"speaks aer, not 'eieio'"):
        SteppedDevice(peer_of("aer")[1].control, WIRES["eieio"][0], LOCAL, PATIENCE_S).open()


def test_keys_that_do_not_fit(network: Path, peer_of: PeerOf) -> None:
    with (
        make(Wire("eieio", 16, sends_from=65_530), peer_of("eieio16")[1])() as device,
        pytest.raises(DeviceError, match="keys 65530 to 65541 exceed the largest, 65535"),
    ):
        device.load(network)


def test_a_server_outlives_hosts_that_send_anything(network: Path, peer_of: PeerOf) -> None:
    wire, process = peer_of("aer")
    for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1\xc1", b"\xff" * 8, b"\0\0\0\5\x81\xa2do\xc0"):
        with socket.create_connection(process.control) as host:
            host.sendall(garbage)
    with socket.create_connection(process.control) as host:
        for request in ({}, {"do": 5}, {"do": "open"}, {"do": "load", "network": 3}, {"do": "run", "until": -1}):
            body = msgpack.packb(request)
            host.sendall(len(body).to_bytes(4, "big") + body)
            length = int.from_bytes(host.recv(4, socket.MSG_WAITALL), "big")
            assert "error" in msgpack.unpackb(host.recv(length, socket.MSG_WAITALL))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
        for garbage in (b"", b"x", b"y" * 3000):
            stray.sendto(garbage, ("127.0.0.1", process.port))
    conformance.check_spikes(make(wire, process), network)


def test_a_host_that_says_nothing_holds_up_nobody(network: Path, peer_of: PeerOf) -> None:
    wire, process = peer_of("aer")
    with socket.create_connection(process.control):
        conformance.check_spikes(make(wire, process), network)


def test_unknown_keys_are_visible(network: Path, peer_of: PeerOf) -> None:
    theirs, process = peer_of("eieio")
    ours = replace(theirs, receives_from=theirs.receives_from + 2)
    counts = networks.spikes(12, 60)
    with make(ours, process)() as device, Twin(8) as twin:
        found = []
        for each in (device, twin):
            each.load(network)
            each.start(Start())
            assert each.trouble() == ""
            each.write(Events.of_counts(0, counts))
            found.append(each.read(60))
        unknown = int((found[1].addresses < 2).sum())
        assert unknown
        counted = device.counters()
        assert (counted.unknown_keys, counted.lost_keys, counted.lost_packets) == (unknown, 0, 0)
        assert f"{unknown} spikes with unknown keys" in device.trouble()
    np.testing.assert_array_equal(found[0].steps, found[1].steps[found[1].addresses >= 2])


class BadPeer(threading.Thread):
    """Accepts one host, and answers each request with the next of some byte strings; then it is silent."""

    def __init__(self, *replies: bytes) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._replies = replies
        self.done = threading.Event()

    def run(self) -> None:
        host, _ = self._listener.accept()
        with host, self._listener:
            for reply in self._replies:
                if not host.recv(65_535):
                    break
                host.sendall(reply)
            self.done.wait(PATIENCE_S)


def framed(message: object) -> bytes:
    body: bytes = msgpack.packb(message)
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        ((), "within 0.2 s"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "longer than"),
        ((framed([1, 2]),), "a message is a map"),
        ((framed({}),), "no number 'port'"),
        ((framed({"port": "x"}),), "no number 'port'"),
        ((framed({"port": 5, "weight_bits": 99, "tick_us": 1.0}),), "of another kind"),
        ((framed({"port": 5, "weight_bits": 8, "tick_us": "now"}),), "of another kind"),
        ((framed({"error": "busy"}),), "busy"),
    ],
)
def test_a_peer_that_answers_badly_is_one_error(replies: tuple[bytes, ...], says: str) -> None:
    peer = BadPeer(*replies)
    peer.start()
    # a reply that comes must not be late on a busy machine
    timeout_s = PATIENCE_S if replies else 0.2
    try:
        with pytest.raises(DeviceError, match=says):
            SteppedDevice(peer.address, WIRES["aer"][0], LOCAL, timeout_s).open()
    finally:
        peer.done.set()


def test_a_device_that_dies_is_one_error(network: Path) -> None:
    wire = WIRES["eieio"][0]
    with served(*options(wire)) as process, make(wire, process)() as device:
        device.load(network)
        device.start(Start())
        process.process.kill()
        process.process.wait(PATIENCE_S)
        device.write(Events.of_counts(0, networks.spikes(12, 5)))
        with pytest.raises(DeviceError, match="does not answer"):
            device.read(5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--tick-us", "0"], "0 is not above 0"),
        (["--grace-s", "-1"], "-1 is not above 0"),
        (["--weight-bits", "1"], "from 2 to 16"),
        (["--network", "net.nir"], "needs --to HOST:PORT"),
    ],
)
def test_options_of_the_server_that_cannot_be_used_are_one_line(given: list[str], says: str) -> None:
    command = [sys.executable, "-m", "brainnet.devices.server", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_what_the_server_prints_is_json() -> None:
    with served("--format", "aer", "--weight-bits", "4", afresh=True) as process:
        assert json.loads(json.dumps(process.said)).keys() == {"port", "control"}
