"""The one thread in which a node loads and runs its model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from brainnet.guard import describe

T = TypeVar("T")


class ModelThread:
    """One thread, because models and their libraries are not made for calls from several threads.

    Args:
        name: Of the node, for the name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name}-model")

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking function in the thread, after the calls that are queued there.

        Raises:
            RuntimeError: The function raised `StopIteration` or `CancelledError`; any other error of it is raised
                as it is.
        """
        loop = asyncio.get_running_loop()
        value, error = await loop.run_in_executor(self._executor, _outcome, function, args)
        if error is not None:
            raise error
        return cast("T", value)

    def close(self) -> None:
        """Cancel the calls that wait; the one that runs is not waited for."""
        # A model may compute for a long time, and a thread cannot be cancelled.
        self._executor.shutdown(wait=False, cancel_futures=True)


def _outcome(function: Callable[..., T], args: tuple[Any, ...]) -> tuple[T | None, BaseException | None]:
    """Call a function and return its value or what it raised.

    An executor cannot hand over every exception: a `StopIteration` cannot be set on a future, whose owner would wait
    for ever, and a `CancelledError` would look like the cancellation of the task that waits.
    """
    try:
        return function(*args), None
    except (StopIteration, asyncio.CancelledError) as error:
        wrapped = RuntimeError(f"{getattr(function, '__name__', 'the function')} raised {describe(error)}")
        wrapped.__cause__ = error
        return None, wrapped
    except BaseException as error:
        return None, error
