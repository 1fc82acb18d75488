"""What the threads of subscriptions share with the event loop can be read while it changes."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from brainnet.bus.counters import Counters
from brainnet.bus.memory import MemoryNetwork
from brainnet.bus.transport import QoS

ROUNDS = 500


@pytest.fixture(autouse=True)
def threads_take_turns_often() -> Iterator[None]:
    def let_others_in(phase: str, info: dict[str, int]) -> None:
        if threading.current_thread() is threading.main_thread():
            time.sleep(1e-5)

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)  # a collection can begin inside what looks like one step, and let another thread in
    gc.callbacks.append(let_others_in)
    yield
    gc.callbacks.remove(let_others_in)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def meanwhile(changes: Callable[[int], None], reads: Callable[[], object]) -> None:
    """Read again and again while another thread changes something `ROUNDS` times."""
    reading = threading.Event()

    def change() -> None:
        reading.wait()
        for number in range(ROUNDS):
            changes(number)

    thread = threading.Thread(target=change)
    thread.start()
    reads()
    reading.set()
    while thread.is_alive():
        reads()
    thread.join()


def test_counts_are_shown_while_keys_are_added() -> None:
    counters = Counters()
    # so many that a copy of the table needs more pairs than Python keeps in reserve: it allocates, and may collect
    for number in range(3000):
        counters.of(f"before/{number}", "in").count += 1

    meanwhile(lambda number: setattr(counters.of(f"key/{number}", "in"), "count", 1), counters.snapshot)
    assert sum(row.count for row in counters.snapshot()) == 3000 + ROUNDS


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
