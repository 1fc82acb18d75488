"""Resolves the keys that a user types to full Zenoh key expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainnet.errors import TopicError
from brainnet.wire.topics import Contract, Topic
from brainnet.wire.topics import contract as installed_contract

if TYPE_CHECKING:
    import zenoh


def resolve(key: str, namespace: str, contract: Contract | None = None) -> str:
    """Return the full key expression of a key.

    A key that starts with the namespace is absolute. A key whose first chunk is the first chunk of a topic, or holds a
    wildcard, is relative to the namespace. Any other key is foreign and used as it is.

    Args:
        key: As a person writes it.
        namespace: Of the brain.
        contract: Of the brain; that of this installation by default.

    Raises:
        TopicError: It is not a key expression.
    """
    import zenoh

    first = key.partition("/")[0]
    known = {topic.key.partition("/")[0] for topic in (contract or installed_contract()).topics}
    full = f"{namespace}/{key}" if first != namespace and ("*" in first or first in known) else key
    try:
        return str(zenoh.KeyExpr.autocanonize(full))
    except zenoh.ZError as error:
        reason = str(error).partition(" at ")[0]  # Zenoh appends the line of its source file
        raise TopicError(
            f"{key!r} is not a key expression: {reason}. Chunks are separated by single slashes; "
            "* stands for one chunk, ** for any number"
        ) from None


def expression_of(text: str) -> zenoh.KeyExpr | None:
    """Return a key of somebody else as a Zenoh key expression, or None for a text that is none."""
    import zenoh

    try:
        return zenoh.KeyExpr(text)
    except zenoh.ZError:
        return None


def relative(full: str, namespace: str) -> str | None:
    """Return the key relative to the namespace, or None for a foreign key."""
    prefix = namespace + "/"
    return full[len(prefix) :] if full.startswith(prefix) else None


def display_name(full: str, namespace: str) -> str:
    """Return a key as it is shown to users: relative to the namespace, except for a foreign key."""
    return relative(full, namespace) or full


def topic_of(full: str, namespace: str, contract: Contract | None = None) -> Topic | None:
    """Return the topic of a concrete full key, or None when the contract lists none."""
    key = relative(full, namespace)
    if key is None:
        return None
    try:
        return (contract or installed_contract()).find(key)
    except TopicError:
        return None
