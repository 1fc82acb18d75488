"""Streamed text from any server that speaks OpenAI's HTTP interface: vLLM, llama.cpp, Ollama, OpenAI's own and others.

The request and the events are those of https://platform.openai.com/docs/api-reference, `chat/completions` or
`completions` with `stream: true`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2

from brainnet.errors import RegionError

Endpoint = Literal["chat/completions", "completions"]
_SHOWN = 300
"""Characters of a server's own words that an error repeats."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event brought: `text`, the log-probabilities of its tokens (none where the server gives none), why the
    server stopped (None: it goes on), the model by the server's name for it, and the tokens written so far if told.
    """

    text: str
    logprobs: tuple[float, ...] = ()
    finish: str | None = None
    model: str = ""
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server. `options` are sent as they are (`max_tokens`, `temperature`, `seed`, ...)."""

    base_url: str
    model: str
    prompt: str
    endpoint: Endpoint = "chat/completions"
    api_key: str = field(default="", repr=False)
    logprobs: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.base_url.rstrip('/')}/{self.endpoint}"

    @property
    def body(self) -> dict[str, Any]:
        asked = {"model": self.model, "stream": True, **self.options}
        if self.endpoint == "completions":
            return asked | {"prompt": self.prompt} | ({"logprobs": 1} if self.logprobs else {})
        messages = [{"role": "user", "content": self.prompt}]
        return asked | {"messages": messages} | ({"logprobs": True} if self.logprobs else {})


async def stream(client: httpx2.AsyncClient, request: Request) -> AsyncGenerator[Piece, None]:
    """The pieces of one completion as they come. Closing the iterator ends the request, and with it the server's work.

    Raises:
        RegionError: no connection, a refusal, silence for longer than the client's timeout, an event that is no
            completion, or a stream that ends before the completion does. What came before has been yielded.
    """
    headers = {"Authorization": f"Bearer {request.api_key}"} if request.api_key else {}
    finished = False
    try:
        async with client.sse(request.url, method="POST", json=request.body, headers=headers) as events:
            if events.response.status_code != 200:
                body = await events.response.aread()
                raise RegionError(f"{request.url} answered {events.response.status_code}: {_reason(body)}")
            async for event in events:
                if event.data == "[DONE]":
                    return
                piece = _piece(event.data, request)
                finished = finished or piece.finish is not None
                yield piece
    except httpx2.ConnectError as error:
        raise RegionError(f"no server at {request.base_url}: {error}") from None
    except httpx2.TimeoutException as error:
        raise RegionError(f"{request.url} was silent for too long ({type(error).__name__})") from None
    except httpx2.SSEError as error:
        raise RegionError(f"{request.url} does not stream: {error}") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise RegionError(f"{request.url} broke off: {error or type(error).__name__}") from None
    if not finished:
        raise RegionError(f"{request.url} broke off before the completion's end")


def _piece(data: str, request: Request) -> Piece:
    try:
        event = json.loads(data)
        if event.get("error"):
            raise RegionError(f"{request.url} failed: {_reason(data.encode())}")
        usage = event.get("usage") or {}
        model, tokens = str(event.get("model") or ""), usage.get("completion_tokens")
        if not event["choices"]:  # the last event of a server that counts tokens
            return Piece("", model=model, tokens=tokens)
        choice = event["choices"][0]
        chat = request.endpoint == "chat/completions"
        text = (choice["delta"].get("content") if chat else choice["text"]) or ""
        given = choice.get("logprobs") or {}
        if chat:
            logprobs = tuple(float(token["logprob"]) for token in given.get("content") or ())
        else:
            logprobs = tuple(float(value) for value in given.get("token_logprobs") or () if value is not None)
        if not isinstance(text, str):
            raise TypeError("its text is no string")
        return Piece(text, logprobs, choice.get("finish_reason"), model, tokens)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        shown = data[:_SHOWN]
        raise RegionError(
            f"{request.url} sent what is no completion: {shown!r} ({type(error).__name__}: {error})"
        ) from None


def _reason(body: bytes) -> str:
    """A server's words for what is wrong, at most some hundred characters of them."""
    text = body.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(text.split())[:_SHOWN] or "no reason given"
