"""The topics of a brain's own in a launcher: it hands them to its nodes, tells them to clients, and compares hosts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from brainnet.bus import disagreement
from brainnet.errors import LaunchError
from brainnet.wire.extension import Extension
from brainnet.wire.messages import AddedTopics, TopicsQuery

if TYPE_CHECKING:
    from brainnet.bus import Bus

log = structlog.get_logger("brainnet.launcher")

_SETTLING_S: Final = 10.0
"""Seconds after the start in which hosts that start together find each other, and are asked often."""
_OFTEN_S: Final = 0.25
_SELDOM_S: Final = 5.0
_ALIKE_S: Final = 1.0
"""Seconds between two starts that count as one: how long a reply is on its way is not known."""


def topics_file(state: Path) -> Path:
    """Return the file in which the nodes of this host find the topics of the brain's own."""
    return state / "topics.json"


def write_topics(state: Path, extension: Extension) -> None:
    """Write the topics for the nodes; without any, remove what an earlier launch has left.

    The nodes read a copy, so that one that starts again has the topics that the brain was launched with, whatever has
    become of the user's files.

    Raises:
        LaunchError: The file cannot be written.
    """
    path = topics_file(state)
    try:
        if not extension.topics:
            path.unlink(missing_ok=True)
            return
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"version": 1, "topics": extension.rows()}), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise LaunchError(f"{path} cannot be written: {error.strerror}") from None


class HostTopics:
    """Tells the topics of this host, and watches that all hosts of the brain have the same.

    Args:
        host: Name of this host.
        extension: Its topics.
    """

    def __init__(self, host: str, extension: Extension) -> None:
        self._host = host
        self._extension = extension
        self._started = time.monotonic()
        self._reported: set[tuple[str, str]] = set()

    def _told(self) -> AddedTopics:
        return AddedTopics(
            host=self._host,
            uptime_s=time.monotonic() - self._started,
            digest=self._extension.digest,
            topics=self._extension.rows(),
        )

    def serve(self, bus: Bus) -> None:
        """Reply to queries for the topics of this host."""

        async def topics(request: TopicsQuery, key: str) -> AddedTopics:
            return self._told()

        bus.serve(bus.key("host_topics", host=self._host), topics)

    async def watch(self, bus: Bus, fail: Callable[[str], None]) -> None:
        """Compare with the other hosts until cancelled; of two that disagree, the one that started later fails.

        Args:
            bus: The launcher's bus.
            fail: Ends this launcher with a reason.
        """
        while True:
            for reply in await bus.call_all(bus.key("host_topics"), TopicsQuery()):
                told = reply.message  # or an error: what another host tells need not be readable
                if isinstance(told, AddedTopics) and told.host != self._host:
                    self._compare(told, fail)
            is_new = time.monotonic() - self._started < _SETTLING_S
            await asyncio.sleep(_OFTEN_S if is_new else _SELDOM_S)

    def _compare(self, told: AddedTopics, fail: Callable[[str], None]) -> None:
        if told.digest == self._extension.digest:
            return
        ours = self._told()
        reason = disagreement(ours, told)
        later = told.uptime_s - ours.uptime_s
        if later > _ALIKE_S or (abs(later) <= _ALIKE_S and self._host > told.host):
            fail(reason)
        elif (told.host, told.digest) not in self._reported:
            self._reported.add((told.host, told.digest))
            log.error("another host has other topics", host=told.host, reason=reason)
