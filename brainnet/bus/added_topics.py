"""Learns from a running brain which topics it has beside the contract of this installation."""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

from brainnet.bus.bus import Bus
from brainnet.errors import CallError, ContractError, LaunchError
from brainnet.texts import printable, shorten
from brainnet.wire.extension import Extension
from brainnet.wire.messages import AddedTopics, TopicsQuery

LEARN_S: Final = 2.0
"""Seconds in which every launcher of a brain should say which topics it has."""
_TRIES: Final = 3


async def learn_topics(bus: Bus, *, timeout: float = LEARN_S) -> Extension:
    """Ask the launchers of a brain for its topics, and add them to the contract of a bus.

    A brain without a launcher, or whose launchers add nothing, leaves the contract as it is. Where nothing is to be
    learned, this takes one exchange with the hub.

    Args:
        bus: A connection to the brain, with no subscription yet.
        timeout: Seconds to wait for the launchers.

    Returns:
        What was added.

    Raises:
        ContractError: Two hosts have different topics.
        MessageError: A host tells topics that contradict the contract of this installation.
        LaunchError: The launchers refuse to tell them.
    """
    told: list[AddedTopics] = []
    for _ in range(_TRIES):  # one that is just starting or stopping refuses, or is gone a moment later
        replies = [r.message for r in await bus.call_all(bus.key("host_topics"), TopicsQuery(), timeout=timeout)]
        told = [reply for reply in replies if isinstance(reply, AddedTopics)]
        refused = [reply for reply in replies if isinstance(reply, CallError)]
        if told or not refused:
            break
        await asyncio.sleep(0.1)
    else:
        raise LaunchError(f"the launcher does not tell the topics of the brain: {refused[0]}")
    check_agreement(told)
    if not told or not told[0].topics:
        return Extension()
    extension = Extension.of_rows(told[0].topics, f"host {told[0].host}")
    bus.contract = extension.contract
    return extension


def check_agreement(told: list[AddedTopics]) -> None:
    """Check that all hosts have the same topics.

    Raises:
        ContractError: Two have not; names them, and the topics that are different.
    """
    for first, other in itertools.pairwise(told):
        if first.digest != other.digest:
            raise ContractError(disagreement(first, other))


def disagreement(first: AddedTopics, other: AddedTopics) -> str:
    """Return the sentence about two hosts with different topics."""
    ours, theirs = _by_name(first), _by_name(other)
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    named = printable(shorten(", ".join(different), 200))
    return (
        f"hosts {first.host} and {other.host} of the brain have different topics of their own ({named}); launch both "
        "with the same files in `topics:` of the allocation"
    )


def _by_name(told: AddedTopics) -> dict[str, object]:
    return {str(row.get("name")): row for row in told.topics}
