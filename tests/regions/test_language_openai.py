"""The language region with a server that speaks OpenAI's interface: real HTTP over loopback, good and bad servers."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from brainnet import Partial, Prompt
from brainnet.errors import ConfigError
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import PATIENCE_S, MemoryBrain, free_port, until
from brainnet.wire.messages import Health, ParamsQuery, StatusQuery

PROGRAM = load_program(str(region_file("language")))
MODULE = sys.modules[PROGRAM.__module__]
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"


@dataclass
class Server:
    """A server whose replies the test writes, byte for byte."""

    reply: Reply
    requests: list[dict[str, Any]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    choose: Callable[[], Reply] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.requests.append({"path": head[0].split()[1], "headers": headers, "body": body})
            reply = self.reply if self.choose is None else self.choose()
            replying = asyncio.ensure_future(reply(writer))
            hung_up = asyncio.ensure_future(reader.read(1))
            await asyncio.wait({replying, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if not replying.done():
                replying.cancel()
                self.left.set()
            hung_up.cancel()
        finally:
            writer.close()


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[Server]:
    server = Server(reply)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


@asynccontextmanager
async def talking(tmp_path: Path, url: str, **parameters: Any) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        given = {"backend": "openai", "base_url": url, "model": "tiny"} | parameters
        await brain.start(PROGRAM, "words", parameters=given)
        yield brain


def chat(text: str | None, logprob: float | None = None, finish: str | None = None) -> str:
    given = None if logprob is None else {"content": [{"token": text, "logprob": logprob}]}
    delta = {} if text is None else {"content": text}
    return json.dumps(
        {"model": "tiny-7b", "choices": [{"delta": delta, "logprobs": given, "finish_reason": finish}]},
        ensure_ascii=False,
    )


def events(*data: str) -> bytes:
    return "".join(f"data: {item}\n\n" for item in data).encode()


def says(*parts: bytes) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return reply


def and_then_nothing(*parts: bytes) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        await says(*parts)(writer)
        await asyncio.Event().wait()

    return reply


async def refusal(tmp_path: Path, reply: Reply, **parameters: Any) -> str:
    """The reason of the one error partial, which has confidence 0 and no candidate."""
    async with serving(reply) as server, talking(tmp_path, server.url, **parameters) as brain:
        partial = await brain.query("words", Prompt(text="Hello", deadline_ms=5000))
    assert partial.confidence == 0.0
    assert partial.candidates == []
    assert partial.error is not None
    return partial.error


async def test_streams_and_says_what_it_rests_on(tmp_path: Path) -> None:
    heard: list[Partial] = []
    reply = says(
        STREAM, events(chat(None), chat("Good ", -0.1), chat("day", -0.3), chat(None, finish="stop"), "[DONE]")
    )
    async with serving(reply) as server, talking(tmp_path, server.url, max_tokens=9, temperature=0.2) as brain:
        partial = await brain.query("words", Prompt(text="Continue: Hello"), interim=heard.append)
    assert [p.content["chunk"] for p in heard] == ["Good ", "day"]
    assert partial.best is not None
    assert partial.best.text == "Good day"
    assert partial.confidence == pytest.approx(math.exp(-0.2))
    assert partial.content.pop("tokens_per_s") > 0
    assert partial.content == {
        "model": "tiny-7b",
        "tokens": 2,
        "stopped_by": "end of text",
        "confidence_from": "logprobs",
    }
    assert partial.spikes.size == 0  # it has no spiking model of its own
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert "authorization" not in request["headers"]
    assert request["body"] == {
        "model": "tiny",
        "stream": True,
        "messages": [{"role": "user", "content": "Continue: Hello"}],
        "logprobs": True,
        "max_tokens": 9,
        "temperature": 0.2,
        "top_p": 0.9,
    }


async def test_without_log_probabilities_confidence_is_the_parameter(tmp_path: Path) -> None:
    usage = json.dumps({"model": "tiny-7b", "choices": [], "usage": {"completion_tokens": 5}})
    reply = says(STREAM, events(chat("Good day to you", finish="length"), usage, "[DONE]"))
    async with (
        serving(reply) as server,
        talking(tmp_path, server.url, logprobs=False, confidence=0.3, seed=4) as brain,
    ):
        partial = await brain.query("words", Prompt(text="Hello"))
    assert partial.confidence == 0.3
    assert (partial.content["tokens"], partial.content["stopped_by"]) == (5, "max_tokens")
    assert partial.content["confidence_from"] == "parameter"
    assert "logprobs" not in server.requests[0]["body"]
    assert server.requests[0]["body"]["seed"] == 4


async def test_a_base_model_continues_the_text_itself(tmp_path: Path) -> None:
    def piece(text: str, logprob: float, finish: str | None = None) -> str:
        choice = {"text": text, "logprobs": {"token_logprobs": [logprob]}, "finish_reason": finish}
        return json.dumps({"model": "base", "choices": [choice]})

    reply = says(STREAM, events(piece(" time", -1.0), piece(" ago", -3.0, "length"), "[DONE]"))
    async with serving(reply) as server, talking(tmp_path, server.url, endpoint="completions") as brain:
        partial = await brain.query("words", Prompt(text="Continue the text: A long"))
    assert partial.best is not None
    assert partial.best.text == "time ago"
    assert partial.confidence == pytest.approx(math.exp(-2.0))
    assert server.requests[0]["path"] == "/v1/completions"
    assert server.requests[0]["body"]["prompt"] == "A long"
    assert server.requests[0]["body"]["logprobs"] == 1


async def test_events_may_arrive_in_any_pieces(tmp_path: Path) -> None:
    text = "snow\u2028on the Großglockner ☃ "
    whole = STREAM + b": keep-alive\r\n\r\n" + events(chat(text), chat("!", finish="stop"), "[DONE]")
    reply = says(*(whole[i : i + 1] for i in range(len(whole))))
    async with serving(reply) as server, talking(tmp_path, server.url) as brain:
        partial = await brain.query("words", Prompt(text="Hello"))
    assert partial.best is not None
    assert partial.best.text == text + "!"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        ("401 Unauthorized", b'{"error": {"message": "no such key"}}', "answered 401: no such key"),
        ("404 Not Found", b'{"error": "model tiny is not here"}', "answered 404: model tiny is not here"),
        ("503 Service Unavailable", b"<h1>try\nlater</h1>", "answered 503: <h1>try later</h1>"),
        ("500 Internal Server Error", b"", "answered 500: no reason given"),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(tmp_path: Path, status: str, body: bytes, reason: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    assert (await refusal(tmp_path, says(head + body))).endswith(reason)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (STREAM + events("{no json"), "sent what is no completion: '{no json'"),
        (STREAM + events('{"choices": [{}]}'), "broke off before the completion's end"),
        (STREAM + events('{"choices": [{"delta": {"content": 7}}]}'), "sent what is no completion"),
        (STREAM + events("[1, 2]"), "sent what is no completion"),
        (STREAM + events(chat(None), '{"error": {"message": "out of memory"}}'), "failed: out of memory"),
        (STREAM + events(chat(None), '{"object": "error", "message": "out of memory"}'), "failed: out of memory"),
        (STREAM + events(chat(None)) + b'{"error": "out of memory"}', "failed: out of memory"),
        (STREAM + events(chat(None)), "broke off before the completion's end"),
        (STREAM + events('{"choices": [{"delta": {"content": 7}}]}', "[DONE]"), "sent what is no completion"),
        (STREAM + events(chat(" ", finish="stop"), "[DONE]"), "had nothing to say"),
        (STREAM + b"data: " + b"x" * (2 << 20), "sent a line of more than"),
        (STREAM + b"<html>no</html>", "broke off before the completion's end"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "broke off before"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broke off"),
        (b"", "broke off"),
    ],
)
async def test_what_is_no_completion_is_an_error_that_says_so(tmp_path: Path, reply: bytes, reason: str) -> None:
    assert reason in await refusal(tmp_path, says(reply))


def dies_after(*data: str) -> Reply:
    """Send events, and break the connection off."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        head = STREAM.replace(b"Connection: close", b"Transfer-Encoding: chunked")
        sent = events(*data)
        await says(head + f"{len(sent):x}\r\n".encode() + sent + b"\r\n")(writer)
        writer.transport.abort()

    return reply


