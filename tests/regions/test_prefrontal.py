"""The prefrontal cortex: who is asked, what is said about it, and what happens when regions come and go."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainnet import Candidate, Decision, Node, Partial, Prompt, Query, Region
from brainnet.bus import Bus, Mailbox, Received
from brainnet.node import WorkRecord, load_program
from brainnet.paths import region_file
from brainnet.snn.models.router import RouterConfig
from brainnet.snn.models.router_network import RouterNet
from brainnet.snn.models.text_features import HashedVocabulary
from brainnet.testing import PATIENCE_S, MemoryBrain, until
from brainnet.wire.messages import Accepted, Answered, Exchange, HostStatus, NodeRecord, NodeState, StatusQuery


class Answering(Region):
    """Answers with its own name."""

    async def setup(self) -> None:
        self.asked: list[Query] = []

    async def answer(self, query: Query) -> Partial:
        self.asked.append(query)
        return Partial(candidates=[Candidate(text=self.id, probability=1.0)], confidence=1.0)


class Silent(Answering):
    """Never answers."""

    async def answer(self, query: Query) -> Partial:
        self.asked.append(query)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


@pytest.fixture(scope="module")
def program() -> type[Node]:
    return load_program(str(region_file("prefrontal")))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained router over two made-up routes: what it prefers is arbitrary, but always the same."""
    torch.manual_seed(0)
    vocabulary = HashedVocabulary.build(["smell", "taste", "rose"], unknown_rows=16)
    config = RouterConfig(routes=("nose", "tongue"), unknown_rows=vocabulary.unknown_rows)
    path = tmp_path_factory.mktemp("weights") / "router.safetensors"
    RouterNet(config, len(vocabulary)).to_router(vocabulary).save(path)
    return path


class PrefrontalHarness(MemoryBrain):
    """A prefrontal cortex; the test plays the client and the memory integrator."""

    async def route(self, program: type[Node], weights: Path, **parameters: float) -> Node:
        self.client = self.bus()
        self.fuser = self.bus("integrator")
        self.decisions: Mailbox[Received] = self.fuser.subscribe("pfc/*/decisions")
        self.results = self.fuser.subscribe("brain/result/*")
        node = await self.start(program, "prefrontal", checkpoint=weights, parameters=dict(parameters))
        # What is asked before that would be handed out twice, and its decision be said again.
        await until("it to have asked for what is open", lambda: self.broker.counts["resumed"] == 1)
        return node

    def ask(self, prompt: Prompt) -> Prompt:
        self.client.publish("api/prompt", prompt)
        return prompt

    async def decision(self) -> Decision:
        async with asyncio.timeout(PATIENCE_S):
            decision: Decision = (await self.decisions.get()).message
        return decision


