"""Connects a verb on topics to a brain whose own topics it then knows."""

from __future__ import annotations

from pathlib import Path

from brainnet.bus import Bus
from brainnet.cli import common
from brainnet.settings import Settings
from brainnet.wire.extension import load_extension
from brainnet.wire.topics import Contract


async def connect(settings: Settings, topics: list[Path] | None) -> Bus:
    """Join the brain that the settings select; the bus knows its own topics, from its launchers or from files.

    Args:
        settings: Select the brain.
        topics: Files with topics, in place of what the launchers tell.

    Raises:
        ContractError: A file cannot be used, or two hosts have different topics.
        ConnectError: No brain answers there.
    """
    contract = contract_of(topics)
    bus = await common.connect(settings, topics=contract is None)
    if contract is not None:
        bus.contract = contract
    return bus


def contract_of(topics: list[Path] | None) -> Contract | None:
    """Return the contract with the topics of files; None without files.

    Raises:
        ContractError: A file cannot be used.
    """
    return load_extension(topics).contract if topics else None
