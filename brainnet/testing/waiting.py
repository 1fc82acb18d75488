"""Waiting for conditions that nothing announces, such as the state of another process.

Both functions poll; they differ only in what they block, the thread or the coroutine:

```python
process_id = wait_until("the node to run", lambda: node.pid)
process_id = await until("the node to run", lambda: node.pid)
```

"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE_S: Final = 30.0
"""How long a test waits by default, in seconds.

Far longer than anything takes on a loaded machine: only a defect uses it up.
"""

_POLL_S: Final = 0.01


def wait_until(what: str, condition: Callable[[], T | None], timeout: float = PATIENCE_S) -> T:
    """Block the thread until a condition returns a true value.

    Args:
        what: What is waited for, in the words of the error message.
        condition: Called repeatedly, the last time after the deadline.
        timeout: Seconds to wait.

    Returns:
        The first true value that the condition returned.

    Raises:
        TimeoutError: The condition returned no true value in time.
    """
    attempts = _attempts(what, condition, timeout)
    while True:
        try:
            next(attempts)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        time.sleep(_POLL_S)


async def until(what: str, condition: Callable[[], T | None], timeout: float = PATIENCE_S) -> T:
    """Wait until a condition returns a true value, while the event loop runs.

    Args:
        what: What is waited for, in the words of the error message.
        condition: Called repeatedly, the last time after the deadline. It must not block.
        timeout: Seconds to wait.

    Returns:
        The first true value that the condition returned.

    Raises:
        TimeoutError: The condition returned no true value in time.
    """
    attempts = _attempts(what, condition, timeout)
    while True:
        try:
            next(attempts)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        await asyncio.sleep(_POLL_S)


def _attempts(what: str, condition: Callable[[], T | None], timeout: float) -> Generator[None, None, T]:
    """Call the condition once per step, until it returns a true value, which is then the generator's value.

    Raises:
        TimeoutError: The condition returned no true value in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() >= deadline  # read first, so that a process that was paused still gets its attempt
        if found := condition():
            return found
        if late:
            raise TimeoutError(f"waited {timeout:g} s in vain for: {what}")
        yield
