"""Runs the protocol of a prompt once, with a prompt of nobody, so that the first real one finds all of it loaded.

The first use of a message class builds its validator, and the first use of any code fills caches: together some
milliseconds in each process on the way of a prompt.
"""

from __future__ import annotations

import numpy as np

from brainnet.prompts.answers import conclude, error_answer
from brainnet.prompts.open_prompts import OpenPrompt
from brainnet.prompts.queries import query_packet, read_query
from brainnet.wire.messages import (
    Accepted,
    Answer,
    Candidate,
    Decision,
    Partial,
    PartialHeader,
    Prompt,
    decode,
    encode,
    read_prompt,
)
from brainnet.wire.messages.codec import JSON_ENCODING
from brainnet.wire.packet import SpikePacket
from brainnet.wire.packet import decode as decode_packet
from brainnet.wire.packet import encode as encode_packet


def warm_up() -> None:
    """Write, read, fuse and answer one prompt, without a bus and without a trace."""
    prompt = Prompt(text="Is anybody there?", image=b"\0", deadline_ms=1000)
    for payload, encoding in ((encode(prompt), ""), (encode(prompt, as_json=True), JSON_ENCODING)):
        prompt = read_prompt(payload, encoding)
    decode(Accepted, encode(Accepted(prompt=prompt, left_ms=1.0)))
    names = {"nobody": 1.0}
    decision = Decision(prompt_id=prompt.prompt_id, route_probs=names, scores=names, chosen=["nobody"])
    decision = decode(Decision, encode(decision))
    spikes = np.eye(8, 4, dtype=np.uint8)
    read_query(decode_packet(encode_packet(query_packet(prompt, left_ms=1.0))))
    partial = Partial(
        prompt_id=prompt.prompt_id,
        region="nobody",
        candidates=[Candidate(text="yes", probability=0.9), Candidate(text="no", probability=0.1)],
        confidence=0.5,
    )
    header = PartialHeader(partial=partial, prompt_id=prompt.prompt_id)
    packet = decode_packet(encode_packet(SpikePacket(spikes, "nobody", metadata=header.to_metadata())))
    entry = OpenPrompt(prompt=prompt, decision=decision)
    entry.partials["nobody"] = PartialHeader.of(packet).partial
    answer = conclude(entry, trust={}, reliability={}, at_deadline=True)
    for given in (answer or error_answer(prompt, "internal", ""), error_answer(prompt, "busy", "")):
        decode(Answer, encode(given))
        decode(Answer, encode(given, as_json=True), JSON_ENCODING)