async def test_a_decision_says_why_and_the_chosen_are_asked(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        regions = {name: await brain.start(Answering, name) for name in ("nose", "tongue")}
        await brain.route(program, weights)
        prompt = brain.ask(Prompt(text="smell the rose", image=b"\x01\x02"))
        decision = await brain.decision()
        assert decision.prompt_id == prompt.prompt_id
        assert sum(decision.route_probs.values()) == pytest.approx(1.0)
        assert decision.chosen
        assert set(decision.scores) == {"nose", "tongue"}
        assert 0.0 <= decision.entropy <= np.log(2) + 1e-9
        await until("the chosen to be asked", lambda: all(regions[r].asked for r in decision.chosen))
        query = regions[decision.chosen[0]].asked[0]
        assert query.prompt == prompt
        assert query.route_prob == pytest.approx(decision.route_probs[decision.chosen[0]])
        assert query.spikes.data.sum() > 0
        assert query.spikes.source == "prefrontal"


async def test_a_client_may_name_the_regions(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        mine = await brain.start(Answering, "my_own")
        await brain.route(program, weights)
        brain.ask(Prompt(text="hello", regions=["my_own"]))
        decision = await brain.decision()
        assert (decision.chosen, decision.routed_by) == (["my_own"], "client")
        await until("the region to be asked", lambda: len(mine.asked) == 1)


async def test_a_region_that_nobody_runs_is_an_error_that_names_the_others(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        await brain.start(Answering, "nose")
        await brain.route(program, weights)
        brain.ask(Prompt(text="hello", regions=["ear"]))
        assert (await brain.decision()).error == "no region ear is alive; alive are: nose"


async def test_only_regions_that_are_there_are_routed_to(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        await brain.start(Answering, "tongue")
        await brain.route(program, weights, bid_ms=0.0)
        brain.ask(Prompt(text="smell"))
        decision = await brain.decision()
        assert (decision.chosen, decision.route_probs) == (["tongue"], {"tongue": 1.0})
        assert decision.entropy == 0.0


async def test_without_any_region_the_decision_is_an_error(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        await brain.route(program, weights)
        brain.ask(Prompt(text="smell"))
        assert "none of the regions that can be routed to is alive" in ((await brain.decision()).error or "")


async def test_a_region_that_returns_is_asked_again(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        await brain.route(program, weights)
        silent = await brain.start(Silent, "nose")
        brain.ask(Prompt(text="smell", regions=["nose"]))
        await until("the region to be asked", lambda: len(silent.asked) == 1)
        await brain.stop("nose")
        again = await brain.start(Answering, "nose")
        await until("the region to be asked", lambda: len(again.asked) == 1)


async def test_it_waits_for_a_region_that_is_being_restarted(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        node = await brain.route(program, weights, patience_s=PATIENCE_S)
        await brain.start(Answering, "nose")
        await until("the nose to appear", lambda: "nose" in node._presence.alive)  # type: ignore[attr-defined]
        await brain.stop("nose")
        await until("the nose to go", lambda: "nose" not in node._presence.alive)  # type: ignore[attr-defined]
        brain.ask(Prompt(text="smell", regions=["nose"]))
        back = await brain.start(Answering, "nose")
        assert (await brain.decision()).chosen == ["nose"]
        await until("the region to be asked", lambda: len(back.asked) == 1)


class Supervisor:
    """Says of nodes whatever the test wants."""

    def __init__(self, bus: Bus) -> None:
        self.nodes: dict[str, NodeRecord] = {}
        self.asked = 0
        self.has_time = asyncio.Event()
        self.has_time.set()

        async def status(_: StatusQuery, key: str) -> HostStatus:
            self.asked += 1
            await self.has_time.wait()
            nodes = list(self.nodes.values())
            return HostStatus(host="here", namespace="test", pid=1, hub=[], allocation="a.yaml", nodes=nodes)

        bus.serve("host/here/status", status)

    def say(self, id: str, state: NodeState, **more: Any) -> None:
        self.nodes[id] = NodeRecord(id=id, program="p", host="here", state=state, **more)


async def test_a_region_that_its_supervisor_starts_is_waited_for(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        Supervisor(brain.bus("supervisor")).say("nose", "starting")
        await brain.route(program, weights, patience_s=0.0)
        named = brain.ask(Prompt(text="smell", regions=["nose"], deadline_ms=60_000))
        chosen = brain.ask(Prompt(text="smell", deadline_ms=60_000))
        back = await brain.start(Answering, "nose")
        decisions = [await brain.decision(), await brain.decision()]
        assert {d.prompt_id for d in decisions} == {named.prompt_id, chosen.prompt_id}
        assert [d.chosen for d in decisions] == [["nose"], ["nose"]]
        await until("the region to be asked", lambda: len(back.asked) == 2)


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_nobody_is_denied_while_the_supervisor_has_no_time_to_reply(
    tmp_path: Path, program: type[Node], weights: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    presence = sys.modules[program.__module__].Presence
    monkeypatch.setattr(sys.modules[presence.__module__], "FIRST_REPLY_S", 0.05)
    async with PrefrontalHarness(tmp_path) as brain:
        supervisor = Supervisor(brain.bus("supervisor"))
        supervisor.has_time.clear()
        await brain.route(program, weights, patience_s=0.0)
        asked = supervisor.asked
        brain.ask(Prompt(text="smell", regions=["nose"], deadline_ms=600_000))
        await until("it to ask again", lambda: supervisor.asked > asked + 1)
        if ends == "well":
            await brain.start(Answering, "nose")
            assert (await brain.decision()).chosen == ["nose"]
        supervisor.say("nose", "failed", reason="exit status 1")
        supervisor.has_time.set()
        if ends == "badly":
            assert (await brain.decision()).code == "no_region"


@pytest.mark.parametrize("text", ["named", "chosen"])
async def test_a_region_that_does_not_come_back_is_an_error_that_says_why(
    tmp_path: Path, program: type[Node], weights: Path, text: str
) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        supervisor = Supervisor(brain.bus("supervisor"))
        supervisor.say("nose", "backoff", reason="exit status 1", next_start_s=3600.0, advice="read its log")
        supervisor.say("tongue", "failed", reason="killed by SIGKILL")
        await brain.route(program, weights, patience_s=0.0)
        regions = ["nose", "tongue"] if text == "named" else None
        brain.ask(Prompt(text=text, regions=regions, deadline_ms=600_000))
        decision = await brain.decision()
        assert decision.code == "no_region"
        assert decision.error is not None
        assert "nose waits for its next start: exit status 1; next start in 3600 s; read its log" in decision.error
        assert "tongue is failed: killed by SIGKILL" in decision.error


async def test_what_the_supervisor_says_is_asked_again_while_a_region_is_away(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        supervisor = Supervisor(brain.bus("supervisor"))
        supervisor.say("nose", "starting")
        await brain.route(program, weights, patience_s=0.0)
        brain.ask(Prompt(text="smell", regions=["nose"], deadline_ms=600_000))
        asked = supervisor.asked
        await until("it to ask again", lambda: supervisor.asked > asked)
        supervisor.say("nose", "failed", reason="exit status 1")
        decision = await brain.decision()
        assert (decision.code, "exit status 1" in (decision.error or "")) == ("no_region", True)


async def test_a_node_that_runs_but_answers_no_prompts_is_not_waited_for(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        Supervisor(brain.bus("supervisor")).say("prefrontal", "ready")
        await brain.route(program, weights, patience_s=0.0)
        brain.ask(Prompt(text="smell", regions=["prefrontal"], deadline_ms=600_000))
        assert (await brain.decision()).code == "no_region"


async def test_a_restarted_router_is_given_what_is_open(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        prompt = Prompt(text="smell", regions=["nose"])
        brain.bus().publish("api/prompt", prompt)  # while no router is there
        await until("the prompt to be accepted", lambda: brain.broker.open_prompts == 1)
        nose = await brain.start(Answering, "nose")
        await brain.route(program, weights)
        assert (await brain.decision()).prompt_id == prompt.prompt_id
        await until("the region to be asked", lambda: len(nose.asked) == 1)


async def test_it_decides_only_when_it_knows_who_is_alive(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        regions = {name: await brain.start(Answering, name) for name in ("nose", "tongue")}
        brain.bus().publish("api/prompt", Prompt(text="smell"))
        await brain.route(program, weights)
        decision = await brain.decision()
        assert decision.error is None
        await until("the chosen to be asked", lambda: all(regions[r].asked for r in decision.chosen))


async def test_a_prompt_during_which_it_died_twice_is_not_routed(
    tmp_path: Path, program: type[Node], weights: Path
) -> None:
    poison = Prompt(text="smell")
    for _ in range(2):  # as a process leaves it that is killed while it decides
        WorkRecord(tmp_path / "working" / "prefrontal").begin([poison.prompt_id])
    async with PrefrontalHarness(tmp_path) as brain:
        await brain.start(Answering, "nose")
        await brain.route(program, weights)
        brain.ask(poison)
        assert (await brain.decision()).code == "poison"
        other = brain.ask(Prompt(text="smell"))
        decision = await brain.decision()
        assert (decision.prompt_id, decision.error) == (other.prompt_id, None)


async def test_an_answered_prompt_is_not_asked_again(tmp_path: Path, program: type[Node], weights: Path) -> None:
    async with PrefrontalHarness(tmp_path) as brain:
        nose = await brain.start(Answering, "nose")
        node = await brain.route(program, weights)
        first = brain.ask(Prompt(text="smell"))
        await brain.decision()
        answered = Answered(exchanges=[Exchange(prompt_id=first.prompt_id, text="done")])
        brain.bus("supervisor").publish("brain/answered", answered)
        await until("the answer", lambda: first.prompt_id in node._answered)  # type: ignore[attr-defined]
        brain.bus("supervisor").publish("brain/accepted", Accepted(prompt=first, left_ms=1000.0))
        second = brain.ask(Prompt(text="taste"))
        assert (await brain.decision()).prompt_id == second.prompt_id
        await until("the region to be asked again", lambda: len(nose.asked) == 2)
        assert [q.prompt.prompt_id for q in nose.asked] == [first.prompt_id, second.prompt_id]


def test_the_parameters_that_the_card_was_measured_with(program: type[Node]) -> None:
    shipped = program.Parameters()
    measured = {"mass": 0.8, "max_temperature": 10.0, "patience_s": 3.0, "bid_ms": 5.0}
    assert shipped.model_dump(exclude={"embedder"}) == measured


async def test_each_session_has_a_memory_of_its_own_and_the_least_recently_used_is_dropped(
    tmp_path: Path, program: type[Node], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[program.__module__], "MAX_SESSIONS", 2)
    async with PrefrontalHarness(tmp_path) as brain:
        for name in ("nose", "tongue"):
            await brain.start(Answering, name)
        await brain.route(program, weights)

        async def scores(text: str, session: str) -> dict[str, float]:
            brain.ask(Prompt(text=text, session_id=session))
            return (await brain.decision()).scores

        fresh = await scores("rose", "")
        assert await scores("rose", "first") == fresh
        remembered = await scores("rose", "first")
        assert remembered != fresh
        assert await scores("rose", "") == fresh  # without a session nothing is remembered
        assert await scores("rose", "second") == fresh
        assert await scores("rose", "third") == fresh  # takes the place of the first
        assert await scores("rose", "second") == remembered
        assert await scores("rose", "first") == fresh
