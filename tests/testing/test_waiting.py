"""The tools for tests: both waiters behave alike, a free port can be bound, and importing them is light."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from brainnet.testing import free_port, until, wait_until


async def in_a_thread(what: str, condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    return await asyncio.to_thread(wait_until, what, condition, timeout)


both = pytest.mark.parametrize("wait", [until, in_a_thread], ids=["until", "wait_until"])


@both
async def test_waits_for_a_true_value_and_returns_it(wait: Callable[..., Awaitable[Any]]) -> None:
    values = iter([None, 0, "", "here"])
    assert await wait("a value", lambda: next(values)) == "here"


@both
async def test_the_error_says_what_did_not_come_about(wait: Callable[..., Awaitable[Any]]) -> None:
    with pytest.raises(TimeoutError, match=r"^waited 0\.05 s in vain for: the answer$"):
        await wait("the answer", lambda: False, 0.05)


@both
async def test_a_condition_that_holds_needs_no_time(wait: Callable[..., Awaitable[Any]]) -> None:
    assert await wait("the truth", lambda: True, 0.0)


@both
async def test_an_error_of_the_condition_ends_the_wait(wait: Callable[..., Awaitable[Any]]) -> None:
    with pytest.raises(ZeroDivisionError):
        await wait("a number", lambda: 1 / 0)


async def test_the_event_loop_runs_while_a_coroutine_waits() -> None:
    done = asyncio.create_task(asyncio.sleep(0, "done"))
    await until("another task", done.done)


def test_a_free_port_can_be_bound() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_importing_loads_neither_torch_nor_zenoh() -> None:
    code = "import sys, brainnet.testing; print(*{'torch', 'zenoh'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
