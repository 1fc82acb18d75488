"""A well-behaved region: says what it was asked."""

from __future__ import annotations

from pydantic import Field

from brainnet import Candidate, NodeParameters, Partial, Query, Region


class Echo(Region):
    """Says what it was asked."""

    class Parameters(NodeParameters):
        prefix: str = Field("", description="comes before the text")
        gain: float = Field(1.0, gt=0, le=1.0, description="probability of the candidate")

    params: Parameters

    def answer(self, query: Query) -> Partial:
        text = self.params.prefix + query.prompt.text
        return Partial(candidates=[Candidate(text=text, probability=self.params.gain)], confidence=1.0)
