"""Definitions for both processes of the benchmarks of the network: keys, the packet, and quality of service."""

from __future__ import annotations

from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from brainnet.wire.keys import key
from brainnet.wire.packet import SpikePacket

NAMESPACE: Final = "bench"
NEURONS: Final = 1024
STEPS: Final = 16
DENSITY: Final = 0.05
PING: Final = key("motor_command", effector="bench")
PONG: Final = key("motor_feedback", effector="bench")
STREAM: Final = key("partial", node_id="bench")
RAW_PING: Final = "raw/ping"
RAW_PONG: Final = "raw/pong"
CODEC_PING: Final = "raw/codec/ping"
CODEC_PONG: Final = "raw/codec/pong"
RAW_STREAM: Final = "raw/stream"
RAW_QUERY: Final = "raw/query"


def spikes() -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return [NEURONS, STEPS] random spikes at DENSITY, the same in both processes."""
    return np.random.default_rng(7).random((NEURONS, STEPS)) < DENSITY


def packet() -> SpikePacket:
    """Return a SpikePacket of the benchmark."""
    return SpikePacket(spikes(), modality="bench", source="bench", seq=1, timestamp_ns=1_700_000_000_000_000_000)


def read_bits(payload: bytes, neurons: int, steps: int) -> tuple[NDArray[np.intp], ...]:
    """Return step and neuron of every spike of a window of bits, as a program does that knows numpy and the packet."""
    bits = np.unpackbits(np.frombuffer(msgpack.unpackb(payload)[9], np.uint8), count=neurons * steps)
    return np.nonzero(bits.reshape(neurons, steps).T)


def best_effort_publisher(session: Any, key: str) -> Any:
    """Declare a raw publisher with the quality of service of PING and PONG."""
    import zenoh

    return session.declare_publisher(
        key,
        congestion_control=zenoh.CongestionControl.DROP,
        reliability=zenoh.Reliability.BEST_EFFORT,
        priority=zenoh.Priority.REAL_TIME,
        express=True,
    )


def reliable_publisher(session: Any, key: str) -> Any:
    """Declare a raw publisher with the quality of service of STREAM."""
    import zenoh

    return session.declare_publisher(
        key,
        congestion_control=zenoh.CongestionControl.BLOCK,
        reliability=zenoh.Reliability.RELIABLE,
        priority=zenoh.Priority.INTERACTIVE_HIGH,
    )
