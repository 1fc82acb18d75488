"""Topics of the user's own in brains of real processes: published, listed, echoed, measured, checked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brainnet.bus import Endpoint, open_bus
from brainnet.client import connect
from brainnet.errors import ContractError
from brainnet.testing import PATIENCE_S, free_port, wait_until
from brainnet.wire.messages import AddedTopics
from tests.own_topics import ODOMETRY, POSE, write_topics
from tests.support import PROGRAMS, Brain, MakeBrain, node, write_allocation


@pytest.fixture
def allocation(tmp_path: Path) -> Path:
    """A brain of a body that publishes on a topic of its own and a region that listens."""
    write_topics(tmp_path / "my_topics.yaml")
    return write_allocation(
        tmp_path / "allocation.yaml", node("robot", "robot"), node("odometer", "odometer"), topics="my_topics.yaml"
    )


def counter(brain: Brain, name: str) -> int:
    (row,) = brain.rows("node", "info", "odometer")
    return int(row["counters"].get(name, 0))


def test_a_topic_is_published_listed_echoed_measured_and_sent_from_the_command_line(
    allocation: Path, brain: Brain, tmp_path: Path
) -> None:
    brain.launch(allocation)

    wait_until("the first messages", lambda: counter(brain, "seen") > 0)
    rows = {row["key"]: row for row in brain.rows("topic", "list")}
    flow = rows["lab/odometry"]
    assert (flow["topic"], flow["payload"], flow["plane"]) == ("odometry", "Odometry", "data")
    assert (flow["publishers"], flow["subscribers"]) == (["robot"], ["odometer"])
    assert not any(row["plane"] == "control" for row in rows.values())
    everything = {row["key"]: row for row in brain.rows("topic", "list", "--all")}
    assert {"lab/odometry", "lab/pose", "heartbeat/robot", "node/robot/status"} <= everything.keys()

    echoed = brain.rows("topic", "echo", "lab/odometry", "--count", "3")
    assert [row["kind"] for row in echoed] == ["Odometry"] * 3
    assert echoed[1]["message"]["x_m"] == echoed[0]["message"]["x_m"] + 0.5 * (echoed[1]["seq"] - echoed[0]["seq"])
    assert echoed[0]["message"]["covariance"] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert "x_m" in brain.run("topic", "echo", "lab/odometry", "--count", "1").stdout
    (series,) = brain.rows("topic", "hz", "lab/odometry", "--count", "5")
    assert (series["source"], series["seen"]) == ("robot", 5)

    (info,) = brain.rows("topic", "info", "lab/odometry")
    (entry,) = info["contract"]
    assert entry["fields"] == {"x_m": "float", "heading_rad": "float", "covariance": "list[float]"}
    assert "x_m: float" in brain.run("topic", "info", "lab/odometry").stdout

    place = "{x_m: -1, heading_rad: 0.5, covariance: []}"
    patient = ("--wait", f"{PATIENCE_S:g}", "--require-match")
    assert brain.rows("topic", "pub", "lab/odometry", place, *patient) == [
        {"key": "evospikenet/lab/odometry", "sent": 1}
    ]
    (tmp_path / "place.yaml").write_text(place)
    (tmp_path / "place.json").write_text(json.dumps({"x_m": -2, "heading_rad": 0, "covariance": [0.5]}))
    for name in ("place.yaml", "place.json"):
        brain.run("topic", "pub", "lab/odometry", f"@{tmp_path / name}", *patient)
    wait_until("what was sent", lambda: counter(brain, "negative") == 3)

    refused = brain.run("topic", "pub", "lab/odometry", "{x_m: far}", check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "Odometry {x_m: float, heading_rad: float, covariance: list[float]}" in refused.stderr


def test_a_node_with_a_wrong_role_or_payload_fails_with_the_valid_ones(
    allocation: Path, brain: Brain, tmp_path: Path
) -> None:
    write_topics(tmp_path / "my_topics.yaml", ODOMETRY.replace("to: [region, client]", "to: [client, router]"), POSE)
    failed = brain.run("launch", str(allocation), "--detach", check=False)
    assert failed.returncode == 1
    assert "role 'region' may not listen on lab/odometry" in failed.stderr
    assert "client, router" in failed.stderr
    brain.wait_gone()

    write_topics(tmp_path / "my_topics.yaml", ODOMETRY.replace("x_m: float", "x_m: str"), POSE)
    brain.launch_foreground(allocation)

    def reason() -> str:
        robot = brain.nodes().get("robot")
        return robot.reason if robot is not None and robot.restarts else ""

    assert "Odometry {x_m: str, heading_rad: float, covariance: list[float]}" in wait_until("its failure", reason)
    brain.wait_state("odometer", "ready")


def test_a_node_that_starts_again_keeps_the_topics_that_the_brain_was_launched_with(
    allocation: Path, brain: Brain, tmp_path: Path
) -> None:
    brain.launch(allocation)
    (tmp_path / "my_topics.yaml").write_text("no topics any more")
    before = brain.pid("odometer")
    os.kill(before, signal.SIGKILL)
    brain.wait_state("odometer", "ready", but_pid=before)
    wait_until("messages again", lambda: counter(brain, "seen") > 0)


def test_programs_and_clients_that_join_by_themselves_know_the_topics(
    allocation: Path, brain: Brain, tmp_path: Path
) -> None:
    write_allocation(allocation, node("odometer", "odometer"), topics=["my_topics.yaml"])
    brain.launch(allocation)
    robot = subprocess.Popen([sys.executable, str(PROGRAMS / "robot.py")], env=brain.env)
    try:
        wait_until("its messages", lambda: counter(brain, "seen") > 0)

        async def ask() -> Any:
            async with await connect(Endpoint(hub=f"tcp/127.0.0.1:{brain.port}")) as bus:
                mailbox = bus.subscribe("lab/odometry")
                async with asyncio.timeout(PATIENCE_S):
                    received = await mailbox.get()
                return received.message, await bus.call("lab/pose", {"frame": "map"}, timeout=PATIENCE_S)

        message, reply = asyncio.run(ask())
        assert message.heading_rad == 0.0
        assert reply.text == "pose in map"
    finally:
        robot.terminate()
        robot.wait(PATIENCE_S)


def test_a_file_serves_where_no_launcher_tells_the_topics(brain: Brain, tmp_path: Path) -> None:
    topics = str(write_topics(tmp_path / "my_topics.yaml"))
    rows = brain.rows("topic", "list", "--contract", "--topics", topics)
    assert {"lab/odometry", "lab/pose", "api/prompt"} <= {row["key"] for row in rows}
    missing = brain.run("topic", "list", "--contract", "--topics", str(tmp_path / "none.yaml"), check=False)
    assert missing.returncode == 1
    assert str(tmp_path / "none.yaml") in missing.stderr
    brain.launch(write_allocation(tmp_path / "plain.yaml", node("echo")))
    assert brain.run("topic", "info", "lab/odometry").stdout == ""
    (info,) = brain.rows("topic", "info", "lab/odometry", "--topics", topics)
    assert [entry["name"] for entry in info["contract"]] == ["odometry"]


def test_validate_shows_the_topics_and_refuses_as_launch_does(allocation: Path, brain: Brain, tmp_path: Path) -> None:
    assert "lab/odometry" in brain.run("validate", str(allocation)).stdout
    topics = [row["topic"]["name"] for row in brain.rows("validate", str(allocation)) if "topic" in row]
    assert topics == ["odometry", "pose"]
    write_topics(tmp_path / "my_topics.yaml", ODOMETRY.replace("lab/odometry", "api/prompt"))
    validated = brain.run("validate", str(allocation), check=False)
    launched = brain.run("launch", str(allocation), "--detach", check=False)
    assert (validated.returncode, launched.returncode) == (1, 1)
    assert validated.stderr == launched.stderr
    assert f"{tmp_path / 'my_topics.yaml'}, line 5, column 5: topics[0].key" in validated.stderr
    assert validated.stderr.count("\n") == 1

    write_allocation(allocation, node("echo"), topics=["nowhere.yaml"])
    missing = brain.run("validate", str(allocation), check=False)
    assert "topics[0]: nowhere.yaml does not exist" in missing.stderr


def test_hosts_with_different_topics_are_one_clear_error(make_brain: MakeBrain, tmp_path: Path) -> None:
    ports = {"left": free_port(), "right": free_port()}
    hosts: dict[str, Any] = {"left": {}, "right": {"connect": [f"tcp/127.0.0.1:{ports['left']}"]}}
    write_topics(tmp_path / "left.yaml", ODOMETRY, POSE)
    write_topics(tmp_path / "right.yaml", ODOMETRY.replace("x_m: float", "x_m: int"), POSE)
    parts: dict[str, Brain] = {}
    for host, port in ports.items():
        parts[host] = make_brain(port=port, BRAINNET_STOP_GRACE_S="0.5")
        write_allocation(
            tmp_path / f"{host}.allocation.yaml",
            node("one", host="left"),
            node("two", host="right"),
            hosts=hosts,
            topics=f"{host}.yaml",
        )
    parts["left"].launch(tmp_path / "left.allocation.yaml", "--host", "left")

    later = parts["right"].launch_foreground(tmp_path / "right.allocation.yaml", "--host", "right")
    _, said = later.communicate(timeout=4 * PATIENCE_S)
    assert later.returncode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("brainnet: hosts right and left of the brain have different topics of their own (odometry)")
    parts["right"].wait_gone()
    assert parts["left"].nodes()["one"].state == "ready"

    write_topics(tmp_path / "right.yaml", POSE, ODOMETRY)  # in whatever order
    parts["right"].launch(tmp_path / "right.allocation.yaml", "--host", "right")
    wait_until("the whole brain", lambda: {"one", "two"} <= parts["left"].nodes().keys())


def test_a_client_of_hosts_that_disagree_says_so(make_brain: MakeBrain, tmp_path: Path) -> None:
    """Another host's launcher may tell anything."""
    brain = make_brain()
    write_topics(tmp_path / "my_topics.yaml")
    allocation = write_allocation(tmp_path / "a.yaml", node("echo"), topics="my_topics.yaml")
    brain.launch(allocation)

    async def ask(digest: str) -> None:
        endpoint = Endpoint(hub=f"tcp/127.0.0.1:{brain.port}")
        async with await open_bus(endpoint, role="supervisor", source="other") as other:

            async def tell(request: object, key: str) -> AddedTopics:
                return AddedTopics(host="other", digest=digest, topics=[{"name": "odometry"}, {"no": "name"}])

            other.serve("host/other/topics", tell)
            async with await connect(endpoint, topics=False) as bus:
                async with asyncio.timeout(PATIENCE_S):
                    while len(await bus.call_all("host/*/topics", {}, timeout=PATIENCE_S)) < 2:
                        pass
            with pytest.raises(ContractError, match="odometry"):
                async with await connect(endpoint):
                    pass

    asyncio.run(ask("0" * 64))
