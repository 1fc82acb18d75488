"""What a chaos run found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from brainnet.testing.chaos.ledger import LostPrompt, Percentiles, Tally


class Recovery(BaseModel):
    """How one victim came back from being killed or stopped.

    Attributes:
        victim: A node, or `zygote`.
        fault: What was done to it.
        times: How often.
        unrecovered: How often it was not ready again in time.
        unnoticed: How often the supervisor did not notice that it was stopped.
        detected_s: From the fault to another state or process.
        ready_s: From the fault until it was ready again.
        answer_s: From the fault to the first answer to a prompt that was sent after it.
    """

    victim: str
    fault: Literal["kill", "stop"]
    times: int = 0
    unrecovered: int = 0
    unnoticed: int = 0
    detected_s: Percentiles = Percentiles()
    ready_s: Percentiles = Percentiles()
    answer_s: Percentiles = Percentiles()


class FloodResult(BaseModel):
    """What an overload did.

    Attributes:
        capacity_per_s: Answers a second that clients got that wait for each answer.
        offered_per_s: Prompts a second that were sent in the flood.
        goodput_per_s: Answers with a result a second, during the flood.
        goodput_after_per_s: The same in the 2 s after it; prompts of the flood that waited are among them.
        new_after_per_s: Of those, answers to clients that begin to ask after the flood.
        refused: Prompts of the flood that were turned away.
        expired: Prompts of the flood whose answer says that their time was over.
        refusal_ms: From a prompt to its refusal.
        status_ms: From a query for the state of the brain to its reply, asked by another process throughout.
        status_failed: Such queries without a reply.
    """

    capacity_per_s: float = 0.0
    offered_per_s: float = 0.0
    goodput_per_s: float = 0.0
    goodput_after_per_s: float = 0.0
    new_after_per_s: float = 0.0
    refused: int = 0
    expired: int = 0
    refusal_ms: Percentiles = Percentiles()
    status_ms: Percentiles = Percentiles()
    status_failed: int = 0


class Report(BaseModel):
    """What a chaos run found.

    Attributes:
        seed: The seed of every choice.
        duration_s: Seconds of each fault.
        rate_per_s: Prompts a second beside each fault.
        faults: Those that were injected, in this order.
        allocation: The file of the brain.
        interrupted: Whether it was ended early.
        total: What became of all prompts.
        by_fault: The same for the prompts that were sent during each fault.
        by_channel: The same for each way to send a prompt.
        error_texts: The most frequent error texts, by code, and how often each came.
        recovery: By victim and fault.
        flood: Of the fault `flood`.
        injected: How often each single thing was done.
        wrong: The first prompts that were lost, or answered more than once.
        unmatched: Answers to prompts that this run did not send, or that had no readable id.
        links_lost: How often the client's link to the brain was lost; what it sends meanwhile never arrives.
        skipped: What could not be done here, and why.
    """

    seed: int
    duration_s: float
    rate_per_s: float
    faults: list[str]
    allocation: str = ""
    interrupted: bool = False
    total: Tally = Tally()
    by_fault: dict[str, Tally] = Field(default_factory=dict)
    by_channel: dict[str, Tally] = Field(default_factory=dict)
    error_texts: dict[str, dict[str, int]] = Field(default_factory=dict)
    recovery: list[Recovery] = Field(default_factory=list)
    flood: FloodResult | None = None
    injected: dict[str, int] = Field(default_factory=dict)
    wrong: list[LostPrompt] = Field(default_factory=list)
    unmatched: int = 0
    links_lost: int = 0
    skipped: list[str] = Field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was lost or duplicated, and everything came back."""
        return not (
            self.total.lost or self.total.duplicated or any(r.unrecovered or r.unnoticed for r in self.recovery)
        )
