"""A window of a stream on the wire: a SpikePacket, read and written without an array of all neurons and steps.

A packet of a stream has two fields more than other SpikePackets, so its version is 1001. Whoever knows only 1000 reads
it as any other packet.

    11 first_step  number of its first step, counted from 0 at the start of the network
    12 run         name of this run of the network; packets of another run are not for its readers

A neuron that fires several times in one step, as a Poisson source may, is written as `u8` counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError
from brainnet.streams.window_kernels import bits_of, fired_of_addresses, fired_of_bits, fired_of_counts
from brainnet.wire import bounded
from brainnet.wire.packet import MAX_ELEMENTS, MAX_NAME, STEP_VERSION, VERSION, decode_addresses, encode_addresses

MODALITY: Final = "spikes"
_FIELDS: Final = 13


@dataclass(slots=True, eq=False)
class SpikeWindow:
    """The spikes of a population in one window, by step.

    Attributes:
        source: The population.
        run: The run of the network.
        first_step: Number of the window's first step.
        neurons: Size of the population.
        dt_us: Duration of one step in microseconds.
        offsets: int32 [steps + 1]; in step s of the window fired `fired[offsets[s] : offsets[s + 1]]`.
        fired: int32; neurons, rising within a step; one that fired n times in a step stands there n times.
        seq: Its number on its key.
    """

    source: str
    run: str
    first_step: int
    neurons: int
    dt_us: int
    offsets: NDArray[np.int32]
    fired: NDArray[np.int32]
    seq: int = 0

    @property
    def steps(self) -> int:
        """Steps of the window."""
        return self.offsets.size - 1


def encode_window(window: SpikeWindow) -> bytes:
    """Write a window in wire form.

    Raises:
        PacketError: It is larger than a packet may be.
    """
    steps, size = window.steps, window.neurons * window.steps
    if size > MAX_ELEMENTS:
        raise PacketError(f"a window of {window.neurons} neurons and {steps} steps exceeds {MAX_ELEMENTS} elements")
    encoding, body = _encoded(window, size)
    wire: bytes = msgpack.packb(
        (
            STEP_VERSION,
            time.time_ns(),
            window.source,
            window.seq,
            MODALITY,
            window.neurons,
            steps,
            window.dt_us,
            encoding,
            body,
            {},
            window.first_step,
            window.run,
        )
    )
    return wire


def decode_window(payload: bytes) -> SpikeWindow:
    """Read a window in wire form.

    Raises:
        PacketError: The bytes are not a packet of a stream.
    """
    try:
        fields = bounded.unpack(payload)
    except ValueError as error:
        raise PacketError(f"{len(payload)} bytes are not msgpack: {error}") from None
    if not isinstance(fields, list) or len(fields) < _FIELDS:
        raise PacketError(f"a packet of a stream is an array of {_FIELDS} fields")
    version, _, source, seq, _, neurons, steps, dt_us, encoding, body, _, first_step, run = fields[:_FIELDS]
    # Expressions without a loop, because they run for every window; not isinstance: bool is a subclass of int.
    if not (
        type(version) is int
        and type(seq) is int
        and type(neurons) is int
        and type(steps) is int
        and type(dt_us) is int
        and type(first_step) is int
        and min(seq, neurons, steps, dt_us, first_step) >= 0
        and version // 1000 == VERSION // 1000
    ):
        raise PacketError("a packet of a stream has a field that is no whole number, or another version")
    if not (type(source) is str and type(run) is str and type(encoding) is str and type(body) is bytes):
        raise PacketError("a packet of a stream has a field of a wrong type")
    if len(source) > MAX_NAME or len(run) > MAX_NAME or not dt_us or not steps or neurons * steps > MAX_ELEMENTS:
        raise PacketError(f"a packet of a stream has no step, or its shape [{neurons}, {steps}] is too large")
    offsets = np.zeros(steps + 1, np.int32)
    if encoding == "bits":
        if len(body) != (neurons * steps + 7) >> 3:
            raise PacketError(f"{neurons * steps} bits are {(neurons * steps + 7) >> 3} bytes, got {len(body)}")
        fired = fired_of_bits(np.frombuffer(body, np.uint8), neurons, steps, offsets)
    elif encoding == "u8":
        if len(body) != neurons * steps:
            raise PacketError(f"{neurons * steps} values as u8 are {neurons * steps} bytes, got {len(body)}")
        fired = fired_of_counts(np.frombuffer(body, np.uint8), neurons, steps, offsets)
    else:
        fired = fired_of_addresses(decode_addresses(encoding, body, neurons * steps), steps, offsets)
    return SpikeWindow(source, run, first_step, neurons, dt_us, offsets, fired, seq)


def _encoded(window: SpikeWindow, size: int) -> tuple[str, bytes]:
    """Return the encoding of a window's spikes, and its bytes."""
    steps = window.steps
    if window.fired.size >= (size + 7) >> 3:  # no list of addresses is smaller than bits then
        bits = bits_of(window.offsets, window.fired, window.neurons)
        if bits is not None:
            return "bits", bits.tobytes()
    addresses = window.fired.astype(np.intp)
    if steps > 1:
        addresses *= steps
        addresses += np.repeat(np.arange(steps), np.diff(window.offsets))
        addresses.sort()
    if addresses.size > 1 and not (addresses[1:] > addresses[:-1]).all():
        counts = np.bincount(addresses, minlength=size)
        return "u8", np.minimum(counts, 255).astype(np.uint8).tobytes()
    return encode_addresses(addresses, size, lambda: _dense(addresses, size))


def _dense(addresses: NDArray[np.intp], size: int) -> NDArray[np.bool_]:
    flat = np.zeros(size, np.bool_)
    flat[addresses] = True
    return flat
