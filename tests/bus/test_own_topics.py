"""Topics of the user's own on a bus: maps in place of messages, and what is refused."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from brainnet.bus import Bus, learn_topics
from brainnet.errors import CallError, ContractError, MessageError, TopicError
from brainnet.testing import PATIENCE_S
from brainnet.wire.extension import Extension, load_extension
from brainnet.wire.messages import AddedTopics, Health, Message, StatusQuery, TopicsQuery
from brainnet.wire.packet import SpikePacket
from tests.bus.asking import served
from tests.bus.conftest import Network
from tests.own_topics import write_topics

PLACE = {"x_m": 1.5, "heading_rad": -0.5, "covariance": [1.0, 0.0]}
ODOMETRY = "Odometry {x_m: float, heading_rad: float, covariance: list[float]}"


@pytest.fixture
def extension(tmp_path: Path) -> Extension:
    return load_extension([write_topics(tmp_path / "topics.yaml")])


async def join(network: Network, extension: Extension, role: str, source: str = "") -> Bus:
    bus = await network(role, source)
    bus.contract = extension.contract
    return bus


async def test_a_map_arrives_as_a_typed_message(network: Network, extension: Extension) -> None:
    robot = await join(network, extension, "body", "robot")
    region = await join(network, extension, "region")
    mailbox = region.subscribe(region.key("odometry"))
    assert await robot.wait_matching("lab/odometry", PATIENCE_S)
    robot.publish("lab/odometry", PLACE)
    kind = robot.contract.topic("odometry").message
    assert kind is not None
    robot.publish("lab/odometry", kind(**PLACE | {"x_m": 2}))
    async with asyncio.timeout(PATIENCE_S):
        received = [await mailbox.get() for _ in range(2)]
    assert received[0].message.model_dump() == PLACE
    assert received[1].message.x_m == 2.0
    assert [r.stamp.seq for r in received if r.stamp is not None] == [1, 2]


async def test_what_does_not_follow_the_file_is_counted_and_never_arrives(
    network: Network, extension: Extension
) -> None:
    region = await join(network, extension, "region")
    stranger = await network("client")
    wrong: list[str] = []
    mailbox = region.subscribe("lab/odometry", on_malformed=lambda sample, error: wrong.append(str(error)))
    publisher = stranger.publish_raw("test/lab/odometry", b"", "")
    assert await stranger.wait_publisher(publisher, PATIENCE_S)
    for fields in ({"x_m": 1}, PLACE | {"x_m": "1"}, PLACE | {"covariance": [True]}, PLACE):
        publisher.put(msgpack.packb(fields), None)
    async with asyncio.timeout(PATIENCE_S):
        received = await mailbox.get()
    assert received.message.model_dump() == PLACE
    assert len(wrong) == 3
    assert "heading_rad" in wrong[0]


async def test_queries_take_and_return_maps(network: Network, extension: Extension) -> None:
    robot = await join(network, extension, "body")
    asker = await join(network, extension, "region")

    async def pose(request: Any, key: str) -> dict[str, Any]:
        return {"text": request.frame} if request.frame != "none" else {"words": "wrong"}

    robot.serve("lab/pose", pose)
    kind = asker.contract.topic("pose").message
    assert kind is not None
    reply: Any = await served(asker, "lab/pose", kind.model_validate({"frame": "map"}))
    assert reply.text == "map"
    assert (await asker.call("lab/pose", {"frame": "lab"}, timeout=PATIENCE_S)).text == "lab"
    with pytest.raises(CallError, match="text: str"):
        await asker.call("lab/pose", {"frame": "none"}, timeout=PATIENCE_S)
    with pytest.raises(MessageError, match="frame: str"):
        await asker.call("lab/pose", {"fram": "map"})
    with pytest.raises(TopicError, match="frame: str"):
        await asker.call("lab/pose", StatusQuery())


@pytest.mark.parametrize(
    ("role", "key", "message", "says"),
    [
        ("region", "lab/odometry", PLACE, "role 'region' may not publish .*lists body"),
        ("body", "lab/odometry", {"x_m": 1}, re.escape(ODOMETRY)),
        ("body", "lab/odometry", PLACE | {"y_m": 1}, re.escape(ODOMETRY)),
        ("body", "lab/odometry", PLACE | {"x_m": "far"}, re.escape(ODOMETRY)),
        ("body", "lab/odometry", SpikePacket(np.eye(2, dtype=bool)), re.escape(ODOMETRY)),
        ("body", "lab/odometry", StatusQuery(), re.escape(ODOMETRY)),
        ("body", "lab/nothing", PLACE, "no topic of the contract"),
        ("region", "spikes/a/b", PLACE, "SpikePacket {data"),
        ("region", "spikes/a/b", StatusQuery(), "SpikePacket {data"),
        ("router", "pfc/a/decisions", {"chosen": 1}, "prompt_id"),
    ],
)
async def test_a_wrong_role_or_payload_is_refused_with_the_valid_one(
    network: Network, extension: Extension, role: str, key: str, message: Any, says: str
) -> None:
    bus = await join(network, extension, role)
    with pytest.raises((TopicError, MessageError), match=says) as caught:
        bus.publish(key, message)
    assert "\n" not in str(caught.value)


async def test_listening_with_a_wrong_role_names_the_right_ones(network: Network, extension: Extension) -> None:
    bus = await join(network, extension, "router")
    with pytest.raises(TopicError, match=r"may not listen .*region, client"):
        bus.subscribe("lab/odometry")
    with pytest.raises(TopicError, match=r"may not ask .*client, region"):
        await bus.call("lab/pose", {"frame": "map"})
    plain = await network("body")
    with pytest.raises(TopicError, match="no topic of the contract"):
        plain.publish("lab/odometry", PLACE)


class _Launcher:
    """Tells topics as a launcher does."""

    def __init__(self, host: str, topics: list[dict[str, Any]], digest: str) -> None:
        self.told = AddedTopics(host=host, topics=topics, digest=digest)

    async def __call__(self, request: TopicsQuery, key: str) -> Message:
        return self.told


async def told_by(network: Network, *launchers: _Launcher) -> Bus:
    """A client to whom so many launchers are known."""
    for launcher in launchers:
        (await network("supervisor")).serve(f"host/{launcher.told.host}/topics", launcher)
    client = await network("client")
    async with asyncio.timeout(PATIENCE_S):
        while len(await client.call_all("host/*/topics", TopicsQuery(), timeout=PATIENCE_S)) < len(launchers):
            pass
    return client


async def test_a_client_learns_what_the_launchers_tell(network: Network, extension: Extension) -> None:
    rows, digest = extension.rows(), extension.digest
    client = await told_by(network, _Launcher("a", rows, digest), _Launcher("b", rows[::-1], digest))
    learned = await learn_topics(client)
    assert learned.digest == digest
    assert client.key("odometry") == "lab/odometry"
    assert client.contract.find("lab/odometry") == extension.contract.find("lab/odometry")


async def test_without_launchers_or_topics_the_contract_stays(network: Network) -> None:
    alone = await network("client")
    before = alone.contract
    assert (await learn_topics(alone)).topics == ()
    client = await told_by(network, _Launcher("a", [], ""))
    assert (await learn_topics(client)).topics == ()
    assert client.contract is alone.contract is before


async def test_launchers_that_disagree_are_one_error(network: Network, extension: Extension) -> None:
    rows = extension.rows()
    client = await told_by(network, _Launcher("a", rows, extension.digest), _Launcher("b", rows[:1], "f" * 64))
    with pytest.raises(ContractError, match=r"a and b .*\(pose\)|b and a .*\(pose\)"):
        await learn_topics(client)
    assert "lab/odometry" not in [topic.key for topic in client.contract.topics]


@pytest.mark.parametrize(
    "rows",
    [
        [{"name": "odometry"}],
        [{"name": "spikes", "key": "lab/x", "about": "", "fields": {"x": "int"}, "from": ["body"], "to": ["body"]}],
        [{}],
        [{"name": ["x"], "fields": 7}],
    ],
    ids=str,
)
async def test_a_launcher_that_tells_nonsense_is_one_error(network: Network, rows: list[dict[str, Any]]) -> None:
    client = await told_by(network, _Launcher("a", rows, "0"))
    with pytest.raises(MessageError, match="host a"):
        await learn_topics(client)


async def test_health_of_a_topic_of_ones_own_is_the_message_of_brainnet(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(
        "version: 1\ntopics:\n  - {name: vitals, key: lab/vitals, about: x, payload: Health, from: [body], "
        "to: [client], delivery: reliable}\n"
    )
    extension = load_extension([path])
    body, client = await join(network, extension, "body"), await join(network, extension, "client")
    mailbox = client.subscribe("lab/vitals")
    assert await body.wait_matching("lab/vitals", PATIENCE_S)
    body.publish("lab/vitals", {"node_id": "a", "host": "h", "pid": 1, "state": "ready", "role": "body"})
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance((await mailbox.get()).message, Health)
