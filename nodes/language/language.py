"""Language: continues a text, and streams it as it is written.

The text is written by the spiking language model that comes with brainnet (`backend: spiking`), or by any server that
speaks OpenAI's HTTP interface (`backend: openai` with `base_url` and `model`).
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
import zlib
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from brainnet import Candidate, NodeParameters, Partial, Query, Region, RegionError, main
from brainnet.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

    from brainnet.snn.models.text_generation import TextGenerator
    from openai_client import Request

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
    """`prompt` without an instruction in front ("Continue the text:") and quotation marks around the rest."""
    match = _INSTRUCTION.match(prompt)
    text = prompt[match.end() :] if match else prompt
    text = text.strip()
    if match and len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def sentence_end(text: str, count: int) -> int | None:
    """Where the `count`-th sentence of `text` ends, or None while it has fewer; a following space tells the end."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return ends[count - 1] if 0 < count <= len(ends) else None


@dataclass(slots=True)
class Written:
    """A text on its way: what is there, and how sure the writer was of its tokens.

    The confidence is the geometric mean of the writer's probabilities for its own tokens; `otherwise` where it does
    not tell them.
    """

    otherwise: float = 0.0
    text: str = ""
    log_probability: float = 0.0
    weighed: int = 0
    begun: float = field(default_factory=time.monotonic)

    def weigh(self, log_probability: float) -> None:
        self.log_probability += log_probability
        self.weighed += 1

    @property
    def confidence(self) -> float:
        return math.exp(min(0.0, self.log_probability / self.weighed)) if self.weighed else self.otherwise

    def rate(self, tokens: int) -> int:
        """Tokens per second since the beginning."""
        return round(tokens / max(time.monotonic() - self.begun, 1e-9))

    def partial(self, content: dict[str, Any]) -> Partial:
        candidate = Candidate(text=self.text.strip(), probability=1.0)
        return Partial(candidates=[candidate], confidence=self.confidence, content=content)


