"""A client as any foreign program may be: plain Zenoh, three formats, no retries."""

from __future__ import annotations

import asyncio
import base64
import collections
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import msgpack

from brainnet.bus import Endpoint
from brainnet.errors import ConnectError, MessageError
from brainnet.testing.chaos.ledger import LOST_AFTER_S, REFUSED, Channel, Ledger, Outcome, Sent
from brainnet.testing.workload import Kind
from brainnet.wire.keys import key
from brainnet.wire.messages import Answer, decode

_ENCODINGS: Final[dict[Channel, str]] = {
    "json": "application/json",
    "msgpack": "application/msgpack",
    "text": "text/plain",
    "get": "application/json",
}


class ForeignClient:
    """Sends prompts over plain Zenoh and enters what comes back into a ledger; nothing is sent twice.

    Attributes:
        links_lost: How often the link to the brain was lost: what is sent until it is there again never arrives.

    Args:
        endpoint: The brain.
        ledger: The account of the prompts.
        run: A word that differs in each run: prompts of an earlier run with the same ids would get its answers.
        deadline_s: Deadline of each prompt.
    """

    def __init__(self, endpoint: Endpoint, ledger: Ledger, run: str, deadline_s: float) -> None:
        self.endpoint = endpoint
        self._ledger = ledger
        self._run = run
        self._deadline_s = deadline_s
        self._numbers = itertools.count(1)
        self._inbox: collections.deque[tuple[float, Sent | None, bytes, str, bool]] = collections.deque()
        self._woken = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._sender = ThreadPoolExecutor(1, "chaos-sender")
        self._session: Any = None
        self._transports: Any = None
        self.links_lost = 0
        self._subscriber: Any = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectError: No brain answers at the endpoint.
        """
        await self._loop.run_in_executor(self._sender, self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._loop.run_in_executor(self._sender, self._session.close)
        self._sender.shutdown()

    def _open(self) -> None:
        import zenoh

        config = zenoh.Config()
        config.insert_json5("mode", '"client"')
        config.insert_json5("connect/endpoints", json.dumps([self.endpoint.hub]))
        config.insert_json5("scouting/multicast/enabled", "false")
        try:
            self._session = zenoh.open(config)
        except zenoh.ZError as error:
            raise ConnectError(f"no brain answers at {self.endpoint.hub} ({error})") from None
        self._transports = self._session.info.declare_transport_events_listener(self._on_transport)
        self._subscriber = self._session.declare_subscriber(self.full(key("result")), self._on_answer)

    def full(self, relative: str) -> str:
        """Return a key of the contract as Zenoh knows it."""
        return f"{self.endpoint.namespace}/{relative}"

    # -- sending -----------------------------------------------------------------------------------------------------

    async def send(self, kind: Kind, channel: Channel, phase: str, *, wait: bool = False) -> Sent:
        """Send one prompt; never blocks the event loop, and never sends it again.

        Cancelled before its turn has come, it sends nothing, and the account does not know of it.

        Args:
            kind: What is asked.
            channel: How.
            phase: What is going on, for the account.
            wait: Make `settled` of the result, which is done at the first outcome.
        """
        sent, payload = self._prepare(kind, channel, phase)
        if wait:
            sent.settled = self._loop.create_future()
        await self._loop.run_in_executor(self._sender, self._put, sent, payload)
        return sent

    def send_now(self, kind: Kind, channel: Channel, phase: str) -> Sent:
        """Send one prompt from a thread; blocks while the link is busy."""
        sent, payload = self._prepare(kind, channel, phase)
        self._put(sent, payload)
        return sent

    async def put(self, full_key: str, payload: bytes, encoding: str) -> None:
        """Publish bytes that are no prompt of the account.

        Raises:
            MessageError: Zenoh refuses the key or the payload.
        """
        await self._loop.run_in_executor(self._sender, self._put_raw, full_key, payload, encoding)

    async def query(self, full_key: str, payload: bytes, encoding: str, timeout: float) -> None:
        """Send a query whose replies nobody reads.

        Raises:
            MessageError: Zenoh refuses the key or the payload.
        """
        await self._loop.run_in_executor(self._sender, self._query_raw, full_key, payload, encoding, timeout)

    def _prepare(self, kind: Kind, channel: Channel, phase: str) -> tuple[Sent, bytes]:
        number = next(self._numbers)
        fields = kind.fields(number)
        now = time.monotonic()
        if channel == "text":
            # The mark makes the text unlike all others: an answer to plain text is recognised by what was asked.
            text = f"{fields['text']} {mark(number)}"
            deadline_s = now + max(self._deadline_s, 10.0)  # the default of a prompt that names none
            sent = Sent("", text, channel, phase, kind.name, now, deadline_s)
            return sent, text.encode()
        prompt_id = f"chaos-{self._run}-{number}"
        fields |= {"prompt_id": prompt_id, "deadline_ms": round(self._deadline_s * 1000)}
        if channel != "msgpack" and "image" in fields:
            fields["image"] = base64.b64encode(fields["image"]).decode()
        payload: bytes = msgpack.packb(fields) if channel == "msgpack" else json.dumps(fields).encode()
        sent = Sent(prompt_id, fields["text"], channel, phase, kind.name, now, now + self._deadline_s)
        return sent, payload

    def _put(self, sent: Sent, payload: bytes) -> None:
        # Only here it counts as sent: who waits for this thread may be cancelled before its turn has come.
        self._ledger.add(sent)
        if sent.channel != "get":
            self._put_raw(self.full(key("prompt")), payload, _ENCODINGS[sent.channel])
            return

        def on_reply(reply: Any) -> None:
            body = reply.ok if reply.ok is not None else reply.err
            self._receive(sent, body.payload.to_bytes(), str(body.encoding), reply.ok is None)

        self._session.get(
            self.full(key("prompt")),
            on_reply,
            payload=payload,
            encoding=_ENCODINGS["get"],
            timeout=sent.deadline_s - sent.sent_s + LOST_AFTER_S,
        )

    def _put_raw(self, full_key: str, payload: bytes, encoding: str) -> None:
        import zenoh

        try:
            # Without BLOCK the client's own Zenoh drops what its queues cannot hold, before any of it is sent.
            self._session.put(full_key, payload, encoding=encoding, congestion_control=zenoh.CongestionControl.BLOCK)
        except (zenoh.ZError, ValueError, OverflowError) as error:
            raise MessageError(f"{len(payload)} bytes cannot be sent: {error}") from None

    def _query_raw(self, full_key: str, payload: bytes, encoding: str, timeout: float) -> None:
        import zenoh

        try:
            self._session.get(full_key, lambda reply: None, payload=payload, encoding=encoding, timeout=timeout)
        except (zenoh.ZError, ValueError, OverflowError) as error:
            raise MessageError(f"a query with {len(payload)} bytes cannot be sent: {error}") from None

    # -- receiving; callbacks run on threads of Zenoh ----------------------------------------------------------------

    def _on_transport(self, event: Any) -> None:
        import zenoh

        if event.kind == zenoh.SampleKind.DELETE:
            self.links_lost += 1

    def _on_answer(self, sample: Any) -> None:
        self._receive(None, sample.payload.to_bytes(), str(sample.encoding), False)

    def _receive(self, sent: Sent | None, payload: bytes, encoding: str, refused: bool) -> None:
        self._inbox.append((time.monotonic(), sent, payload, encoding, refused))
        if not self._woken.is_set():  # one wake-up for all that arrived meanwhile
            self._woken.set()
            try:
                self._loop.call_soon_threadsafe(self.read_inbox)
            except RuntimeError:  # the event loop has ended
                return

    def read_inbox(self) -> None:
        """Enter what has arrived into the account; call it before the account is read."""
        self._woken.clear()
        while self._inbox:
            at_s, sent, payload, encoding, refused = self._inbox.popleft()
            if refused and sent is not None:
                self._ledger.reply(sent, _refusal(at_s, payload))
                continue
            try:
                prompt_id, text, outcome = _outcome(at_s, payload, encoding)
            except MessageError:  # garbage that this run itself has published
                self._ledger.unmatched += 1
                continue
            if sent is not None:
                self._ledger.reply(sent, outcome)
            else:
                self._ledger.answer(prompt_id, text, outcome)


def mark(number: int) -> str:
    """Return a number as punctuation, which changes what a text means less than digits would."""
    return f"{number:b}".replace("0", ".").replace("1", "!")


def _outcome(at_s: float, payload: bytes, encoding: str) -> tuple[str, str, Outcome]:
    """Read an answer: the id and the text of its prompt, and what it says.

    Raises:
        MessageError: It is none.
    """
    try:
        fields = json.loads(payload) if encoding.startswith(_ENCODINGS["json"]) else msgpack.unpackb(payload)
        # Not checked further: in a flood there are thousands of refusals a second, and the time that is spent on them
        # is taken from the brain and from the clock of its answers.
        if fields["code"] in REFUSED:
            return str(fields["prompt_id"]), str(fields["prompt"]), Outcome(at_s, fields["code"], str(fields["error"]))
    except (ValueError, KeyError, TypeError, RecursionError, msgpack.UnpackException):
        pass
    answer = decode(Answer, payload, encoding)
    code = answer.code or (None if answer.error is None else "unknown")
    return answer.prompt_id, answer.prompt, Outcome(at_s, code, answer.error)


def _refusal(at_s: float, payload: bytes) -> Outcome:
    try:
        fields = json.loads(payload)
        return Outcome(at_s, str(fields["code"]), str(fields["error"]))
    except (ValueError, KeyError, TypeError):
        return Outcome(at_s, "unknown", payload[:200].decode(errors="replace"))
