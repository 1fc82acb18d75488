"""The asking side of a prompt: builds it, asks, and asks again with the same id while its time lasts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from brainnet.bus import Bus, Mailbox, Received
from brainnet.cli import common
from brainnet.errors import CallError, CallTimeout, ConnectError, MessageError
from brainnet.messages import MAX_PROMPT_BYTES, Answer, Decision, Partial, Prompt, validate

if TYPE_CHECKING:
    from brainnet.settings import Settings

Show = Callable[[str, dict[str, Any]], None]
"""Told of a "decision" or a "partial", with its fields, as it arrives."""
_GRACE_S: Final = 1.0
_AGAIN_S: Final = 0.1
_LAST_WORDS_S: Final = 0.1


def question(*, text: str, image: Path | None, regions: list[str] | None, session: str, deadline_ms: int) -> Prompt:
    """The prompt to send.

    Raises:
        MessageError: the picture cannot be read or is too large, or the prompt is empty or too long.
    """
    fields: dict[str, Any] = {"text": text, "session_id": session, "deadline_ms": deadline_ms}
    if regions:
        fields["regions"] = regions
    if image is not None:
        fields["image"] = _read_picture(image)
    asked = validate(Prompt, fields)
    asked.prompt_id = asked.prompt_id  # sent by name, so that asking again is the same prompt
    return asked


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


async def ask(settings: Settings, asked: Prompt, show: Show | None = None) -> Answer:
    """The brain's answer.

    A connection or a server that is lost before the deadline is asked again; the prompt keeps its id, so the brain
    answers it once.

    Raises:
        ConnectError: no brain runs, or it went and did not come back in time.
        CallTimeout: nobody answers prompts.
        CallError: the brain refuses the prompt; the text says why.
    """
    ends = time.monotonic() + asked.deadline_ms / 1000
    connected = told = False
    while True:
        try:
            async with await common.connect(settings) as bus:
                connected = True
                async with _watching(bus, asked.prompt_id, show):
                    while True:
                        left = max(0.001, ends - time.monotonic())
                        asked.deadline_ms = max(1, round(left * 1000))
                        try:
                            answer: Answer = await bus.call("api/prompt", asked, timeout=left + _GRACE_S)
                        except (CallTimeout, CallError) as error:
                            if time.monotonic() >= ends or not _is_passing(error):
                                raise
                        else:
                            return answer
                        if not told:
                            common.note("whoever answers prompts is not there; asking again until the deadline")
                            told = True
                        await asyncio.sleep(_AGAIN_S)
        except ConnectError:
            if not connected or time.monotonic() >= ends:
                raise
            await asyncio.sleep(_AGAIN_S)


def _is_passing(error: Exception) -> bool:
    """Whether asking again may help: nobody was there, or whoever was is leaving."""
    return isinstance(error, CallTimeout) or str(error).endswith("is stopping")


@contextlib.asynccontextmanager
async def _watching(bus: Bus, prompt_id: str, show: Show | None) -> AsyncIterator[None]:
    if show is None:
        yield
        return
    # declared before the question on the same session, so the listeners are known before it is answered
    decisions, partials = bus.subscribe("pfc/*/decisions"), bus.subscribe("brain/result/*")
    tasks = [
        asyncio.create_task(_show_decisions(decisions, prompt_id, show)),
        asyncio.create_task(_show_partials(partials, prompt_id, show)),
    ]
    try:
        yield
        await asyncio.sleep(_LAST_WORDS_S)  # the answer may overtake what it was made from
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _show_decisions(decisions: Mailbox[Received], prompt_id: str, show: Show) -> None:
    async for received in decisions:
        decision: Decision = received.message
        if decision.prompt_id == prompt_id:
            show("decision", decision.model_dump(mode="json"))


async def _show_partials(partials: Mailbox[Received], prompt_id: str, show: Show) -> None:
    async for received in partials:
        metadata = received.message.metadata
        if metadata.get("prompt_id") == prompt_id:
            with contextlib.suppress(MessageError):  # whoever sent it hears of it from the integrator
                show("partial", validate(Partial, metadata.get("partial")).model_dump(mode="json"))
