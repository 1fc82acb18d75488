"""The client of a brain: a prompt is retried under the same id until its deadline, and is answered once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from brainnet import settings
from brainnet.bus import Bus, Endpoint, Mailbox, Received
from brainnet.client.arrays import read_arrays
from brainnet.client.connection import connect
from brainnet.errors import CallError, CallTimeout, MessageError
from brainnet.wire.keys import key
from brainnet.wire.messages import MAX_PROMPT_BYTES, Answer, Decision, Partial, PartialHeader, Prompt, validate

Event = Decision | Partial
"""Messages that are published while a prompt is answered."""
_GRACE_S: Final = 1.0
"""Seconds after the deadline in which the answer may arrive: at the deadline the brain sends what it has, or an error,
and that message takes time."""
_RETRY_INTERVAL_S: Final = 0.1
"""Between two attempts: long enough not to flood a brain that starts, short beside the start of a node."""
_LAST_EVENTS_S: Final = 0.1
"""Seconds to receive events after the answer: they are on other topics, without a common order, and may come later."""


def make_prompt(
    text: str,
    *,
    image: Path | None = None,
    arrays: Path | None = None,
    regions: list[str] | None = None,
    session_id: str = "",
    deadline_ms: int = 10_000,
    remember: bool = True,
) -> Prompt:
    """Make a prompt from the values of a user.

    Args:
        text: The question or command.
        image: A picture file to send with it (PNG, JPEG, ...).
        arrays: An npz or npy file with arrays [neurons, steps] to send with it, as SpikePackets.
        regions: Ask these regions instead of letting the brain route.
        session_id: Prompts of one session share working memory.
        deadline_ms: Milliseconds after which the brain answers with what it has.
        remember: Whether a memory may keep the prompt and its answer.

    Raises:
        MessageError: The picture or the arrays cannot be read or are too large, or the prompt is empty or too long.
    """
    fields: dict[str, Any] = {"text": text, "session_id": session_id, "deadline_ms": deadline_ms}
    if not remember:
        fields["remember"] = False
    if regions:
        fields["regions"] = regions
    if image is not None:
        fields["image"] = _read_picture(image)
    if arrays is not None:
        fields["arrays"] = read_arrays(arrays)
    return validate(Prompt, fields)


def _read_picture(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_PROMPT_BYTES:
            raise MessageError(
                f"{path} has {size} bytes; a prompt may have {MAX_PROMPT_BYTES}, so send a smaller picture"
            )
        return path.read_bytes()
    except OSError as error:
        raise MessageError(f"picture {path} cannot be read: {error.strerror}") from None


class Client:
    """A client of a running brain.

    Guarantees: a prompt is retried while no node replies and its deadline has not passed; it keeps its id, so that
    the brain acts on it and answers it once.

    Example:
    ```python
    async with Client() as brain:
        answer = await brain.ask("Where is the blue toolbox?")
        print(answer.text, answer.confidence)
    ```

    Args:
        endpoint: The brain's hub and namespace; by default those of the settings (see `brainnet config show`).
    """

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        if endpoint is None:
            loaded = settings.load({}).settings
            endpoint = Endpoint(loaded.namespace, loaded.endpoint)
        self.endpoint = endpoint
        self._bus: Bus | None = None

    @property
    def bus(self) -> Bus:
        """The connection, for what the methods here do not cover."""
        if self._bus is None:
            raise RuntimeError("a Client is used as `async with Client() as client`")
        return self._bus

    async def __aenter__(self) -> Self:
        """Connect, and learn the topics that the brain has of its own.

        Raises:
            ConnectError: No brain runs at the endpoint.
            ContractError: Two hosts of the brain have different topics.
            MessageError: The brain has topics that contradict the contract of this installation.
        """
        self._bus = await connect(self.endpoint)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bus, self._bus = self.bus, None
        await bus.close()

    async def ask(
        self,
        prompt: Prompt | str,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_retry: Callable[[], None] | None = None,
    ) -> Answer:
        """Send a prompt and return the answer of the brain; `answer.error` is the reason when there is none.

        Args:
            prompt: The prompt; a string is a prompt of that text.
            on_event: Called with the decision and every partial answer, as they arrive.
            on_retry: Called once, before the first retry.

        Raises:
            CallTimeout: No node replied until the deadline.
            CallError: The brain refuses the prompt; `code` and text give the reason.
        """
        # a copy, because the time left is written into it when it is asked again
        prompt = Prompt(text=prompt) if isinstance(prompt, str) else prompt.model_copy()
        async with self._watch(prompt.prompt_id, on_event):
            return await self._ask_until_deadline(prompt, on_retry)

    async def stream(self, prompt: Prompt | str) -> AsyncIterator[Event | Answer]:
        """Yield the decision, every partial answer, and last the answer.

        Raises:
            CallTimeout: No node replied until the deadline.
            CallError: The brain refuses the prompt; `code` and text give the reason.
        """
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        answer = asyncio.create_task(self.ask(prompt, on_event=events.put_nowait))
        answer.add_done_callback(lambda _: events.put_nowait(None))  # ends the loop below, also after an error
        try:
            while (event := await events.get()) is not None:
                yield event
            yield await answer
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)  # no task outlives its owner

    async def _ask_until_deadline(self, prompt: Prompt, on_retry: Callable[[], None] | None) -> Answer:
        deadline = time.monotonic() + prompt.deadline_ms / 1000
        while True:
            left = max(0.001, deadline - time.monotonic())
            # A prompt carries the milliseconds that are left, because the clocks of two hosts may differ.
            prompt.deadline_ms = max(1, round(left * 1000))
            try:
                answer: Answer = await self.bus.call(key("prompt"), prompt, timeout=left + _GRACE_S)
            except (CallTimeout, CallError) as error:
                if time.monotonic() >= deadline or not error.retryable:
                    raise
            else:
                return answer
            if on_retry is not None:
                on_retry()
                on_retry = None
            await asyncio.sleep(_RETRY_INTERVAL_S)

    @contextlib.asynccontextmanager
    async def _watch(self, prompt_id: str, on_event: Callable[[Event], None] | None) -> AsyncIterator[None]:
        if on_event is None:
            yield
            return
        # Before the prompt, and on the same session: Zenoh keeps their order on the link, so the network knows the
        # subscriptions before the prompt is answered.
        decisions, partials = self.bus.subscribe(key("decision")), self.bus.subscribe(key("partial"))
        tasks = [
            asyncio.create_task(_forward_decisions(decisions, prompt_id, on_event)),
            asyncio.create_task(_forward_partials(partials, prompt_id, on_event)),
        ]
        try:
            yield
            await asyncio.sleep(_LAST_EVENTS_S)  # skipped after an error: then no event is expected
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for mailbox in (decisions, partials):
                self.bus.unsubscribe(mailbox)


async def ask(endpoint: Endpoint, prompt: Prompt | str, **callbacks: Any) -> Answer:
    """Connect, send one prompt, return its answer, and disconnect; see `Client.ask`."""
    async with Client(endpoint) as client:
        return await client.ask(prompt, **callbacks)


async def _forward_decisions(decisions: Mailbox[Received], prompt_id: str, on_event: Callable[[Event], None]) -> None:
    async for received in decisions:
        decision: Decision = received.message
        if decision.prompt_id == prompt_id:
            on_event(decision)


async def _forward_partials(partials: Mailbox[Received], prompt_id: str, on_event: Callable[[Event], None]) -> None:
    async for received in partials:
        # The id is compared before the header is validated: partials of other clients' prompts arrive here, too.
        if received.message.metadata.get("prompt_id") == prompt_id:
            with contextlib.suppress(MessageError):  # the integrator logs malformed partials
                on_event(PartialHeader.of(received.message).partial)
