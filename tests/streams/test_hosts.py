"""One network on three hosts: network namespaces, joined by links that delay and break."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainnet.connectome import build, load, window_of
from brainnet.testing import PATIENCE_S, wait_until
from tests.namespaces import joined
from tests.support import Brain, MakeBrain

HOSTS = {"left": "10.231.78.1", "middle": "10.231.78.2", "right": "10.231.78.3"}
PORT = 7447
STEPS = 600
ROOT = Path(__file__).parent.parent.parent
SLOW = ["--delay-ms", "3"]
NOISE = {"noise": {"rate_hz": 900.0, "weight": 700.0}}
NETWORK: dict[str, Any] = {
    "version": 1,
    "clock": {"dt_ms": 1.0, "save_every_s": 0.2},
    "populations": [
        {"id": f"at_{host}", "host": host, "model": "lif", "size": 40, "parameters": NOISE} for host in HOSTS
    ],
    "projections": [
        {
            "from": f"at_{source}",
            "to": f"at_{target}",
            "synapses": {"connect": "fixed_probability", "p": 0.3, "weight": 150.0, "delay_ms": {"uniform": [5, 9]}},
            "plasticity": {"rule": "stdp", "potentiation": 0.1, "depression": 0.12, "w_max": 400.0},
        }
        for source, target in [("left", "middle"), ("middle", "right"), ("right", "left"), ("left", "right")]
    ],
}


@pytest.fixture(scope="module")
def namespaces() -> Iterator[dict[str, str]]:
    """A network namespace per host."""
    with joined(HOSTS) as names:
        yield names


def test_three_hosts_behind_slow_links_fire_as_one_process_also_when_one_is_killed_and_links_break(
    tmp_path: Path, namespaces: dict[str, str], make_brain: MakeBrain, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(NETWORK))
    connectome = load(tmp_path / "network.yaml")
    whole = build(connectome)
    whole.run(STEPS, window_of(connectome, connectome.projections))
    hosts: dict[str, dict[str, list[str]]] = {
        host: {"listen": [f"tcp/{address}:{PORT}"], "connect": []} for host, address in HOSTS.items()
    }
    links = []
    for number, (one, other) in enumerate(itertools.combinations(HOSTS, 2)):
        port = 7501 + number
        hosts[one]["connect"].append(f"tcp/127.0.0.1:{port}")
        link = [sys.executable, "-m", "tests.slow_link", str(port), f"{HOSTS[other]}:{PORT}", *SLOW]
        links.append(subprocess.Popen(["ip", "netns", "exec", namespaces[one], *link], cwd=ROOT))
    request.addfinalizer(lambda: _end(links))
    path = tmp_path / "allocation.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "hosts": hosts, "connectome": "network.yaml"}))
    parts: dict[str, Brain] = {
        host: make_brain(port=PORT, prefix=["ip", "netns", "exec", name]) for host, name in namespaces.items()
    }
    arguments = ["--steps", str(STEPS), "--digest", "--json", "--paused"]
    launchers = {host: part.start("launch", str(path), "--host", host, *arguments) for host, part in parts.items()}

    def clocks(*verb: str) -> list[dict[str, Any]]:
        return parts["middle"].rows("clock", *verb, check=False)

    def all_there() -> bool:  # one that is away has a row, too
        return [row["phase"] for row in clocks("status")] == ["paused"] * len(HOSTS)

    wait_until("the processes of all hosts", all_there)
    clocks("step", "100")
    pid = next(row["pid"] for row in parts["right"].rows("status") if row["id"] == "at_right")
    os.kill(pid, signal.SIGKILL)
    stepped = clocks("step", "100")
    assert {row["next_step"] for row in stepped} == {200}
    for cable in links:
        cable.send_signal(signal.SIGUSR1)
    wait_until("the links between all hosts", all_there)
    clocks("resume")
    wait_until("the network running again", lambda: any(row["next_step"] > 250 for row in clocks("status")))
    for cable in links:
        cable.send_signal(signal.SIGUSR1)
    for launcher in launchers.values():
        stdout, stderr = launcher.communicate(timeout=3 * PATIENCE_S)
        assert launcher.returncode == 0, stderr
        assert json.loads(stdout.splitlines()[-1])["digest"] == whole.digest()


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()
