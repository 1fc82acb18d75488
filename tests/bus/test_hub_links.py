"""Links between hubs that break and come back, through a real cable of the test's own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zenoh

from brainnet.bus import HubLinks, open_hub
from brainnet.testing import PATIENCE_S, free_port, wait_until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def cable() -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """Start a cable; return its process, its own port and the port that it leads to."""
    here, there = free_port(), free_port()
    command = [sys.executable, "-m", "tests.slow_link", str(here), f"127.0.0.1:{there}", "--delay-ms", "1"]
    process = subprocess.Popen(command, cwd=ROOT)
    yield process, here, there
    process.kill()
    process.wait()


def test_a_link_that_is_up_without_routes_is_made_anew(cable: tuple[subprocess.Popen[bytes], int, int]) -> None:
    process, here, there = cable
    with ExitStack() as stack:
        sessions = [open_hub([f"tcp/127.0.0.1:{there}"], []), open_hub([], [f"tcp/127.0.0.1:{here}"])]
        for session in sessions:
            stack.callback(session.close)
        links = [HubLinks(session, patience_s=0.5) for session in sessions]
        publishers = [session.declare_publisher(f"from/{number}") for number, session in enumerate(sessions)]
        for number, session in enumerate(sessions):
            stack.callback(session.declare_subscriber(f"from/{1 - number}", lambda sample: None).undeclare)

        def works() -> bool:
            return all(publisher.matching_status.matching for publisher in publishers)

        apart = threading.Event()
        for publisher in publishers:
            publisher.declare_matching_listener(lambda status: None if status.matching else apart.set())
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.1):
                for one in links:
                    one.check()

        wait_until("the hubs linked", works)
        watcher = threading.Thread(target=watch)
        watcher.start()
        stack.callback(watcher.join)
        stack.callback(ended.set)
        for _ in range(4):
            apart.clear()
            process.send_signal(signal.SIGUSR1)
            assert apart.wait(PATIENCE_S)
            wait_until("the hubs linked again", works)


def test_a_router_of_somebody_else_is_left_alone_and_a_hub_that_does_not_show_itself_is_not() -> None:
    here = f"tcp/127.0.0.1:{free_port()}"
    config = zenoh.Config()
    config.insert_json5("mode", '"router"')
    config.insert_json5("connect/endpoints", f'["{here}"]')
    config.insert_json5("listen/endpoints", "[]")
    config.insert_json5("scouting/multicast/enabled", "false")
    with open_hub([here], []) as hub, zenoh.open(config) as foreign, open_hub([], [here]) as silent:
        both = {str(foreign.info.zid()), str(silent.info.zid())}
        wait_until("both linked", lambda: {str(id) for id in hub.info.routers_zid()} == both)
        links = HubLinks(hub, patience_s=0.0)
        links.check()
        wait_until("a link closed", lambda: links.check() == [str(silent.info.zid())])
        wait_until("it is linked again", lambda: {str(id) for id in hub.info.routers_zid()} == both)


def test_links_that_are_no_sockets_of_the_internet_are_left_alone(tmp_path: Path) -> None:
    here = f"unixsock-stream/{tmp_path / 'hub'}"
    ours, theirs = socket.socketpair()
    with ours, theirs, open_hub([here], []) as hub, open_hub([], [here]) as silent:
        links = HubLinks(hub, patience_s=0.0)
        wait_until("the hubs linked", lambda: list(map(str, hub.info.routers_zid())) == [str(silent.info.zid())])
        for _ in range(3):
            assert links.check() == []
        theirs.sendall(b"still open")
        assert ours.recv(64) == b"still open"
