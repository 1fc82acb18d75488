"""What the threads of subscriptions share with the event loop can be read while it changes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from brainnet.bus.counters import Counters
from brainnet.bus.memory import MemoryNetwork
from brainnet.bus.transport import QoS

ROUNDS = 3000


@pytest.fixture(autouse=True)
def threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def meanwhile(changes: Callable[[int], None], reads: Callable[[], object]) -> None:
    """Read again and again while another thread changes something `ROUNDS` times."""

    def change() -> None:
        for number in range(ROUNDS):
            changes(number)

    thread = threading.Thread(target=change)
    thread.start()
    while thread.is_alive():
        reads()
    thread.join()


def test_counts_are_shown_while_keys_are_added() -> None:
    counters = Counters()

    def change(number: int) -> None:
        for part in range(10):
            counters.of(f"key/{number}/{part}", "in").count += 1

    meanwhile(change, counters.snapshot)
    assert sum(row.count for row in counters.snapshot()) == 10 * ROUNDS


def test_the_network_of_one_process_delivers_while_others_come_and_go() -> None:
    network = MemoryNetwork()
    there, others, sender = network.transport(), network.transport(), network.transport()
    received: list[object] = []
    there.subscribe("a/b", received.append)
    publisher = sender.declare_publisher("a/b", QoS(reliable=True))
    sent = 0

    def put() -> None:
        nonlocal sent
        publisher.put(b"", None)
        sent += 1

    meanwhile(lambda number: others.subscribe("a/**", lambda sample: None).close(), put)
    assert len(received) == sent > 0
