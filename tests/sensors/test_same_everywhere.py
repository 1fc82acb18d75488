"""Encoders that compute exponentials, logarithms and random numbers give the same spikes on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from brainnet.sensors.blocks import Block
from brainnet.sensors.encoders.base import Encoder
from brainnet.sensors.encoders.change import FrameChange
from brainnet.sensors.encoders.cochlea import Cochlea
from brainnet.sensors.encoders.rate import Rate

SOUND = (np.arange(16_000) * 7919 % 12_007 - 6003).astype(np.int16)
FRAME = (np.arange(256) * 37 % 256).astype(np.uint8)
CASES: dict[str, tuple[Callable[[], Encoder], list[Block], str]] = {
    "cochlea": (
        lambda: Cochlea(16_000, 1000),
        [Block(0, SOUND, 0, 16_000)],
        "db43dfe6491aa8ef6d44127d610454099e576d59fcaac16a5c58d3cd56fc576c",
    ),
    "rate": (
        lambda: Rate((256,), 1000, seed=5),
        [Block(0, FRAME, 0)],
        "d5b13c647eb21acb5ab452cd05339f0c574786cc285a560a1875f814600b3125",
    ),
    "pixels": (
        lambda: FrameChange((256,), 1000, threshold=0.1, logarithmic=True),
        [Block(0, FRAME, 0), Block(1000, FRAME[::-1].copy(), 1)],
        "3f5d5985f6633d894d90dc73d81f398afdc330c113101d8dfc5f066b9a925def",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_spikes_have_this_digest(name: str) -> None:
    make, blocks, digest = CASES[name]
    spikes = make().window(0, 1000, blocks)
    found = hashlib.sha256(spikes.offsets.astype("<i4").tobytes() + spikes.neurons.astype("<i4").tobytes())
    assert found.hexdigest() == digest
