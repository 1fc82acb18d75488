"""Bus: publish, subscribe, query and serve by the wire contract, from asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from brainnet.bus import liveliness
from brainnet.bus.counters import Counters
from brainnet.bus.incoming import OnMalformed, Received, Screen, reader, screened
from brainnet.bus.lesions import Lesions
from brainnet.bus.log import MalformedMessageLog
from brainnet.bus.mailbox import Mailbox
from brainnet.bus.outbox import Outbox
from brainnet.bus.query_client import QueryClient, Reply
from brainnet.bus.query_server import Handler, QueryServer, refusal
from brainnet.bus.topic_publisher import Payload, TopicPublisher
from brainnet.bus.transport import Handle, Publisher, QoS, Request, Sample, Transport
from brainnet.bus.waker import Waker
from brainnet.errors import BusError, CallError, CallTimeout, TopicError
from brainnet.wire import keys, messages
from brainnet.wire.messages import Message
from brainnet.wire.topics import PACKET, Contract, Direction, Overflow, Topic, check_key
from brainnet.wire.topics import contract as installed_contract

Asked = Message | Mapping[str, Any]
"""A query: its message, or a map of the message's fields."""


class Bus:
    """One session of a brain.

    Guarantees: `publish` never blocks the event loop; a message that it could not send is counted under its topic;
    messages of one source on one key arrive in order; a message that does not follow the contract is counted, logged
    (repeats of one source at most once a minute), and never reaches a consumer; leaving the context undeclares
    everything.

    Keys are relative to the namespace.

    Args:
        transport: The session, which the bus closes.
        namespace: First chunk of every key of the brain.
        role: Checked against the contract for every publisher, subscriber, query and queryable.
        source: Id of the sender in every message; a random one by default.
        contract: The contract of the brain; that of this installation by default.

    Attributes:
        contract: See above. Topics may be added to it after the bus has been made, and none be taken away.
        lesions: What is done to the spikes that subscriptions receive; nothing, but in experiments.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        namespace: str,
        role: str = "client",
        source: str = "",
        contract: Contract | None = None,
    ) -> None:
        self.namespace = namespace
        self.contract = contract or installed_contract()
        self.role = role
        self.source = source or f"client-{messages.new_id()[:8]}"
        self.counters = Counters()
        self.lesions = Lesions()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waker = Waker(self._loop)
        self._thread = threading.get_ident()
        self._prefix = namespace + "/"
        self._publishers: dict[str, TopicPublisher] = {}
        self._mailboxes: list[Mailbox[Any]] = []
        self._subscriptions: dict[Mailbox[Any], Handle] = {}
        self._handles: list[Handle] = []
        self._outbox = Outbox(later=self._loop.call_soon)
        self._query_client = QueryClient(transport, self._prefix, self._call_soon_threadsafe)
        self._query_server = QueryServer(self.source, self._prefix, self.counters, self._outbox)
        self._malformed_log = MalformedMessageLog()
        self._closed = False

    def key(self, topic: str, /, **chunks: str) -> str:
        """Return the key of a topic of this brain, its own topics included; a chunk that is left out becomes `*`.

        Raises:
            TopicError: The contract has no such topic, or the topic no such chunk.
        """
        return self.contract.key(topic, **chunks)

    # -- publishing --------------------------------------------------------------------------------------------------

    def publish(self, key: str, message: Payload, *, as_json: bool = False) -> int:
        """Send a message on a key of the contract.

        A SpikePacket gets its source and sequence number here, and a timestamp when it has none. A typed message gets
        them as its attachment.

        Args:
            key: A concrete key, relative to the namespace.
            message: The payload that the contract lists for the key; a typed message also as a map of its fields.
            as_json: Write a typed message as JSON instead of msgpack.

        Returns:
            The bytes of the payload; 0 when it was dropped, because too much waits to be sent.

        Raises:
            TopicError: The key is not in the contract, not for this role, or carries another payload.
            WireError: The message cannot be encoded.
        """
        out = self._publishers.get(key) or self._declare(key)
        with out.lock:  # numbering and sending are one step
            item = out.encode(message, as_json=as_json)
            if not out.reliable:
                # Congestion control is DROP: Zenoh drops the message on a congested link and never blocks.
                out.publisher.put(*item)
            elif not self._outbox.put(len(item[0]), out.publisher.put, *item):
                out.count.dropped += 1
                return 0
            out.count.count += 1
            out.count.bytes += len(item[0])
        return len(item[0])

    def publish_blocking(self, key: str, message: Payload) -> None:
        """Send from a thread that may block; return when the network has accepted the message.

        A reliable message blocks here while the link is congested (back-pressure), so a fast sender runs at the speed
        of its slowest subscriber and nothing is dropped. Do not mix it with `publish` on one key: the order of the
        messages would not be preserved, because `publish` sends through the outbox.

        Raises:
            BusError: Called on the event loop, which it would block.
            TopicError: As `publish`.
            WireError: As `publish`.
        """
        if threading.get_ident() == self._thread:
            raise BusError("publish_blocking was called on the event loop; use publish there")
        out = self._publishers.get(key) or self._declare(key)
        with out.lock:
            item = out.encode(message, as_json=False)
            out.publisher.put(*item)
            out.count.count += 1
            out.count.bytes += len(item[0])

    def publish_encoded(self, key: str, payload: bytes) -> None:
        """Send a payload that has its wire form already, from any thread, without waiting.

        For what is computed in a thread of its own, window by window: it costs neither the event loop nor a queue.

        Raises:
            TopicError: The key is not in the contract, not for this role, or its topic is delivered reliably.
        """
        out = self._publishers.get(key) or self._declare(key)
        if out.reliable:
            raise TopicError(f"{key} is delivered reliably; `publish_encoded` never waits, so it may drop a message")
        out.publisher.put(payload, None)
        out.count.count += 1
        out.count.bytes += len(payload)

    def declare(self, key: str) -> None:
        """Declare the publisher of a key before the first message.

        Zenoh matches a publisher with its subscribers asynchronously; a message put before that is lost.
        """
        if key not in self._publishers:
            self._declare(key)

    def _declare(self, key: str) -> TopicPublisher:
        topic = self.contract.find(check_key(key))
        topic.check_role(self.role, "out")
        qos = QoS(topic.delivery == "reliable", topic.priority, topic.express, topic.wire_encoding)
        out = TopicPublisher(
            key,
            self.source,
            self._transport.declare_publisher(self._prefix + key, qos),
            topic,
            self.counters.of(key, "out"),
            qos.reliable,
            topic.payload == PACKET,
        )
        self._publishers[key] = out
        return out

    def _topics_to_hear(self, expression: str) -> list[Topic]:
        """Return the topics of an expression, all of which this role may listen to."""
        topics = self.contract.covering(expression)
        if not topics:
            raise TopicError(f"no topic of the contract matches {expression!r}; see `brainnet topic list --contract`")
        for topic in topics:
            topic.check_role(self.role, "in")
        return topics

    def is_matched(self, key: str) -> bool:
        """Return whether the key has a subscriber now."""
        out = self._publishers.get(key) or self._declare(key)
        return out.publisher.matching

    async def wait_matching(self, key: str, timeout: float) -> bool:
        """Wait until the key has a subscriber; return False after `timeout` seconds without one.

        A message sent before its subscriber is known to this session is lost: a sender whose message must arrive
        waits here first.
        """
        out = self._publishers.get(key) or self._declare(key)
        return await self.wait_publisher(out.publisher, timeout)

    async def wait_publisher(self, publisher: Publisher, timeout: float) -> bool:
        """Do the same as `wait_matching`, for a publisher of `declare_publisher_raw`."""
        if publisher.matching:
            return True
        matched = asyncio.Event()

        def changed(matching: bool) -> None:
            if matching:
                self._call_soon_threadsafe(matched.set)

        handle = publisher.on_matching(changed)
        try:
            if publisher.matching:  # a subscriber may have appeared before the matching listener was declared
                return True
            async with asyncio.timeout(timeout):
                await matched.wait()
        except TimeoutError:
            return publisher.matching
        finally:
            handle.close()
        return True

    async def wait_listener(self, expression: str, timeout: float) -> bool:
        """Wait until this session sees a subscriber of the expression; the role is not checked."""
        # Zenoh tells a publisher whether there is a subscriber; this publisher never sends.
        publisher = self._transport.declare_publisher(self._prefix + expression, QoS(reliable=False))
        try:
            return await self.wait_publisher(publisher, timeout)
        finally:
            publisher.close()

    async def flush(self, timeout: float = 1.0) -> bool:
        """Wait until every reliable message was handed to the network; return False after `timeout` seconds."""
        return await self._loop.run_in_executor(None, self._outbox.drain, timeout)

    # -- subscribing -------------------------------------------------------------------------------------------------

    def subscribe(
        self,
        expression: str,
        *,
        capacity: int | None = None,
        overflow: Overflow | None = None,
        on_malformed: OnMalformed | None = None,
        screen: Screen | None = None,
    ) -> Mailbox[Received]:
        """Subscribe to a key expression of the contract; messages are decoded and checked when they are taken.

        Args:
            expression: A key expression relative to the namespace.
            capacity: Messages that may wait; by default what the contract says.
            overflow: What happens to one more; by default what the contract says.
            on_malformed: Called with every message that does not follow the contract.
            screen: Called first, on the subscription's thread, with payload and encoding of each message of a key
                without wildcards, in order; what it returns True for does not enter the mailbox. For a consumer that
                can settle most of a flood without its event loop. It may call `publish`, and must return at once.

        Raises:
            TopicError: The contract has no such topic, or not for this role.
        """
        topics = self._topics_to_hear(expression)
        spec = topics[0].mailbox
        read = reader(
            self._transport,
            self._prefix,
            self.counters,
            self._malformed_log,
            self.contract,
            self.lesions,
            on_malformed,
            counted=screen is not None,
        )
        mailbox = Mailbox(
            read,
            capacity=capacity or spec.capacity,
            overflow=overflow or spec.overflow,
            loop=self._loop,
            wake=self._waker.call_soon,
        )
        self.counters.watch(expression, mailbox)
        self._mailboxes.append(mailbox)
        # Directly where latency counts. Elsewhere the queue of the subscriber's own thread lets Zenoh's threads go on
        # while Python computes, and a stream reaches the mailbox in larger parts.
        direct = screen is None and all(topic.express for topic in topics)
        offer: Callable[[Any], None] = mailbox.offer
        if screen is not None:
            offer = screened(self._transport, self.counters.of(check_key(expression), "in"), screen, offer)
        self._subscriptions[mailbox] = self._transport.subscribe(self._prefix + expression, offer, direct=direct)
        return mailbox

    def listen(self, expression: str, callback: Callable[[str, bytes], None]) -> None:
        """Call back with key and payload of every message, on a thread of the session; for a consumer with a thread.

        The payload is as it came: whoever decodes it checks it. The callback must return at once.

        Raises:
            TopicError: The contract has no such topic, or not for this role.
        """
        self._topics_to_hear(expression)

        def received(raw: Any) -> None:
            full_key, payload = self._transport.key_and_payload(raw)
            key = full_key[len(self._prefix) :]
            count = self.counters.of(key, "in")
            count.count += 1
            count.bytes += len(payload)
            callback(key, payload)

        self._handles.append(self._transport.subscribe(self._prefix + expression, received, direct=True))

    def unsubscribe(self, mailbox: Mailbox[Any]) -> None:
        """Undeclare the subscription and close the mailbox; messages that wait in it can still be read."""
        handle = self._subscriptions.pop(mailbox, None)
        if handle is not None:
            self.counters.unwatch(mailbox)
            self._mailboxes.remove(mailbox)
            handle.close()
        mailbox.close()

    def subscribe_raw(self, full_expression: str, *, capacity: int = 4096) -> Mailbox[Sample]:
        """Subscribe to any Zenoh key expression, also outside the namespace and the contract; for inspection."""
        mailbox = Mailbox(self._transport.read, capacity=capacity, overflow="drop_newest", loop=self._loop)  # type: Mailbox[Sample]
        self._mailboxes.append(mailbox)
        self._subscriptions[mailbox] = self._transport.subscribe(full_expression, mailbox.offer)
        return mailbox

    def publish_raw(self, full_key: str, payload: bytes, encoding: str, *, reliable: bool = True) -> Publisher:
        """Declare a publisher on any Zenoh key, put one payload if there is one, and return it; for inspection."""
        publisher = self.declare_publisher_raw(full_key, QoS(reliable=reliable, encoding=encoding))
        if payload:
            publisher.put(payload, None)
        return publisher

    def declare_publisher_raw(self, full_key: str, qos: QoS) -> Publisher:
        """Declare a publisher on any Zenoh key, also outside the contract; closed with the bus. For inspection."""
        publisher = self._transport.declare_publisher(full_key, qos)
        self._handles.append(publisher)
        return publisher

    # -- queries -----------------------------------------------------------------------------------------------------

    async def call(self, key: str, request: Asked, *, timeout: float = 2.0) -> Any:
        """Send a query and return the first reply.

        Args:
            key: The key of a queryable.
            request: The payload that the contract lists for the key, or a map of its fields.
            timeout: Seconds to wait for the reply.

        Raises:
            CallTimeout: No server replied within `timeout` seconds.
            CallError: The server refused the query; text and code are the server's.
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
        self, expression: str, request: Asked, *, timeout: float = 2.0, first: bool = False
    ) -> list[Reply]:
        """Send a query to every server of the expression and return the replies.

        Args:
            expression: A key expression.
            request: The payload that the contract lists for it, or a map of its fields.
            timeout: Seconds to wait for replies.
            first: Return at the first reply that is not a refusal.

        Returns:
            The replies that came in time. A refusal is a Reply whose message is a `CallError`.

        Raises:
            TopicError: The contract has no query on this expression, not for this role, or with another payload.
        """
        topic = self._query_topic(expression, "out")
        if isinstance(request, Mapping):
            request = topic.make(request)
        if topic.message is not type(request):
            raise TopicError(f"{expression} is asked with {topic.describe_payload()}, not {type(request).__name__}")
        return await self._query_client.ask(topic, expression, request, timeout, first=first)

    def serve(self, key: str, handler: Handler) -> None:
        """Reply to queries on a key (or key expression) of the contract with what `handler(request, key)` returns.

        A reply may be a map of its fields.

        An exception of the handler becomes a refusal with its text and code; the server goes on. A request in JSON or
        text gets its reply in JSON.

        Raises:
            TopicError: The contract has no query on this key, or not for this role.
        """
        topic = self._query_topic(key, "in")

        def received(request: Request) -> None:
            if self._closed:
                request.refuse(*refusal("stopping", f"{self.source} is stopping"))
            else:
                self._call_soon_threadsafe(self._query_server.accept, topic, key, request, handler)

        self.counters.of(key, "in")
        self._handles.append(self._transport.serve(self._prefix + key, received))

    def _query_topic(self, expression: str, direction: Direction) -> Topic:
        topic = next((t for t in self.contract.covering(expression) if t.reply), None)
        if topic is None:
            raise TopicError(f"nothing in the contract answers queries on {expression!r}")
        topic.check_role(self.role, direction, query=True)
        return topic

    # -- liveliness --------------------------------------------------------------------------------------------------

    def declare_alive(self, key: str) -> Handle:
        """Declare a liveliness token: the network withdraws it when this process ends, however it ends."""
        self.contract.find(key).check_role(self.role, "out")
        handle = self._transport.declare_alive(self._prefix + key)
        self._handles.append(handle)
        return handle

    def watch_alive(self, expression: str | None = None) -> Mailbox[Sample]:
        """Receive liveliness tokens as they appear and disappear, existing ones first; keys are relative.

        Guarantees: the events of one token alternate, and the first one says that it is there.
        """
        mailbox, handle = liveliness.watch(
            self._transport, self._prefix, expression or keys.key("alive"), loop=self._loop
        )
        self._mailboxes.append(mailbox)
        self._handles.append(handle)
        return mailbox

    async def alive(self, expression: str | None = None, *, timeout: float = 2.0) -> list[str]:
        """Return the liveliness tokens that exist now, as keys relative to the namespace."""
        return await liveliness.present(
            self._transport, self._prefix, expression or keys.key("alive"), timeout, self._call_soon_threadsafe
        )

    # -- life --------------------------------------------------------------------------------------------------------

    def _call_soon_threadsafe(self, function: Callable[..., Any], *args: Any) -> None:
        if not self._closed:
            try:
                self._loop.call_soon_threadsafe(function, *args)
            except RuntimeError:  # the event loop was closed, and its consumers with it
                self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is queued, for at most a second, then close the session. Calling it again does nothing."""
        if self._closed:
            return
        await self._query_server.close()
        await self.flush()
        self._closed = True
        for mailbox in self._mailboxes:
            mailbox.close()
        await self._loop.run_in_executor(None, self._close_transport)  # undeclaring and closing block on the network
        self._waker.close()

    def _close_transport(self) -> None:
        self._outbox.close()
        # Subscriptions first: no callback may run while the rest is undeclared.
        for handle in [*self._subscriptions.values(), *reversed(self._handles)]:
            handle.close()
        self._transport.close()
