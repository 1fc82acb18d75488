"""The wire contract as a file and as data."""

from __future__ import annotations

from pathlib import Path

import pytest
import zenoh
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import ConfigError, TopicError
from brainnet.wire import messages
from brainnet.wire.topics import PACKET, check_key, contract, load_contract

VALID = """
version: 1
topics:
  - {name: a, key: a/b, about: x, payload: SpikePacket, from: [region], to: [client], delivery: reliable}
"""


def test_every_topic_names_payloads_that_exist_and_a_key_that_zenoh_accepts() -> None:
    for topic in contract().topics:
        assert topic.payload in (PACKET, "none") or isinstance(topic.message, type)
        assert topic.reply is None or issubclass(topic.reply_message or int, messages.Message)
        assert str(zenoh.KeyExpr(topic.expression)) == topic.expression
        assert topic.about


def test_no_key_belongs_to_two_topics() -> None:
    expressions = [zenoh.KeyExpr(topic.expression) for topic in contract().topics]
    for index, first in enumerate(expressions):
        assert not any(first.intersects(second) for second in expressions[index + 1 :]), str(first)


def test_names_are_unique_and_found() -> None:
    names = [topic.name for topic in contract().topics]
    assert len(set(names)) == len(names)
    assert [contract().topic(name).name for name in names] == names
    with pytest.raises(TopicError):
        contract().topic("no such topic")


CHUNK = st.text("abz09_-.", min_size=1, max_size=4)


@given(st.data())
def test_a_key_made_from_a_topic_finds_that_topic(data: st.DataObject) -> None:
    topic = data.draw(st.sampled_from(contract().topics))
    key = "/".join(data.draw(CHUNK) if chunk.startswith("{") else chunk for chunk in topic.key.split("/"))
    assert contract().find(key) == topic
    assert topic in contract().covering(key)
    assert contract().covering("**") == list(contract().topics)


@given(st.lists(CHUNK, min_size=1, max_size=4))
def test_matching_agrees_with_zenoh(chunks: list[str]) -> None:
    key = "/".join(chunks)
    covering = contract().covering(key)
    assert covering == [topic for topic in contract().topics if topic.matches(key)]


def test_a_key_outside_the_contract_is_refused() -> None:
    with pytest.raises(TopicError, match="topic list --contract"):
        contract().find("no/such/key")


def test_node_stands_for_every_process_of_a_brain_but_not_for_clients() -> None:
    heartbeat = contract().topic("heartbeat")
    assert heartbeat.permits("region", "out")
    assert heartbeat.permits("router", "out")
    assert not heartbeat.permits("client", "out")
    assert heartbeat.permits("client", "in")
    assert not contract().topic("result").permits("region", "out")


@pytest.mark.parametrize("key", ["", "/", "a//b", "a/", "/a", "a/*", "a/**", "a/b$*", "a/b?x", "a#b", "a/{b}"])
def test_keys_that_are_no_keys(key: str) -> None:
    with pytest.raises(TopicError):
        check_key(key)


def test_a_contract_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(VALID)
    assert [topic.key for topic in load_contract(path).topics] == ["a/b"]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("SpikePacket", "NoSuchMessage", "NoSuchMessage"),
        ("delivery: reliable", "delivery: maybe", "delivery"),
        ("from: [region]", "from: [gardener]", "from"),
        ("about: x, ", "about: x, colour: red, ", "colour"),
        ("version: 1", "version: 2", "version"),
        ("topics:", "topics: [", "contract.yaml"),
    ],
)
def test_a_broken_contract_file_says_what_is_wrong(tmp_path: Path, before: str, after: str, says: str) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(VALID.replace(before, after))
    with pytest.raises(ConfigError, match=says) as caught:
        load_contract(path)
    assert str(path) in str(caught.value)
