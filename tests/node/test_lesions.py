"""Lesions: what a node receives from one source is silenced, shuffled or thinned out, and healed again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet import Node, SpikePacket, subscribe
from brainnet.errors import MessageError
from brainnet.simulation.spikes import Spikes
from brainnet.streams.lesioned import lesioned
from brainnet.testing import PATIENCE_S, MemoryBrain
from brainnet.wire.messages import Lesion, LesionQuery, LesionReply

SPIKES = np.random.default_rng(1).random((64, 40)) < 0.3


class Hears(Node):
    """Keeps what arrives."""

    async def setup(self) -> None:
        self.got: asyncio.Queue[SpikePacket] = asyncio.Queue()

    @subscribe("spikes/*/{id}")
    async def on_spikes(self, packet: SpikePacket) -> None:
        self.got.put_nowait(packet)


async def heard(brain: MemoryBrain, node: Node, data: np.ndarray, source: str = "ear") -> SpikePacket:
    """Send data from a source to the node that hears, and return what it gets."""
    assert isinstance(node, Hears)
    brain.bus("region", source).publish(f"spikes/{source}/hears", SpikePacket(data, metadata={"about": "this"}))
    async with asyncio.timeout(PATIENCE_S):
        return await node.got.get()


async def ask(brain: MemoryBrain, **lesion: object) -> list[Lesion]:
    request = LesionQuery(lesion=Lesion.model_validate({"source": "ear", **lesion})) if lesion else LesionQuery()
    reply: LesionReply = await brain.bus().call("node/hears/lesion", request)
    return reply.lesions


async def test_the_spikes_of_one_source_are_silenced_shuffled_dropped_and_healed(tmp_path: Path) -> None:
    async with MemoryBrain(tmp_path) as brain:
        hears = await brain.start(Hears, "hears")
        assert np.array_equal((await heard(brain, hears, SPIKES)).data, SPIKES)
        assert await ask(brain) == []

        (made,) = await ask(brain, kind="silence")
        assert (made.source, made.kind) == ("ear", "silence")
        assert [lesion.kind for lesion in hears.health().lesions] == ["silence"]
        silent = await heard(brain, hears, SPIKES)
        assert not silent.data.any()
        assert silent.data.shape == SPIKES.shape
        assert silent.metadata == {"about": "this"}
        assert np.array_equal((await heard(brain, hears, SPIKES, "eye")).data, SPIKES)  # another source
        graded = SPIKES.astype(np.float32)
        assert np.array_equal((await heard(brain, hears, graded)).data, graded)  # no spikes

        await ask(brain, kind="shuffle")
        first, second = (await heard(brain, hears, SPIKES)).data, (await heard(brain, hears, SPIKES)).data
        assert not np.array_equal(first, second)
        for shuffled in (first, second):
            assert not np.array_equal(shuffled, SPIKES)
            assert sorted(map(tuple, shuffled)) == sorted(map(tuple, SPIKES.astype(np.uint8)))

        await ask(brain, kind="drop", share=0.25)
        dropped = (await heard(brain, hears, SPIKES)).data
        assert (dropped <= SPIKES).all()
        assert 0.6 < dropped.sum() / SPIKES.sum() < 0.9  # 768 spikes: less than one in 10^20 lies outside
        await ask(brain, kind="drop", share=0.0)
        assert np.array_equal((await heard(brain, hears, SPIKES)).data, SPIKES)

        assert await ask(brain, kind="heal") == []
        assert np.array_equal((await heard(brain, hears, SPIKES)).data, SPIKES)
        assert hears.health().lesions == []


@pytest.mark.parametrize("wrong", [{"kind": "burn"}, {"kind": "drop", "share": 1.5}, {"kind": "silence", "source": ""}])
async def test_what_is_no_lesion_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    async with MemoryBrain(tmp_path) as brain:
        hears = await brain.start(Hears, "hears")
        with pytest.raises(MessageError, match="lesion"):
            await brain.bus().call("node/hears/lesion", {"lesion": {"source": "ear", **wrong}})
        assert np.array_equal((await heard(brain, hears, SPIKES)).data, SPIKES)


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**16))
def test_a_window_of_a_stream_is_changed_as_a_packet_is(size: int, steps: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    fires = random.random((steps, size)) < 0.5
    offsets = np.concatenate([[0], np.cumsum(fires.sum(axis=1))]).astype(np.int32)
    window = Spikes(7, offsets, np.nonzero(fires)[1].astype(np.int32))

    def through(kind: str, share: float = 1.0) -> np.ndarray:
        lesion = Lesion.model_validate({"source": "v1", "kind": kind, "share": share})
        left = lesioned(window, size, lesion, random)
        assert left.first_step == 7
        assert left.offsets.size == steps + 1
        assert {left.offsets.dtype, left.neurons.dtype} == {np.dtype(np.int32)}
        dense = np.zeros((steps, size), int)
        for step in range(steps):
            fired = left.neurons[left.offsets[step] : left.offsets[step + 1]]
            assert (np.diff(fired) > 0).all()
            dense[step, fired] = 1
        return dense

    assert not through("silence").any()
    assert not through("drop").any()
    assert np.array_equal(through("drop", 0.0), fires)
    assert (through("drop", 0.5) <= fires).all()
    assert sorted(through("shuffle").T.tolist()) == sorted(fires.T.astype(int).tolist())
