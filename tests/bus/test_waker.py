"""The waker: functions from any thread run on the event loop, in order, and none is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from brainnet.bus.waker import Waker
from brainnet.testing import until


async def test_functions_of_every_thread_run_on_the_loop_in_order() -> None:
    waker = Waker(asyncio.get_running_loop())
    ran: list[tuple[int, int, int]] = []

    def send(thread: int) -> None:
        for number in range(500):
            waker.call_soon(lambda number=number: ran.append((threading.get_ident(), thread, number)))  # type: ignore[misc]

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    await until("every function", lambda: len(ran) == 2000)
    assert {where for where, _, _ in ran} == {threading.get_ident()}
    for sender in range(4):
        assert [number for _, of, number in ran if of == sender] == list(range(500))
    waker.close()


async def test_a_function_that_raises_does_not_lose_the_others() -> None:
    loop = asyncio.get_running_loop()
    errors: list[object] = []
    loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))
    waker = Waker(loop)
    ran: list[str] = []
    waker.call_soon(lambda: 1 / 0)
    waker.call_soon(lambda: ran.append("second"))
    await until("the second function", lambda: ran == ["second"])
    assert [type(error) for error in errors] == [ZeroDivisionError]
    waker.close()


async def test_functions_that_cause_each_other_leave_the_loop_to_others() -> None:
    waker = Waker(asyncio.get_running_loop())
    turns = 0

    def again() -> None:
        nonlocal turns
        turns += 1
        waker.call_soon(again)

    again()
    for _ in range(20):
        await asyncio.sleep(0)
    assert 1 < turns <= 25
    waker.close()


async def test_what_is_due_when_it_closes_still_runs() -> None:
    waker = Waker(asyncio.get_running_loop())
    ran: list[str] = []
    waker.call_soon(lambda: ran.append("due"))
    waker.close()
    await asyncio.sleep(0)
    assert ran == ["due"]


def test_a_closed_loop_is_an_error() -> None:
    async def make() -> Waker:
        return Waker(asyncio.get_running_loop())

    waker = asyncio.run(make())
    with pytest.raises(RuntimeError, match="closed"):
        waker.call_soon(lambda: None)
