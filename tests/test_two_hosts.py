"""One brain on two hosts: two network namespaces, joined by a virtual cable, each with its own loopback."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainnet.testing import wait_until
from tests.namespaces import joined
from tests.support import Brain, MakeBrain, node, write_allocation

HOSTS = {"left": "10.231.77.1", "right": "10.231.77.2"}
PORT = 7447
CABLED = {
    host: {"listen": [f"tcp/{HOSTS[host]}:{PORT}"], "connect": [f"tcp/{HOSTS[other]}:{PORT}"]}
    for host, other in itertools.permutations(HOSTS)
}
PICTURE = Path(__file__).parent.parent / "scripts" / "samples" / "digit_7.png"


@pytest.fixture(scope="module")
def namespaces() -> Iterator[dict[str, str]]:
    """A network namespace per host, by host name."""
    with joined(HOSTS) as names:
        yield names


@pytest.fixture
def hosts(namespaces: dict[str, str], make_brain: MakeBrain) -> dict[str, Brain]:
    """A brain's part per host, not launched yet."""
    return {
        host: make_brain(port=PORT, prefix=["ip", "netns", "exec", name], BRAINNET_STOP_GRACE_S="0.5")
        for host, name in namespaces.items()
    }


@pytest.fixture
def allocation(tmp_path: Path) -> Path:
    return write_allocation(
        tmp_path / "allocation.yaml",
        node("one", host="left"),
        node("two", host="right"),
        node("three", host="right"),
        hosts=CABLED,
    )


def seen_from(part: Brain) -> dict[str, str]:
    """Host of each ready node, as one host sees the brain."""
    return {id: row["host"] for id, row in part.status(check=False).items() if row["state"] == "ready"}


WHOLE = {"one": "left", "two": "right", "three": "right"}


def test_the_hosts_find_each_other_in_any_order_and_again(hosts: dict[str, Brain], allocation: Path) -> None:
    for host in ("right", "left"):
        hosts[host].launch(allocation, "--host", host)
    for part in hosts.values():
        wait_until("the whole brain", lambda part=part: seen_from(part) == WHOLE)  # type: ignore[misc]
    hosts["right"].run("stop")
    assert seen_from(hosts["left"]) == {"one": "left"}
    hosts["right"].launch(allocation, "--host", "right")
    for part in hosts.values():
        wait_until("the whole brain again", lambda part=part: seen_from(part) == WHOLE)  # type: ignore[misc]


def test_nodes_are_reached_from_the_other_host(hosts: dict[str, Brain], allocation: Path) -> None:
    for host, part in hosts.items():
        part.launch(allocation, "--host", host)
    left, right = hosts["left"], hosts["right"]
    wait_until("the whole brain", lambda: seen_from(left) == seen_from(right) == WHOLE)
    left.run("node", "param", "set", "two", "gain", "0.25")
    assert right.run("node", "param", "get", "two", "gain").stdout.strip() == "0.25"
    (before,) = right.rows("node", "info", "two")
    left.run("node", "restart", "two")
    (after,) = right.rows("node", "info", "two")
    assert after["pid"] != before["pid"]
    left.run("stop", "--host", "right")
    wait_until("the processes of the other host to go", lambda: not right.processes())
    assert seen_from(left) == {"one": "left"}


def test_a_picture_is_recognised_on_the_other_host(hosts: dict[str, Brain], tmp_path: Path) -> None:
    path = write_allocation(
        tmp_path / "pictures.yaml",
        *(node(id, f"nodes/{id}.py", host="left") for id in ("prefrontal", "memory_integrator", "hippocampus")),
        node("vision", "nodes/vision.py", host="right"),
        hosts=CABLED,
        preload=["torch", "numba"],
    )
    for host, part in hosts.items():
        part.launch(path, "--host", host)
    everybody = {"prefrontal": "left", "memory_integrator": "left", "hippocampus": "left", "vision": "right"}
    for part in hosts.values():
        wait_until("the whole brain", lambda part=part: seen_from(part) == everybody)  # type: ignore[misc]
        answer = part.prompt("which digit is this?", "--image", str(PICTURE))
        assert (answer["text"], answer["contributing"]) == ("7", ["vision"])


def test_a_host_must_be_named_when_there_are_several(hosts: dict[str, Brain], allocation: Path) -> None:
    failed = hosts["left"].run("launch", str(allocation), "--detach", check=False)
    assert failed.returncode == 1
    assert "left, right" in failed.stderr
    assert "--host" in failed.stderr
