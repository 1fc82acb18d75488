"""The default brain as a user meets it: launched with one command, every part real, asked from outside."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import zenoh

from tests.conftest import wait_for

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = sorted((ROOT / "scripts" / "samples").glob("digit_*.png"))
EIGHT = {
    "prefrontal",
    "hippocampus",
    "cerebellum",
    "motor_cortex",
    "language",
    "vision",
    "memory_integrator",
    "arm_body",
}


@dataclass
class Brain:
    """A running brain and the ways to reach it."""

    port: int
    data_dir: Path
    cwd: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"BRAINNET_PORT": str(self.port), "BRAINNET_DATA_DIR": str(self.data_dir)}

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "brainnet", *arguments],
            env=self.environment,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def status(self) -> dict[str, dict[str, Any]]:
        rows = [json.loads(line) for line in self.command("status", "--json").stdout.splitlines()]
        return {row["id"]: row for row in rows if "id" in row}

    def prompt(self, text: str, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.command("prompt", text, "--json", *arguments).stdout)
        return answer

    def session(self) -> zenoh.Session:
        config = zenoh.Config()
        config.insert_json5("mode", '"client"')
        config.insert_json5("connect/endpoints", f'["tcp/127.0.0.1:{self.port}"]')
        return zenoh.open(config)

    def processes(self) -> list[psutil.Process]:
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("BRAINNET_DATA_DIR") == str(self.data_dir) and process.pid != os.getpid():
                    mine.append(process)
            except psutil.Error:
                continue
        return mine


def listened_to(publisher: zenoh.Publisher) -> bool:
    status: Any = publisher.matching_status  # the stubs call it a bool; it is an object
    return bool(status.matching)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    running = Brain(free_port(), tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("empty"))
    running.command("launch", "--detach")
    yield running
    running.command("stop", check=False)
    wait_for("no process left", lambda: running.processes() == [])


def test_the_eight_nodes_are_ready_and_small(brain: Brain) -> None:
    nodes = brain.status()
    assert set(nodes) == EIGHT
    assert {n["state"] for n in nodes.values()} == {"ready"}
    assert all(psutil.pid_exists(n["pid"]) and n["host"] for n in nodes.values())
    assert sum(n["memory_bytes"] for n in nodes.values()) / len(nodes) < 90e6


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: p.stem)
def test_vision_names_a_handwritten_digit(brain: Brain, sample: Path) -> None:
    answer = brain.prompt("which digit is this?", "--image", str(sample))
    assert answer["text"] == sample.stem.removeprefix("digit_")
    assert answer["contributing"] == ["vision"]
    assert answer["decision"]["chosen"] == ["vision"]
    assert answer["latency_ms"] > 0


def test_the_arm_goes_where_it_is_told(brain: Brain) -> None:
    answer = brain.prompt("Move the arm to (0.10, 0.10)")
    assert answer["contributing"] == ["motor_cortex"]
    reach = answer["content"]["regions"]["motor_cortex"]
    assert reach["distance_m"] < 0.03
    assert "final distance" in answer["text"]


def test_language_streams_what_it_then_answers(brain: Brain) -> None:
    done = brain.command("prompt", "Once upon a time there was", "--watch", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [row["type"] for row in rows]
    assert kinds[-1] == "answer"
    assert "decision" in kinds
    assert kinds.count("partial") > 2
    assert rows[-1]["contributing"] == ["language"]
    assert len(rows[-1]["text"]) > 20


def test_any_zenoh_program_is_a_client(brain: Brain) -> None:
    answers: list[Any] = []
    with brain.session() as session:
        subscriber = session.declare_subscriber("evospikenet/api/result", answers.append)
        publisher = session.declare_publisher("evospikenet/api/prompt")
        wait_for("a listener", lambda: listened_to(publisher))
        publisher.put("Move the arm to (0.05, 0.12)")
        picture = base64.b64encode(SAMPLES[0].read_bytes()).decode()
        wait_for("1 answers", lambda: len(answers) == 1)
        publisher.put(json.dumps({"text": "which digit?", "image": picture}), encoding="application/json")
        wait_for("2 answers", lambda: len(answers) == 2)
        publisher.put(b"\xff\xfe\xfd")
        wait_for("3 answers", lambda: len(answers) == 3)
        # without BLOCK the client's own Zenoh drops what its queues cannot hold, before any of it is sent
        block = zenoh.CongestionControl.BLOCK
        session.put("evospikenet/api/prompt", bytes(50 << 20), congestion_control=block)
        wait_for("4 answers", lambda: len(answers) == 4)
        replies = list(session.get("evospikenet/api/prompt", payload="Where is nothing at all?", timeout=20))
        subscriber.undeclare()  # type: ignore[no-untyped-call]
    texts = [json.loads(a.payload.to_bytes()) for a in answers]
    assert "final distance" in texts[0]["text"]
    assert texts[1]["contributing"] == ["vision"]
    assert "neither msgpack, JSON nor UTF-8" in texts[2]["error"]
    assert "at most" in texts[3]["error"]
    assert len(replies) == 1
    assert replies[0].ok is not None
    assert "prompt_id" in json.loads(replies[0].ok.payload.to_bytes())
    assert len({t["prompt_id"] for t in texts}) == len(texts) == 5  # the query's answer went out to everybody, too


def test_malformed_packets_harm_nobody(brain: Brain) -> None:
    with brain.session() as session:
        for key in ("brain/query/vision", "brain/result/vision", "motor/feedback/arm", "pfc/prefrontal/decisions"):
            publisher = session.declare_publisher(f"evospikenet/{key}")
            wait_for("a listener", lambda publisher=publisher: listened_to(publisher))  # type: ignore[misc]
            for payload in (b"", b"\x93\x01", bytes(1000), os.urandom(1000)):
                publisher.put(payload)
    test_vision_names_a_handwritten_digit(brain, SAMPLES[0])
    assert {n["restarts"] for n in brain.status().values()} == {0}


def test_what_cannot_be_answered_is_an_error_that_says_so(brain: Brain, tmp_path: Path) -> None:
    no_picture = tmp_path / "no.png"
    no_picture.write_bytes(b"this is no picture")
    cases: dict[tuple[str, ...], str] = {
        ("which digit is this?", "--image", str(no_picture)): "picture",
        ("which digit is this?", "--image", str(tmp_path / "missing.png")): "missing.png",
        ("hello", "--region", "olfactory"): "no region olfactory is alive",
        ("   ",): "empty",
        ("Move the arm to (5, 5)",): "the arm reaches",
    }
    for arguments, reason in cases.items():
        done = brain.command("prompt", *arguments, check=False)
        assert done.returncode != 0
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    done = brain.command("node", "param", "set", "language", "temperature", "warm", check=False)
    assert done.returncode != 0
    assert "temperature" in done.stderr


def test_a_second_launch_of_the_same_brain_is_refused(brain: Brain) -> None:
    done = brain.command("launch", "--detach", check=False)
    assert done.returncode != 0
    assert "already running" in done.stderr
    assert {n["state"] for n in brain.status().values()} == {"ready"}


def test_topics_show_their_rates_and_spikes(brain: Brain) -> None:
    brain.prompt("Move the arm to (0.12, 0.05)")
    rows = [json.loads(line) for line in brain.command("topic", "list", "--json").stdout.splitlines()]
    keys = {row["key"] for row in rows}
    assert {"motor/feedback/arm", "api/prompt", "api/result", "heartbeat/vision"} <= keys
    with subprocess.Popen(
        [sys.executable, "-m", "brainnet", "topic", "echo", "--raster", "spikes/**", "--count", "3"],
        env=brain.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as echo:
        while echo.poll() is None:
            brain.prompt("Move the arm to (0.05, 0.10)")
        assert echo.stdout is not None
        assert "motor_cortex" in echo.stdout.read()


@pytest.mark.parametrize("victim", ["vision", "prefrontal", "memory_integrator"])
def test_a_killed_node_is_back_and_the_next_prompt_is_answered(brain: Brain, victim: str) -> None:
    before = brain.status()[victim]
    os.kill(before["pid"], signal.SIGKILL)
    answer = brain.prompt("which digit is this?", "--image", str(SAMPLES[0]))
    assert answer["text"] == SAMPLES[0].stem.removeprefix("digit_")
    wait_for("the node that died to be ready", lambda: brain.status()[victim]["state"] == "ready")
    after = brain.status()[victim]
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1


@pytest.mark.parametrize("victim", ["prefrontal", "memory_integrator", "motor_cortex"])
def test_a_node_that_dies_in_the_middle_of_a_prompt_costs_no_answer(brain: Brain, victim: str) -> None:
    """Whoever dies while the arm is on its way: the client gets its answer, and everybody sees exactly one."""
    pid = brain.status()[victim]["pid"]
    answers: list[Any] = []
    spikes: list[Any] = []
    with brain.session() as session:
        results = session.declare_subscriber("evospikenet/api/result", answers.append)
        moving = session.declare_subscriber("evospikenet/spikes/motor_cortex/*", spikes.append)
        text = f"Move the arm to ({'-' if victim == 'prefrontal' else ''}0.12, 0.08)"
        command = [sys.executable, "-m", "brainnet", "prompt", text, "--json"]
        with subprocess.Popen(command, env=brain.environment, stdout=subprocess.PIPE, text=True) as asking:
            wait_for("spikes", lambda: len(spikes) > 0)
            os.kill(pid, signal.SIGKILL)
            output, _ = asking.communicate(timeout=30)
        wait_for("the node that died to be ready", lambda: brain.status()[victim]["state"] == "ready")
        results.undeclare()  # type: ignore[no-untyped-call]
        moving.undeclare()  # type: ignore[no-untyped-call]
    answer = json.loads(output)
    assert answer["error"] is None
    assert answer["contributing"] == ["motor_cortex"]
    assert len([a for a in answers if answer["prompt_id"].encode() in a.payload.to_bytes()]) == 1


def test_what_was_remembered_outlives_the_brain(brain: Brain) -> None:
    brain.prompt("Remember that the blue toolbox is under the workbench.")
    for _ in range(2):
        answer = brain.prompt("Where is the blue toolbox?")
        assert answer["contributing"] == ["hippocampus"]
        assert "under the workbench" in answer["text"]
        brain.command("stop")
        wait_for("no process left", lambda: brain.processes() == [])
        brain.command("launch", "--detach")


def test_a_killed_launcher_leaves_nothing_behind(brain: Brain) -> None:
    launcher = psutil.Process(brain.status()["vision"]["pid"])
    while any(p.pid == launcher.ppid() for p in brain.processes()):
        launcher = psutil.Process(launcher.ppid())
    left_before = set(Path("/dev/shm").iterdir())
    launcher.kill()
    wait_for("no process left", lambda: brain.processes() == [], timeout=10)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
        probe.bind(("127.0.0.1", brain.port))
    assert set(Path("/dev/shm").iterdir()) <= left_before
    brain.command("launch", "--detach")


def test_a_region_outside_the_tree_joins_by_path(tmp_path: Path) -> None:
    (tmp_path / "reverser.py").write_text(
        "from brainnet import Candidate, Partial, Query, Region\n\n\n"
        "class Reverser(Region):\n"
        '    """Says it backwards."""\n\n'
        "    def answer(self, query: Query) -> Partial:\n"
        "        answer = Candidate(text=query.prompt.text[::-1], probability=1.0)\n"
        "        return Partial(candidates=[answer], confidence=1.0)\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "version: 1\n"
        "nodes:\n"
        "  - {id: prefrontal, program: nodes/prefrontal.py}\n"
        "  - {id: memory_integrator, program: nodes/memory_integrator.py}\n"
        "  - {id: reverser, program: reverser.py}\n"
    )
    mine = Brain(free_port(), tmp_path / "state", tmp_path)
    mine.command("launch", "mine.yaml", "--detach")
    try:
        answer = mine.prompt("neurons", "--region", "reverser")
        assert (answer["text"], answer["contributing"]) == ("snoruen", ["reverser"])
    finally:
        mine.command("stop")
    wait_for("no process left", lambda: mine.processes() == [])
