"""The memory integrator: exactly one Answer for every accepted prompt, whatever the others do."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from brainnet import Answer, Candidate, Decision, Node, Partial, Prompt, SpikePacket
from brainnet.bus import Bus, Mailbox, Received
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.prompts import OpenPrompt
from brainnet.testing import PATIENCE_S, MemoryBrain
from brainnet.wire.messages import Accepted


@pytest.fixture(scope="module")
def program() -> type[Node]:
    return load_program(str(region_file("memory_integrator")))


class IntegratorHarness(MemoryBrain):
    """A memory integrator; the test plays the client, the prefrontal cortex and the regions."""

    async def integrate(self, program: type[Node], **parameters: int) -> Node:
        self.client = self.bus()
        self.answers: Mailbox[Received] = self.client.subscribe("api/result")
        self.pfc = self.bus("router", "pfc")
        self.regions: dict[str, Bus] = {}
        return await self.start(program, "memory_integrator", parameters=dict(parameters))

    def decide(self, prompt: Prompt, probs: dict[str, float], **fields: Any) -> None:
        decision = Decision(prompt_id=prompt.prompt_id, route_probs=probs, chosen=list(probs), **fields)
        self.pfc.publish("pfc/pfc/decisions", decision)

    def reply(self, prompt: Prompt, region: str, text: str = "", **fields: Any) -> None:
        bus = self.regions.setdefault(region, self.bus("region", region))
        candidates = fields.pop("candidates", [Candidate(text=text, probability=1.0)] if text else [])
        partial = Partial(
            prompt_id=prompt.prompt_id, region=region, candidates=candidates, **({"confidence": 0.9} | fields)
        )
        metadata = {"partial": partial.model_dump()}
        bus.publish(f"brain/result/{region}", SpikePacket(np.zeros((0, 0), np.uint8), metadata=metadata))

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            answer: Answer = (await self.answers.get()).message
        return answer


async def test_one_region_one_answer(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        prompt = Prompt(text="which digit?")
        brain.client.publish("api/prompt", prompt)
        brain.decide(prompt, {"eye": 0.95})
        brain.reply(prompt, "eye", "7", content={"from": "picture"})
        answer = await brain.answer()
        assert (answer.prompt_id, answer.text, answer.stopped_by) == (prompt.prompt_id, "7", "all")
        assert answer.contributing == ["eye"]
        assert answer.content["regions"]["eye"] == {"from": "picture"}
        assert answer.decision is not None
        assert answer.decision.route_probs == {"eye": 0.95}
        assert answer.latency["total"] == answer.latency_ms > 0


async def test_the_answer_cites_what_every_candidate_rests_on(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        prompt = Prompt(text="Which digit is on the door?")
        brain.client.publish("api/prompt", prompt)
        brain.decide(prompt, {"eye": 0.5, "memory": 0.5})
        told = [
            Candidate(text="The digit on the door is a 7.", probability=0.6, content={"episode_id": 3, "score": 0.9}),
            Candidate(text="The digit on the door is a 4.", probability=0.4, content={"episode_id": 2, "score": 0.8}),
        ]
        brain.reply(prompt, "memory", candidates=told, content={"episode_id": 3}, confidence=0.8)
        brain.reply(prompt, "eye", "4", content={"steps": 2})
        answer = await brain.answer()
        assert answer.text == "4"
        assert answer.contributing == ["eye", "memory"]  # 0.45 against 0.16, whoever answers first
        assert answer.content["regions"] == {"eye": {"steps": 2}, "memory": {"episode_id": 2, "score": 0.8}}
        first, second = answer.content["candidates"]
        assert first["evidence"]["memory"] == pytest.approx(
            {"episode_id": 2, "score": 0.8, "probability": 0.4, "confidence": 0.8, "weight": 0.4}
        )
        assert second["text"] == "The digit on the door is a 7."
        assert second["evidence"]["memory"]["episode_id"] == 3


async def test_trust_decides_between_regions_that_disagree(tmp_path: Path, program: type[Node]) -> None:
    weights = tmp_path / "trust.safetensors"
    rows = np.array([[1.0, 2.0, 0.1], [1.0, -2.0, 0.1]], np.float32)
    save_file({"trust": rows}, weights, {"regions": json.dumps(["eye", "memory"])})
    async with IntegratorHarness(tmp_path) as brain:
        await brain.start(program, "memory_integrator", checkpoint=weights)
        brain.client = brain.bus()
        brain.answers = brain.client.subscribe("api/result")
        brain.pfc, brain.regions = brain.bus("router", "pfc"), {}
        prompt = Prompt(text="which digit?")
        brain.client.publish("api/prompt", prompt)
        brain.decide(prompt, {"eye": 0.4, "memory": 0.6})
        brain.reply(prompt, "memory", "7", confidence=0.9)
        brain.reply(prompt, "eye", "4", confidence=0.8)
        answer = await brain.answer()
        assert answer.text == "4"


async def test_order_of_arrival_does_not_matter(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        prompt = Prompt(text="which digit?")
        brain.reply(prompt, "eye", "7")
        brain.decide(prompt, {"eye": 1.0})
        brain.client.publish("api/prompt", prompt)
        assert (await brain.answer()).text == "7"


async def test_it_stops_when_the_outcome_is_settled(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        prompt = Prompt(text="which digit?")
        brain.client.publish("api/prompt", prompt)
        brain.decide(prompt, {"eye": 0.7, "slow": 0.2})
        brain.reply(prompt, "eye", "7")
        answer = await brain.answer()
        assert (answer.text, answer.stopped_by, answer.late) == ("7", "settled", ["slow"])


async def test_at_the_deadline_it_answers_with_what_there_is(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        prompt = Prompt(text="which digit?", deadline_ms=200)
        # before the prompt: what is there does not depend on how much of the deadline a slow machine uses up
        brain.decide(prompt, {"eye": 0.4, "slow": 0.6})
        brain.reply(prompt, "eye", "7")
        brain.client.publish("api/prompt", prompt)
        answer = await brain.answer()
        assert (answer.text, answer.stopped_by, answer.late) == ("7", "deadline", ["slow"])


async def test_errors_are_answers_that_say_what_failed(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        unrouted = Prompt(text="a", deadline_ms=100)
        brain.client.publish("api/prompt", unrouted)
        answer = await brain.answer()
        assert answer.error == "no decision within 100 ms: the router did not answer"
        refused = Prompt(text="b")
        brain.client.publish("api/prompt", refused)
        brain.decide(refused, {"eye": 1.0})
        brain.reply(refused, "eye", error="a picture is needed", confidence=0.0)
        answer = await brain.answer()
        assert (answer.prompt_id, answer.error, answer.stopped_by) == (
            refused.prompt_id,
            "eye: a picture is needed",
            "error",
        )
        unroutable = Prompt(text="c")
        brain.client.publish("api/prompt", unroutable)
        brain.decide(unroutable, {}, error="no region nose is alive")
        assert (await brain.answer()).error == "no region nose is alive"


async def test_a_prompt_is_concluded_once(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        concluded = brain.bus("supervisor").subscribe("brain/conclusion/*")
        prompt = Prompt(text="which digit?")
        brain.client.publish("api/prompt", prompt)
        brain.decide(prompt, {"eye": 1.0})
        brain.reply(prompt, "eye", "7")
        brain.reply(prompt, "eye", "8")
        brain.bus("supervisor").publish("brain/accepted", Accepted(prompt=prompt, left_ms=60_000.0))
        assert (await brain.answer()).text == "7"
        assert (await concluded.get()).message.text == "7"
        assert concluded.get_nowait() is None


async def test_a_partial_that_cannot_be_fused_is_an_error_of_its_prompt(
    tmp_path: Path, program: type[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[program.__module__]
    conclude = module.conclude

    def fails_for_one(entry: OpenPrompt, **options: Any) -> Answer | None:
        if entry.prompt is not None and entry.prompt.text == "poison":
            raise ZeroDivisionError("no weight")
        return conclude(entry, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(module, "conclude", fails_for_one)
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        for text in ("poison", "which digit?"):
            prompt = Prompt(text=text)
            brain.client.publish("api/prompt", prompt)
            brain.decide(prompt, {"eye": 1.0})
            brain.reply(prompt, "eye", "7")
            answer = await brain.answer()
            assert (answer.code, answer.text) == (("internal", "") if text == "poison" else (None, "7"))


async def test_a_restarted_integrator_takes_up_what_was_open(tmp_path: Path, program: type[Node]) -> None:
    async with IntegratorHarness(tmp_path) as brain:
        await brain.integrate(program)
        prompt = Prompt(text="which digit?", deadline_ms=60_000)
        heard = brain.pfc.subscribe("brain/accepted")
        brain.client.publish("api/prompt", prompt)
        await heard.get()
        await brain.stop("memory_integrator")
        await brain.start(program, "memory_integrator")
        again = (await heard.get()).message.prompt
        assert again.prompt_id == prompt.prompt_id
        brain.decide(prompt, {"eye": 1.0})
        brain.reply(prompt, "eye", "7")
        assert (await brain.answer()).text == "7"
        assert brain.broker.open_prompts == 0
