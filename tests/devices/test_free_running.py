"""Devices with a clock of their own: what is handed on when, what is counted, and what cannot be known."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from brainnet.devices import Events, Start, aer, eieio
from brainnet.devices.free_running import FreeRunningDevice
from brainnet.devices.link import Wire
from brainnet.devices.making import Description, make_device
from brainnet.errors import DeviceError
from brainnet.testing import PATIENCE_S, wait_until
from tests.devices import networks

pytest.importorskip("nir", reason="needs brainnet[nir]")
FIRST = 100
LONG_NS = 1e15
"""A step of eleven days: whatever this machine does meanwhile, a spike that arrives now is of this step."""


@dataclass
class Chip:
    """The other end: a socket that sends and receives what a test says."""

    device: FreeRunningDevice
    socket: socket.socket
    sent: int = 0
    at: int = FIRST

    def send(self, *datagrams: bytes) -> None:
        for each in datagrams:
            self.socket.sendto(each, ("127.0.0.1", self.device.port))
        self.sent += len(datagrams)
        wait_until("the datagrams to arrive", self._have_arrived)

    def _have_arrived(self) -> bool:
        self.device.read(self.at)
        return self.device.counters().packets_received >= self.sent

    def read(self, until: int) -> Events:
        self.at = until
        return self.device.read(until)

    def receive(self) -> bytes:
        return self.socket.recv(65_535)


@contextlib.contextmanager
def running(
    wire: Wire, network: Path, *, latency: int = 0, silent_s: float = 0.0, step_ns: float = LONG_NS
) -> Iterator[Chip]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(PATIENCE_S)
        device = FreeRunningDevice(
            other.getsockname(), wire, ("127.0.0.1", 0), latency_steps=latency, silent_s=silent_s
        )
        with device:
            device.load(network)
            device.start(Start(FIRST, time.time_ns() - round(step_ns / 2), step_ns))
            yield Chip(device, other)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.whole(tmp_path_factory.mktemp("free") / "net.nir")


EIEIO = Wire("eieio", sends_from=0x500, receives_from=0x700)


def test_spikes_are_handed_on_in_the_step_that_their_tick_says(network: Path) -> None:
    with running(EIEIO, network, latency=2) as chip:
        chip.send(*eieio.encode(np.array([0x700, 0x706]), tick=7))
        assert chip.read(102).steps.size == 0  # they are of step 100, and come two steps later
        found = chip.read(104)
        assert (found.first_step, found.end_step) == (102, 104)
        assert (found.steps.tolist(), found.addresses.tolist()) == ([102, 102], [0, 6])
        assert chip.read(105).steps.size == 0
        counted = chip.device.counters()
    assert (counted.keys_received, counted.late_keys, counted.packets_received) == (2, 0, 1)
    assert (counted.lost_packets, counted.lost_keys, counted.lost_inputs) == (None, None, None)


def test_ticks_say_the_step_and_not_when_they_were_read(network: Path) -> None:
    """Sixty ticks of a millisecond come at once, and are read at once."""
    with running(EIEIO, network, latency=9000, step_ns=1e7) as chip:
        chip.send(*(eieio.encode(np.array([0x700]), tick=tick)[0] for tick in range(60)))
        steps = chip.read(10_000).steps
        assert chip.device.counters().late_keys == 0
    assert steps.size == 60
    # 59 ms are 5 or 6 steps of 10 ms; the line is in between while it knows only some of them
    assert steps[-1] - steps[0] >= 2


def test_late_spikes_are_counted_and_handed_on_in_the_next_window(network: Path) -> None:
    with running(EIEIO, network) as chip:
        chip.read(120)
        assert chip.device.trouble() == ""
        chip.send(*eieio.encode(np.array([0x701]), tick=1))
        found = chip.read(125)
        assert (found.steps.tolist(), found.addresses.tolist()) == ([120], [1])
        assert chip.device.counters().late_keys == 1
        assert "late" in chip.device.trouble()


def test_a_device_that_is_opened_again_begins_anew(network: Path) -> None:
    with running(EIEIO, network) as chip:
        chip.read(120)
        chip.send(*eieio.encode(np.array([0x701]), tick=1))
        chip.read(125)
        chip.device.close()
        chip.device.open()
        chip.device.load(network)
        chip.device.start(Start(FIRST, time.time_ns() - round(LONG_NS / 2), LONG_NS))
        counted = chip.device.counters()
        assert (counted.late_keys, counted.packets_received, chip.device.trouble()) == (0, 0, "")
        chip.at, chip.sent = FIRST, 0
        chip.send(*eieio.encode(np.array([0x702]), tick=900_000))  # its ticks need not go on from those before
        assert chip.read(101).steps.tolist() == [100]
        assert chip.device.counters().late_keys == 0


def test_a_tick_that_cannot_be_right_is_late(network: Path) -> None:
    with running(EIEIO, network) as chip:
        for tick in (1, 2, 3):
            chip.send(*eieio.encode(np.array([0x701]), tick=tick))
        assert chip.read(101).steps.tolist() == [100] * 3
        chip.send(*eieio.encode(np.array([0x702]), tick=1_000_000))
        found = chip.read(102)
        assert (found.steps.tolist(), found.addresses.tolist()) == ([101], [2])
        assert chip.device.counters().late_keys == 1


def test_spikes_without_a_time_are_of_when_they_arrived(network: Path) -> None:
    with running(EIEIO, network) as chip:
        chip.send(*eieio.encode(np.array([0x703])))
        assert chip.read(101).steps.tolist() == [100]


def test_unknown_keys_and_garbage_are_counted_and_visible(network: Path) -> None:
    with running(EIEIO, network) as chip:
        chip.send(b"", b"\x05\x08garbage", bytes((3, 1 << 6)))  # the last one is a command
        chip.send(*eieio.encode(np.array([0x6FF, 0x700, 0x707, 0xFFFFFFFF]), tick=1))
        assert chip.read(101).addresses.tolist() == [0]
        counted = chip.device.counters()
        assert (counted.unknown_keys, counted.malformed_packets, counted.packets_received) == (3, 2, 4)
        trouble = chip.device.trouble()
        assert "unknown keys" in trouble
        assert "0xffffffff" in trouble


def test_a_silent_device_is_visible_until_it_speaks(network: Path) -> None:
    with running(EIEIO, network, silent_s=0.05) as chip:
        wait_until("the silence to be noticed", lambda: "has sent nothing" in chip.device.trouble())
        # speaking again and again, since a busy machine may be silent between sending and asking

        def speaks() -> bool:
            chip.send(*eieio.encode(np.array([0x700]), tick=chip.sent))
            chip.read(101)
            return not chip.device.trouble()

        wait_until("it to speak", speaks)


def test_what_is_lost_is_known_by_sequence_numbers(network: Path) -> None:
    with running(Wire("aer"), network) as chip:
        datagrams = [aer.encode(np.array([1]), np.array([tick * 1000]), tick)[0] for tick in range(61)]
        kept = [each for number, each in enumerate(datagrams) if number % 7 != 3]
        chip.send(*kept)
        assert chip.read(101).steps.size == len(kept)
        assert chip.device.counters().lost_packets == len(datagrams) - len(kept)
        assert "lost datagrams" in chip.device.trouble()


def test_what_is_written_arrives_without_times(network: Path) -> None:
    with running(EIEIO, network) as chip:
        chip.device.write(Events.of(100, 103, [100, 100, 102], [3, 0, 11]))
        packet = eieio.decode(chip.receive())
        assert packet.keys.tolist() == [0x500, 0x503, 0x50B]
        assert packet.payloads is None
        counted = chip.device.counters()
    assert (counted.packets_sent, counted.keys_sent) == (1, 3)


def test_datagrams_of_other_hosts_are_left_out(network: Path) -> None:
    with running(EIEIO, network) as chip, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(eieio.encode(np.array([0x700]), tick=1)[0], ("127.0.0.1", chip.device.port))
        chip.sent += 1
        chip.send()
        assert chip.read(101).steps.size == 0
        assert chip.device.counters().malformed_packets == 1


def test_calls_out_of_order(network: Path) -> None:
    device = make_device(
        Description("eieio", address="127.0.0.1:9", listen="127.0.0.1:0", latency_steps=1), tick_us=1000.0
    )
    for call in (lambda: device.load(network), lambda: device.read(1), lambda: device.start(Start())):
        with pytest.raises(DeviceError, match="open"):
            call()
    with device:
        with pytest.raises(DeviceError, match="is open"):
            device.open()
        with pytest.raises(DeviceError, match="no network"):
            device.start(Start())
        device.load(network)
        with pytest.raises(DeviceError, match="has not begun"):
            device.read(1)
        device.start(Start(5))
        with pytest.raises(DeviceError, match="has begun"):
            device.start(Start())
        with pytest.raises(DeviceError, match="step 5 is next"):
            device.read(4)
        with pytest.raises(DeviceError, match="cannot be verified"):
            device.reset()
        with pytest.raises(DeviceError, match="cannot be read back"):
            device.state()


def test_addresses_that_cannot_be_used(network: Path) -> None:
    with pytest.raises(DeviceError, match="is not known"):
        FreeRunningDevice(("no.such.host.invalid", 9), EIEIO, ("127.0.0.1", 0)).open()
    with pytest.raises(DeviceError, match="cannot be received at"):
        FreeRunningDevice(("127.0.0.1", 9), EIEIO, ("192.0.2.1", 9)).open()
    with (
        FreeRunningDevice(("127.0.0.1", 9), Wire("eieio", 16, receives_from=65_530), ("127.0.0.1", 0)) as device,
        pytest.raises(DeviceError, match="exceed the largest"),
    ):
        device.load(network)
