"""Fuzzes the readers of bytes from outside, led by the code that each reaches; needs `pip install brainnet[fuzz]`.

Usage: python -m tests.fuzz.coverage_guided [-max_total_time=60] [other options of libFuzzer] [folder of inputs]
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["brainnet.wire", "brainnet.bus.stamp", "brainnet.observe", "brainnet.texts"]):
    from tests.fuzz.readers import READERS, read


def try_all(payload: bytes) -> None:
    """Give the bytes to every reader; whatever leaves it but a short error ends the run."""
    for reader in READERS.values():
        read(reader, payload)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_all)
    atheris.Fuzz()
