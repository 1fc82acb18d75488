"""Network namespaces as hosts, each with its own loopback, joined by a switch."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

CABLE = "cable"
"""Name of the link of every host to the switch."""


def ip(*arguments: str) -> None:
    """Run the ip command."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def joined(hosts: dict[str, str]) -> Iterator[dict[str, str]]:
    """Make a namespace per host, given by name and address; skips the test where that is not allowed.

    Yields:
        The namespace of each host.
    """
    if shutil.which("ip") is None:
        pytest.skip("needs the ip command to make network namespaces")
    prefix = f"brainnet-{os.getpid()}"
    names = {host: f"{prefix}-{host}" for host in hosts}
    switch = f"{prefix}-switch"
    made: list[str] = []
    try:
        try:
            for name in (switch, *names.values()):
                ip("netns", "add", name)
                made.append(name)
            ip("-n", switch, "link", "add", "bridge", "type", "bridge")
            ip("-n", switch, "link", "set", "bridge", "up")
            for host, name in names.items():
                ip("link", "add", CABLE, "netns", name, "type", "veth", "peer", "name", host, "netns", switch)
                ip("-n", switch, "link", "set", host, "master", "bridge", "up")
                ip("-n", name, "addr", "add", f"{hosts[host]}/24", "dev", CABLE)
                ip("-n", name, "link", "set", CABLE, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"may not make network namespaces here: {error.stderr.strip()}")
        yield names
    finally:
        for name in made:
            ip("netns", "del", name)
