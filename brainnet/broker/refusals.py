"""The answers of prompts that are not accepted."""

from __future__ import annotations

import json

import msgpack

from brainnet.errors import ErrorCode
from brainnet.wire.messages import Answer, Encoded, Outline


def refusal(prompt: Outline, code: ErrorCode, reason: str, retry_after_ms: int | None) -> Encoded:
    """Return the `Answer` of a prompt that is not accepted.

    Only the fields that say something, written by hand: in a flood there are thousands a second, and what they cost is
    taken from the answers.
    """
    fields = {
        "prompt_id": prompt.prompt_id,
        "stopped_by": "error",
        "error": reason,
        "code": code,
        "prompt": prompt.text,
        "retry_after_ms": retry_after_ms,
        "session_id": prompt.session_id,
    }
    if prompt.as_json:
        return Encoded(Answer, json.dumps(fields).encode(), as_json=True)
    return Encoded(Answer, msgpack.packb(fields))