async def test_a_server_that_dies_before_the_first_word(tmp_path: Path) -> None:
    assert "broke off" in await refusal(tmp_path, dies_after(chat(None)))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (dies_after(chat("Good ", -0.1)), "broke off"),
        (says(STREAM, events(chat("Good ", -0.1))), "broke off before the completion's end"),
        (says(STREAM, events(chat("Good ", -0.1), '{"error": {"message": "out of memory"}}')), "out of memory"),
        (says(STREAM, events(chat("Good ", -0.1)), b"data: " + b"x" * (2 << 20)), "a line of more than"),
        (says(STREAM, events(chat("Good ", -0.1)), b"data: {never closed"), "no completion"),
    ],
)
async def test_what_was_received_is_kept(tmp_path: Path, reply: Reply, reason: str) -> None:
    async with serving(reply) as server, talking(tmp_path, server.url) as brain:
        partial = await brain.query("words", Prompt(text="Hello"))
    assert partial.error is None
    assert partial.best is not None
    assert (partial.best.text, partial.content["stopped_by"]) == ("Good", "broken off")
    assert reason in partial.content["reason"]


async def answer_to(tmp_path: Path, *parts: bytes, **parameters: Any) -> Partial:
    """The answer to a prompt when the server sends these bytes."""
    async with serving(says(*parts)) as server, talking(tmp_path, server.url, **parameters) as brain:
        partial: Partial = await brain.query("words", Prompt(text="Hello"))
    assert partial.error is None, partial.error
    return partial


