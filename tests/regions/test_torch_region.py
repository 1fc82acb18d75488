"""A torch module as a region, with nothing but its file and its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainnet.errors import ConfigError, ModelError
from brainnet.node import load_program
from brainnet.simulation.digest import combined
from brainnet.testing import MemoryBrain
from tests.support import Brain, write_allocation

NET = """
import snntorch
import torch

class Net(torch.nn.Module):
    def __init__(self, hidden=12):
        super().__init__()
        self.first = torch.nn.Linear(8, hidden)
        self.hidden = snntorch.Leaky(beta=0.8)
        self.last = torch.nn.Linear(hidden, 3)
        self.out = snntorch.Leaky(beta=0.7)

    def forward(self, x, mem1, mem2):
        if mem1 is None:
            mem1, mem2 = self.hidden.init_leaky(), self.out.init_leaky()
        spikes, mem1 = self.hidden(self.first(x), mem1)
        spikes, mem2 = self.out(self.last(spikes), mem2)
        return spikes, mem1, mem2
"""


@pytest.fixture
def net(tmp_path: Path) -> Any:
    """The module, with weights of its own, and its file and checkpoint in the folder of the test."""
    (tmp_path / "my_net.py").write_text(NET)
    space: dict[str, Any] = {}
    exec(NET, space)  # as the user's own script would import it
    torch.manual_seed(3)
    made = space["Net"](hidden=10)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    torch.save(made.state_dict(), tmp_path / "my_net.pt")
    return made


def expected(net: Any, spikes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the module fires when it is called by hand, step by step, from rest."""
    mem1 = mem2 = None
    fired = []
    with torch.no_grad():
        for step in torch.from_numpy(spikes.T.astype(np.float32)):
            out, mem1, mem2 = net(step[None], mem1, mem2)
            fired.append(out[0].numpy())
    return np.array(fired).T


ENTRY: dict[str, Any] = {
    "id": "mine",
    "program": "torch:my_net.py:Net",
    "checkpoint": "my_net.pt",
    "parameters": {"arguments": {"hidden": 10}},
}


def test_it_answers_prompts_and_runs_in_a_network(tmp_path: Path, net: Any, brain: Brain) -> None:
    path = write_allocation(
        tmp_path / "brain.yaml",
        {"id": "prefrontal", "program": "nodes/prefrontal.py"},
        {"id": "memory_integrator", "program": "nodes/memory_integrator.py"},
        {
            "id": "eye",
            "program": "population",
            "parameters": {"model": "poisson", "size": 8, "parameters": {"rate_hz": 200.0}},
        },
        ENTRY,
        projections=[{"from": "eye", "to": "mine", "synapses": {"connect": "one_to_one", "weight": 1, "delay_ms": 3}}],
    )
    simulated = brain.rows("simulate", str(path), "--steps", "600", "--digest")[-1]["digest"]
    spikes = (np.random.default_rng(1).random((8, 20)) < 0.4).astype(np.uint8)
    np.save(tmp_path / "spikes.npy", spikes)
    brain.launch(path, "--paused")
    brain.run("clock", "step", "300")
    for _ in range(2):  # it starts each prompt from rest
        answer = brain.prompt("", "--region", "mine", "--array", str(tmp_path / "spikes.npy"))
        counts = expected(net, spikes).sum(1)
        assert counts.any()
        assert answer["error"] is None
        assert answer["text"] == str(counts.argmax())
    digests = {name: d for row in brain.rows("clock", "step", "300") for name, d in row["digests"].items()}
    assert combined(digests) == simulated
    brain.run("stop")
    brain.wait_gone()


async def test_what_cannot_be_used_is_refused_at_the_start(tmp_path: Path, net: Any) -> None:
    program = f"torch:{tmp_path / 'my_net.py'}:Net"
    async with MemoryBrain(tmp_path) as memory_brain:
        with pytest.raises(ModelError, match="is of another network"):
            await memory_brain.start(load_program(program), "mine", checkpoint=tmp_path / "my_net.pt")
    with pytest.raises(ConfigError, match="has no Nett, did you mean Net"):
        load_program(f"{program}t")
    with pytest.raises(ConfigError, match="does not exist"):
        load_program(f"torch:{tmp_path / 'other.py'}:Net")
