"""A streaming client for servers with OpenAI's HTTP interface: vLLM, llama.cpp, Ollama, OpenAI's own and others.

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
_MAX_QUOTED = 300
"""Largest number of characters of a server's message that an error repeats."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The content of one event.

    Attributes:
        text: The text it adds.
        logprobs: Log-probabilities of its tokens; empty when the server gives none.
        finish: Why the server stopped; None while it goes on.
        model: The server's name of the model; empty when it gives none.
        tokens: Number of tokens generated so far; None when the server does not report it.
    """

    text: str
    logprobs: tuple[float, ...] = ()
    finish: str | None = None
    model: str = ""
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a server.

    Attributes:
        base_url: Address of the server, such as `http://127.0.0.1:8000/v1`.
        model: The server's name of the model.
        prompt: The text to continue or to answer.
        endpoint: Which part of the interface is used.
        api_key: Key of the server; empty for none.
        logprobs: Whether to request log-probabilities.
        options: Sent unchanged (`max_tokens`, `temperature`, `seed`, ...).
    """

    base_url: str
    model: str
    prompt: str
    endpoint: Endpoint = "chat/completions"
    api_key: str = field(default="", repr=False)
    logprobs: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the endpoint."""
        return f"{self.base_url.rstrip('/')}/{self.endpoint}"

    @property
    def body(self) -> dict[str, Any]:
        """JSON of the request; the two endpoints write prompt and `logprobs` differently."""
        common = {"model": self.model, "stream": True, **self.options}
        if self.endpoint == "completions":
            return common | {"prompt": self.prompt} | ({"logprobs": 1} if self.logprobs else {})
        messages = [{"role": "user", "content": self.prompt}]
        return common | {"messages": messages} | ({"logprobs": True} if self.logprobs else {})


async def stream(client: httpx2.AsyncClient, request: Request) -> AsyncGenerator[Piece, None]:
    """Stream one completion. Closing the iterator ends the request, and with it the server's work.

    Yields:
        The pieces of the completion.

    Raises:
        RegionError: There is no connection, the server refuses, it is silent for longer than the client's timeout, an
            event is no completion, or the stream ends too early. The pieces before that have been yielded.
    """
    headers = {"Authorization": f"Bearer {request.api_key}"} if request.api_key else {}
    finished = False
    try:
        async with client.sse(request.url, method="POST", json=request.body, headers=headers) as events:
            if events.response.status_code != 200:
                body = await events.response.aread()
                raise RegionError(f"{request.url} answered {events.response.status_code}: {_reason(body)}")
            async for event in events:
                if event.data == "[DONE]":  # the end mark of the interface
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
        if not event["choices"]:  # the last event of a server that reports the number of tokens
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
        shown = data[:_MAX_QUOTED]
        raise RegionError(
            f"{request.url} sent what is no completion: {shown!r} ({type(error).__name__}: {error})"
        ) from None


def _reason(body: bytes) -> str:
    """Extract a server's error message, shortened."""
    text = body.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(text.split())[:_MAX_QUOTED] or "no reason given"
