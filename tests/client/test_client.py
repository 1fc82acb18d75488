"""The client library over real Zenoh: ask, ask again, follow, and what the errors say."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from brainnet.client import Client, Endpoint, ask, make_prompt
from brainnet.errors import BrainnetError, CallError, CallTimeout, ConnectError, MessageError
from brainnet.testing import free_port
from brainnet.wire.messages import Answer, Candidate, Decision, Partial, PartialHeader, Prompt
from brainnet.wire.packet import SpikePacket
from tests.small_brain import NAMESPACE, SmallBrain


def endpoint_of(brain: SmallBrain) -> Endpoint:
    return Endpoint(NAMESPACE, f"tcp/127.0.0.1:{brain.port}")


def seven(prompt: Prompt) -> Answer:
    return Answer(prompt_id=prompt.prompt_id, text="7", confidence=0.9, contributing=["eye"])


async def test_a_client_asks_again_and_again(small_brain: SmallBrain) -> None:
    broker = await small_brain.join("supervisor")
    asked: list[Prompt] = []

    async def answer(prompt: Prompt, key: str) -> Answer:
        asked.append(prompt)
        return seven(prompt)

    broker.serve("api/prompt", answer)
    async with Client(endpoint_of(small_brain)) as client:
        assert (await client.ask("which digit?")).text == "7"
        assert (await client.ask(make_prompt("and this?", regions=["eye"], session_id="s"))).text == "7"
    assert [p.text for p in asked] == ["which digit?", "and this?"]
    assert (asked[1].regions, asked[1].session_id) == (["eye"], "s")
    assert asked[0].named


async def test_events_come_before_the_answer(small_brain: SmallBrain) -> None:
    broker, router = await small_brain.join("supervisor"), await small_brain.join("router", "router")
    eye = await small_brain.join("region", "eye")

    async def answer(prompt: Prompt, key: str) -> Answer:
        router.publish("pfc/router/decisions", Decision(prompt_id=prompt.prompt_id, chosen=["eye"]))
        for prompt_id in ("another", prompt.prompt_id):
            partial = Partial(prompt_id=prompt_id, region="eye", candidates=[Candidate(text="7", probability=1.0)])
            header = PartialHeader(partial=partial, prompt_id=prompt_id)
            eye.publish("brain/result/eye", SpikePacket(np.ones((2, 3), np.uint8), metadata=header.to_metadata()))
        return seven(prompt)

    broker.serve("api/prompt", answer)
    async with Client(endpoint_of(small_brain)) as client:
        for bus, key in ((router, "pfc/router/decisions"), (eye, "brain/result/eye")):
            bus.declare(key)
        seen = [event async for event in client.stream("which digit?")]
    assert {type(event) for event in seen[:-1]} == {Decision, Partial}
    (partial,) = (event for event in seen if isinstance(event, Partial))
    assert partial.spikes.sum() == 6
    assert isinstance(seen[-1], Answer)


async def test_a_broker_that_is_stopping_is_asked_again_and_others_are_not(small_brain: SmallBrain) -> None:
    broker = await small_brain.join("supervisor")
    refusals: list[Exception] = [CallError("leaving", code="stopping"), CallError("no", code="cannot_answer")]
    retries: list[str] = []

    async def refuse(prompt: Prompt, key: str) -> Answer:
        raise refusals.pop(0)

    broker.serve("api/prompt", refuse)
    prompt = Prompt(text="x")
    before = prompt.model_copy()
    with pytest.raises(CallError, match="no") as caught:
        await ask(endpoint_of(small_brain), prompt, on_retry=lambda: retries.append("again"))
    assert prompt == before
    assert (caught.value.code, retries, refusals) == ("cannot_answer", ["again"], [])


async def test_nobody_answers_prompts(small_brain: SmallBrain) -> None:
    with pytest.raises(CallTimeout) as caught:
        await ask(endpoint_of(small_brain), Prompt(text="x", deadline_ms=200))
    assert caught.value.code == "timeout"


async def test_no_brain_is_said_at_once() -> None:
    async with asyncio.timeout(10):
        with pytest.raises(ConnectError, match=r"no brain runs at tcp/127\.0\.0\.1") as caught:
            await ask(Endpoint(NAMESPACE, f"tcp/127.0.0.1:{free_port()}"), "x")
    assert caught.value.code == "no_hub"


@pytest.mark.parametrize("fields", [{"text": ""}, {"text": "x", "image": "/no/such.png"}, {"text": "x" * 200_000}])
def test_a_prompt_that_cannot_be_made(fields: dict[str, Any]) -> None:
    from pathlib import Path

    image = fields.pop("image", None)
    with pytest.raises(MessageError):
        make_prompt(**fields, image=image and Path(image))


def test_every_error_has_a_code() -> None:
    from brainnet import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BrainnetError)]
    assert {kind.code for kind in kinds} <= set(errors.ERROR_CODES)
    assert set(errors.ERROR_CODES) >= errors.RETRYABLE
