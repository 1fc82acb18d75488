"""Queries: what of a prompt reaches a region, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet import Prompt, SpikePacket
from brainnet.errors import MessageError
from brainnet.prompts import query_packet, read_query
from brainnet.wire.codes import texts
from brainnet.wire.messages import MAX_TEXT


@given(
    text=st.text(max_size=200),
    image=st.none() | st.binary(max_size=20),
    session=st.text(max_size=20),
    priority=st.integers(0, 9),
    deadline_ms=st.integers(1, 600_000),
)
def test_a_region_gets_the_prompt(
    text: str, image: bytes | None, session: str, priority: int, deadline_ms: int
) -> None:
    if not text.strip() and image is None:
        text += "?"
    asked = Prompt(text=text, image=image, session_id=session, priority=priority, deadline_ms=deadline_ms)
    packet = SpikePacket.decode(query_packet(asked, source="router", route_prob=0.25, left_ms=10.0).encode())
    assert "text" not in packet.metadata  # it is in the spikes alone
    read, header = read_query(packet)
    assert read == asked
    assert (header.route_prob, header.left_ms, packet.source) == (0.25, 10.0, "router")


def test_an_address_is_enough() -> None:
    packet = replace(query_packet(Prompt(prompt_id="p", text="Where is it?")), metadata={"prompt_id": "p"})
    read, header = read_query(packet)
    assert (read.prompt_id, read.text, read.session_id, read.image) == ("p", "Where is it?", "", None)
    assert header.left_ms is None


def test_what_no_spike_arrived_of_has_no_text() -> None:
    packet = query_packet(Prompt(text="Where is it?"))
    read, _ = read_query(replace(packet, data=np.zeros_like(packet.data)))
    assert read.text == ""


@pytest.mark.parametrize(
    ("data", "metadata", "says"),
    [
        (texts.encode("hi"), {}, "prompt_id"),
        (texts.encode("hi"), {"prompt_id": ""}, "prompt_id"),
        (texts.encode("hi"), {"prompt_id": "p", "priority": 12}, "priority"),
        (np.zeros((3, 7), np.uint8), {"prompt_id": "p"}, r"a text is spikes \[4 n, 10\]"),
        (np.zeros((8, 10), np.float32), {"prompt_id": "p"}, "a text is spikes"),
        (texts.encode("a" * (MAX_TEXT + 1)), {"prompt_id": "p"}, "a prompt may have 100000"),
    ],
)
def test_what_is_no_query_is_refused(data: np.ndarray, metadata: dict[str, object], says: str) -> None:
    with pytest.raises(MessageError, match=says):
        read_query(SpikePacket(data, metadata=metadata))
