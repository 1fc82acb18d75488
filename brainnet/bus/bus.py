"""Bus: publish, subscribe, query and serve by the wire contract, from asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from brainnet.bus.complaints import Complaints
from brainnet.bus.counters import Count, Counters
from brainnet.bus.incoming import OnMalformed, Received, reader
from brainnet.bus.mailbox import Mailbox
from brainnet.bus.outbox import Outbox
from brainnet.bus.serving import Handler, Serving, refusal
from brainnet.bus.stamp import Stamp, write_stamp
from brainnet.bus.transport import Handle, Outlet, QoS, RawReply, Request, Sample, Transport
from brainnet.errors import BusError, CallError, CallTimeout, TopicError, WireError
from brainnet.wire import keys, messages, packet
from brainnet.wire.messages import Message
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import PACKET, Overflow, Topic, check_key, contract

Payload = SpikePacket | Message
_JSON: Final = "application/json"


@dataclass(slots=True)
class Reply:
    """One server's answer to a query."""

    key: str
    message: Any


class Bus:
    """One session of a brain.

    Guarantees: `publish` never blocks the event loop; what it could not send is counted under the topic; messages of
    one source on one key arrive in order; a message that does not follow the contract is counted, reported once a
    minute per source, and never reaches a consumer; leaving the context ends everything that was declared.

    Keys are relative to the namespace. `role` is checked against the contract for everything sent or listened to.
    """

    def __init__(self, transport: Transport, *, namespace: str, role: str = "client", source: str = "") -> None:
        self.namespace = namespace
        self.role = role
        self.source = source or f"client-{messages.new_id()[:8]}"
        self.counters = Counters()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._prefix = namespace + "/"
        self._outgoing: dict[str, _Outgoing] = {}
        self._mailboxes: list[Mailbox[Any]] = []
        self._subscriptions: dict[Mailbox[Any], Handle] = {}
        self._handles: list[Handle] = []
        self._outbox = Outbox()
        self._serving = Serving(self.source, self._prefix, self.counters, self._outbox)
        self._complaints = Complaints()
        self._closed = False

    # -- publishing --------------------------------------------------------------------------------------------------

    def publish(self, key: str, message: Payload, *, as_json: bool = False) -> None:
        """Send a message on a key of the contract.

        A SpikePacket without source, seq or time gets them here; so does every typed message, as its attachment.

        Raises:
            TopicError: the key is not in the contract, not for this role, or carries another payload.
            WireError: the message cannot be written.
        """
        out = self._outgoing.get(key) or self._declare(key)
        with out.lock:
            item = self._prepare(out, key, message, as_json)
            if not out.reliable:
                out.outlet.put(*item)
            elif not self._outbox.put(len(item[0]), out.outlet.put, *item):
                out.count.dropped += 1
                return
            out.count.count += 1
            out.count.bytes += len(item[0])

    def publish_blocking(self, key: str, message: Payload) -> None:
        """Send from a thread that may wait: returns when the network has taken the message.

        A reliable message waits here while the link is busy, so a fast sender runs at the speed of its slowest
        subscriber and nothing is dropped. Do not mix it with `publish` on one key: their order is not kept.

        Raises:
            BusError: called on the event loop, which it would hold up.
            TopicError, WireError: as `publish`.
        """
        if threading.get_ident() == self._thread:
            raise BusError("publish_blocking was called on the event loop; use publish there")
        out = self._outgoing.get(key) or self._declare(key)
        with out.lock:
            item = self._prepare(out, key, message, False)
            out.outlet.put(*item)
            out.count.count += 1
            out.count.bytes += len(item[0])

    def _prepare(
        self, out: _Outgoing, key: str, message: Payload, as_json: bool
    ) -> tuple[bytes, bytes | None, str | None]:
        """Number, stamp and write one message: payload, attachment, encoding where it is not the publisher's."""
        if isinstance(message, SpikePacket):
            if not out.is_packet:
                raise TopicError(f"{key} carries {out.topic.payload}, not a SpikePacket")
            message.source = self.source
            message.seq = out.seq + 1
            if not message.timestamp_ns:
                message.timestamp_ns = time.time_ns()
            payload = packet.encode(message)
            out.seq += 1  # only what could be written has a number
            return payload, None, None
        if out.topic.message is not type(message):
            raise TopicError(f"{key} carries {out.topic.payload}, not {type(message).__name__}")
        payload = messages.encode(message, as_json=as_json)
        out.seq += 1
        return payload, write_stamp(Stamp(self.source, out.seq, time.time_ns())), _JSON if as_json else None

    def declare(self, key: str) -> None:
        """Declare the publisher of a key before the first message, so that subscribers can be matched."""
        if key not in self._outgoing:
            self._declare(key)

    def _declare(self, key: str) -> _Outgoing:
        topic = contract().find(check_key(key))
        self._permit(topic, "out")
        qos = QoS(topic.delivery == "reliable", topic.priority, topic.express, topic.wire_encoding)
        out = _Outgoing(
            self._transport.outlet(self._prefix + key, qos),
            topic,
            self.counters.of(key, "out"),
            qos.reliable,
            topic.payload == PACKET,
        )
        self._outgoing[key] = out
        return out

    def _permit(self, topic: Topic, direction: Any) -> None:
        if not topic.permits(self.role, direction):
            verb = "publish" if direction == "out" else "listen"
            raise TopicError(f"role {self.role!r} may not {verb} on {topic.key}; the contract lists {topic.name}")

    def is_matched(self, key: str) -> bool:
        """Whether somebody listens on this key now."""
        out = self._outgoing.get(key) or self._declare(key)
        return out.outlet.matching

    async def wait_matching(self, key: str, timeout: float) -> bool:
        """Wait until somebody listens on this key; False when nobody did in time.

        A message sent before its subscriber is known would be lost: senders of what must arrive wait here first.
        """
        out = self._outgoing.get(key) or self._declare(key)
        return await self.wait_outlet(out.outlet, timeout)

    async def wait_outlet(self, outlet: Outlet, timeout: float) -> bool:
        """`wait_matching` for a publisher of `outlet_raw`."""
        if outlet.matching:
            return True
        matched = asyncio.Event()

        def changed(matching: bool) -> None:
            if matching:
                self._from_thread(matched.set)

        handle = outlet.on_matching(changed)
        try:
            if outlet.matching:  # it may have come between the look and the listener
                return True
            async with asyncio.timeout(timeout):
                await matched.wait()
        except TimeoutError:
            return outlet.matching
        finally:
            handle.close()
        return True

    async def wait_listener(self, expression: str, timeout: float) -> bool:
        """Wait until this session sees a subscriber of the expression, whoever may publish there."""
        outlet = self._transport.outlet(self._prefix + expression, QoS(reliable=False))
        try:
            return await self.wait_outlet(outlet, timeout)
        finally:
            outlet.close()

    async def flush(self, timeout: float = 1.0) -> bool:
        """Wait until everything reliable has been handed to the network; False when that took too long."""
        return await self._loop.run_in_executor(None, self._outbox.drain, timeout)

    # -- subscribing -------------------------------------------------------------------------------------------------

    def subscribe(
        self,
        expression: str,
        *,
        capacity: int | None = None,
        overflow: Overflow | None = None,
        on_malformed: OnMalformed | None = None,
    ) -> Mailbox[Received]:
        """Listen on a key expression of the contract; messages are read and checked as they are taken.

        Raises:
            TopicError: the contract has no such topic, or not for this role.
        """
        topics = contract().covering(expression)
        if not topics:
            raise TopicError(f"no topic of the contract matches {expression!r}; see `brainnet topic list --contract`")
        for topic in topics:
            self._permit(topic, "in")
        spec = topics[0].mailbox
        read = reader(self._transport, self._prefix, self.counters, self._complaints, on_malformed)
        mailbox = Mailbox(read, capacity=capacity or spec.capacity, overflow=overflow or spec.overflow, loop=self._loop)
        self.counters.watch(expression, mailbox)
        self._mailboxes.append(mailbox)
        self._subscriptions[mailbox] = self._transport.subscribe(self._prefix + expression, mailbox.offer)
        return mailbox

    def unsubscribe(self, mailbox: Mailbox[Any]) -> None:
        """Listen no more, and close the mailbox; what waits in it can still be read."""
        handle = self._subscriptions.pop(mailbox, None)
        if handle is not None:
            self.counters.unwatch(mailbox)
            self._mailboxes.remove(mailbox)
            handle.close()
        mailbox.close()

    def subscribe_raw(self, full_expression: str, *, capacity: int = 4096) -> Mailbox[Sample]:
        """Listen on any Zenoh key expression, namespace and contract or not; for inspection."""
        mailbox = Mailbox(self._transport.read, capacity=capacity, overflow="drop_newest", loop=self._loop)  # type: Mailbox[Sample]
        self._mailboxes.append(mailbox)
        self._subscriptions[mailbox] = self._transport.subscribe(full_expression, mailbox.offer)
        return mailbox

    def publish_raw(self, full_key: str, payload: bytes, encoding: str, *, reliable: bool = True) -> Outlet:
        """Declare a publisher on any Zenoh key and put one payload; returns it for more. For inspection."""
        outlet = self.outlet_raw(full_key, QoS(reliable=reliable, encoding=encoding))
        if payload:
            outlet.put(payload, None)
        return outlet

    def outlet_raw(self, full_key: str, qos: QoS) -> Outlet:
        """Declare a publisher on any Zenoh key, contract or not; ends with the bus. For inspection."""
        outlet = self._transport.outlet(full_key, qos)
        self._handles.append(outlet)
        return outlet

    # -- queries -----------------------------------------------------------------------------------------------------

    async def call(self, key: str, request: Message, *, timeout: float = 2.0) -> Any:
        """Ask whoever serves the key, and return the first reply.

        Raises:
            CallTimeout: nobody answered in `timeout` seconds.
            CallError: it was refused; the text is the server's.
        """
        refused: CallError | None = None
        for reply in await self.call_all(key, request, timeout=timeout, first=True):
            if not isinstance(reply.message, CallError):
                return reply.message
            refused = reply.message
        if refused is not None:
            raise refused
        raise CallTimeout(f"nobody answered on {key} within {timeout:g} s")

    async def call_all(
        self, expression: str, request: Message, *, timeout: float = 2.0, first: bool = False
    ) -> list[Reply]:
        """Ask everybody who serves the expression. A refusal is a Reply whose message is a `CallError`."""
        topic = next((t for t in contract().covering(expression) if t.reply), None)
        if topic is None:
            raise TopicError(f"nothing in the contract answers queries on {expression!r}")
        self._permit(topic, "out")
        if topic.message is not type(request):
            raise TopicError(f"{expression} is asked with {topic.payload}, not {type(request).__name__}")
        replies: list[Reply] = []
        done = asyncio.Event()

        def received(raw: RawReply) -> None:
            key = raw.key[len(self._prefix) :]
            try:
                message = self._read_reply(topic, raw)
            except WireError as error:
                message = CallError(f"the reply on {key} cannot be read: {error}", code=error.code)
            replies.append(Reply(key, message))
            if first and not isinstance(message, CallError):
                done.set()

        payload = messages.encode(request)
        await self._loop.run_in_executor(  # a congested link would hold up the loop
            None,
            lambda: self._transport.ask(
                self._prefix + expression,
                payload,
                topic.wire_encoding,
                timeout,
                lambda raw: self._from_thread(received, raw),
                lambda: self._from_thread(done.set),
            ),
        )
        try:
            async with asyncio.timeout(timeout):
                await done.wait()
        except TimeoutError:
            pass
        return list(replies)  # a reply that comes later must not change what was returned

    @staticmethod
    def _read_reply(topic: Topic, raw: RawReply) -> Any:
        if raw.refused:
            return _read_refusal(raw)
        assert topic.reply_message is not None
        return messages.decode(topic.reply_message, raw.payload, raw.encoding)

    def serve(self, key: str, handler: Handler) -> None:
        """Answer queries on a key (or expression) of the contract: `await handler(request, key)`.

        What the handler raises is refused to the asker with its text; the server goes on. A request that came as JSON
        or text is answered in JSON.
        """
        topic = next((t for t in contract().covering(key) if t.reply), None)
        if topic is None:
            raise TopicError(f"nothing in the contract answers queries on {key!r}")
        self._permit(topic, "in")

        def received(request: Request) -> None:
            if self._closed:
                request.refuse(*refusal("stopping", f"{self.source} is stopping"))
            else:
                self._from_thread(self._serving.accept, topic, key, request, handler)

        self.counters.of(key, "in")
        self._handles.append(self._transport.serve(self._prefix + key, received))

    # -- liveliness --------------------------------------------------------------------------------------------------

    def declare_alive(self, key: str) -> Handle:
        """Be seen by everybody as long as this process lives."""
        self._permit(contract().find(key), "out")
        handle = self._transport.declare_alive(self._prefix + key)
        self._handles.append(handle)
        return handle

    def watch_alive(self, expression: str | None = None) -> Mailbox[Sample]:
        """Liveliness tokens as they appear and go, those already there first; keys are relative."""

        def read(sample: Sample) -> Sample:
            sample.key = sample.key[len(self._prefix) :]
            return sample

        mailbox: Mailbox[Sample] = Mailbox(read, capacity=4096, loop=self._loop)
        self._mailboxes.append(mailbox)
        self._handles.append(
            self._transport.watch_alive(self._prefix + (expression or keys.key("alive")), mailbox.offer)
        )
        return mailbox

    async def alive(self, expression: str | None = None, *, timeout: float = 2.0) -> list[str]:
        """The liveliness tokens there are now, as keys relative to the namespace."""
        found: asyncio.Future[list[str]] = self._loop.create_future()

        def resolve(keys: list[str]) -> None:
            if not found.done():
                found.set_result(keys)

        self._transport.list_alive(
            self._prefix + (expression or keys.key("alive")), timeout, lambda keys: self._from_thread(resolve, keys)
        )
        try:
            async with asyncio.timeout(timeout + 0.5):
                return sorted(full[len(self._prefix) :] for full in await found)
        except TimeoutError:
            return []

    # -- life --------------------------------------------------------------------------------------------------------

    def _from_thread(self, function: Callable[..., Any], *args: Any) -> None:
        if not self._closed:
            try:
                self._loop.call_soon_threadsafe(function, *args)
            except RuntimeError:  # the loop is gone; so is whoever would have been told
                self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is still queued (for at most a second), then end the session. Safe to call twice."""
        if self._closed:
            return
        await self._serving.close()
        await self.flush()
        self._closed = True
        for mailbox in self._mailboxes:
            mailbox.close()
        await self._loop.run_in_executor(None, self._shut)

    def _shut(self) -> None:
        self._outbox.close()
        for handle in [*self._subscriptions.values(), *reversed(self._handles)]:
            handle.close()
        self._transport.close()


def _read_refusal(raw: RawReply) -> CallError:
    try:
        refused = messages.decode(messages.Refusal, raw.payload, raw.encoding)
    except WireError:  # of a foreign server, which says it in its own way
        return CallError(raw.payload.decode(errors="replace"))
    return CallError(refused.error, code=refused.code)


@dataclass(slots=True)
class _Outgoing:
    outlet: Outlet
    topic: Topic
    count: Count
    reliable: bool
    is_packet: bool
    seq: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
