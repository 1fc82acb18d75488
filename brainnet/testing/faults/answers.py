"""Regions whose answers are wrong in form, in number or in time, and one whose answers are right."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final, Literal, get_args

import numpy as np
from pydantic import Field

from brainnet.node import NodeParameters, Query, Region
from brainnet.wire.keys import key
from brainnet.wire.messages import Candidate, Partial, PartialHeader

DEEP: Final = 2000
"""Levels of the nested map of `Garbage`: more than any decoder follows."""

GarbageKind = Literal[
    "object",
    "lone_surrogate",
    "numpy_scalar",
    "huge_integer",
    "deep_map",
    "not_a_number",
    "spikes_of_objects",
    "spikes_of_text",
    "spikes_of_three_dimensions",
    "spikes_of_another_kind",
]
GARBAGE: Final[tuple[GarbageKind, ...]] = get_args(GarbageKind)
"""Every kind of content that `Garbage` can answer with."""


def says(text: str, **content: Any) -> Partial:
    """Return a partial with one certain candidate."""
    return Partial(candidates=[Candidate(text=text, probability=1.0, content=content)], confidence=1.0)


class Answers(Region):
    """Repeats the text of the prompt, after a delay; it has no fault."""

    class Parameters(NodeParameters):
        """How long it takes."""

        delay_s: float = Field(0.0, ge=0.0, le=600.0, description="seconds of an answer")

    params: Parameters

    def answer(self, query: Query) -> Partial:
        """Return the text of the prompt."""
        if self.params.delay_s:
            threading.Event().wait(self.params.delay_s)
        return says(query.prompt.text)


class AnswersTwice(Region):
    """Publishes two different final partials for each query."""

    def answer(self, query: Query) -> Partial:
        """Return one partial, and have another one published before it."""
        second = says("the other answer").model_copy(update={"prompt_id": query.prompt.prompt_id, "region": self.id})
        header = PartialHeader(partial=second, prompt_id=second.prompt_id)
        packet = self.packet(np.zeros((0, 0), np.uint8), modality=self.id, header=header)
        self.loop.call_soon_threadsafe(self.publish, key("partial", node_id=self.id), packet)
        return says(query.prompt.text)

    async def setup(self) -> None:
        """Remember the event loop, because `answer` runs in the model thread."""
        self.loop = asyncio.get_running_loop()

    loop: asyncio.AbstractEventLoop


class Garbage(Region):
    """Answers with content that the wire cannot carry, or with spikes that are none."""

    class Parameters(NodeParameters):
        """What it answers with."""

        kind: GarbageKind = Field("object", description="what is wrong with the answer")

    params: Parameters

    def answer(self, query: Query) -> Partial:
        """Return an answer with the fault that the parameter names."""
        partial = says(query.prompt.text)
        match self.params.kind:
            case "object":
                partial.content["value"] = object()
            case "lone_surrogate":
                partial.candidates[0].text = "\ud800"
            case "numpy_scalar":
                partial.candidates[0].content["value"] = np.float32(0.5)
            case "huge_integer":
                partial.content["value"] = 2**80
            case "deep_map":
                partial.content["value"] = deep_map(DEEP)
            case "not_a_number":
                partial.confidence = float("nan")
            case "spikes_of_objects":
                partial.spikes = np.array([[object()]], dtype=object)
            case "spikes_of_text":
                partial.spikes = np.array([["spike"]])
            case "spikes_of_three_dimensions":
                partial.spikes = np.zeros((2, 2, 2), np.uint8)
            case "spikes_of_another_kind":
                partial.spikes = "no array"
        return partial


def deep_map(levels: int) -> dict[str, Any]:
    """Return a map in a map, `levels` times."""
    nested: dict[str, Any] = {}
    for _ in range(levels):
        nested = {"inside": nested}
    return nested


class Late(Region):
    """Answers after the deadline of the prompt."""

    class Parameters(NodeParameters):
        """How late it is."""

        late_s: float = Field(0.2, ge=0.0, le=60.0, description="seconds after the deadline")

    params: Parameters

    async def answer(self, query: Query) -> Partial:
        """Return the text of the prompt when nobody waits for it any more."""
        await asyncio.sleep(query.time_left + self.params.late_s)
        return says(query.prompt.text)


class ReturnsNone(Region):
    """Returns nothing from `answer`."""

    def answer(self, query: Query) -> None:
        """Return nothing."""
        return


class ReturnsText(Region):
    """Returns a string from `answer`, where a `Partial` belongs."""

    def answer(self, query: Query) -> str:
        """Return the text of the prompt."""
        return query.prompt.text
