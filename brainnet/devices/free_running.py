"""A driver of devices that run by a clock of their own and exchange nothing but spikes: a chip over UDP.

The network is put on such a device by its own tools. Spikes that are sent act when they arrive. What the device sends
says its tick, and the tick says the step, by a line through all that has arrived (`brainnet.devices.ticks`).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.devices.checks import Progress
from brainnet.devices.integer_network import integer_network
from brainnet.devices.link import Address, Arrival, SpikeLink, Wire
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
from brainnet.devices.ticks import TickLine
from brainnet.errors import DeviceError

_FAR_NS: Final = 1_000_000_000
"""A tick whose time is further than a second from when it arrived is none; its spikes are late."""
_RECENT_S: Final = 5.0
"""Seconds for which something that went wrong is worth a word."""
MAX_PENDING: Final = 1 << 20
"""Spikes that are kept for steps that are not read yet; more are handed on early, as late ones."""


class FreeRunningDevice(Device):
    """Runs beside a device that runs by itself.

    Guarantees: a spike is handed on in the step that its tick says, `latency_steps` later; one that comes after that is
    handed on in the next window, and counted as late. None is handed on twice. What gets lost on the way to the device
    cannot be known, and on the way from it only where datagrams have sequence numbers.

    Args:
        address: Where spikes are sent.
        wire: How they are written.
        listen: Where they are received; the device has to know it.
        weight_bits: Bits of a weight on the device, for the report of `load`.
        latency_steps: Steps after which the spikes of a step have come.
        silent_s: Seconds without a datagram after which the device is silent; 0 for a device that may be.
    """

    def __init__(
        self,
        address: Address,
        wire: Wire,
        listen: Address = ("", 0),
        weight_bits: int = 8,
        latency_steps: int = 0,
        silent_s: float = 5.0,
    ) -> None:
        self._address, self._wire, self._listen = address, wire, listen
        self._bits, self._latency, self._silent_s = weight_bits, latency_steps, silent_s
        self._where = f"{address[0]}:{address[1]}"
        self._link: SpikeLink | None = None
        self._info = DeviceInfo(
            f"the device at {self._where}", (), (), wire.tick_us, weight_bits, "value", stepped=False, readable=False
        )
        self._start: Start | None = None
        self._progress = Progress()
        self._line = TickLine(wire.tick_us * 1000)
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        self._seen = Counters()
        self._went_wrong: dict[str, float] = {}
        self._heard = 0.0
        self._late = 0

    def open(self) -> DeviceInfo:
        """Open the socket; whether the device is there shows when it sends.

        Raises:
            DeviceError: The address cannot be used, or the device is open.
        """
        if self._link is not None:
            raise DeviceError("the device is open; close it first")
        # the device may have begun to count anew, and what was counted is of the connection before
        self._line, self._seen, self._late = TickLine(self._wire.tick_us * 1000), Counters(), 0
        self._pending, self._went_wrong = [], {}
        self._link = SpikeLink(self._wire, self._listen, self._address)
        return self._info

    @property
    def info(self) -> DeviceInfo:
        """What it has, with the ports of the loaded network."""
        return self._info

    @property
    def port(self) -> int:
        """The port at which it receives."""
        return self._opened().port

    def load(self, network: Path, options: LoadOptions | None = None) -> RoundingReport:
        """Report what rounding to the device's weights changes; its own tools put the network on it.

        Raises:
            ModelError: The file cannot be read, or has another time step.
            DeviceError: A device of this kind cannot run the network, or its keys do not fit.
        """
        link = self._opened()
        rounded = integer_network(network, self._bits, options or LoadOptions(step_ms=self._wire.tick_us / 1000))
        self._wire.check_keys(rounded.inputs, rounded.outputs)
        self._info = replace(
            self._info, inputs=(Port("input", rounded.inputs),), outputs=(Port("output", rounded.outputs),)
        )
        link.set_size(rounded.outputs)
        return rounded.report

    def start(self, start: Start) -> None:
        """Begin with a step of the network; what has arrived before is left out.

        Raises:
            DeviceError: No network is loaded, or it has begun.
        """
        link = self._opened()
        if not self._info.inputs:
            raise DeviceError("no network is loaded on the device")
        if self._start is not None:
            raise DeviceError(
                f"the device has begun, and is at step {self._progress.next}; close it, and open it again"
            )
        self._start = start
        self._progress.begin(start.step)
        for arrival in link.received():
            self._learn(arrival)
        self._heard = time.monotonic()

    def align(self, at_ns: int) -> None:
        """Say that the first step began at a time; the earliest that was ever said counts."""
        start = self._running()
        if at_ns < start.at_ns:
            self._start = replace(start, at_ns=at_ns)

    def write(self, window: Events) -> None:
        """Send the spikes of a window at once, without times.

        Raises:
            DeviceError: It has not begun, the window is not the next one, or the system cannot send.
        """
        link = self._opened()
        self._progress.check_window(window, self._info.input_size)
        link.send(window.addresses, None)
        self._progress.written_until = window.end_step

    def read(self, until: int) -> Events:
        """Return what the device has fired in the steps before `until`, as far as it has come.

        Where `until` is the end of the window before, it takes in what has come, and returns nothing.

        Raises:
            DeviceError: It has not begun, or `until` is past.
        """
        start, first = self._running(), self._progress.next
        self._progress.check_until(until, computes=False)
        arrived = list(self._opened().received())
        if arrived:
            self._heard = time.monotonic()
        for arrival in arrived:
            self._learn(arrival)
        # only now, since each of them says something about the line
        self._pending += [(self._steps(arrival, start), arrival.addresses) for arrival in arrived]
        self._progress.next = until
        self._note_problems()
        if not self._pending or until == first:
            return Events.of(first, until, [], [])
        steps, addresses = (np.concatenate([part[index] for part in self._pending]) for index in (0, 1))
        due = steps < until
        if steps.size - int(due.sum()) > MAX_PENDING:
            due[:] = True
        self._pending = [(steps[~due], addresses[~due])]
        steps, addresses = steps[due], addresses[due]
        late = (steps < first) | (steps >= until)
        self._late += int(late.sum())
        if late.any():
            self._went_wrong["late spikes"] = time.monotonic()
        return Events.of(first, until, np.where(late, first, steps), addresses)

    def _learn(self, arrival: Arrival) -> None:
        if arrival.ticks is not None and arrival.ticks.size:
            self._line.add(int(arrival.ticks[-1]), arrival.at_ns)

    def _steps(self, arrival: Arrival, start: Start) -> NDArray[np.int64]:
        """Return the steps in which the spikes of a datagram are handed on; -1 for ticks that cannot be right."""
        if arrival.ticks is None:  # the datagram says no time: all that is known is when it came
            at_ns = np.full(arrival.addresses.size, float(arrival.at_ns))
        else:
            at_ns = self._line.at_ns(arrival.ticks)
        steps = np.floor((at_ns - start.at_ns) / start.step_ns).clip(-(1 << 62), 1 << 62).astype(np.int64)
        wrong = np.abs(at_ns - arrival.at_ns) > _FAR_NS
        return np.where(wrong, -1, steps + start.step + self._latency)

    def _note_problems(self) -> None:
        now, counted, before = time.monotonic(), self._opened().counters, self._seen
        if counted.unknown_keys > before.unknown_keys:
            self._went_wrong["unknown keys"] = now
        if counted.malformed_packets > before.malformed_packets:
            self._went_wrong["datagrams that cannot be read"] = now
        lost = self._opened().lost_packets
        if lost is not None and lost > (before.lost_packets or 0):
            self._went_wrong["lost datagrams"] = now
        self._seen = replace(counted, lost_packets=lost)

    def trouble(self) -> str:
        """Return what went wrong in the last seconds, or that the device is silent."""
        now, link = time.monotonic(), self._opened()
        if self._silent_s and self._start is not None and now - self._heard > self._silent_s:
            return f"the device at {self._where} has sent nothing for {self._silent_s:g} s"
        recent = [name for name, at in self._went_wrong.items() if now - at < _RECENT_S]
        if not recent:
            return ""
        key = f" (the last one was {link.last_unknown:#x})" if "unknown keys" in recent else ""
        return f"the device at {self._where}: {', '.join(recent)}{key}"

    def counters(self) -> Counters:
        """Return what was counted; `lost_keys` and `lost_inputs` are not known, `lost_packets` by sequence numbers."""
        if self._link is None:
            return replace(Counters(), lost_packets=None, lost_keys=None, lost_inputs=None)
        return replace(
            self._link.counters,
            late_keys=self._late,
            lost_packets=self._link.lost_packets,
            lost_keys=None,
            lost_inputs=None,
        )

    def reset(self) -> None:
        """Refuse: nothing can be read back.

        Raises:
            DeviceError: In every case.
        """
        raise DeviceError(
            f"the device at {self._where} exchanges nothing but spikes: a reset cannot be verified; reset it with its "
            "own tools, and open it again"
        )

    def close(self) -> None:
        """Close the socket."""
        if self._link is not None:
            self._link.close()
        self._link = self._start = None
        self._progress.end()

    def _opened(self) -> SpikeLink:
        if self._link is None:
            raise DeviceError("open the device first")
        return self._link

    def _running(self) -> Start:
        self._opened()
        self._progress.check_begun()
        assert self._start is not None
        return self._start
