"""Publishing and subscribing, over both transports."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import msgpack
import numpy as np
import pytest

from brainnet.bus import Bus, Endpoint, Received, open_bus, open_hub
from brainnet.errors import BusError, ConnectError, MessageError, PacketError, TopicError, WireError
from brainnet.testing import PATIENCE_S, free_port, until, wait_until
from brainnet.wire.messages import Answer, Decision, Prompt, TopicCount
from brainnet.wire.packet import SpikePacket
from tests.bus.conftest import Network


def _packet(value: int = 1) -> SpikePacket:
    return SpikePacket(np.eye(8, dtype=np.uint8), metadata={"n": value})


async def _matched(bus: Bus, key: str) -> None:
    assert await bus.wait_matching(key, PATIENCE_S)


async def _take(mailbox: object, count: int) -> list[Received]:
    async with asyncio.timeout(PATIENCE_S):
        return [await mailbox.get() for _ in range(count)]  # type: ignore[attr-defined]


def _count(bus: Bus, key: str, direction: str) -> TopicCount:
    return next(row for row in bus.counters.snapshot() if (row.key, row.direction) == (key, direction))


async def test_packets_arrive_in_order_with_source_number_and_time(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("region", "ear")
    mailbox = listener.subscribe("spikes/eye/*")
    await _matched(sender, "spikes/eye/ear")
    for number in range(200):
        sender.publish("spikes/eye/ear", _packet(number))
    received = await _take(mailbox, 200)
    assert [r.message.metadata["n"] for r in received] == list(range(200))
    assert [r.stamp.seq for r in received if r.stamp] == list(range(1, 201))
    assert {r.key for r in received} == {"spikes/eye/ear"}
    assert all(r.message.source == "eye" and r.message.timestamp_ns > 0 for r in received)
    assert np.array_equal(received[0].message.data, np.eye(8))
    assert (_count(sender, "spikes/eye/ear", "out").count, _count(listener, "spikes/eye/ear", "in").count) == (200, 200)


@pytest.mark.parametrize("as_json", [False, True])
async def test_typed_messages_arrive_with_a_stamp(network: Network, as_json: bool) -> None:
    sender, listener = await network("supervisor", "broker"), await network("client")
    mailbox = listener.subscribe("api/result")
    await _matched(sender, "api/result")
    sent = Answer(prompt_id="p", text="seven", confidence=0.5)
    sender.publish("api/result", sent, as_json=as_json)
    (received,) = await _take(mailbox, 1)
    assert received.message == sent
    assert received.stamp is not None
    assert (received.stamp.source, received.stamp.seq) == ("broker", 1)
    assert ("json" in received.encoding) == as_json


async def test_everybody_who_listens_gets_every_message(network: Network) -> None:
    sender = await network("router", "pfc")
    listeners = [await network("integrator"), await network("client"), await network("client")]
    mailboxes = [listener.subscribe("pfc/*/decisions") for listener in listeners]
    await _matched(sender, "pfc/pfc/decisions")

    def all_are_known() -> bool:  # a match does not say that the others are known
        sender.publish("pfc/pfc/decisions", Decision(prompt_id="warm-up"))
        return all(mailbox.statistics().received for mailbox in mailboxes)

    await until("every listener to be known", all_are_known)
    sender.publish("pfc/pfc/decisions", Decision(prompt_id="last"))
    for mailbox in mailboxes:
        async with asyncio.timeout(PATIENCE_S):
            while (await mailbox.get()).message.prompt_id != "last":
                pass


async def test_missing_numbers_are_counted_by_source_and_a_restart_is_no_gap(network: Network) -> None:
    stranger, listener = await network("client"), await network("region", "ear")
    mailbox = listener.subscribe("spikes/**")
    publisher = stranger.publish_raw("test/spikes/a/b", b"", "")
    assert await stranger.wait_publisher(publisher, PATIENCE_S)
    numbers = [("a", 5), ("a", 6), ("b", 100), ("a", 9), ("b", 101), ("a", 1), ("a", 2), ("a", 2**64 - 1)]
    for source, seq in numbers:
        publisher.put(SpikePacket(np.eye(2, dtype=bool), source=source, seq=min(seq, 2**63)).encode(), None)
    await _take(mailbox, len(numbers))
    assert _count(listener, "spikes/a/b", "in").lost == 2 + 2**32  # an absurd gap is capped


async def test_two_subscriptions_to_one_key_do_not_see_gaps_in_each_other(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("region", "ear")
    first, second = listener.subscribe("spikes/eye/ear"), listener.subscribe("spikes/**")
    await _matched(sender, "spikes/eye/ear")
    for _ in range(20):
        sender.publish("spikes/eye/ear", _packet())
    await _take(first, 20)
    await _take(second, 20)
    assert _count(listener, "spikes/eye/ear", "in").lost == 0


async def test_a_full_mailbox_shows_in_the_counters(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("region", "ear")
    mailbox = listener.subscribe("spikes/eye/ear", capacity=3)
    await _matched(sender, "spikes/eye/ear")
    for _ in range(10):
        sender.publish("spikes/eye/ear", _packet())
    await until("10 messages", lambda: mailbox.statistics().received == 10)
    assert _count(listener, "spikes/eye/ear", "in").dropped == 7
    await _take(mailbox, 3)


async def test_what_is_no_message_is_counted_and_never_reaches_the_consumer(network: Network) -> None:
    stranger, listener = await network("client"), await network("region", "ear")
    refused: list[WireError] = []
    mailbox = listener.subscribe("spikes/**", on_malformed=lambda sample, error: refused.append(error))
    publisher = stranger.publish_raw("test/spikes/a/b", b"", "application/x-nonsense")
    unlisted = stranger.publish_raw("test/spikes/a/b/c/d", b"", "")
    assert await stranger.wait_publisher(publisher, PATIENCE_S)
    assert await stranger.wait_publisher(unlisted, PATIENCE_S)
    good = SpikePacket(np.eye(2, dtype=bool), source="a", seq=1).encode()
    bad = [b"", b"\xc1", b"text", good[:-3], msgpack.packb([1, 2, 3]), msgpack.packb({"text": "x"})]
    for payload in [*bad, good]:
        publisher.put(payload, None)
    (received,) = await _take(mailbox, 1)
    assert received.message.source == "a"
    unlisted.put(good, None)
    publisher.put(good, None)
    await _take(mailbox, 1)
    counted = _count(listener, "spikes/a/b", "in")
    assert (counted.malformed, counted.count) == (len(bad), len(bad) + 2)
    assert mailbox.statistics().malformed == len(refused) >= len(bad)
    assert all(isinstance(error, PacketError | TopicError) for error in refused)


async def test_a_typed_topic_survives_garbage_and_attachments_that_are_no_stamp(network: Network) -> None:
    stranger, listener = await network("client"), await network("supervisor")
    mailbox = listener.subscribe("api/prompt")
    publisher = stranger.publish_raw("test/api/prompt", b"", "text/plain")
    assert await stranger.wait_publisher(publisher, PATIENCE_S)
    for payload, attachment in ((b"\xff\xfe", None), (b"  ", b"\xc1"), (b"hello", b"\xc1"), (b"again", b"\x01")):
        publisher.put(payload, attachment)
    received = await _take(mailbox, 2)
    assert [r.message.text for r in received] == ["hello", "again"]
    assert [r.stamp for r in received] == [None, None]
    assert _count(listener, "api/prompt", "in").malformed == 2


@pytest.mark.parametrize(
    ("role", "key", "message", "says"),
    [
        ("client", "api/result", Answer(prompt_id="p"), "may not publish"),
        ("region", "motor/feedback/arm", _packet(), "may not publish"),
        ("client", "api/prompt", Answer(prompt_id="p"), "carries Prompt"),
        ("client", "api/prompt", _packet(), "carries Prompt"),
        ("region", "spikes/a/b", Answer(prompt_id="p"), "carries SpikePacket"),
        ("region", "no/such/topic", _packet(), "no topic of the contract"),
        ("region", "spikes/a/*", _packet(), "not a key"),
    ],
)
async def test_what_the_contract_does_not_allow_is_not_sent(
    network: Network, role: str, key: str, message: SpikePacket | Prompt, says: str
) -> None:
    bus = await network(role)
    with pytest.raises(TopicError, match=says):
        bus.publish(key, message)


@pytest.mark.parametrize(
    ("role", "expression"), [("client", "motor/command/*"), ("region", "pfc/*/decisions"), ("client", "**")]
)
async def test_listening_is_checked_against_the_contract(network: Network, role: str, expression: str) -> None:
    bus = await network(role)
    with pytest.raises(TopicError, match="may not listen"):
        bus.subscribe(expression)
    with pytest.raises(TopicError, match="no topic of the contract"):
        bus.subscribe("nothing/here")


async def test_a_message_that_cannot_be_written_takes_no_number(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("region")
    mailbox = listener.subscribe("spikes/**")
    await _matched(sender, "spikes/eye/ear")
    with pytest.raises(PacketError):
        sender.publish("spikes/eye/ear", SpikePacket(np.zeros((2, 2))))
    broker = await network("supervisor")
    with pytest.raises(MessageError):
        broker.publish("api/result", Answer(prompt_id="p", content={"x": object()}))
    sender.publish("spikes/eye/ear", _packet())
    (received,) = await _take(mailbox, 1)
    assert received.message.seq == 1


async def test_wait_matching_tells_whether_somebody_listens(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("client")
    assert not await sender.wait_matching("brain/result/eye", 0.05)
    assert not sender.is_matched("brain/result/eye")
    waiting = asyncio.create_task(sender.wait_matching("brain/result/eye", PATIENCE_S))
    await asyncio.sleep(0)
    mailbox = listener.subscribe("brain/result/*")
    assert await waiting
    assert sender.is_matched("brain/result/eye")
    sender.publish("brain/result/eye", _packet(7))
    (received,) = await _take(mailbox, 1)
    assert received.message.metadata == {"n": 7}


async def test_flush_means_that_the_network_has_it(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("client")
    mailbox = listener.subscribe("brain/result/*", capacity=5000)
    await _matched(sender, "brain/result/eye")
    for number in range(2000):
        sender.publish("brain/result/eye", _packet(number))
    assert await sender.flush(PATIENCE_S)
    received = await _take(mailbox, 2000)
    assert [r.message.metadata["n"] for r in received] == list(range(2000))


async def test_closing_sends_what_waits(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("client")
    mailbox = listener.subscribe("brain/result/*")
    await _matched(sender, "brain/result/eye")
    for number in range(200):
        sender.publish("brain/result/eye", _packet(number))
    await sender.close()
    await sender.close()
    assert len(await _take(mailbox, 200)) == 200


async def test_threads_may_publish_and_each_message_has_its_own_number(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("client")
    mailbox = listener.subscribe("brain/result/*", capacity=5000)
    await _matched(sender, "brain/result/eye")

    def send() -> None:
        for _ in range(250):
            sender.publish("brain/result/eye", _packet())

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    received = await _take(mailbox, 1000)
    assert [r.message.seq for r in received] == list(range(1, 1001))


async def test_a_blocking_sender_waits_for_a_slow_listener_and_loses_nothing(network: Network) -> None:
    sender, listener = await network("region", "eye"), await network("client")
    mailbox = listener.subscribe("brain/result/*", capacity=8, overflow="block")
    await _matched(sender, "brain/result/eye")
    with pytest.raises(BusError, match="event loop"):
        sender.publish_blocking("brain/result/eye", _packet())

    def send() -> None:
        for _ in range(1000):
            sender.publish_blocking("brain/result/eye", _packet())

    sending = asyncio.create_task(asyncio.to_thread(send))
    received = await _take(mailbox, 1000)
    await sending
    assert [r.message.seq for r in received] == list(range(1, 1001))
    counted = _count(listener, "brain/result/eye", "in")
    assert (counted.lost, counted.dropped) == (0, 0)


async def test_a_subscription_is_seen_before_anything_came(network: Network) -> None:
    listener = await network("client")
    listener.subscribe("pfc/*/decisions")
    assert _count(listener, "pfc/*/decisions", "in").count == 0


async def test_rates_are_those_of_the_last_seconds(network: Network) -> None:
    sender = await network("region", "eye")
    for _ in range(50):
        sender.publish("spikes/eye/ear", _packet())
    row = _count(sender, "spikes/eye/ear", "out")
    assert row.count == 50
    assert row.rate_hz > 0
    assert row.bytes == pytest.approx(row.bytes_per_s / row.rate_hz * 50)


async def test_any_key_can_be_heard_and_written_raw(network: Network) -> None:
    stranger, listener = await network("client"), await network("client")
    mailbox = listener.subscribe_raw("some/where/**")
    publisher = stranger.publish_raw("some/where/else", b"", "text/plain")
    assert await stranger.wait_publisher(publisher, PATIENCE_S)
    publisher.put(b"hello", b"note")
    async with asyncio.timeout(PATIENCE_S):
        sample = await mailbox.get()
    assert (sample.key, sample.payload, sample.attachment) == ("some/where/else", b"hello", b"note")
    assert sample.encoding == "text/plain"


async def test_no_hub_is_a_connect_error_that_names_the_endpoint() -> None:
    address = f"tcp/127.0.0.1:{free_port()}"
    with pytest.raises(ConnectError, match=address):
        await open_bus(Endpoint("test", address), timeout=0.3)


async def test_a_port_in_use_is_a_bus_error() -> None:
    address = f"tcp/127.0.0.1:{free_port()}"
    with contextlib.closing(open_hub([address], [])), pytest.raises(BusError):
        open_hub([address], [])


async def test_what_is_screened_out_does_not_wait_for_the_event_loop(network: Network) -> None:
    sender, listener = await network("client"), await network("supervisor", "broker")
    seen: list[bytes] = []

    def screen(payload: bytes, encoding: str) -> bool:
        assert encoding.startswith("application/msgpack")
        seen.append(payload)
        if b"fault" in payload:
            raise ValueError("a fault of the screen")
        return b"flood" in payload

    mailbox = listener.subscribe("api/prompt", screen=screen)
    await _matched(sender, "api/prompt")
    texts = ["flood 1", "first", "flood 2", "fault", "last"]
    for text in texts:
        sender.publish("api/prompt", Prompt(text=text))
    await sender.flush()
    # This blocks the event loop.
    wait_until("every prompt to be screened", lambda: len(seen) == len(texts) and mailbox.waiting == 3)
    assert [received.message.text for received in await _take(mailbox, 3)] == ["first", "fault", "last"]
    count = _count(listener, "api/prompt", "in")
    assert (count.count, count.bytes, count.malformed) == (len(texts), sum(map(len, seen)), 0)


async def test_what_another_thread_sends_does_not_wait_for_the_event_loop(network: Network) -> None:
    sender, listener = await network("client"), await network("supervisor", "broker")
    mailbox = listener.subscribe("api/prompt")
    await _matched(sender, "api/prompt")
    sender.publish("api/prompt", Prompt(text="wakes the thread that sends"))
    assert (await _take(mailbox, 1))[0].message.text == "wakes the thread that sends"
    await sender.flush()
    sender.publish("api/prompt", Prompt(text="in this turn of the event loop"))
    sending = threading.Thread(target=sender.publish, args=("api/prompt", Prompt(text="from a thread")))
    sending.start()
    sending.join()
    wait_until("both to arrive while the event loop is blocked", lambda: mailbox.waiting == 2)
