"""A driver of devices that are run in steps over UDP, with a control connection beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.devices.checks import Progress, check_rest
from brainnet.devices.control import ControlClient, pack_arrays, unpack_arrays
from brainnet.devices.integer_network import integer_network
from brainnet.devices.link import Address, SpikeLink, Wire
from brainnet.devices.protocol import (
    Counters,
    Device,
    DeviceInfo,
    Events,
    LoadOptions,
    Port,
    RoundingReport,
    Start,
)
from brainnet.errors import DeviceError

GRACE_S: Final = 0.5
"""Seconds without a datagram after which those that are missing are lost."""
_BURST: Final = 64
"""Datagrams that are sent before the device is told to take them in: more might not fit into its socket's buffer."""


class SteppedDevice(Device):
    """Runs a device step by step: it waits for its input, so that its spikes depend on the input alone.

    Guarantees: every datagram that is lost, in either direction, is counted; the numbers come from the device over its
    control connection. Unless `tolerant`, `read` raises a `DeviceError` then.

    Args:
        control: Address of the control connection; spikes go to the same host, at the port that the device names.
        wire: How spikes are written.
        listen: Where spikes are received; port 0 for any.
        timeout_s: Seconds to wait for a reply.
        tolerant: Go on after spikes were lost.
        grace_s: Seconds without a datagram after which those that are missing are lost.
        peer: Where spikes are sent, if not to the port that the device names.

    Attributes:
        report_port: The port that the device is told to send to, if not the one that is listened on: that of a relay.
    """

    def __init__(
        self,
        control: Address,
        wire: Wire,
        listen: Address = ("", 0),
        timeout_s: float = 5.0,
        *,
        tolerant: bool = False,
        grace_s: float = GRACE_S,
        peer: Address | None = None,
    ) -> None:
        self._address, self._wire, self._listen = control, wire, listen
        self._timeout_s, self._tolerant, self._peer = timeout_s, tolerant, peer
        self._grace_s = grace_s
        self.report_port: int | None = None
        self._control: ControlClient | None = None
        self._link: SpikeLink | None = None
        self._info: DeviceInfo | None = None
        self._lost = [0, 0, 0]  # datagrams of the device, spikes of the device, datagrams to it
        self._rest: dict[str, NDArray[Any]] = {}
        self._progress = Progress()
        self._first = 0
        self._waiting: list[Events] = []

    # -- life --------------------------------------------------------------------------------------------------------

    def open(self) -> DeviceInfo:
        """Connect to the device.

        Raises:
            DeviceError: It does not answer, is of another kind, or is open.
        """
        if self._link is not None:
            raise DeviceError("the device is open; close it first")
        self._lost = [0, 0, 0]
        self._link = SpikeLink(self._wire, self._listen)
        try:
            self._control = ControlClient(self._address, self._timeout_s)
            # the time within which the device waits for input that is on its way is shorter than ours for its reply
            reply = self._control.ask("open", port=self.report_port or self._link.port, format=self._wire.format)
            port = self._control.number(reply, "port")
            self._link.set_peer(self._peer or (self._address[0], port))
            name, bits, tick_us = reply.get("name"), self._control.number(reply, "weight_bits"), reply.get("tick_us")
            if not isinstance(tick_us, int | float) or not 0 < tick_us < 1e9 or not 2 <= bits <= 16:
                raise DeviceError("the device does not say its tick and the bits of its weights; it is of another kind")
        except DeviceError:
            self.close()
            raise
        self._info = DeviceInfo(str(name)[:100], (), (), float(tick_us), bits, "value", stepped=True, readable=True)
        self._link.wire = replace(self._wire, tick_us=float(tick_us))
        return self._info

    @property
    def port(self) -> int:
        """The port at which it receives."""
        return self._parts()[1].port

    @property
    def info(self) -> DeviceInfo:
        """What it has, with the ports of the loaded network."""
        if self._info is None:
            raise DeviceError("open the device first")
        return self._info

    def load(self, network: Path, options: LoadOptions | None = None) -> RoundingReport:
        """Send the network to the device.

        Raises:
            ModelError: The file cannot be read, or has another time step.
            DeviceError: The device cannot run the network, or does not answer.
        """
        control, link = self._parts()
        options = options or LoadOptions(step_ms=self.info.tick_us / 1000)
        rounded = integer_network(network, self.info.weight_bits, options)
        control.ask("load", network=network.read_bytes(), options=asdict(options))
        self._info = replace(
            self.info, inputs=(Port("input", rounded.inputs),), outputs=(Port("output", rounded.outputs),)
        )
        link.wire.check_keys(rounded.inputs, rounded.outputs)
        link.set_size(rounded.outputs)
        self._rest = unpack_arrays(control.ask("state").get("state"))
        self._progress.end()
        return rounded.report

    def start(self, start: Start) -> None:
        """Begin.

        Raises:
            DeviceError: No network is loaded, it has begun, or it does not answer.
        """
        control, link = self._loaded()
        self._progress.check_not_begun()
        control.ask("start")
        self._begin(start, link)

    def _begin(self, start: Start, link: SpikeLink) -> None:
        self._waiting, self._first = [], start.step
        self._progress.begin(start.step)
        link.note_tick(0)

    def close(self) -> None:
        """End both connections."""
        if self._control is not None:
            self._control.close()
        if self._link is not None:
            self._link.close()
        self._control = self._link = None
        self._progress.end()

    # -- steps -------------------------------------------------------------------------------------------------------

    def write(self, window: Events) -> None:
        """Take the next window; its spikes are sent when its steps are read.

        Raises:
            DeviceError: It has not begun, the window is not the next one, or an address or a step is not there.
        """
        self._loaded()
        self._progress.check_window(window, self.info.input_size)
        self._waiting.append(window)
        self._progress.written_until = window.end_step

    def read(self, until: int) -> Events:
        """Let the device compute the steps before `until`, and return what fired.

        Raises:
            DeviceError: It has not begun, `until` is past, input is missing, spikes were lost, or it does not answer.
        """
        self._loaded()
        self._progress.check_until(until, computes=True)
        first = self._progress.next
        steps, addresses = self._input(until)
        found: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        sent = 0
        while self._progress.next < until:
            # Every step is a datagram or more; those of as many steps as may be on the way at once.
            end = min(until, self._progress.next + _BURST)
            last = int(np.searchsorted(steps, end))
            if last - sent > _BURST:
                end = int(steps[sent + _BURST])
                end = max(end, self._progress.next + 1)
                last = int(np.searchsorted(steps, end))
            found += self._exchange(steps[sent:last], addresses[sent:last], end)
            sent = last
        if not found:
            return Events.of(first, until, [], [])
        at, of = (np.concatenate([part[i] for part in found]) for i in (0, 1))
        return Events.of(first, until, at, of)

    def _input(self, until: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the waiting input before a step, and keep what is after it."""
        steps = np.concatenate([np.zeros(0, np.int64), *(window.steps for window in self._waiting)])
        addresses = np.concatenate([np.zeros(0, np.int32), *(window.addresses for window in self._waiting)])
        at = int(np.searchsorted(steps, until))
        self._waiting = [Events(until, self._progress.written_until, steps[at:], addresses[at:])]
        return steps[:at], addresses[:at]

    def _exchange(
        self, steps: NDArray[np.int64], addresses: NDArray[np.int32], end: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int32]]]:
        """Send input, let the device compute, and return the steps and addresses of what came."""
        control, link = self._loaded()
        progress = self._progress
        link.send(addresses, steps - self._first)
        found = []
        while progress.next < end:
            reply = control.ask("run", until=end - self._first, packets=link.counters.packets_sent)
            reached = self._first + control.number(reply, "until")
            if not progress.next < reached <= end:
                raise DeviceError(
                    f"the device was told to go to step {end}, and is at {reached}; it is of another kind"
                )
            expected = [control.number(reply, name) for name in ("packets_sent", "keys_sent")]
            lost_inputs = link.counters.packets_sent - control.number(reply, "packets_received")
            first, progress.next = progress.next, reached
            link.note_tick(reached - self._first)
            came = link.counters
            waited = self._grace_s if came.packets_received + self._lost[0] < expected[0] else 0.0
            while True:
                before = came.packets_received
                for arrival in link.received(waited):
                    ticks = arrival.ticks
                    if ticks is None:
                        came.malformed_packets += 1
                        continue
                    at = ticks + self._first
                    inside = (at >= first) & (at < reached)
                    came.late_keys += int((~inside).sum())
                    found.append((at[inside], arrival.addresses[inside]))
                if came.packets_received + self._lost[0] >= expected[0] or came.packets_received == before:
                    break
            lost = [
                expected[0] - came.packets_received,
                expected[1] - came.keys_received - came.unknown_keys,
                lost_inputs,
            ]
            news = [now - before for now, before in zip(lost, self._lost, strict=True)]
            self._lost = lost
            if any(each > 0 for each in news) and not self._tolerant:
                raise DeviceError(
                    f"before step {reached} {news[0]} datagrams of the device and {news[2]} to it were lost, and a "
                    "device in steps needs all of them; use a shorter or less busy connection, or smaller windows"
                )
        return found

    # -- state -------------------------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        """Return what was counted; what was lost is exact."""
        if self._link is None:
            return Counters()
        packets, keys, inputs = (max(0, each) for each in self._lost)
        return replace(self._link.counters, lost_packets=packets, lost_keys=keys, lost_inputs=inputs)

    def trouble(self) -> str:
        """Return that the device sends what cannot be used, since that was counted."""
        link = self._link
        if link is None:
            return ""
        counted, found = link.counters, []
        if counted.unknown_keys:
            found.append(f"{counted.unknown_keys} spikes with unknown keys (the last one was {link.last_unknown:#x})")
        if counted.malformed_packets:
            found.append(f"{counted.malformed_packets} datagrams that cannot be read")
        if counted.late_keys:
            found.append(f"{counted.late_keys} spikes of steps that were not asked for")
        return f"the device at {self._address[0]}:{self._address[1]} sends {', '.join(found)}" if found else ""

    def reset(self) -> None:
        """Set all neurons to rest, and verify it by reading the state back.

        Raises:
            DeviceError: It is another state, or the device does not answer.
        """
        control, _ = self._loaded()
        control.ask("reset")
        self._progress.end()
        check_rest(self.state(), self._rest)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state of the neurons, read back from the device.

        Raises:
            DeviceError: No network is loaded, or it does not answer.
        """
        control, _ = self._loaded()
        return unpack_arrays(control.ask("state").get("state"))

    def restore(self, state: Mapping[str, NDArray[Any]], start: Start) -> None:
        """Set the state that `state` returned, and begin in a step.

        Raises:
            DeviceError: It is the state of another network, or the device does not answer.
        """
        control, link = self._loaded()
        control.ask("restore", state=pack_arrays(state))
        self._begin(start, link)

    def _parts(self) -> tuple[ControlClient, SpikeLink]:
        if self._control is None or self._link is None:
            raise DeviceError("open the device first")
        return self._control, self._link

    def _loaded(self) -> tuple[ControlClient, SpikeLink]:
        parts = self._parts()
        if not self.info.inputs:
            raise DeviceError("no network is loaded on the device")
        return parts
