"""A streaming client for servers with OpenAI's HTTP interface: vLLM, llama.cpp, Ollama, OpenAI's own and others.

The request and the events are those of https://platform.openai.com/docs/api-reference, `chat/completions` or
`completions` with `stream: true`. Servers differ, so that little is required of them: what an event lacks counts as
absent, an optional value counts only if it is well-formed, and an optional field of the request that a server refuses
is left out the next time.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2

from brainnet.errors import RegionError

Endpoint = Literal["chat/completions", "completions"]
_MAX_QUOTED = 300
"""Largest number of characters of a server's message that an error repeats."""
_MAX_LINE = 1 << 20
"""Largest number of bytes of a line, and of an answer that is no stream."""
_DONE = "[DONE]"
"""The end mark of the interface."""
_POSITIVE_BY_ROUNDING = 1e-3
"""A log-probability up to this is 0, and a larger one is none."""
_OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
"""The newer name of a field that a server may want instead."""
_REFUSED = (400, 422)
"""Statuses of a server that refuses a field of the request."""
_LINE_END = re.compile(rb"\r\n|\n|\r")
_IDENTIFIER = re.compile(r"[A-Za-z_]+")


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
        refused: Names of optional fields that the server has refused; `stream` adds to it.
    """

    base_url: str
    model: str
    prompt: str
    endpoint: Endpoint = "chat/completions"
    api_key: str = field(default="", repr=False)
    logprobs: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Address of the endpoint."""
        return f"{self.base_url.rstrip('/')}/{self.endpoint}"

    @property
    def optional(self) -> dict[str, Any]:
        """The optional fields of the request, without those that the server has refused."""
        chat = self.endpoint == "chat/completions"
        wanted = dict(self.options) | ({"logprobs": True if chat else 1} if self.logprobs else {})
        for old, new in _OTHER_NAMES.items():
            if old in wanted and old in self.refused:
                wanted[new] = wanted.pop(old)
        return {name: value for name, value in wanted.items() if name not in self.refused}

    @property
    def body(self) -> dict[str, Any]:
        """JSON of the request; the two endpoints write prompt and `logprobs` differently."""
        # a lone surrogate has no UTF-8
        prompt = self.prompt.encode(errors="replace").decode()
        if self.endpoint == "completions":
            asked: dict[str, Any] = {"prompt": prompt}
        else:
            asked = {"messages": [{"role": "user", "content": prompt}]}
        return {"model": self.model, "stream": True, **asked, **self.optional}


def is_loopback(base_url: str) -> bool:
    """Return whether a server is on this machine, where no proxy is asked.

    Raises:
        RegionError: The address is none.
    """
    try:
        host = httpx2.URL(base_url).host
    except (httpx2.InvalidURL, ValueError) as error:
        raise RegionError(f"base_url {base_url} is no address of a server: {error}") from None
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def open_client(*, from_environment: bool) -> httpx2.AsyncClient:
    """Open a client, with the proxies and certificates that the environment names or without.

    Raises:
        RegionError: The environment names what cannot be used.
    """
    try:
        return httpx2.AsyncClient(trust_env=from_environment)
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        raise RegionError(
            f"a proxy or certificate that the environment names cannot be used for the server: {error}; correct or"
            " unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE"
        ) from None


async def stream(client: httpx2.AsyncClient, request: Request) -> AsyncGenerator[Piece, None]:
    """Stream one completion. Closing the iterator ends the request, and with it the server's work.

    Yields:
        The pieces of the completion.

    Raises:
        RegionError: There is no connection, the server refuses, it is silent for longer than the client's timeout, its
            answer is no completion, or the stream ends too early. The pieces before that have been yielded.
    """
    repeated = False
    while True:
        answered = False
        try:
            async with client.stream("POST", request.url, json=request.body, headers=_headers(request)) as response:
                answered = True
                if response.status_code == 200:
                    async with aclosing(_pieces(response, request)) as pieces:
                        async for piece in pieces:
                            yield piece
                    return
                body = await _limited(response)
            refused = _refused_field(body, request.optional) if response.status_code in _REFUSED else None
            if refused is None:
                raise RegionError(f"{request.url} answered {response.status_code}: {_reason(body)}")
            request.refused.add(refused)
        except httpx2.ConnectError as error:
            raise RegionError(f"no server at {request.base_url}: {error}") from None
        except httpx2.TimeoutException as error:
            raise RegionError(f"{request.url} was silent for too long ({type(error).__name__})") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # a connection that was kept open may have ended meanwhile; a new one tells
            if answered or repeated or not isinstance(error, httpx2.TransportError):
                raise RegionError(f"{request.url} broke off: {error or type(error).__name__}") from None
            repeated = True


def _headers(request: Request) -> dict[str, str]:
    # without compression, whose blocks would delay the pieces; a server that compresses all the same is understood
    headers = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
    return headers | ({"Authorization": f"Bearer {request.api_key}"} if request.api_key else {})


async def _pieces(response: httpx2.Response, request: Request) -> AsyncGenerator[Piece, None]:
    """Yield the pieces of an answer.

    Raises:
        RegionError: The server reports an error, or no event was a completion, or the stream ends too early.
    """
    finished, written, strange = False, False, ""
    async with aclosing(_events(response, request)) as events:
        async for data in events:
            if data == _DONE:
                finished = True
                break
            event = _object(data)
            if event is None:
                strange = strange or data
                continue
            if (reason := _failure(event)) is not None:
                raise RegionError(f"{request.url} failed: {reason}")
            piece = _piece(event)
            if piece is None:
                strange = strange or data
                continue
            finished, written = finished or piece.finish is not None, written or bool(piece.text)
            yield piece
    if strange and not (finished and written):
        raise RegionError(f"{request.url} sent what is no completion: {strange[:_MAX_QUOTED]!r}")
    if not finished:
        raise RegionError(f"{request.url} broke off before the completion's end")