@pytest.mark.parametrize(
    "data",
    [
        '{"model": "tiny"}',
        '{"choices": []}',
        '{"choices": null, "usage": null}',
        '{"choices": [{"delta": null, "finish_reason": null}]}',
        '{"choices": [{"index": 0, "finish_reason": ""}]}',
        '{"choices": [{"delta": {"role": "assistant", "content": null}}]}',
        '{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]}',
        '{"choices": [{"delta": {"reasoning_content": "hm"}}]}',
        '{"choices": [{"index": 1, "delta": {"content": "another choice"}}]}',
        '{"choices": [], "usage": {"completion_tokens": "many"}}',
        '{"choices": [], "prompt_filter_results": [{}]}',
        "no json",
        "[]",
        "",
        "{" * 5000,
    ],
)
async def test_an_event_without_text_adds_nothing(tmp_path: Path, data: str) -> None:
    partial = await answer_to(tmp_path, STREAM, events(data, chat("Good day", -0.1), data, chat(None, finish="stop")))
    assert partial.best is not None
    assert partial.best.text == "Good day"
    assert partial.content["stopped_by"] == "end of text"
    assert partial.confidence == pytest.approx(math.exp(-0.1))


@pytest.mark.parametrize(
    "raw",
    [
        b"data:" + chat("Good day", finish="stop").encode() + b"\n\ndata:[DONE]\n\n",
        events(chat("Good "), chat("day", finish="stop")).replace(b"\n", b"\r\n"),
        events(chat("Good "), chat("day", finish="stop")).replace(b"\n", b"\r"),
        events(chat("Good "), chat("day", finish="stop")).replace(b"\n\n", b"\n"),
        events(chat("Good "), chat("day", finish="stop"))[:-2],
        b": keep-alive\n\n" + events(chat("Good ")) + b":\n\nevent: ping\ndata: {}\n\n" + events(chat("day"), "[DONE]"),
        b"id: 1\nretry: 10\n"
        + events(json.dumps(json.loads(chat("Good day", finish="eos")), indent=1))
        .replace(b"\n ", b"\ndata:  ")
        .replace(b"\n}", b"\ndata: }"),
        events(json.dumps({"choices": [{"delta": {"content": [{"type": "text", "text": "Good "}, {"text": "day"}]}}]}))
        + events("[DONE]"),
        events(json.dumps({"choices": [{"text": "Good day", "finish_reason": "stop"}]})),
    ],
)
async def test_streams_are_read_in_the_forms_that_servers_write(tmp_path: Path, raw: bytes) -> None:
    partial = await answer_to(tmp_path, STREAM, raw)
    assert partial.best is not None
    assert partial.best.text == "Good day"
    assert "reason" not in partial.content


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_server_that_compresses_or_does_not_stream(tmp_path: Path, compressed: bool) -> None:
    body = json.dumps({"choices": [{"message": {"content": "Good day"}, "finish_reason": "stop"}]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    if compressed:
        body, head = gzip.compress(events(chat("Good day", finish="stop"))), STREAM[:-2] + b"Content-Encoding: gzip\r\n"
    partial = await answer_to(tmp_path, head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert partial.best is not None
    assert partial.best.text == "Good day"


@pytest.mark.parametrize("logprob", ["null", "NaN", "Infinity", "-Infinity", '"-0.1"', "true", "0.7", "{}", "[]"])
async def test_what_is_no_log_probability_does_not_count(tmp_path: Path, logprob: str) -> None:
    strange = chat("Good ", -0.1).replace("-0.1", logprob)
    partial = await answer_to(tmp_path, STREAM, events(strange, chat("day", finish="stop")), confidence=0.3)
    assert partial.confidence == 0.3
    assert partial.content["confidence_from"] == "parameter"
    partial = await answer_to(tmp_path, STREAM, events(strange, chat("day", -0.5, finish="stop")))
    assert partial.confidence == pytest.approx(math.exp(-0.5))


@pytest.mark.parametrize("given", ["null", "[]", "7", '{"content": null}', '{"content": {}}', '{"tokens": ["Good"]}'])
async def test_log_probabilities_in_another_form_do_not_count(tmp_path: Path, given: str) -> None:
    event = chat("Good day", finish="stop").replace('"logprobs": null', f'"logprobs": {given}')
    partial = await answer_to(tmp_path, STREAM, events(event), confidence=0.3)
    assert partial.confidence == 0.3


def refuses(*names: str, how: Callable[[str], Any]) -> Callable[[list[dict[str, Any]]], bytes | None]:
    """Refuse a request that has one of these fields."""

    def refusing(requests: list[dict[str, Any]]) -> bytes | None:
        name = next((name for name in names if name in requests[-1]["body"]), None)
        if name is None:
            return None
        body = json.dumps(how(name)).encode()
        return f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body

    return refusing


@pytest.mark.parametrize(
    "how",
    [
        lambda name: {"error": {"message": "Unsupported parameter", "param": name, "code": "unsupported_parameter"}},
        lambda name: {"error": {"message": f"Unsupported parameter: '{name}' is not supported.", "param": None}},
        lambda name: {"detail": [{"loc": ["body", name], "msg": "extra fields not permitted"}]},
        lambda name: {"object": "error", "message": f"[{{'loc': ('body', '{name}'), 'type': 'extra'}}]", "code": 400},
        lambda name: f"unknown field {name}",
    ],
)
@pytest.mark.parametrize("names", [("max_tokens",), ("logprobs", "top_p", "temperature", "max_tokens", "seed")])
async def test_a_field_that_a_server_refuses_is_left_out(
    tmp_path: Path, how: Callable[[str], Any], names: tuple[str, ...]
) -> None:
    refusing = refuses(*names, how=how)
    async with serving(says()) as server, talking(tmp_path, server.url, seed=3) as brain:
        good = STREAM + events(chat("Good day", finish="stop"))
        server.choose = lambda: says(refusing(server.requests) or good)
        for _ in range(2):
            partial = await brain.query("words", Prompt(text="Hello"))
            assert partial.best is not None, partial.error
            assert partial.best.text == "Good day"
    # refused one by one, and not sent again with the second prompt
    assert len(server.requests) == len(names) + 2
    for request in server.requests[-2:]:
        assert not set(names) & set(request["body"])
        assert request["body"]["max_completion_tokens"] == 96


async def test_a_refusal_that_names_no_field_is_an_error(tmp_path: Path) -> None:
    body = b'{"error": {"message": "the prompt is too long"}}'
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    assert "answered 400: the prompt is too long" in await refusal(tmp_path, says(head + body))


async def test_parameters_that_are_none_are_not_sent(tmp_path: Path) -> None:
    none = dict.fromkeys(("max_tokens", "temperature", "top_p", "seed")) | {"logprobs": False}
    reply = says(STREAM, events(chat("Hi", finish="stop")))
    async with serving(reply) as server, talking(tmp_path, server.url, **none) as brain:
        await brain.query("words", Prompt(text="Hello"))
    assert set(server.requests[0]["body"]) == {"model", "stream", "messages"}


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://x"])
async def test_a_server_on_this_machine_is_asked_without_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    partial = await answer_to(tmp_path, STREAM, events(chat("Good day", finish="stop")))
    assert partial.best is not None


async def test_a_proxy_that_cannot_be_used_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://x")
    with pytest.raises(ConfigError, match="ALL_PROXY"):
        async with talking(tmp_path, "http://server.example/v1"):
            raise AssertionError("unreachable")


async def test_a_connection_that_ended_meanwhile_is_opened_again(tmp_path: Path) -> None:
    async with serving(says()) as server, talking(tmp_path, server.url) as brain:
        replies = iter([b"", STREAM + events(chat("Good day", finish="stop"))])
        server.choose = lambda: says(next(replies))
        partial = await brain.query("words", Prompt(text="Hello"))
    assert partial.best is not None, partial.error
    assert len(server.requests) == 2


async def test_a_text_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "MAX_CHARACTERS", 20)
    partial = await answer_to(tmp_path, STREAM, *[events(chat("word "))] * 50)
    assert partial.best is not None
    assert partial.best.text == "word word word word"


async def test_nobody_there(tmp_path: Path) -> None:
    async with talking(tmp_path, f"http://127.0.0.1:{free_port()}/v1") as brain:
        partial = await brain.query("words", Prompt(text="Hello"))
    assert partial.error is not None
    assert partial.error.startswith("no server at http://127.0.0.1:")
    assert partial.confidence == 0.0


async def test_at_the_deadline_it_answers_with_what_there_is(tmp_path: Path) -> None:
    reply = and_then_nothing(STREAM, events(chat("Good ", -0.1)))
    async with serving(reply) as server, talking(tmp_path, server.url) as brain:
        partial = await brain.query("words", Prompt(text="Hello", deadline_ms=400))
        await asyncio.wait_for(server.left.wait(), PATIENCE_S)  # and lets go of the server
    assert partial.best is not None
    assert (partial.best.text, partial.content["stopped_by"]) == ("Good", "deadline")


async def test_a_silent_server_costs_no_more_than_the_deadline_or_the_timeout(tmp_path: Path) -> None:
    async with serving(and_then_nothing()) as server, talking(tmp_path, server.url) as brain:
        partial = await brain.query("words", Prompt(text="Hello", deadline_ms=300))
        assert partial.error is not None
        assert "had written nothing by the deadline" in partial.error
        await brain.bus().call("node/words/params", ParamsQuery(name="timeout_s", value=0.05, set=True))
        partial = await brain.query("words", Prompt(text="Hello"))
        assert partial.error is not None
        assert "was silent for too long" in partial.error


async def test_while_it_waits_it_is_well_takes_more_and_stops_when_told(tmp_path: Path) -> None:
    async with serving(and_then_nothing(STREAM)) as server, talking(tmp_path, server.url) as brain:
        asking = [asyncio.create_task(brain.query("words", Prompt(text="Hello"), timeout=60)) for _ in range(2)]
        async with asyncio.timeout(PATIENCE_S):
            await until("2 requests", lambda: len(server.requests) == 2)  # both are asked at the same time
            health: Health = await brain.bus().call("node/words/status", StatusQuery())
            assert health.state == "ready"
            assert not any(task.done() for task in asking)
            await brain.stop("words")
            await server.left.wait()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_the_key_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says(STREAM, events(chat("Hi", finish="stop"), "[DONE]"))) as server:
        with pytest.raises(ConfigError, match="MY_KEY"):
            async with talking(tmp_path, server.url, api_key_env="MY_KEY"):
                raise AssertionError("unreachable")
        monkeypatch.setenv("MY_KEY", "open sesame")
        async with talking(tmp_path, server.url, api_key_env="MY_KEY") as brain:
            await brain.query("words", Prompt(text="Hello"))
    assert server.requests[0]["headers"]["authorization"] == "bearer open sesame"


async def test_what_a_server_needs_is_asked_for_at_the_start(tmp_path: Path) -> None:
    for parameters in ({"base_url": ""}, {"model": ""}):
        with pytest.raises(ConfigError, match="base_url and model"):
            async with talking(tmp_path, **({"url": "http://127.0.0.1:1/v1"} | _url(parameters))):
                raise AssertionError("unreachable")
    with pytest.raises(ConfigError, match="base_url"):
        async with talking(tmp_path, "localhost:8000"):
            raise AssertionError("unreachable")


def _url(parameters: dict[str, str]) -> dict[str, str]:
    return {"url" if name == "base_url" else name: value for name, value in parameters.items()}
