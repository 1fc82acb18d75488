"""A network trained in snnTorch, exported to NIR, as a region of a brain that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
import zenoh
from torch import Tensor, nn

from brainnet import SpikePacket
from brainnet.errors import ModelError
from brainnet.node import load_program
from brainnet.simulation.digest import combined
from brainnet.snn.nir.snntorch import export_snntorch
from brainnet.testing import MemoryBrain, wait_until
from tests.support import Brain, has_subscriber, write_allocation

nir = pytest.importorskip("nir", reason="needs brainnet[nir]")

INPUTS, CLASSES, STEPS = 8, 3, 20


def patterns(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Spikes [T, count, INPUTS] that fire more in one of three groups of neurons, and which of them [count]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    rates = torch.where(torch.arange(INPUTS) % CLASSES == labels[:, None], 0.5, 0.15)
    return (torch.rand(STEPS, count, INPUTS, generator=generator) < rates).float(), labels


def answered(net: nn.Sequential, spikes: Tensor) -> Tensor:
    """What snnTorch answers, from rest, step by step: [T, B, CLASSES]."""
    for part in net:
        if isinstance(part, snntorch.SpikingNeuron):
            part.reset_mem()
    return torch.stack([net(step) for step in spikes])


@pytest.fixture(scope="module")
def trained() -> nn.Sequential:
    """A recurrent network that learned the patterns, its decays and thresholds too."""
    torch.manual_seed(1)
    kept: dict[str, Any] = {"init_hidden": True, "learn_beta": True, "learn_threshold": True}
    hidden = snntorch.Leaky(beta=torch.full((12,), 0.8), **kept)
    last = snntorch.RLeaky(beta=0.7, linear_features=CLASSES, **kept)
    net = nn.Sequential(nn.Linear(INPUTS, 12), hidden, nn.Linear(12, CLASSES), last)
    before = [parameter.clone() for parameter in net.parameters()]
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for step in range(30):
        spikes, labels = patterns(64, seed=step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(answered(net, spikes).sum(0), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))
    spikes, labels = patterns(300, seed=1000)
    with torch.no_grad():
        assert (answered(net, spikes).sum(0).argmax(-1) == labels).float().mean() > 0.8
    return net


def ask(session: zenoh.Session, region: str, packets: list[bytes]) -> list[SpikePacket]:
    """Send each packet in a query, as any Zenoh program may, and wait for what the region makes of it."""
    results: list[zenoh.Sample] = []
    subscriber = session.declare_subscriber(f"evospikenet/brain/result/{region}", results.append)
    publisher = session.declare_publisher(
        f"evospikenet/brain/query/{region}", congestion_control=zenoh.CongestionControl.BLOCK
    )

    wait_until(f"{region} to listen", lambda: has_subscriber(publisher))
    for seq, packet in enumerate(packets, 1):
        metadata = {"prompt_id": f"prompt-{seq}", "arrays": {"spikes": packet}}
        query = SpikePacket(np.zeros((0, 0), np.uint8), source="test", seq=seq, metadata=metadata)
        publisher.put(query.encode())
    wait_until("an answer to each", lambda: len(results) == len(packets))
    subscriber.undeclare()  # type: ignore[no-untyped-call]
    partials = [SpikePacket.decode(sample.payload.to_bytes()) for sample in results]
    return sorted(partials, key=lambda partial: str(partial.metadata["prompt_id"]))


def test_a_trained_network_runs_in_a_launched_brain_spike_for_spike(
    tmp_path: Path, trained: nn.Sequential, brain: Brain
) -> None:
    export_snntorch(trained, tmp_path / "reflex.nir")
    brain.launch(write_allocation(tmp_path / "brain.yaml", {"id": "reflex", "program": "nir:reflex.nir"}))
    spikes, labels = patterns(6, seed=2000)
    packets = [SpikePacket(pattern.T.numpy().astype(np.uint8)).encode() for pattern in spikes.unbind(1)]
    with brain.session() as session:
        answers = ask(session, "reflex", packets)
    brain.run("stop")
    with torch.no_grad():
        expected = answered(trained, spikes).permute(1, 2, 0).numpy()
    assert expected.any(-1).any(0).all()  # every neuron is seen to fire
    np.testing.assert_array_equal(np.stack([answer.data for answer in answers]), expected)
    partials = [answer.metadata["partial"] for answer in answers]
    assert all(partial["error"] is None and partial["content"]["verified"] for partial in partials)
    chosen = [int(max(partial["candidates"], key=lambda c: c["probability"])["text"]) for partial in partials]
    assert chosen == expected.sum(-1).argmax(-1).tolist()
    assert sum(np.array(chosen) == labels.numpy()) >= 4


def test_it_runs_continuously_in_a_network_and_answers_prompts_beside_that(
    tmp_path: Path, trained: nn.Sequential, brain: Brain
) -> None:
    export_snntorch(trained, tmp_path / "reflex.nir")
    path = write_allocation(
        tmp_path / "brain.yaml",
        {
            "id": "eye",
            "program": "population",
            "parameters": {"model": "poisson", "size": INPUTS, "parameters": {"rate_hz": 200.0}},
        },
        {"id": "reflex", "program": "nir:reflex.nir", "parameters": {"ignore_dt": True}},
        clock={"dt_ms": 1.0},
        projections=[
            {"from": "eye", "to": "reflex", "synapses": {"connect": "one_to_one", "weight": 1, "delay_ms": 3}}
        ],
    )
    (simulated,) = (row["digest"] for row in brain.rows("simulate", str(path), "--steps", "3000", "--digest")[-1:])
    brain.launch(path, "--paused", "--steps", "100000000")
    spikes, _ = patterns(1, seed=2000)
    packet = SpikePacket(spikes[:, 0].T.numpy().astype(np.uint8)).encode()
    brain.run("clock", "step", "1000")
    with brain.session() as session:
        (answer,) = ask(session, "reflex", [packet])
    np.testing.assert_array_equal(answer.data, answered(trained, spikes)[:, 0].detach().T.numpy())
    # what it was asked in between leaves no trace in the network that runs
    digests = {name: d for row in brain.rows("clock", "step", "2000") for name, d in row["digests"].items()}
    assert combined(digests) == simulated
    brain.run("stop")
    brain.wait_gone()


async def test_a_file_that_replays_otherwise_is_refused_at_the_start(tmp_path: Path, trained: nn.Sequential) -> None:
    export_snntorch(trained, tmp_path / "reflex.nir")
    graph = nir.read(tmp_path / "reflex.nir")
    graph.nodes["0_dense"].weight[:] *= 0.5
    nir.write(tmp_path / "reflex.nir", graph)
    async with MemoryBrain(tmp_path) as memory_brain:
        with pytest.raises(ModelError, match=r"reflex\.nir: replay differs from the golden trace first at step \d"):
            await memory_brain.start(load_program(f"nir:{tmp_path / 'reflex.nir'}"), "reflex")
