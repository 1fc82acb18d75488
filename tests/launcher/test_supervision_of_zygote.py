"""The end of a zygote, however it comes, is no end of the nodes that it has made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from brainnet.bus import Endpoint
from brainnet.client import Client
from brainnet.testing import PATIENCE_S, until, wait_until
from brainnet.wire.messages import Prompt
from tests.launcher.processes import launcher_of, zygotes_of
from tests.support import Brain, node

ENDS = [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]


def replace_zygote(brain: Brain, number: signal.Signals) -> int:
    """Send a signal to the zygote, and return the process id of the next one."""
    (old,) = zygotes_of(brain)
    os.kill(old, number)
    return wait_until("the next zygote", lambda: next((pid for pid in zygotes_of(brain) if pid != old), None))


def test_nodes_outlive_their_zygote_and_stay_supervised(brain: Brain, allocation: Callable[..., Path]) -> None:
    brain.launch(allocation(node("one"), node("two"), node("three")))
    for number in ENDS:
        before = brain.nodes()
        replace_zygote(brain, number)
        after = brain.nodes()
        assert {id: record.pid for id, record in after.items()} == {id: record.pid for id, record in before.items()}
        assert {record.state for record in after.values()} == {"ready"}
        assert {id: record.restarts for id, record in after.items()} == {id: r.restarts for id, r in before.items()}
        # their exits are seen, with the exit code
        os.kill(brain.pid("one"), signal.SIGKILL)
        assert "SIGKILL" in brain.wait_state("one", "ready", but_pid=before["one"].pid).reason
        # their heartbeats are counted
        os.kill(brain.pid("two"), signal.SIGSTOP)
        assert "no heartbeat" in brain.wait_state("two", "ready", but_pid=before["two"].pid).reason
        # they can be stopped and started
        brain.run("node", "restart", "three")
        assert brain.nodes()["three"].pid != before["three"].pid
    brain.run("stop")
    assert brain.processes() == {}


def test_a_node_that_ends_while_there_is_no_zygote_is_started_by_the_next(
    brain: Brain, allocation: Callable[..., Path]
) -> None:
    brain.launch(allocation(node("one")))
    pid = brain.pid("one")
    (zygote,) = zygotes_of(brain)
    os.kill(zygote, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    assert brain.wait_state("one", "ready", but_pid=pid).restarts == 1


def test_a_stop_while_the_zygote_is_frozen_leaves_nothing(brain: Brain, allocation: Callable[..., Path]) -> None:
    brain.launch(allocation(node("one"), node("two", "IgnoresSignals")))
    os.kill(zygotes_of(brain)[0], signal.SIGSTOP)
    brain.run("stop")
    assert brain.processes() == {}


@pytest.mark.parametrize("number", ENDS)
def test_a_killed_launcher_leaves_nothing_after_its_zygote_was_replaced(
    brain: Brain, allocation: Callable[..., Path], number: signal.Signals
) -> None:
    brain.launch(allocation(node("one"), node("two", "IgnoresSignals"), node("three", "parent_that_stays")))
    replace_zygote(brain, number)
    os.kill(launcher_of(brain), signal.SIGKILL)
    brain.wait_gone()


def test_launcher_and_zygote_that_end_together_leave_no_process_that_a_node_started(
    brain: Brain, allocation: Callable[..., Path]
) -> None:
    brain.launch(allocation(node("one", "parent_that_stays")))
    assert "sleep" in brain.processes().values()
    launcher, (zygote,) = launcher_of(brain), zygotes_of(brain)
    os.kill(launcher, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # it may have seen the launcher end, and have ended
        os.kill(zygote, signal.SIGKILL)
    brain.wait_gone()


def test_no_prompt_is_disturbed(brain: Brain, answering: Path) -> None:
    brain.launch(answering)
    for number in ENDS:
        before = brain.nodes()
        answered = asyncio.run(_ask_while(brain, number))
        assert len(answered) == 60
        assert all(answered), answered
        assert {id: record.pid for id, record in brain.nodes().items()} == {id: r.pid for id, r in before.items()}


async def _ask_while(brain: Brain, number: signal.Signals) -> list[bool]:
    """Ask sixty times, from four clients at once, and end the zygote after the twentieth answer."""
    answered: list[bool] = []

    async def ask(first: int) -> None:
        async with Client(Endpoint(hub=f"tcp/127.0.0.1:{brain.port}")) as client:
            for i in range(first, first + 15):
                text = f"Remember that the box number {i} is red."
                prompt = Prompt(text=text, regions=["right"], deadline_ms=int(PATIENCE_S * 1000))
                answer = await client.ask(prompt)
                answered.append(answer.error is None)

    clients = [asyncio.create_task(ask(15 * i)) for i in range(4)]
    await until("twenty answers", lambda: len(answered) >= 20)
    (old,) = zygotes_of(brain)
    os.kill(old, number)
    await until("the next zygote", lambda: [pid for pid in zygotes_of(brain) if pid != old])
    await asyncio.gather(*clients)
    return answered
