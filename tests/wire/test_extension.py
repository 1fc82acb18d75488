"""Files with topics of the user's own: what they add, and what contradicts the contract."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
import zenoh
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import ContractError, MessageError, TopicError
from brainnet.wire.extension import Extension, load_extension
from brainnet.wire.topics import contract
from tests.own_topics import ODOMETRY, POSE, write_topics


def entry(**changes: Any) -> dict[str, Any]:
    made = {
        "name": "odometry",
        "key": "lab/odometry",
        "about": "where the robot is",
        "fields": {"x_m": "float"},
        "from": ["body"],
        "to": ["client"],
        "delivery": "best_effort",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"version": 1, "topics": list(entries)}, sort_keys=False))
    return path


def test_a_file_adds_topics_to_the_contract_and_changes_none(tmp_path: Path) -> None:
    extension = load_extension([write_topics(tmp_path / "topics.yaml")])
    whole = extension.contract
    assert whole.topics[: len(contract().topics)] == contract().topics
    assert [topic.name for topic in extension.topics] == ["odometry", "pose"]
    odometry = whole.find("lab/odometry")
    assert odometry.payload == "Odometry"
    assert odometry.message is not None
    assert [*odometry.message.model_fields] == ["x_m", "heading_rad", "covariance"]
    assert whole.topic("pose").reply_message is not None
    assert whole.key("odometry") == "lab/odometry"
    with pytest.raises(TopicError):
        contract().find("lab/odometry")


def test_several_files_and_several_forms_of_payload(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", entry(name="a", key="a/{x}", fields=None, payload="SpikePacket"))
    second = write(
        tmp_path / "b.yaml",
        entry(name="b", key="b", fields=None, payload="Health"),
        entry(name="c", key="api/c", payload="Place", plane="control"),
        entry(name="d", key="api/d", fields=None, payload="SpikePacket", header="CommandHeader"),
        entry(name="e", key="a/{x}/e", fields=None, payload="StatusQuery", reply="Health"),
    )
    extension = load_extension([first, second])
    assert [topic.payload for topic in extension.topics] == [
        "SpikePacket",
        "Health",
        "Place",
        "SpikePacket",
        "StatusQuery",
    ]
    with pytest.raises(ContractError, match=re.escape(f"{first}, line 3")):
        load_extension([first, first])


def test_nothing_is_added_without_files() -> None:
    assert load_extension([]).contract is contract()
    assert load_extension([]).digest == ""


def test_hosts_agree_whatever_the_order(tmp_path: Path) -> None:
    both = load_extension([write_topics(tmp_path / "both.yaml")])
    turned = load_extension([write_topics(tmp_path / "turned.yaml", POSE, ODOMETRY)])
    other = load_extension([write_topics(tmp_path / "other.yaml", POSE, ODOMETRY.replace("float,", "int,", 1))])
    assert both.digest == turned.digest != other.digest


def test_what_was_read_travels(tmp_path: Path) -> None:
    extension = load_extension([write_topics(tmp_path / "topics.yaml")])
    told = Extension.of_rows(json.loads(json.dumps(extension.rows())), "host a")
    assert told.topics == extension.topics
    assert told.digest == extension.digest
    assert told.contract.find("lab/odometry").message is extension.contract.find("lab/odometry").message


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a name of the contract": ({"name": "spikes"}, "name", "already"),
    "no name": ({"name": "a b"}, "name", "name"),
    "a key of the contract": ({"key": "api/prompt"}, "key", "prompt"),
    "a key that may be one of the contract": ({"key": "spikes/{a}/b"}, "key", "spikes"),
    "a fixed key that may be one of the contract": ({"key": "pfc/lab/decisions"}, "key", "decision"),
    "a chunk of the control plane": ({"key": "node/lab/x/y"}, "key", "node"),
    "another one": ({"key": "host"}, "key", "host"),
    "any first chunk": ({"key": "{lab}/x"}, "key", "first"),
    "an empty chunk": ({"key": "lab//x"}, "key", "chunk"),
    "a wildcard": ({"key": "lab/*"}, "key", "chunk"),
    "a chunk of Zenoh": ({"key": "@lab/x"}, "key", "chunk"),
    "half a brace": ({"key": "lab/{x"}, "key", "chunk"),
    "one chunk twice": ({"key": "lab/{x}/{x}"}, "key", "chunk"),
    "a reserved chunk": ({"key": "lab/{topic}"}, "key", "topic"),
    "many chunks": ({"key": "/".join(["lab"] * 17)}, "key", "16"),
    "a long key": ({"key": "lab/" + "x" * 300}, "key", "256"),
    "an unknown role": ({"from": ["bodi"]}, "from[0]", "body"),
    "no role": ({"to": []}, "to", "region"),
    "an unknown payload": ({"fields": None, "payload": "Healt"}, "payload", "did you mean Health"),
    "liveliness": ({"fields": None, "payload": "none"}, "payload", "SpikePacket"),
    "no payload": ({"fields": None}, "", "fields"),
    "a taken name of a message": ({"payload": "Health"}, "payload", "Health"),
    "no name of a message": ({"name": "42"}, "payload", "payload"),
    "an unknown type": ({"fields": {"x": "flaot"}}, "fields.x", "did you mean float"),
    "a taken field": ({"fields": {"copy": "int"}}, "fields", "copy"),
    "no fields": ({"fields": {}}, "fields", "1 to 64"),
    "too many fields": ({"fields": {f"x{i}": "int" for i in range(65)}}, "", "64"),
    "fields as a list": ({"fields": ["x"]}, "fields", "map"),
    "an unknown part of a field": ({"fields": {"x": {"type": "int", "unit": "m"}}}, "fields.x.unit", "min"),
    "an unknown header": ({"fields": None, "payload": "SpikePacket", "header": "Health"}, "header", "CommandHeader"),
    "a header without a packet": ({"header": "CommandHeader"}, "header", "SpikePacket"),
    "an unknown reply": ({"reply": "Nothing"}, "reply", "Health"),
    "a reply that is a packet": ({"reply": "SpikePacket"}, "reply", "Health"),
    "a query that is a packet": ({"fields": None, "payload": "SpikePacket", "reply": "Health"}, "payload", "query"),
    "an unknown field": ({"publishers_": 1}, "publishers_", "from"),
    "an unknown delivery": ({"delivery": "maybe"}, "delivery", "best_effort"),
    "an unknown part of the mailbox": ({"mailbox": {"size": 1}}, "mailbox.size", "capacity"),
    "an unknown plane": ({"plane": "x"}, "plane", "control"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_the_contract_is_one_error_that_names_file_line_and_field(tmp_path: Path, name: str) -> None:
    changes, field, says = REFUSED[name]
    good = entry(name="good", key="good", payload="Good")
    path = write(tmp_path / "topics.yaml", good, entry(**changes))
    with pytest.raises(ContractError, match=re.escape(says)) as caught:
        load_extension([path])
    text = str(caught.value)
    assert caught.value.path == path
    assert caught.value.line is not None
    assert caught.value.line > 2 + len(good)
    assert caught.value.field.startswith("topics[1]" + (f".{field}" if field else ""))
    assert text.startswith(f"{path}, line {caught.value.line}, column ")
    assert "\n" not in text
    with pytest.raises(MessageError):
        Extension.of_rows([good, entry(**changes)], "another host")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "map"),
        ("[]", "map"),
        ("version: 2\ntopics: []", "version"),
        ("version: 1", "topics"),
        ("version: 1\ntopics: []", "topics"),
        ("version: 1\ntopics: [1]", "map"),
        ("version: 1\ntopics: {}", "list"),
        ("version: 1\ntopics: [", "topics.yaml"),
        ("version: 1\ntopics: []\nnodes: []", "nodes"),
    ],
)
def test_a_file_that_holds_no_topics_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(text)
    with pytest.raises(ContractError, match=says) as caught:
        load_extension([path])
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ContractError, match=re.escape(str(path))):
            load_extension([path])


CHUNK = st.text("abz09_-.", min_size=1, max_size=3) | st.sampled_from(["{a}", "{b}", "{c}", "spikes", "input", "api"])


@given(st.lists(CHUNK, min_size=1, max_size=4), st.lists(CHUNK, min_size=1, max_size=4))
def test_two_topics_that_are_accepted_share_no_key(first: list[str], second: list[str]) -> None:
    rows = [entry(name=f"t{i}", key="/".join(chunks), payload=f"T{i}") for i, chunks in enumerate((first, second))]
    try:
        extension = Extension.of_rows(rows, "x")
    except MessageError:
        return
    expressions = [zenoh.KeyExpr(topic.expression) for topic in extension.contract.topics]
    for index, one in enumerate(expressions):
        assert str(one) == extension.contract.topics[index].expression
        assert not any(one.intersects(other) for other in expressions[index + 1 :])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["int", "SpikePacket", "lab/x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.sampled_from([*entry(), "payload", "reply", "reply_fields"]), VALUES), max_size=2))
def test_whatever_another_host_tells_is_topics_or_one_error(rows: list[dict[str, Any]]) -> None:
    with contextlib.suppress(MessageError):
        Extension.of_rows([{**entry(), **row} for row in rows], "x")
