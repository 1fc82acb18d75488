"""From what is known of an open prompt to its one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from brainnet.errors import ErrorCode
from brainnet.prompts.abilities import honest_text
from brainnet.prompts.fusion import Fused, Scored, fuse
from brainnet.prompts.open_prompts import OpenPrompt
from brainnet.prompts.parts import join_answers
from brainnet.prompts.trust import Trust
from brainnet.wire.messages import Answer, Decision, Partial, Prompt, StoppedBy

REASONS: Final = {
    "": "a region asserts it",
    "unknown": "no region that was asked knows it",
    "cannot": "no region that was asked can do that",
    "unsure": "a region has an answer, and is less sure of it than it has to be",
    "partly": "of a prompt that asks for several things, some were answered",
    "greeting": "a greeting, like the next seven about the brain itself",
    "farewell": "a goodbye",
    "thanks": "thanks",
    "identity": "who the brain is",
    "ability": "what it can do",
    "regions": "which regions there are",
    "state": "how it is",
    "opinion": "small talk",
}
"""The values of `Answer.reason`, and what each means; a region may have others."""
_HONEST: Final = frozenset({"unknown", "cannot_answer"})
"""Codes of refusals of which the brain says that it does not know. The others are errors."""
_SHOWN: Final = 5
"""Candidates that an answer lists."""


def conclude(
    entry: OpenPrompt,
    *,
    trust: Mapping[str, Trust],
    reliability: Mapping[str, float],
    at_deadline: bool,
    able: str = "",
) -> Answer | None:
    """Return the answer of a prompt, or None while waiting may still change it.

    Args:
        entry: An open prompt that was accepted.
        trust: Learned trust by region.
        reliability: Record by region.
        at_deadline: Whether its deadline has come: then there is always an answer.
        able: What the brain can do, a sentence for an answer that asserts nothing.
    """
    prompt, decision = entry.prompt, entry.decision
    if prompt is None or (decision is None and not at_deadline):
        return None
    if decision is None:
        reason = f"no decision within {prompt.deadline_ms} ms: the router did not answer"
        return error_answer(prompt, "no_decision", reason)
    if decision.error is not None and decision.code in _HONEST:
        return _honest_answer(prompt, decision, {"": decision.error}, able, cannot=decision.code == "cannot_answer")
    if decision.error is not None:
        answer = error_answer(prompt, decision.code or "no_region", decision.error, decision=decision)
        answer.retry_after_ms = decision.retry_after_ms
        return answer
    if decision.parts:
        complete = bool(entry.part_answers) and None not in entry.part_answers
        answers = entry.part_answers or [None] * len(decision.parts)
        return join_answers(prompt, decision, answers) if complete or at_deadline else None
    return _conclude_routed(entry, prompt, decision, trust, reliability, at_deadline, able)


def _conclude_routed(
    entry: OpenPrompt,
    prompt: Prompt,
    decision: Decision,
    trust: Mapping[str, Trust],
    reliability: Mapping[str, float],
    at_deadline: bool,
    able: str,
) -> Answer | None:
    """Return the answer of a prompt whose regions are known, or None while waiting may still change it."""
    missing = entry.missing
    partials = {r: p for r, p in entry.partials.items() if r in decision.chosen}
    fused = fuse(partials, decision.route_probs, decision.chosen, reliability, trust, prompt.text)
    # A claim that nobody asserts alone may still be supported by a region that has not answered.
    decided = fused.settled and fused.ranked[0].asserted
    if missing and not decided and not at_deadline:
        return None
    if fused.ranked:
        stopped_by: StoppedBy = "all" if not missing else "settled" if fused.settled else "deadline"
        return _fused_answer(entry, prompt, decision, fused, missing, stopped_by)
    codes = {partial.code for partial in partials.values()}
    if codes and codes <= _HONEST and not missing and decision.routed_by == "router":
        reasons = {region: partial.error for region, partial in partials.items() if partial.error}
        return _honest_answer(prompt, decision, reasons, able, cannot="unknown" not in codes)
    code, reason = _why_nothing(partials, missing, prompt)
    return error_answer(prompt, code, reason, decision=decision, late=missing)


def error_answer(
    prompt: Prompt,
    code: str,
    reason: str,
    *,
    decision: Decision | None = None,
    late: list[str] | None = None,
) -> Answer:
    """Return the answer of a prompt that has none, which says why.

    Args:
        prompt: What was asked.
        code: One of `brainnet.errors.ERROR_CODES`.
        reason: One sentence for people.
        decision: Where it was routed, if it was.
        late: Regions that were asked and did not answer.
    """
    return Answer(
        prompt_id=prompt.prompt_id,
        stopped_by="error",
        error=reason,
        code=code,
        decision=decision,
        late=late or [],
        prompt=prompt.text,
        session_id=prompt.session_id,
    )


def _fused_answer(
    entry: OpenPrompt, prompt: Prompt, decision: Decision, fused: Fused, missing: list[str], stopped_by: StoppedBy
) -> Answer:
    best = fused.ranked[0]
    unsure = not best.asserted
    content: dict[str, Any] = {"regions": best.content, "candidates": list(map(_shown, fused.ranked[:_SHOWN]))}
    refused = {region: partial.error for region, partial in entry.partials.items() if partial.error is not None}
    if refused:
        content["refused"] = refused
    others = {region for scored in fused.ranked for region in scored.support} - set(best.support)
    return Answer(
        prompt_id=prompt.prompt_id,
        text=f"I am not sure; perhaps: {best.text}" if unsure else best.text,
        unsure=unsure,
        reason="unsure" if unsure else best.reason,
        content=content,
        confidence=fused.confidence,
        contributing=best.regions + sorted(others),
        late=missing,
        stopped_by=stopped_by,
        decision=decision,
        prompt=prompt.text,
        session_id=prompt.session_id,
    )


def _honest_answer(
    prompt: Prompt, decision: Decision, reasons: Mapping[str, str], able: str, *, cannot: bool
) -> Answer:
    """Return the answer to a prompt that no region could answer: what each lacked, and what the brain can do."""
    return Answer(
        prompt_id=prompt.prompt_id,
        text=honest_text("I cannot answer that" if cannot else "I do not know", reasons, able),
        unsure=True,
        reason="cannot" if cannot else "unknown",
        content={"refused": dict(reasons)},
        decision=decision,
        prompt=prompt.text,
        session_id=prompt.session_id,
    )


def _shown(scored: Scored) -> dict[str, Any]:
    regions, content = scored.regions, scored.content
    return {
        "text": scored.text,
        "score": scored.score,
        "regions": regions,
        "evidence": {region: content[region] | scored.support[region] for region in regions},
    }


def _why_nothing(partials: Mapping[str, Partial], missing: list[str], prompt: Prompt) -> tuple[str, str]:
    reasons = [f"{region}: {partial.error or 'it has no answer'}" for region, partial in partials.items()]
    if missing:
        reasons.append(f"{', '.join(missing)}: no answer within {prompt.deadline_ms} ms")
    fallback: ErrorCode = "deadline" if missing else "no_answer"
    # one region alone: what kept it from answering is what went wrong
    codes = {partial.code for partial in partials.values() if partial.code is not None}
    code = codes.pop() if len(codes) == 1 and not missing else fallback
    return code, "; ".join(reasons) or "no region was asked"
