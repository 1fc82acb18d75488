"""Language: continues a text with a spiking language model, and streams it as it is written."""

from __future__ import annotations

import math
import re
import time
import zlib

import numpy as np
from pydantic import Field

from brainnet import Candidate, NodeParameters, Partial, Query, Region, RegionError, main
from brainnet.snn.language_generation import TextGenerator

RESERVE_S = 0.1
"""Time left before the deadline at which writing stops, so that the answer still arrives."""

_INSTRUCTION = re.compile(
    r"\s*(?:please\s+)?(?:continue|complete|finish|go on with|carry on with)"
    r"(?:\s+(?:with|from))?(?:\s+(?:this|the|my|following))*(?:\s+(?:text|story|sentence|passage|paragraph|tale))?"
    r"\s*(?::|\s(?=[\"']))\s*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?][\"')\]]*(?=\s)")


def text_to_continue(prompt: str) -> str:
    """``prompt`` without an instruction in front ("Continue the text:") and quotation marks around the rest."""
    match = _INSTRUCTION.match(prompt)
    text = prompt[match.end() :] if match else prompt
    text = text.strip()
    if match and len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def sentence_end(text: str, count: int) -> int | None:
    """Where the ``count``-th sentence of ``text`` ends, or None while it has fewer; a following space tells the end."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return ends[count - 1] if 0 < count <= len(ends) else None


class Language(Region):
    """Continues a text, streaming as it writes."""

    default_checkpoint = "weights/language.safetensors"
    modality = "text"

    class Parameters(NodeParameters):
        max_tokens: int = Field(96, ge=1, le=4096, description="tokens to write at most")
        sentences: int = Field(2, ge=0, le=100, description="stop after so many sentences; 0: only at max_tokens")
        temperature: float = Field(0.7, ge=0, le=5, description="0 takes the most probable token")
        top_p: float = Field(0.9, gt=0, le=1, description="draw from the likeliest tokens that reach this probability")
        seed: int | None = Field(None, ge=0, description="of the draws; none: from the prompt's id")

    params: Parameters

    def load(self) -> None:
        assert self.checkpoint is not None
        self.generator = TextGenerator(self.checkpoint, self.checkpoint.with_suffix(".tokenizer.json"))
        self.generator.warm_up()

    def answer(self, query: Query) -> Partial:
        """The continuation; every token is first published as an interim partial with ``chunk`` in its content."""
        prompt = text_to_continue(query.prompt.text)
        if not prompt:
            raise RegionError(f"{self.id} continues a text: send one with the prompt")
        params = self.params.model_copy()
        seed = zlib.crc32(query.prompt.prompt_id.encode()) if params.seed is None else params.seed
        text, log_probability, trains = "", 0.0, []
        begun = time.monotonic()
        written = self.generator.generate(prompt, params.max_tokens, params.temperature, params.top_p, seed)
        for token in written:
            trains.append(token.neurons)
            log_probability += math.log(max(token.probability, 1e-30))
            end = sentence_end(text + token.text, params.sentences)
            chunk = token.text if end is None else token.text[: max(0, end - len(text))]
            text += chunk
            if chunk:
                query.emit(self.partial(text, log_probability / len(trains), {"chunk": chunk}))
            if end is not None or query.time_left < RESERVE_S:
                stopped_by = "deadline" if end is None else "sentence"
                break
        else:
            stopped_by = "max_tokens" if len(trains) == params.max_tokens else "end of text"
        if not text.strip():
            raise RegionError(f"{self.id} has nothing to add: to the model the text is complete")
        seconds = time.monotonic() - begun
        content = {"tokens": len(trains), "tokens_per_s": round(len(trains) / seconds), "stopped_by": stopped_by}
        partial = self.partial(text, log_probability / len(trains), content)
        partial.spikes = np.stack(trains, 1)
        return partial

    @staticmethod
    def partial(text: str, mean_log_probability: float, content: dict[str, object]) -> Partial:
        """A partial whose confidence is the geometric mean of the model's probabilities for its own tokens."""
        confidence = math.exp(mean_log_probability)
        return Partial(
            candidates=[Candidate(text=text.strip(), probability=1.0)], confidence=confidence, content=content
        )


if __name__ == "__main__":
    main(Language)
