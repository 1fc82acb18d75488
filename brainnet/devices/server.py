"""Serves the twin to other programs and machines as a device: spikes over UDP, control over TCP.

    python -m brainnet.devices.server --format eieio --control 17893

It prints its two ports as JSON once it listens, and serves one host after the other until it is ended. With `--network`
it runs that network by its own clock instead, as a chip does that nobody steps, and sends its spikes to `--to`.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from brainnet.devices.control import pack_arrays, receive, send, unpack_arrays
from brainnet.devices.link import SpikeLink, Wire, parse_address
from brainnet.devices.protocol import Events, LoadOptions, Start
from brainnet.devices.stepped import GRACE_S
from brainnet.devices.twin import Twin
from brainnet.errors import BrainnetError, DeviceError

_BURST: Final = 64
"""Datagrams that are sent for one request: more might not fit into the socket's buffer of the host."""
_FAR: Final = 1 << 20
_STALLED_S: Final = 5.0
"""Seconds within which a host has to ask for something once it is connected, and to send the rest of a request."""
_KEEP_ALIVE: Final = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A host may ask for nothing for as long as its network is paused; one that is gone is noticed after a minute."""


class DeviceServer:
    """Lets one host at a time run the twin in steps.

    Args:
        wire: How spikes are written, as seen from here.
        weight_bits: Of the twin.
        host: Address to listen on.
        control_port: Of the control connection; 0 for any.
        port: Of the spikes; 0 for any.
        grace_s: Seconds without a datagram after which input that is missing is lost.
    """

    def __init__(
        self, wire: Wire, weight_bits: int, host: str, control_port: int, port: int, grace_s: float = GRACE_S
    ) -> None:
        self._grace_s = grace_s
        self._wire, self._bits, self._host, self._port = wire, weight_bits, host, port
        self._listener = socket.create_server((host, control_port))
        self.control_port = int(self._listener.getsockname()[1])
        self._link = SpikeLink(wire, (host, port))
        self.port = self._link.port
        self._twin = Twin(weight_bits, wire.tick_us)
        self._next = 0
        self._late = 0

    def serve(self) -> None:
        """Serve hosts one after the other; does not return."""
        while True:
            connection, address = self._listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _KEEP_ALIVE:
                    connection.setsockopt(socket.IPPROTO_TCP, option, value)
                try:
                    self._serve_one(connection, str(address[0]))
                except (OSError, ValueError):
                    continue  # it went away, or sent what is no request

    def _serve_one(self, connection: socket.socket, host: str) -> None:
        patience_s: float | None = _STALLED_S
        while True:
            connection.settimeout(patience_s)
            connection.recv(1, socket.MSG_PEEK)
            connection.settimeout(_STALLED_S)
            request = receive(connection)
            if request.get("do") == "close":
                return
            try:
                reply = self._answer(request, host)
            except BrainnetError as error:
                reply = {"error": str(error)}
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                # fields of a request may be of any type
                reply = {"error": f"the request {str(request.get('do'))[:40]!r} is not understood: {error}"}
            send(connection, reply)
            if request.get("do") == "open" and "error" not in reply:
                patience_s = None

    def _answer(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        twin = self._twin
        match request.get("do"):
            case "open":
                return self._open(host, int(request["port"]), request["format"])
            case "load":
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "network.nir"
                    path.write_bytes(request["network"])
                    twin.load(path, LoadOptions(**request["options"]))
                self._link.set_size(twin.info.input_size)
            case "start":
                twin.start(Start())
                self._begin()
            case "run":
                return self._run(int(request["until"]), int(request["packets"]))
            case "state":
                return {"state": pack_arrays(twin.state())}
            case "restore":
                twin.restore(unpack_arrays(request["state"]), Start())
                self._begin()
            case "reset":
                twin.reset()
            case "counters":
                return {"counters": self._link.counters.as_dict(), "late": self._late}
            case other:
                raise DeviceError(f"there is no request {str(other)[:40]!r}")
        return {}

    def _open(self, host: str, port: int, format: str) -> dict[str, Any]:
        if format != self._wire.format:
            raise DeviceError(f"this device speaks {self._wire.format}, not {format!r}")
        self._link.close()  # with whatever the host before has left in it
        self._link = SpikeLink(self._wire, (self._host, self.port), (host, port))
        self._twin.close()
        self._twin = Twin(self._bits, self._wire.tick_us)
        info = self._twin.open()
        return {"port": self.port, "name": info.name, "weight_bits": info.weight_bits, "tick_us": info.tick_us}

    def _begin(self) -> None:
        self._next = 0
        self._link.note_tick(0)

    def _run(self, until: int, packets: int) -> dict[str, Any]:
        """Take the input in, compute, and send what fired; stops early where that is a lot."""
        if until - self._next > _FAR:
            raise DeviceError(f"at most {_FAR} steps can be run at once")
        self._take_input(until, packets)
        first, sent = self._next, 0
        while self._next < until and sent < _BURST:
            fired = self._twin.read(self._next + 1)
            sent += self._link.send(fired.addresses, fired.steps)
            self._next += 1
        counted = self._link.counters
        assert self._next > first or until <= first
        return {
            "until": self._next,
            "packets_sent": counted.packets_sent,
            "keys_sent": counted.keys_sent,
            "packets_received": counted.packets_received,
        }

    def _take_input(self, until: int, packets: int) -> None:
        self._link.note_tick(self._next)
        link, steps, addresses = self._link, [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        while True:
            before = link.counters.packets_received
            for arrival in link.received(self._grace_s if before < packets else 0.0):
                ticks = np.full(arrival.addresses.size, self._next) if arrival.ticks is None else arrival.ticks
                inside = (ticks >= self._next) & (ticks < until)
                self._late += int((~inside).sum())
                steps.append(ticks[inside])
                addresses.append(arrival.addresses[inside])
            if link.counters.packets_received in (before, packets):
                break
        written = self._twin.written_until
        if until > written:
            self._twin.write(Events.of(written, until, np.concatenate(steps), np.concatenate(addresses)))


def run_freely(link: SpikeLink, twin: Twin, ticks: int | None = None) -> None:
    """Run the twin by the clock of this process: input acts in the tick in which it arrives.

    Args:
        link: Where spikes come from and go to.
        twin: With a network, not yet begun.
        ticks: How many; None for ever.
    """
    twin.start(Start())
    begin, tick_s = time.monotonic(), twin.info.tick_us / 1e6
    tick = 0
    while ticks is None or tick < ticks:
        wait_s = begin + (tick + 1) * tick_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        inputs = [arrival.addresses for arrival in link.received()]
        addresses = np.concatenate([np.zeros(0, np.int32), *inputs])
        twin.write(Events.of(tick, tick + 1, np.full(addresses.size, tick), addresses))
        fired = twin.read(tick + 1)
        link.send(fired.addresses, fired.steps)
        tick += 1


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and below 1e9")
    return value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m brainnet.devices.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--format", choices=("eieio", "aer"), default="eieio", help="of the datagrams")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="of the spikes; any by default")
    parser.add_argument("--control", type=int, default=0, help="port of the control connection; any by default")
    parser.add_argument("--weight-bits", type=int, default=8, help="bits of a weight, 2 to 16")
    parser.add_argument("--tick-us", type=_positive, default=1000.0, help="one step in microseconds")
    parser.add_argument("--key-bits", type=int, choices=(16, 32), default=32, help="width of the keys of eieio")
    parser.add_argument("--input-key", type=int, default=0, help="key of input 0")
    parser.add_argument("--output-key", type=int, default=0, help="key of output 0")
    parser.add_argument("--grace-s", type=_positive, default=GRACE_S, help="after which input that is missing is lost")
    parser.add_argument("--unnumbered", action="store_true", help="aer without sequence numbers")
    parser.add_argument("--network", type=Path, help="a NIR file to run by the clock of this process")
    parser.add_argument("--reset", default=None, help="what a spike does, for a file that does not say")
    parser.add_argument("--to", help="HOST:PORT for the spikes of --network")
    return parser.parse_args()


def main() -> None:
    """Run the command line of this module."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = _options()
    wire = Wire(
        options.format,
        options.key_bits,
        not options.unnumbered,
        options.output_key,
        options.input_key,
        options.tick_us,
    )
    try:
        if options.network is None:
            ports = options.control, options.port
            server = DeviceServer(wire, options.weight_bits, options.host, *ports, options.grace_s)
            print(json.dumps({"port": server.port, "control": server.control_port}), flush=True)
            server.serve()
        if options.to is None:
            raise DeviceError("--network needs --to HOST:PORT, where its spikes go")
        twin = Twin(options.weight_bits, options.tick_us)
        twin.open()
        report = twin.load(options.network, LoadOptions(step_ms=options.tick_us / 1000, reset=options.reset))
        link = SpikeLink(wire, (options.host, options.port), parse_address(options.to))
        link.set_size(twin.info.input_size)
        print(json.dumps({"port": link.port, "layers": [asdict(layer) for layer in report.layers]}), flush=True)
        run_freely(link, twin)
    except (BrainnetError, OSError) as error:
        sys.exit(f"brainnet.devices.server: {error}")
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
