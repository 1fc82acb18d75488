"""The parts of a prompt that asks for several things, and the one answer that their answers become."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from brainnet.errors import ErrorCode
from brainnet.texts import shorten
from brainnet.wire.messages import Answer, Decision, Prompt

PART_MODALITY: Final = "part"
"""Modality of the spikes by which an integrator tells the router that a part has its answer, and how sure it is."""
_SHOWN: Final = 120
"""Characters of a part that an answer names."""


def part_id(prompt_id: str, number: int) -> str:
    """Return the id of a part: the same in every process, and as long as any id, whatever the client chose."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{prompt_id}/{number}"))


def part_of(prompt: Prompt, number: int, text: str) -> Prompt:
    """Return one part as a prompt of its own, with what came with the whole."""
    return prompt.model_copy(update={"prompt_id": part_id(prompt.prompt_id, number), "text": text})


def join_answers(prompt: Prompt, decision: Decision, answers: Sequence[Answer | None]) -> Answer:
    """Return the answer of a prompt from those of its parts, in order; None is a part that nobody answered in time.

    What could not be done is named. Where nothing could be done the answer is an error.
    """
    given = list(zip(decision.parts, answers, strict=True))
    lines = [_line(part, answer) for part, answer in given]
    done = [answer for answer in answers if answer is not None and answer.error is None]
    content: dict[str, Any] = {"parts": [_shown(part, answer) for part, answer in given]}
    common: dict[str, Any] = {
        "prompt_id": prompt.prompt_id,
        "decision": decision,
        "prompt": prompt.text,
        "session_id": prompt.session_id,
        "content": content,
        "late": list(dict.fromkeys(region for answer in answers if answer is not None for region in answer.late)),
    }
    if not done:
        codes = {answer.code if answer is not None else "deadline" for answer in answers}
        fallback: ErrorCode = "no_answer"
        code = codes.pop() if len(codes) == 1 else fallback
        return Answer(**common, stopped_by="error", error="; ".join(lines), code=code)
    sure = [answer for answer in done if not answer.unsure]
    all_done = len(sure) == len(decision.parts)
    return Answer(
        **common,
        text="\n".join(lines),
        confidence=min(answer.confidence for answer in (sure or done)),
        contributing=list(dict.fromkeys(region for answer in done for region in answer.contributing)),
        stopped_by="all" if None not in answers else "deadline",
        unsure=not sure,
        reason="" if all_done else "partly" if sure else "unknown",
    )


def _line(part: str, answer: Answer | None) -> str:
    if answer is None:
        return f"Not done in time: {shorten(part, _SHOWN)}"
    if answer.error is not None:
        return f"Not done: {shorten(part, _SHOWN)} ({answer.error})"
    return answer.text


def _shown(part: str, answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {"prompt": part, "code": "deadline"}
    fields = ("text", "confidence", "contributing", "error", "code", "unsure", "reason", "content")
    decision = None if answer.decision is None else answer.decision.model_dump()
    return {"prompt": part, "decision": decision} | {name: getattr(answer, name) for name in fields}
