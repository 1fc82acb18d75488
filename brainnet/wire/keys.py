"""Keys, made from the contract; no other module writes one as text.

```python
key("partial", node_id="olfactory")   # the key on which this region answers
key("partial")                        # the key expression of every region's answers
```

"""

from __future__ import annotations

from functools import lru_cache

from brainnet.wire.topics import contract


@lru_cache(maxsize=4096)
def key(topic: str, **chunks: str) -> str:
    """Return the key of a topic, relative to the namespace.

    Args:
        topic: The topic's name in the contract.
        **chunks: Values of the chunks that the contract writes in braces; one that is left out becomes `*`.

    Raises:
        TopicError: The contract has no such topic, the topic has no such chunk, or a value holds characters that
            Zenoh reserves.
    """
    return contract().topic(topic).fill(**chunks)


def chunk(topic: str, concrete: str, name: str) -> str:
    """Return the value of one chunk of a concrete key of a topic.

    Raises:
        TopicError: The key is not one of the topic, or the topic has no such chunk.
    """
    return contract().topic(topic).chunk(concrete, name)