class Language(Region):
    """Continues a text, streaming as it writes.

    With `backend: openai` it publishes no spikes: it has no spiking model then, and spikes are a model's own.
    """

    default_checkpoint = "language.safetensors"
    modality = "text"

    class Parameters(NodeParameters):
        backend: Literal["spiking", "openai"] = Field(
            "spiking", description="who writes: the spiking model here, or a server that speaks OpenAI's interface"
        )
        max_tokens: int = Field(96, ge=1, le=4096, description="tokens to write at most")
        sentences: int = Field(
            2, ge=0, le=100, description="spiking: stop after so many sentences; 0: only at max_tokens"
        )
        temperature: float = Field(0.7, ge=0, le=5, description="0 takes the most probable token")
        top_p: float = Field(0.9, gt=0, le=1, description="draw from the likeliest tokens that reach this probability")
        seed: int | None = Field(
            None, ge=0, description="of the draws; none: from the prompt's id, or the server's own"
        )
        base_url: str = Field(
            "", pattern=r"^(https?://\S+)?$", description="openai: the server, as http://127.0.0.1:8000/v1"
        )
        model: str = Field("", description="openai: the model by the server's name for it")
        endpoint: Literal["chat/completions", "completions"] = Field(
            "chat/completions",
            description="openai: chat/completions for a model that follows instructions, completions for a base model",
        )
        api_key_env: str = Field("", description="openai: the environment variable that holds the server's key")
        timeout_s: float = Field(30.0, gt=0, description="openai: longest silence of the server, the deadline apart")
        logprobs: bool = Field(
            True, description="openai: ask for the tokens' log-probabilities, from which confidence is"
        )
        confidence: float = Field(0.5, ge=0, le=1, description="openai: where the server gives no log-probabilities")

    params: Parameters

    def load(self) -> None:
        if self.params.backend == "spiking":
            self._generator.warm_up()

    async def setup(self) -> None:
        if self.params.backend == "openai":
            try:
                self._request("")
            except RegionError as error:  # said now, not at the first prompt
                raise ConfigError(str(error)) from None

    async def teardown(self) -> None:
        if (client := self.__dict__.get("_client")) is not None:
            await client.aclose()

    async def answer(self, query: Query) -> Partial:
        """The continuation; every piece is first published as an interim partial with `chunk` in its content."""
        if not text_to_continue(query.prompt.text):
            raise RegionError(f"{self.id} continues a text: send one with the prompt")
        if self.params.backend == "openai":
            return await self._ask_server(query)
        return await self.in_model_thread(self._write, query)

    # -- the spiking model -------------------------------------------------------------------------------------------

    @cached_property
    def _generator(self) -> TextGenerator:
        from brainnet.snn.models.text_generation import TextGenerator

        assert self.checkpoint is not None
        return TextGenerator(self.checkpoint, self.checkpoint.with_suffix(".tokenizer.json"))

    def _write(self, query: Query) -> Partial:
        if query.expired:
            raise RegionError(f"{self.id} was busy until after the deadline")
        params = self.params.model_copy()
        prompt = text_to_continue(query.prompt.text)
        seed = zlib.crc32(query.prompt.prompt_id.encode()) if params.seed is None else params.seed
        written, trains = Written(), []
        for token in self._generator.generate(prompt, params.max_tokens, params.temperature, params.top_p, seed):
            trains.append(token.neurons)
            written.weigh(math.log(max(token.probability, 1e-30)))
            end = sentence_end(written.text + token.text, params.sentences)
            chunk = token.text if end is None else token.text[: max(0, end - len(written.text))]
            written.text += chunk
            if chunk:
                query.emit(written.partial({"chunk": chunk}))
            if end is not None or query.time_left < RESERVE_S:
                stopped_by = "deadline" if end is None else "sentence"
                break
        else:
            stopped_by = "max_tokens" if len(trains) == params.max_tokens else "end of text"
        if not written.text.strip():
            raise RegionError(f"{self.id} has nothing to add: to the model the text is complete")
        tokens = len(trains)
        partial = written.partial({"tokens": tokens, "tokens_per_s": written.rate(tokens), "stopped_by": stopped_by})
        partial.spikes = np.stack(trains, 1)
        return partial

    # -- a server ----------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        return httpx2.AsyncClient()

    def _request(self, prompt: str) -> Request:
        from openai_client import Request

        params = self.params.model_copy()
        if not params.base_url or not params.model:
            raise RegionError(f"{self.id} has backend openai but not both of its parameters base_url and model")
        key = os.environ.get(params.api_key_env, "") if params.api_key_env else ""
        if params.api_key_env and not key:
            raise RegionError(f"{self.id}: the environment variable {params.api_key_env} (api_key_env) is not set")
        options = {name: getattr(params, name) for name in ("max_tokens", "temperature", "top_p", "seed")}
        return Request(
            params.base_url,
            params.model,
            prompt if params.endpoint == "chat/completions" else text_to_continue(prompt),
            params.endpoint,
            key,
            params.logprobs,
            {name: value for name, value in options.items() if value is not None},
        )

    async def _ask_server(self, query: Query) -> Partial:
        """On the event loop: several queries at a time, each given up at its deadline or when the node stops."""
        from openai_client import stream

        request = self._request(query.prompt.text)
        self._client.timeout = self.params.timeout_s
        written, pieces, told, stopped_by, model = Written(self.params.confidence), 0, None, "", request.model
        try:
            async with asyncio.timeout(query.time_left - RESERVE_S), aclosing(stream(self._client, request)) as events:
                async for piece in events:
                    model, told = piece.model or model, piece.tokens or told
                    stopped_by = piece.finish or stopped_by
                    for log_probability in piece.logprobs:
                        written.weigh(log_probability)
                    if piece.text:
                        pieces += 1
                        written.text += piece.text
                        query.emit(written.partial({"chunk": piece.text}))
        except TimeoutError:
            if not pieces:
                raise RegionError(f"{request.url} had written nothing by the deadline") from None
            stopped_by = "deadline"
        if not written.text.strip():
            raise RegionError(f"{model} at {request.base_url} had nothing to say")
        tokens = told or max(written.weighed, pieces)  # a piece that no server counts is one token
        return written.partial(
            {
                "model": model,
                "tokens": tokens,
                "tokens_per_s": written.rate(tokens),
                "stopped_by": {"length": "max_tokens", "stop": "end of text"}.get(stopped_by, stopped_by),
                "confidence_from": "logprobs" if written.weighed else "parameter",
            }
        )


if __name__ == "__main__":
    main(Language)
