"""Asking a brain: a prompt is sent again under the same id until its deadline, and is answered once."""

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
from brainnet.client.connection import connect
from brainnet.errors import CallError, CallTimeout, MessageError
from brainnet.wire.keys import key
from brainnet.wire.messages import MAX_PROMPT_BYTES, Answer, Decision, Partial, PartialHeader, Prompt, validate

Event = Decision | Partial
"""What is published while a prompt is being answered."""
_GRACE_S: Final = 1.0
"""How much later than the deadline the answer may arrive: the brain needs time to say that the deadline passed."""
_RETRY_S: Final = 0.1
_LAST_EVENTS_S: Final = 0.1
"""How long to listen on after the answer: events travel on other topics and may arrive after it."""


def make_prompt(
    text: str,
    *,
    image: Path | None = None,
    regions: list[str] | None = None,
    session_id: str = "",
    deadline_ms: int = 10_000,
) -> Prompt:
    """Build a prompt from what a person gives.

    Args:
        text: What is asked.
        image: A picture file to send along (PNG, JPEG, ...).
        regions: Ask these regions instead of letting the brain route.
        session_id: Prompts of one session share working memory.
        deadline_ms: Milliseconds after which the brain answers with what it has.

    Raises:
        MessageError: The picture cannot be read or is too large, or the prompt is empty or too long.
    """
    fields: dict[str, Any] = {"text": text, "session_id": session_id, "deadline_ms": deadline_ms}
    if regions:
        fields["regions"] = regions
    if image is not None:
        fields["image"] = _read_picture(image)
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
    """A client of a running brain::

        async with Client() as brain:
            answer = await brain.ask("Where is the blue toolbox?")
            print(answer.text, answer.confidence)

    Guarantees: a prompt is asked again while nobody answers and its deadline has not passed; it keeps its id, so that
    the brain acts on it and answers it once.

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
        """Connect.

        Raises:
            ConnectError: No brain runs at the endpoint.
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
        """Return the brain's answer; `answer.error` says why there is none.

        Args:
            prompt: What is asked; a string is a prompt of that text.
            on_event: Called with the decision and every partial answer, as they arrive.
            on_retry: Called once, when nobody answers and the prompt is asked again.

        Raises:
            CallTimeout: Nobody answered until the deadline.
            CallError: The brain refuses the prompt; `code` and text say why.
        """
        prompt = Prompt(text=prompt) if isinstance(prompt, str) else prompt
        prompt.prompt_id = prompt.prompt_id  # marks the default id as set: asked again, it is the same prompt
        async with self._watch(prompt.prompt_id, on_event):
            return await self._ask_until_deadline(prompt, on_retry)

    async def stream(self, prompt: Prompt | str) -> AsyncIterator[Event | Answer]:
        """Yield the decision, every partial answer, and last the answer.

        Raises:
            CallTimeout: Nobody answered until the deadline.
            CallError: The brain refuses the prompt; `code` and text say why.
        """
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        asking = asyncio.create_task(self.ask(prompt, on_event=events.put_nowait))
        asking.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield await asking
        finally:
            asking.cancel()

    async def _ask_until_deadline(self, prompt: Prompt, on_retry: Callable[[], None] | None) -> Answer:
        deadline = time.monotonic() + prompt.deadline_ms / 1000
        while True:
            left = max(0.001, deadline - time.monotonic())
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
            await asyncio.sleep(_RETRY_S)

    @contextlib.asynccontextmanager
    async def _watch(self, prompt_id: str, on_event: Callable[[Event], None] | None) -> AsyncIterator[None]:
        if on_event is None:
            yield
            return
        # declared before the prompt on the same session, so the subscriptions are known before it is answered
        decisions, partials = self.bus.subscribe(key("decision")), self.bus.subscribe(key("partial"))
        tasks = [
            asyncio.create_task(_forward_decisions(decisions, prompt_id, on_event)),
            asyncio.create_task(_forward_partials(partials, prompt_id, on_event)),
        ]
        try:
            yield
            await asyncio.sleep(_LAST_EVENTS_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for mailbox in (decisions, partials):
                self.bus.unsubscribe(mailbox)


async def ask(endpoint: Endpoint, prompt: Prompt | str, **callbacks: Any) -> Answer:
    """Connect, ask one prompt, disconnect; see `Client.ask`."""
    async with Client(endpoint) as client:
        return await client.ask(prompt, **callbacks)


async def _forward_decisions(decisions: Mailbox[Received], prompt_id: str, on_event: Callable[[Event], None]) -> None:
    async for received in decisions:
        decision: Decision = received.message
        if decision.prompt_id == prompt_id:
            on_event(decision)


async def _forward_partials(partials: Mailbox[Received], prompt_id: str, on_event: Callable[[Event], None]) -> None:
    async for received in partials:
        if received.message.metadata.get("prompt_id") == prompt_id:
            with contextlib.suppress(MessageError):  # the integrator reports a malformed one
                on_event(PartialHeader.of(received.message).partial)
