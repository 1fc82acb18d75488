"""Devices as populations: the digests of other models, in one process and in several, cut, saved and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from brainnet.connectome import build as build_network
from brainnet.connectome import load
from brainnet.connectome.summary import summary
from brainnet.errors import ConnectomeError, ModelError
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import EXCITATORY
from brainnet.simulation.models.device import DeviceModel
from brainnet.simulation.spikes import Spikes
from brainnet.testing import PATIENCE_S, free_port, wait_until
from tests.devices import networks
from tests.devices.peers import served
from tests.simulation.models import build, run, same, same_state, setting
from tests.support import Brain, write_allocation

pytest.importorskip("nir", reason="needs brainnet[nir]")
STEPS = 400
SOURCE = {"id": "source", "model": "poisson", "size": 12, "parameters": {"rate_hz": 200.0}}


def connectome(folder: Path, target: dict[str, Any], *, weight: float = 1.0, **clock: Any) -> Path:
    """A source and a population that its spikes go to."""
    synapses = {"connect": "one_to_one", "weight": weight, "delay_ms": 3}
    projections = [{"from": "source", "to": "chip", "synapses": synapses}]
    path = folder / f"{target['model'].partition(':')[0]}.yaml"
    value = {"version": 1, "seed": 3, "populations": [SOURCE, {"id": "chip", **target}], "projections": projections}
    path.write_text(yaml.safe_dump(value | ({"clock": clock} if clock else {})))
    return path


def digest(path: Path) -> str:
    network = build_network(load(path))
    network.run(STEPS, 3)
    return network.digest()


def device(**parameters: Any) -> dict[str, Any]:
    return {"model": "device", "parameters": {"network": "net.nir", **parameters}}


@pytest.mark.parametrize("leak", [0, 256])
def test_the_digest_is_that_of_the_nir_file(leak: int, tmp_path: Path) -> None:
    networks.whole(tmp_path / "net.nir", leak=leak)
    assert digest(connectome(tmp_path, device())) == digest(connectome(tmp_path, {"model": "nir:net.nir"}))


def test_the_digest_is_that_of_the_integer_model(tmp_path: Path) -> None:
    networks.write(tmp_path / "net.nir", 12, [networks.dense(700 * np.eye(12)), networks.lif(12, threshold=1023)])
    other = {"model": "integer_lif", "size": 12, "parameters": {"leak": 230, "threshold": 1024}}
    assert digest(connectome(tmp_path, device())) == digest(connectome(tmp_path, other, weight=700.0))


def run_cut(model: Any, counts: Any, cuts: list[int], first: int = 0) -> Spikes:
    return run(model, {EXCITATORY: counts * UNIT}, len(counts), cuts, first)


@pytest.mark.parametrize("resume", [0, 1, 30])
def test_cuts_and_saved_states_change_nothing(resume: int, tmp_path: Path) -> None:
    networks.deep(tmp_path / "net.nir")
    counts = networks.spikes(12, 60)

    def make() -> Any:
        return build("device", setting(5, folder=tmp_path), network="net.nir", weight_bits=8)

    whole, cut, before, after = make(), make(), make(), make()
    spikes = run_cut(whole, counts, [])
    assert spikes.count
    assert same(spikes, run_cut(cut, counts, [1, 13, 40]))
    first = run_cut(before, counts[:resume], []) if resume else Spikes.none(0, 0)
    after.load(before.save())
    assert same(spikes, Spikes.joined([first, run_cut(after, counts, [50], resume)]))
    assert same_state(whole, after)


def test_weights_that_are_no_spikes(tmp_path: Path) -> None:
    networks.whole(tmp_path / "net.nir")
    with pytest.raises(ModelError, match="give the projections to it a whole weight"):
        digest(connectome(tmp_path, device(), weight=0.4))
    with pytest.raises(ModelError, match="spikes arrive at an input in one step; at most 65535"):
        run_cut(build("device", setting(7, folder=tmp_path), network="net.nir"), np.full((3, 12), 70_000), [])
    with pytest.raises(ConnectomeError, match="must be at least 0"):
        digest(connectome(tmp_path, device(), weight=-1.0))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"network": "none.nir"}, r"parameters\.network.*does not exist"),
        ({"driver": "loihi"}, r"parameters\.driver"),
        ({"driver": "eieio"}, "needs either address: HOST:PORT"),
        ({"driver": "aer", "address": "10.0.0.7:5"}, "needs listen: HOST:PORT"),
        ({"driver": "aer", "address": "here", "listen": "0.0.0.0:5"}, "'here' is no address"),
        ({"driver": "aer", "address": "10.0.0.7:5", "listen": "0.0.0.0:5"}, "cannot run in lock-step"),
        ({"address": "10.0.0.7:5"}, "driver twin computes in this process and has no address"),
        ({"weight_bits": 1}, r"parameters\.weight_bits"),
        ({"wieght_bits": 8}, "did you mean"),
        ({"reset": "subtract"}, "reset"),
    ],
)
def test_parameters_are_checked_without_the_device(parameters: dict[str, Any], says: str, tmp_path: Path) -> None:
    networks.whole(tmp_path / "net.nir")
    with pytest.raises(ConnectomeError, match=says):
        summary(load(connectome(tmp_path, device(**parameters))))


def test_a_device_that_is_away_is_checked_all_the_same(tmp_path: Path) -> None:
    networks.whole(tmp_path / "net.nir")
    path = connectome(tmp_path, device(driver="eieio", control=f"127.0.0.1:{free_port()}"))
    assert [each.neurons for each in summary(load(path)).populations] == [12, 7]
    network = build_network(load(path))
    with pytest.raises(ModelError, match="does not answer"):
        network.run(3, 3)


def test_a_device_in_steps_has_the_digest_of_the_twin(tmp_path: Path) -> None:
    networks.deep(tmp_path / "net.nir")
    expected = digest(connectome(tmp_path, device(weight_bits=8)))
    for driver in ("eieio", "aer"):
        with served("--format", driver, "--weight-bits", "8") as peer:
            host, port = peer.control
            over_udp = device(driver=driver, control=f"{host}:{port}", timeout_s=PATIENCE_S)
            path = connectome(tmp_path, over_udp)
            network = build_network(load(path))
            network.run(STEPS, 3)
            assert network.digest() == expected
            network.populations["chip"].model.close()


# -- in a brain --------------------------------------------------------------------------------------------------------


def allocation(folder: Path, parameters: dict[str, Any], **clock: Any) -> Path:
    source = {"id": "source", "program": "population", "parameters": {k: v for k, v in SOURCE.items() if k != "id"}}
    # as often as it takes until a device is back
    restart = {"max_restarts": 1000, "backoff_s": 0.1, "max_backoff_s": 0.5}
    own = {"network": "net.nir", **parameters}
    chip = {"id": "chip", "program": "device", "parameters": own, "restart": restart}
    synapses = {"connect": "one_to_one", "weight": 1, "delay_ms": 3}
    # torch, which takes seconds, once for all nodes and all of their restarts
    more = {"seed": 3, "preload": ["torch"], "projections": [{"from": "source", "to": "chip", "synapses": synapses}]}
    return write_allocation(folder / "brain.yaml", source, chip, **more, **({"clock": clock} if clock else {}))


def log_of(brain: Brain, id: str) -> list[dict[str, Any]]:
    return brain.rows("logs", id, "--lines", "500", check=False)


def test_a_brain_with_a_device_fires_as_one_process_also_when_it_is_killed(brain: Brain, tmp_path: Path) -> None:
    networks.deep(tmp_path / "net.nir")
    expected = digest(connectome(tmp_path, device(weight_bits=6)))
    path = allocation(tmp_path, {"weight_bits": 6}, save_every_s=0.05)
    launcher = brain.start("launch", str(path), "--steps", str(STEPS), "--digest", "--json", "--paused")
    brain.wait_state("chip", "ready")
    brain.wait_state("source", "ready")
    wait_until("both to stand at the beginning", lambda: phases(brain) == ["paused", "paused"], 3 * PATIENCE_S)
    brain.run("clock", "step", "100")
    before = brain.pid("chip")
    os.kill(before, signal.SIGKILL)
    brain.wait_state("chip", "ready", but_pid=before)
    assert any("6-bit weights: layer" in json.dumps(row) for row in log_of(brain, "chip"))
    brain.run("clock", "resume")
    stdout, stderr = launcher.communicate(timeout=3 * PATIENCE_S)
    assert launcher.returncode == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["digest"] == expected


def phases(brain: Brain) -> list[str]:
    return [row["phase"] for row in brain.rows("clock", "status", check=False)]


def is_silent(brain: Brain) -> bool:
    return "has sent nothing" in (brain.nodes()["chip"].reason or "")


def fires(brain: Brain) -> bool:
    return any(row["density"] for row in brain.rows("topic", "echo", "--count", "5", "stream/chip"))


def test_a_device_with_a_clock_of_its_own_in_real_time(brain: Brain, tmp_path: Path) -> None:
    networks.deep(tmp_path / "net.nir")
    port = free_port()
    with served(
        *("--format", "aer", "--network", str(tmp_path / "net.nir"), "--to", f"127.0.0.1:{port}", "--weight-bits", "8")
    ) as peer:
        parameters = {
            "driver": "aer",
            "address": f"127.0.0.1:{peer.port}",
            "listen": f"127.0.0.1:{port}",
            "weight_bits": 8,
            "latency_ms": 2000.0,
            "silent_s": 2.0,
        }
        brain.launch(allocation(tmp_path, parameters, mode="realtime"))
        wait_until("the chip to fire", lambda: fires(brain), 3 * PATIENCE_S)
        (info,) = brain.rows("node", "info", "chip")
        assert info["counters"]["chip.keys_received"] > 0
        assert info["counters"]["chip.lost_packets"] >= 0  # by sequence numbers
        assert "chip.lost_keys" not in info["counters"]  # nobody can know that
        # a chip that falls silent is visible, and the rest goes on
        peer.process.send_signal(signal.SIGSTOP)
        try:
            wait_until("the silence to show", lambda: is_silent(brain))
            assert brain.wait_state("source", "ready")
        finally:
            peer.process.send_signal(signal.SIGCONT)
        # It may go on being late, on a machine that cannot keep up; that it is not silent any more shows.
        wait_until("the silence to end", lambda: not is_silent(brain))


def test_a_device_that_is_not_there_is_one_error_of_the_launch(brain: Brain, tmp_path: Path) -> None:
    networks.deep(tmp_path / "net.nir")
    parameters = {"driver": "eieio", "control": f"127.0.0.1:{free_port()}"}
    done = brain.run("launch", "--detach", str(allocation(tmp_path, parameters)), check=False)
    assert done.returncode == 1
    assert "node chip" in done.stderr
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_that_ends_and_comes_back_changes_no_spike(brain: Brain, tmp_path: Path) -> None:
    networks.deep(tmp_path / "net.nir")
    expected = digest(connectome(tmp_path, device(weight_bits=8)))
    port = free_port()
    options = ("--format", "eieio", "--weight-bits", "8", "--control", str(port))
    path = allocation(tmp_path, {"driver": "eieio", "control": f"127.0.0.1:{port}"}, save_every_s=0.05)
    with served(*options):
        launcher = brain.start("launch", str(path), "--steps", str(STEPS), "--digest", "--json", "--paused")
        wait_until("both to stand at the beginning", lambda: phases(brain) == ["paused", "paused"], 3 * PATIENCE_S)
        brain.run("clock", "step", "100")
        before = brain.pid("chip")
    brain.run("clock", "resume")
    wait_until("the node to notice", lambda: brain.nodes()["chip"].pid != before)
    assert brain.wait_state("source", "ready", "degraded").restarts == 0
    with served(*options):
        stdout, stderr = launcher.communicate(timeout=3 * PATIENCE_S)
        assert launcher.returncode == 0, stderr
        assert json.loads(stdout.splitlines()[-1])["digest"] == expected


def test_validate_names_the_place(tmp_path: Path, brain: Brain) -> None:
    networks.whole(tmp_path / "net.nir")
    good = brain.run("validate", str(allocation(tmp_path, {})))
    assert "device" in good.stdout
    done: subprocess.CompletedProcess[str] = brain.run(
        "validate", str(allocation(tmp_path, {"driver": "eieio"})), check=False
    )
    assert done.returncode == 1
    assert "nodes[1].parameters" in done.stderr
    assert "needs either address" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_of_a_device_needs_no_projection(tmp_path: Path) -> None:
    networks.whole(tmp_path / "net.nir")
    chip = {"id": "chip", "program": "device", "parameters": {"network": "net.nir"}}
    path = write_allocation(tmp_path / "brain.yaml", chip)
    network = build_network(load(path))
    assert isinstance(network.populations["chip"].model, DeviceModel)
    network.run(10, 5)
