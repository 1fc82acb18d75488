"""Writes eieio.json: datagrams as SpiNNMan makes them, which is an encoder that shares nothing with ours.

    pip install spinnman && python -m tests.devices.golden.spinnman_bytes

Made with SpiNNMan 1!7.4.1 of PyPI.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def cases() -> dict[str, Any]:
    """What is written to the file."""
    draw = random.Random(5)
    return {"written": list(_written(draw)), "read": [*_data(draw), *_commands()]}


def _written(draw: random.Random) -> Iterator[dict[str, Any]]:
    from spinnman.messages.eieio import EIEIOType
    from spinnman.messages.eieio.data_messages import EIEIODataMessage

    for bits, kind in ((16, EIEIOType.KEY_16_BIT), (32, EIEIOType.KEY_32_BIT)):
        for tick, count in itertools.product((None, 0, 65535), (0, 1, 62, 63, 64, 126, 127, 128)):
            keys = [draw.randrange(1 << bits) for _ in range(count)]
            datagrams, left = [], list(keys)
            while left:
                message = EIEIODataMessage.create(kind, timestamp=tick)
                while left and message.n_elements < message.max_n_elements:
                    message.add_key(left.pop(0))
                datagrams.append(message.bytestring.hex())
            name = f"{bits} bits, {count} keys" + ("" if tick is None else f", tick {tick}")
            yield {"name": name, "bits": bits, "tick": tick, "keys": keys, "datagrams": datagrams}


def _data(draw: random.Random) -> Iterator[dict[str, Any]]:
    from spinnman.messages.eieio import EIEIOPrefix, EIEIOType
    from spinnman.messages.eieio.data_messages import EIEIODataMessage

    bases = ((None, False), (0x5000, False), (0x5000, True))
    for kind, prefix, place, (base, timed) in itertools.product(EIEIOType, (None, 0x1200), EIEIOPrefix, bases):
        paired = kind.payload_bytes > 0
        time, other = (base, None) if timed else (None, base)
        message = EIEIODataMessage.create(
            kind, key_prefix=prefix, prefix_type=place, payload_prefix=other, timestamp=time
        )
        keys, payloads = [], []
        for _ in range(4):
            key, payload = draw.randrange(1 << 8), draw.randrange(1 << 8)
            if paired:
                message.add_key_and_payload(key, payload)
            else:
                message.add_key(key)
            keys.append(key | (prefix or 0) << (16 if place is EIEIOPrefix.UPPER_HALF_WORD else 0))
            payloads.append((payload if paired else 0) | (base or 0))
        yield {
            "name": f"{kind.name}, prefix {prefix} {place.name}, base {base} {timed}",
            "datagram": message.bytestring.hex(),
            "keys": keys,
            "payloads": payloads if paired or base is not None else None,
            "timed": timed,
            "command": None,
        }


def _commands() -> Iterator[dict[str, Any]]:
    from spinnman.messages.eieio.command_messages import EIEIOCommandHeader

    for number in (1, 7, 16383):
        datagram = EIEIOCommandHeader(number).bytestring.hex()
        nothing: dict[str, Any] = {"keys": [], "payloads": None, "timed": False}
        yield {"name": f"command {number}", "datagram": datagram, "command": number} | nothing


if __name__ == "__main__":
    target = Path(__file__).parent / "eieio.json"
    target.write_text(json.dumps(cases(), indent=None, separators=(",", ":")) + "\n")
