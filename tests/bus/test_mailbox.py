"""The mailbox between transport threads and one asyncio consumer."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.bus import Mailbox
from brainnet.testing import PATIENCE_S, until
from brainnet.wire.topics import Overflow


def _mailbox(
    capacity: int = 4, overflow: Overflow = "drop_newest", read: Callable[[Any], Any] = lambda raw: raw
) -> Any:
    return Mailbox(read, capacity=capacity, overflow=overflow)


async def _rest(mailbox: Mailbox[Any]) -> list[Any]:
    mailbox.close()
    return [message async for message in mailbox]


@pytest.mark.parametrize(("overflow", "kept"), [("drop_newest", [0, 1, 2]), ("drop_oldest", [4, 5, 6])])
async def test_what_does_not_fit_is_dropped_by_the_rule_and_counted(overflow: Overflow, kept: list[int]) -> None:
    mailbox = _mailbox(3, overflow)
    for number in range(7):
        mailbox.offer(number)
    found = mailbox.statistics()
    assert (found.waiting, found.peak, found.received, found.dropped) == (3, 3, 7, 4)
    assert await _rest(mailbox) == kept


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(["offer", "take"]), max_size=60),
    st.integers(1, 5),
    st.sampled_from(["drop_newest", "drop_oldest"]),
)
def test_everything_received_is_taken_waiting_or_dropped(steps: list[str], capacity: int, overflow: Overflow) -> None:
    async def run() -> None:
        mailbox = _mailbox(capacity, overflow)
        model: list[int] = []
        taken = dropped = 0
        for number, step in enumerate(steps):
            if step == "offer":
                mailbox.offer(number)
                if len(model) < capacity:
                    model.append(number)
                else:
                    dropped += 1
                    if overflow == "drop_oldest":
                        model = [*model[1:], number]
            else:
                message = mailbox.get_nowait()
                assert message == (model.pop(0) if model else None)
                taken += message is not None
        found = mailbox.statistics()
        assert found.received == steps.count("offer") == taken + found.waiting + found.dropped
        assert found.dropped == dropped
        assert found.waiting == len(model)

    asyncio.run(run())


async def test_block_holds_up_the_sender_and_loses_nothing() -> None:
    mailbox = _mailbox(2, "block")
    sender = threading.Thread(target=lambda: [mailbox.offer(n) for n in range(500)])
    sender.start()
    assert [await mailbox.get() for _ in range(500)] == list(range(500))
    sender.join()
    found = mailbox.statistics()
    assert found.dropped == 0
    assert found.peak <= 2


async def test_block_never_waits_for_its_own_thread() -> None:
    box = Mailbox(lambda raw: raw, capacity=2, overflow="block")
    for number in range(4):
        box.offer(number)
    assert box.statistics().dropped == 2
    assert [await box.get(), await box.get()] == [0, 1]


async def test_closing_frees_a_blocked_sender() -> None:
    mailbox = _mailbox(1, "block")
    sender = threading.Thread(target=lambda: [mailbox.offer(n) for n in range(3)])
    sender.start()
    await until("2 messages", lambda: mailbox.statistics().received == 2)
    mailbox.close()
    await asyncio.to_thread(sender.join, PATIENCE_S)
    assert not sender.is_alive()
    assert [message async for message in mailbox] == [0]


async def test_several_threads_lose_nothing_and_each_keeps_its_order() -> None:
    mailbox = _mailbox(10_000)
    senders = [
        threading.Thread(target=lambda name=name: [mailbox.offer((name, n)) for n in range(1000)]) for name in range(4)
    ]
    for sender in senders:
        sender.start()
    messages = [await mailbox.get() for _ in range(4000)]
    for name in range(4):
        assert [n for who, n in messages if who == name] == list(range(1000))


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_one_place_loses_nothing_uncounted_while_it_is_taken(overflow: Overflow) -> None:
    mailbox = _mailbox(1, overflow)
    errors: list[BaseException] = []

    def send() -> None:
        try:
            for number in range(30_000):
                mailbox.offer(number)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads change places also between two steps of one `offer`
    try:
        sender = threading.Thread(target=send)
        sender.start()
        taken = 0
        while sender.is_alive():
            taken += mailbox.get_nowait() is not None
        sender.join()
    finally:
        sys.setswitchinterval(interval)
    found = mailbox.statistics()
    assert not errors
    assert found.received == 30_000 == taken + found.waiting + found.dropped


async def test_a_message_wakes_a_waiting_consumer() -> None:
    mailbox = _mailbox()
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    threading.Thread(target=mailbox.offer, args=("hello",)).start()
    assert await waiting == "hello"


async def test_a_cancelled_get_loses_nothing() -> None:
    mailbox = _mailbox(1000)
    taken = []
    for number in range(300):
        consumer = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.offer(number)
        if number % 3 == 0:
            await asyncio.sleep(0)
        consumer.cancel()
        taken += [m for m in await asyncio.gather(consumer, return_exceptions=True) if isinstance(m, int)]
    assert taken + await _rest(mailbox) == list(range(300))


async def test_a_busy_consumer_lets_others_run() -> None:
    mailbox = _mailbox(10_000)
    for number in range(10_000):
        mailbox.offer(number)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(10_000):
        await mailbox.get()
    task.cancel()
    assert turns > 100


async def test_malformed_messages_are_skipped_and_counted() -> None:
    mailbox = _mailbox(10, read=lambda raw: raw if raw % 2 else None)
    for number in range(6):
        mailbox.offer(number)
    assert await mailbox.get_batch(10) == [1, 3, 5]
    assert mailbox.get_nowait() is None
    assert mailbox.statistics().malformed == 3


async def test_a_batch_is_what_waits_up_to_the_limit() -> None:
    mailbox = _mailbox(10)
    for number in range(5):
        mailbox.offer(number)
    assert await mailbox.get_batch(3) == [0, 1, 2]
    assert await mailbox.get_batch(3) == [3, 4]


async def test_closed_means_nothing_more_comes_in() -> None:
    mailbox = _mailbox()
    mailbox.offer(1)
    mailbox.close()
    mailbox.offer(2)
    assert await mailbox.get() == 1
    with pytest.raises(EOFError):
        await mailbox.get()


async def test_closing_ends_a_waiting_consumer() -> None:
    mailbox = _mailbox()
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.close()
    with pytest.raises(EOFError):
        await waiting


async def test_a_second_waiting_consumer_is_refused() -> None:
    mailbox = _mailbox()
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one consumer"):
        await mailbox.get()
    waiting.cancel()
