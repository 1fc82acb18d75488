"""Networks in allocations: what they mean, and where a mistake is said to stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from brainnet.connectome import build, kind_of, load, processes_of
from brainnet.errors import AllocationError, ConnectomeError
from brainnet.launcher.describe.allocation import load as load_allocation

NODES: list[dict[str, Any]] = [
    {"id": "echo", "program": "brainnet.testing.faults:Answers"},
    {
        "id": "source",
        "program": "population",
        "parameters": {"model": "poisson", "size": 5, "parameters": {"rate_hz": 50}},
    },
    {"id": "mine", "program": "mine.py:Mine", "parameters": {"size": 3, "gain": 2.0}},
]
PROJECTIONS: list[dict[str, Any]] = [
    {"from": "source", "to": "mine", "synapses": {"connect": "all_to_all", "weight": 1, "delay_ms": 4}}
]
MINE = """
from brainnet.simulation.models.base import Model, ModelParameters
from brainnet.simulation.spikes import Spikes

class Gain(ModelParameters):
    gain: float = 1.0

class Mine(Model):
    \"\"\"Fires where the input reaches one.\"\"\"

    Parameters = Gain

    def advance(self, window):
        reached = window.sum() * self.parameters.gain >= 1 << 16
        return Spikes.of_dense(window.first_step, reached.T.astype(int))
"""


def allocation(folder: Path, **changes: Any) -> Path:
    (folder / "mine.py").write_text(MINE)
    path = folder / "allocation.yaml"
    fields = {"version": 1, "seed": 4, "clock": {"dt_ms": 1.0}, "nodes": NODES, "projections": PROJECTIONS} | changes
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


def test_nodes_are_populations_by_their_program_or_by_a_projection(tmp_path: Path) -> None:
    path = allocation(tmp_path)
    connectome = load(path)
    assert processes_of(connectome) == {"source": ["source"], "mine": ["mine"]}
    assert connectome.seed == 4
    assert kind_of(connectome, "mine").parameters.model_dump()["gain"] == 2.0
    network = build(connectome)
    fired = network.advance(100)
    assert fired["mine"].count > 0
    read = load_allocation(path)
    assert {node.id: (node.program, node.parameters) for node in read.nodes} == {
        "echo": ("brainnet.testing.faults:Answers", {}),
        "source": ("population", {}),
        "mine": ("population", {}),
    }
    assert read.network is not None
    assert read.network.processes == {"source": ("source",), "mine": ("mine",)}


def test_the_same_network_in_a_connectome_file_fires_the_same(tmp_path: Path) -> None:
    embedded = load(allocation(tmp_path))
    path = tmp_path / "connectome.yaml"
    populations = [
        {"id": "source", "model": "poisson", "size": 5, "parameters": {"rate_hz": 50}},
        {"id": "mine", "model": "mine.py:Mine", "size": 3, "parameters": {"gain": 2.0}},
    ]
    path.write_text(yaml.safe_dump({"version": 1, "seed": 4, "populations": populations, "projections": PROJECTIONS}))
    digests = []
    for connectome in (embedded, load(path)):
        network = build(connectome)
        network.run(200, 4)
        digests.append(network.digest())
    assert digests[0] == digests[1]


def node(index: int, **changes: Any) -> dict[str, Any]:
    nodes = [dict(entry) for entry in NODES]
    nodes[index] |= changes
    return {"nodes": nodes}


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        (node(1, parameters={"size": 5}), "nodes[1].parameters.model", "is missing"),
        (node(1, parameters={"model": "poisson", "sise": 5}), "nodes[1].parameters.sise", "did you mean size"),
        (node(1, parameters={"model": "poisson", "size": 0}), "nodes[1].parameters.size", "greater than"),
        ({"clock": {"dt": 1}}, "clock.dt", "unknown field"),
        ({"projections": [PROJECTIONS[0] | {"to": "mime"}]}, "projections[0].to", "no population 'mime'"),
        ({"projections": [PROJECTIONS[0] | {"delay": 3}]}, "projections[0].delay", "unknown field"),
    ],
)
def test_a_mistake_is_named_where_the_allocation_makes_it(
    tmp_path: Path, changes: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(ConnectomeError) as caught:
        load_allocation(allocation(tmp_path, **changes))
    assert caught.value.field == field
    assert text in str(caught.value)


def test_what_only_a_model_can_say_is_named_there_too(tmp_path: Path) -> None:
    connectome = load(allocation(tmp_path, **node(2, parameters={"size": 3, "gian": 2.0})))
    with pytest.raises(ConnectomeError, match="has no parameter 'gian'") as caught:
        kind_of(connectome, "mine")
    assert caught.value.field == "nodes[2].parameters.gian"
    connectome = load(allocation(tmp_path, **node(2, program="mine.py:Nobody")))
    with pytest.raises(ConnectomeError, match="Nobody") as caught:
        kind_of(connectome, "mine")
    assert caught.value.field == "nodes[2].program"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"connectome": "there.yaml"}, "the whole network"),
        (
            {"connectome": "nowhere.yaml", "projections": None, "clock": None, "seed": None, "nodes": NODES[:1]},
            "does not exist",
        ),
        (
            {
                "connectome": "there.yaml",
                "projections": None,
                "clock": None,
                "seed": None,
                "nodes": [{"id": "a", "program": "brainnet.testing.faults:Answers"}],
            },
            "also a node",
        ),
    ],
)
def test_a_connectome_file_beside_nodes(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    there = {"version": 1, "populations": [{"id": "a", "model": "poisson", "size": 1, "parameters": {"rate_hz": 1}}]}
    (tmp_path / "there.yaml").write_text(yaml.safe_dump(there))
    with pytest.raises(AllocationError, match=text):
        load_allocation(allocation(tmp_path, **changes))


def test_processes_of_a_network_on_hosts(tmp_path: Path) -> None:
    hosts = {name: {"listen": [f"tcp/127.0.0.1:{port}"]} for name, port in (("left", 7001), ("right", 7002))}
    populations = [{"id": name, "model": "poisson", "size": 1, "parameters": {"rate_hz": 1}} for name in "abc"]
    populations[1] |= {"host": "right"}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({"version": 1, "populations": populations}))
    path = tmp_path / "allocation.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "hosts": hosts, "connectome": "net.yaml"}))
    assert [(n.id, n.host) for n in load_allocation(path).nodes] == [("a", "left"), ("b", "right"), ("c", "left")]
    populations[1] |= {"host": "nowhere"}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({"version": 1, "populations": populations}))
    with pytest.raises(AllocationError, match="'nowhere'; hosts are left, right"):
        load_allocation(path)
    populations[1] |= {"host": "right", "process": "both"}
    populations[2] |= {"host": "left", "process": "both"}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({"version": 1, "populations": populations}))
    with pytest.raises(ConnectomeError, match="run on one host") as caught:
        load_allocation(path)
    assert caught.value.field == "populations[2].host"
