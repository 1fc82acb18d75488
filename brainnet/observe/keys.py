"""What a person means by a key on the command line."""

from __future__ import annotations

from brainnet.errors import TopicError
from brainnet.wire.topics import Topic, contract


def resolve(key: str, namespace: str) -> str:
    """The full key expression.

    A key that starts with the namespace is absolute. One whose first chunk is the first chunk of a topic, or holds a
    wildcard, is relative to the namespace. Anything else is a foreign key and taken as it is.

    Raises:
        TopicError: Zenoh cannot read it as a key expression.
    """
    import zenoh

    first = key.partition("/")[0]
    known = {topic.key.partition("/")[0] for topic in contract().topics}
    full = f"{namespace}/{key}" if first != namespace and ("*" in first or first in known) else key
    try:
        return str(zenoh.KeyExpr.autocanonize(full))
    except zenoh.ZError as error:
        reason = str(error).partition(" at ")[0]
        raise TopicError(
            f"{key!r} is not a key expression: {reason}. Chunks are separated by single slashes; "
            "* stands for one chunk, ** for any number"
        ) from None


def relative(full: str, namespace: str) -> str | None:
    """The key inside the namespace, or None for a foreign key."""
    prefix = namespace + "/"
    return full[len(prefix) :] if full.startswith(prefix) else None


def shown(full: str, namespace: str) -> str:
    """How a key is written for people: relative where that is unambiguous."""
    return relative(full, namespace) or full


def topic_of(full: str, namespace: str) -> Topic | None:
    """The contract's topic of a concrete key, or None."""
    key = relative(full, namespace)
    if key is None:
        return None
    try:
        return contract().find(key)
    except TopicError:
        return None
