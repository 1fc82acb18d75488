"""Queries: a prompt on its way to one region, its text as spikes and what addresses it as a header."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import MessageError, PacketError
from brainnet.wire.codes import texts
from brainnet.wire.messages import MAX_TEXT, Prompt, QueryHeader
from brainnet.wire.packet import SpikePacket

_CACHED_TEXT: Final = 1000
"""Characters of the longest text whose spikes are kept for the next query."""
_FIELDS = ("prompt_id", "session_id", "image", "audio", "arrays", "priority", "remember", "deadline_ms", "timestamp_ns")
"""What a prompt and the header of its query have in common."""


def query_packet(
    prompt: Prompt,
    *,
    source: str = "",
    route_prob: float = 1.0,
    left_ms: float | None = None,
    routed: bool = False,
) -> SpikePacket:
    """Write the query that asks a region about a prompt.

    Args:
        prompt: What is asked.
        source: Node id of the sender.
        route_prob: The probability with which the region was chosen.
        left_ms: Milliseconds until nobody waits any more; None for the deadline of the prompt.
        routed: Whether the router chose the region.
    """
    same = {name: getattr(prompt, name) for name in _FIELDS}
    header = QueryHeader(**same, route_prob=route_prob, left_ms=left_ms, routed=routed)
    return SpikePacket(_spikes_of(prompt.text), texts.MODALITY, source=source, metadata=header.to_metadata())


def _spikes_of(text: str) -> NDArray[np.uint8]:
    # One text goes to several regions, and is first sent for their bids.
    return _cached_spikes(text) if len(text) <= _CACHED_TEXT else texts.encode(text)


@lru_cache(maxsize=128)
def _cached_spikes(text: str) -> NDArray[np.uint8]:
    spikes = texts.encode(text)
    spikes.flags.writeable = False
    return spikes


def bid_packet(prompt: Prompt, *, source: str = "") -> SpikePacket:
    """Write the question to a region how well it could answer a prompt: a query without what comes with the text."""
    outline = prompt.model_copy(
        update={
            "image": None if prompt.image is None else b"",
            "audio": None if prompt.audio is None else b"",
            "arrays": dict.fromkeys(prompt.arrays, b""),
        }
    )
    return query_packet(outline, source=source, routed=True)


def read_query(packet: SpikePacket) -> tuple[Prompt, QueryHeader]:
    """Read a query: the prompt, whose text is what its spikes say, and the header.

    The text is empty where the prompt had none, and where no spike arrived.

    Raises:
        MessageError: The header is wrong, or the data are no text.
    """
    header = QueryHeader.of(packet)
    try:
        text = texts.decode(packet)
    except PacketError as error:
        raise MessageError(str(error)) from None
    if len(text) > MAX_TEXT:
        raise MessageError(f"the text of a query has {len(text)} characters; a prompt may have {MAX_TEXT}")
    # Without the checks of a prompt, which are those of the header; a prompt that lost its spikes asks nothing.
    return Prompt.model_construct(text=text, **{name: getattr(header, name) for name in _FIELDS}), header
