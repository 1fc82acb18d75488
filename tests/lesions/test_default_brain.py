"""The spikes between the regions of the default brain carry what these compute from, and metadata do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainnet.bus.lesions import Lesions
from brainnet.wire.packet import SpikePacket
from tests.lesions.study import PROJECTIONS, DefaultBrain, study

ADDRESS = {"prompt_id", "session_id"}
ATTACHED = {"image", "audio", "arrays"}
"""What comes with a prompt and is no text: it stays what it is until the first encoder."""


async def test_silence_of_any_projection_costs_its_function(tmp_path: Path) -> None:
    figures = await study(tmp_path, [("silence", 1.0)])
    assert len(figures) == len(PROJECTIONS) == 12
    for name, (intact, silent) in figures.items():
        assert intact >= 80.0, name
        assert silent <= intact - 40.0, name


async def test_metadata_but_the_address_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stripped = set()

    def strip(self: Lesions, packet: SpikePacket) -> None:
        if (
            packet.is_spikes and "partial" not in packet.metadata
        ):  # an answer of a region is a message, not a projection
            stripped.update(set(packet.metadata) - ADDRESS - ATTACHED)
            packet.metadata = {name: packet.metadata[name] for name in ADDRESS | ATTACHED if name in packet.metadata}

    async with DefaultBrain(tmp_path) as brain:
        await brain.launch()
        monkeypatch.setattr(Lesions, "__bool__", lambda self: True)
        monkeypatch.setattr(Lesions, "apply", strip)
        for projection in PROJECTIONS:
            assert await projection.measure(brain) >= 80.0, projection
    assert {"route_prob", "left_ms", "priority", "delay_ms"} <= stripped
