"""Networks divided among real processes over Zenoh: the same spikes as in one, whoever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainnet.connectome import build, load, window_of
from brainnet.testing import PATIENCE_S, wait_until
from tests.support import Brain, MakeBrain, write_allocation

STEPS = 4000
NOISE = {"noise": {"rate_hz": 900.0, "weight": 700.0}}
STDP = {"rule": "stdp", "potentiation": 0.1, "depression": 0.12, "w_max": 400.0}
NETWORK: dict[str, Any] = {
    "version": 1,
    "seed": 5,
    "clock": {"dt_ms": 1.0, "save_every_s": 0.1},
    "populations": [
        {"id": "a", "model": "lif", "size": 60, "parameters": NOISE},
        {"id": "b", "model": "lif", "size": 40, "parameters": NOISE},
        {"id": "c", "model": "izhikevich", "size": 30, "parameters": {"noise": {"rate_hz": 400.0, "weight": 9.0}}},
        {"id": "d", "model": "lif", "size": 20, "parameters": NOISE, "process": "c"},
    ],
    "projections": [
        {"from": s, "to": t, "synapses": {"connect": "fixed_probability", "p": 0.3, "weight": w, "delay_ms": d}, **more}
        for s, t, w, d, more in [
            ("a", "b", 150.0, 5, {"plasticity": STDP}),
            ("b", "a", 150.0, {"uniform": [4, 9]}, {}),
            ("b", "c", 3.0, 6, {}),
            ("c", "d", 150.0, 2, {"plasticity": STDP}),
            ("d", "a", 150.0, 4, {}),
        ]
    ],
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.yaml"
    path.write_text(yaml.safe_dump(NETWORK))
    return path


@pytest.fixture(scope="module")
def digest(network: Path) -> str:
    """What one process computes."""
    connectome = load(network)
    whole = build(connectome)
    whole.run(STEPS, window_of(connectome, connectome.projections))
    return whole.digest()


def digest_of(launcher: subprocess.Popen[str]) -> str:
    stdout, stderr = launcher.communicate(timeout=3 * PATIENCE_S)
    assert launcher.returncode == 0, stderr
    return str(json.loads(stdout.splitlines()[-1])["digest"])


def clocks(brain: Brain, *verb: str) -> dict[str, dict[str, Any]]:
    return {row["process"]: row for row in brain.rows("clock", *verb, check=False)}


def all_paused(brain: Brain) -> bool:
    """Say whether the three processes of a network that was launched with `--paused` are there."""
    return [row["phase"] for row in clocks(brain, "status").values()] == 3 * ["paused"]


def test_three_processes_fire_as_one_also_when_each_is_killed(network: Path, digest: str, brain: Brain) -> None:
    launcher = brain.start("launch", str(network), "--steps", str(STEPS), "--digest", "--json", "--paused")
    wait_until("the network to be there", lambda: all_paused(brain))
    clocks(brain, "step", "1000")
    stopped = clocks(brain, "pause")
    step = 1000
    assert {(row["phase"], row["next_step"]) for row in stopped.values()} == {("paused", step)}
    for process in stopped:
        pid = brain.pid(process)
        os.kill(pid, signal.SIGKILL)
        brain.wait_state(process, "ready", but_pid=pid)
    # an order to stop outlives the process that it was given to
    wait_until(
        "all to stand there again", lambda: [r["next_step"] for r in clocks(brain, "status").values()] == [step] * 3
    )
    for process in stopped:
        stepped = clocks(brain, "step", "13")
        step += 13
        assert {row["next_step"] for row in stepped.values()} == {step}
        os.kill(brain.pid(process), signal.SIGKILL)
    brain.run("clock", "resume")
    assert digest_of(launcher) == digest
    brain.wait_gone()


def test_a_lesion_is_as_if_the_synapses_had_no_weight(tmp_path: Path, network: Path, digest: str, brain: Brain) -> None:
    cut = json.loads(json.dumps(NETWORK))
    cut["projections"][0]["synapses"]["weight"] = 0.0
    del cut["projections"][0]["plasticity"]
    (tmp_path / "cut.yaml").write_text(yaml.safe_dump(cut))
    whole = build(load(tmp_path / "cut.yaml"))
    whole.run(STEPS, window_of(load(network), load(network).projections))
    launcher = brain.start("launch", str(network), "--steps", str(STEPS), "--digest", "--json", "--paused")
    wait_until("the network to be there", lambda: all_paused(brain))
    brain.run("node", "lesion", "a", "b", "--silence")
    brain.run("node", "lesion", "b", "c", "--drop", "0")  # nothing is lost
    brain.run("clock", "resume")
    assert digest_of(launcher) == whole.digest() != digest
    brain.wait_gone()


def test_a_network_runs_beside_regions_and_stops_with_them(
    tmp_path: Path, network: Path, digest: str, brain: Brain
) -> None:
    allocation = write_allocation(
        tmp_path / "both.yaml", {"id": "echo", "program": "brainnet.testing.faults:Answers"}, connectome=str(network)
    )
    launcher = brain.start("launch", str(allocation), "--steps", str(STEPS), "--digest", "--json")
    assert digest_of(launcher) == digest
    brain.wait_gone()


def test_a_description_that_changes_meanwhile_is_refused(tmp_path: Path, network: Path, brain: Brain) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(network.read_text())
    brain.launch(path)
    path.write_text(network.read_text() + "# changed\n")
    pid = brain.pid("a")
    os.kill(pid, signal.SIGKILL)
    record = brain.wait_state("a", "failed", "backoff", but_pid=pid)
    assert "has changed since the network was launched" in record.reason
    waiting = wait_until("the others to wait", lambda: clocks(brain, "status").get("b", {}).get("waits_for"))
    assert waiting == ["a"]
    wait_until("the other node to say so", lambda: brain.nodes()["b"].state == "degraded")
    brain.run("stop")
    brain.wait_gone()


def test_in_real_time_processes_begin_together_and_nobody_waits(tmp_path: Path, brain: Brain) -> None:
    path = tmp_path / "live.yaml"
    path.write_text(yaml.safe_dump(NETWORK | {"clock": {"dt_ms": 1.0, "mode": "realtime"}}))
    brain.launch(path)

    def running() -> dict[str, dict[str, Any]]:
        found = clocks(brain, "status")
        return found if all(row["phase"] == "running" and row["next_step"] > 300 for row in found.values()) else {}

    states = wait_until("the network to run", running)
    assert len({json.dumps(row["anchor"]) for row in states.values()}) == 1
    assert {late["source"] for late in states["a"]["lateness"]} == {"b", "d"}
    assert all(late["windows"] > 0 for row in states.values() for late in row["lateness"])
    brain.run("clock", "rate", "0.5")
    stopped = clocks(brain, "pause")
    assert len({row["next_step"] for row in stopped.values()}) == 1
    assert {row["anchor"]["scale"] for row in stopped.values()} == {0.5}
    pid = brain.pid("c")
    os.kill(pid, signal.SIGKILL)
    clocks(brain, "resume")
    step = stopped["a"]["next_step"]
    wait_until("the others to run on", lambda: clocks(brain, "status")["a"]["next_step"] > step + 300)
    brain.wait_state("c", "ready", but_pid=pid)
    wait_until("it to run again", lambda: clocks(brain, "status").get("c", {}).get("next_step", 0) > step + 300)
    brain.run("stop")
    brain.wait_gone()


def test_a_population_that_breaks_is_named_and_the_rest_waits_visibly(tmp_path: Path, brain: Brain) -> None:
    (tmp_path / "mine.py").write_text(
        "from brainnet.simulation.models.base import Model\n"
        "class Breaks(Model):\n"
        "    def advance(self, window):\n"
        "        assert window.first_step < 50, 'it broke'\n"
        "        return window.total() > 1e9\n"
    )
    path = tmp_path / "broken.yaml"
    description = NETWORK | {
        "populations": [
            {"id": "c", "model": "mine.py:Breaks", "size": 30},
            *NETWORK["populations"][:2],
            NETWORK["populations"][3] | {"process": "d"},
        ],
        "projections": [p for p in NETWORK["projections"] if (p["from"], p["to"]) != ("b", "c")]
        + [
            {
                "from": "b",
                "to": "c",
                "synapses": {"connect": "fixed_probability", "p": 0.3, "weight": 3.0, "delay_ms": 6},
            }
        ],
    }
    path.write_text(yaml.safe_dump(description))
    brain.launch(path)
    record = brain.wait_state("c", "failed", "backoff")
    assert "it broke" in record.reason
    wait_until("the process that it feeds to wait for it", lambda: brain.nodes()["d"].state == "degraded")
    assert clocks(brain, "status")["d"]["waits_for"] == ["c"]
    brain.run("stop")
    brain.wait_gone()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--digest"], ["how many with --steps"]),
        (["--steps", "10", "--digest", "--detach"], ["leave out --detach"]),
        (["--json"], ["--digest"]),
    ],
)
def test_options_that_do_not_fit(network: Path, brain: Brain, arguments: list[str], texts: list[str]) -> None:
    done = brain.run("launch", str(network), *arguments, check=False)
    assert done.returncode == 2
    assert all(text in " ".join(done.stderr.replace("│", "").split()) for text in texts)


def test_steps_without_a_network(tmp_path: Path, brain: Brain) -> None:
    allocation = write_allocation(tmp_path / "none.yaml", {"id": "echo", "program": "brainnet.testing.faults:Answers"})
    done = brain.run("launch", str(allocation), "--steps", "10", check=False)
    assert (done.returncode, "has no network of populations" in done.stderr) == (1, True)


def test_a_clock_that_is_not_there(tmp_path: Path, make_brain: MakeBrain, answering: Path) -> None:
    brain = make_brain()
    brain.launch(answering)
    done = brain.run("clock", "status", check=False)
    assert (done.returncode, "computes no network" in done.stderr) == (1, True)
    brain.run("stop")
    brain.wait_gone()


def test_a_reward_from_outside_is_for_one_step_and_outlives_a_kill(tmp_path: Path, brain: Brain) -> None:
    path = tmp_path / "reward.yaml"
    rule = {"rule": "dopamine_stdp", "modulator": "reward", "potentiation": 5.0, "depression": 4.0, "w_max": 400.0}
    description = NETWORK | {"clock": {"dt_ms": 1.0, "save_every_s": 3600.0}}
    description["projections"] = [
        projection | ({"plasticity": rule} if "plasticity" in projection else {})
        for projection in NETWORK["projections"]
    ]
    path.write_text(yaml.safe_dump(description))
    connectome = load(path)
    rewarded, alone = build(connectome), build(connectome)
    for step, amount in ((700, 0.5), (900, 1.5)):
        rewarded.modulate("reward", step, amount)
    for network in (rewarded, alone):
        network.run(2000, window_of(connectome, connectome.projections))
    launcher = brain.start("launch", str(path), "--steps", "2000", "--digest", "--json", "--paused")
    wait_until("the network to be there", lambda: all_paused(brain))
    for step, amount in ((700, 0.5), (900, 1.5)):
        brain.run("topic", "pub", "modulator/reward", json.dumps({"amount": amount, "step": step}))
    clocks(brain, "step", "800")
    pid = brain.pid("b")  # it has the reward, and no saved state
    os.kill(pid, signal.SIGKILL)
    brain.wait_state("b", "ready", but_pid=pid)
    brain.run("clock", "resume")
    assert digest_of(launcher) == rewarded.digest() != alone.digest()
    brain.wait_gone()


def test_a_network_that_was_stopped_goes_on_with_resume(
    tmp_path: Path, network: Path, digest: str, brain: Brain
) -> None:
    refused = brain.run("launch", str(network), "--resume", "--detach", check=False)
    assert (refused.returncode, "no network was launched here yet" in refused.stderr) == (1, True)
    brain.launch(network, "--paused")
    clocks(brain, "step", "1500")
    brain.run("stop")
    brain.wait_gone()
    other = tmp_path / "other.yaml"
    other.write_text(network.read_text() + "# another\n")
    refused = brain.run("launch", str(other), "--resume", "--detach", check=False)
    assert (refused.returncode, "is not that of" in refused.stderr) == (1, True)
    launcher = brain.start("launch", str(network), "--resume", "--steps", str(STEPS), "--digest", "--json", "--paused")
    wait_until("the network to be there", lambda: all_paused(brain))
    assert {row["next_step"] for row in clocks(brain, "status").values()} == {1500}
    brain.run("clock", "resume")
    assert digest_of(launcher) == digest
    brain.wait_gone()


def test_a_network_that_cannot_be_built_ends_the_launch_with_the_reason(tmp_path: Path, brain: Brain) -> None:
    path = tmp_path / "wrong.yaml"
    wrong = {"id": "a", "model": "lif", "size": 60, "parameters": {"tau_m_ms": -1.0}}
    path.write_text(yaml.safe_dump(NETWORK | {"populations": [wrong, *NETWORK["populations"][1:]]}))
    done = brain.run("launch", str(path), "--steps", "10", "--digest", check=False)
    assert done.returncode == 1
    assert "populations[0].parameters.tau_m_ms" in done.stderr
    brain.wait_gone()
