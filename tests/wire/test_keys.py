"""Keys are made from the contract and read by it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import TopicError
from brainnet.wire.keys import chunk, key
from brainnet.wire.topics import Topic, contract

CHUNK = st.text("abcXYZ09_-.", min_size=1, max_size=12)
topics = st.sampled_from(contract().topics)


@given(topics, st.data())
def test_a_key_with_all_its_chunks_is_one_of_its_topic_and_gives_them_back(topic: Topic, data: st.DataObject) -> None:
    values = {name: data.draw(CHUNK) for name in topic.chunks}
    made = key(topic.name, **values)
    assert contract().find(made) is topic
    assert {name: chunk(topic.name, made, name) for name in topic.chunks} == values


@given(topics)
def test_a_chunk_that_is_left_out_matches_anything(topic: Topic) -> None:
    assert key(topic.name) == topic.expression


def test_mistakes_are_errors_that_name_what_there_is() -> None:
    with pytest.raises(TopicError, match=r"no topic 'querry', did you mean query\?; it has prompt, accepted"):
        key("querry")
    with pytest.raises(TopicError, match="no chunk 'node'; its key is brain/query/"):
        key("query", node="eye")
    with pytest.raises(TopicError, match="is not a key"):
        key("query", region="e*e")
    with pytest.raises(TopicError, match="'heartbeat/eye' has no chunk 'region' of topic query"):
        chunk("query", "heartbeat/eye", "region")