async def _events(response: httpx2.Response, request: Request) -> AsyncGenerator[str, None]:
    """Yield the data of each event, or the whole of an answer that is no stream.

    An event ends with a blank line, as it should, or where its data are complete JSON, or with the stream.

    Raises:
        RegionError: A line is too long.
    """
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        yield (await _limited(response)).decode(errors="replace")
        return
    open_data = ""
    async for line in _lines(response, request):
        name, _, value = line.partition(":")
        if line.startswith("{"):  # an error that a server writes without the form of an event
            name, value = "data", line
        if name == "data":
            value = value.strip()
            # JSON that is complete by itself does not continue what was before it
            if open_data and _object(value) is not None:
                yield open_data
                open_data = ""
            open_data = f"{open_data}\n{value}" if open_data else value
            if open_data == _DONE or _object(open_data) is not None:
                yield open_data
                open_data = ""
        elif not line and open_data:
            yield open_data
            open_data = ""
    if open_data:
        yield open_data


async def _lines(response: httpx2.Response, request: Request) -> AsyncIterator[str]:
    rest = b""
    async for received in response.aiter_bytes():
        # a line end that is split over two pieces gives an empty line, which changes nothing
        *lines, rest = _LINE_END.split(rest + received)
        for line in lines:
            yield line.decode(errors="replace")
        if len(rest) > _MAX_LINE:
            raise RegionError(f"{request.url} sent a line of more than {_MAX_LINE} bytes")
    if rest:
        yield rest.decode(errors="replace")


async def _limited(response: httpx2.Response) -> bytes:
    """Read the beginning of an answer."""
    read = b""
    async for received in response.aiter_bytes():
        read += received
        if len(read) > _MAX_LINE:
            break
    return read[:_MAX_LINE]


def _object(data: str) -> dict[str, Any] | None:
    """Read a JSON object; None if the text is none."""
    if not data.startswith("{"):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _failure(event: Mapping[str, Any]) -> str | None:
    """Return the reason when an event reports an error."""
    if event.get("error") or event.get("object") == "error":
        return _reason(json.dumps(event).encode())
    return None


def _piece(event: Mapping[str, Any]) -> Piece | None:
    """Read an event; None if it has a text that is none."""
    usage = event.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    model = event.get("model")
    choice = _first_choice(event)
    text = _text(choice)
    if text is None:
        return None
    finish = choice.get("finish_reason")
    return Piece(
        text,
        tuple(_logprobs(choice.get("logprobs"))),
        finish if isinstance(finish, str) and finish else None,
        model if isinstance(model, str) else "",
        tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None,
    )


def _first_choice(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the choice of index 0; an empty one when there is none, as in an event that only reports the usage."""
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and not choice.get("index"):
            return choice
    return {}


def _text(choice: Mapping[str, Any]) -> str | None:
    """Return the text of a choice, empty when it has none, None when it is no text.

    A stream of `chat/completions` has it in `delta.content`, one of `completions` in `text`, and an answer that is no
    stream in `message.content`.
    """
    held: Any = choice.get("text")
    for name in ("delta", "message"):
        if held is None and isinstance(choice.get(name), dict):
            held = choice[name].get("content")
    if isinstance(held, list):  # parts, of which some are no text, such as pictures
        parts = [part.get("text") if isinstance(part, dict) else part for part in held]
        return "".join(part for part in parts if isinstance(part, str))
    return "" if held is None else held if isinstance(held, str) else None


def _logprobs(given: Any) -> Iterator[float]:
    """Yield the log-probabilities that are some: of `chat/completions` or of `completions`."""
    values: Iterable[Any] = ()
    if isinstance(given, dict):
        content, alone = given.get("content"), given.get("token_logprobs")
        given = content if isinstance(content, list) else alone
    if isinstance(given, list):
        values = (token.get("logprob") if isinstance(token, dict) else token for token in given)
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and math.isfinite(value) and value <= _POSITIVE_BY_ROUNDING:
            yield min(0.0, float(value))


def _refused_field(body: bytes, sent: Mapping[str, Any]) -> str | None:
    """Return the optional field of a request that a server's error names, None if it names none.

    OpenAI names it as `param`, servers made with FastAPI in `loc`, and others only within their message.
    """
    text = body.decode(errors="replace")
    names: list[Any] = []
    parsed = _object(text.strip()) or {}
    error = parsed.get("error")
    names += [holder.get("param") for holder in (error, parsed) if isinstance(holder, dict)]
    for detail in parsed["detail"] if isinstance(parsed.get("detail"), list) else []:
        if isinstance(detail, dict) and isinstance(detail.get("loc"), list):
            names += detail["loc"]
    return next((name for name in [*names, *_IDENTIFIER.findall(text)] if isinstance(name, str) and name in sent), None)


def _reason(body: bytes) -> str:
    """Extract a server's error message, shortened."""
    text = body.decode(errors="replace")
    parsed = _object(text.strip()) or {}
    error = parsed.get("error") or parsed
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    if message:
        text = message if isinstance(message, str) else json.dumps(message)
    return " ".join(text.split())[:_MAX_QUOTED] or "no reason given"
