"""Prompts that foreign clients put on the key once: each gets exactly one Answer, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zenoh

from brainnet.testing import PATIENCE_S, wait_until
from tests.launcher.processes import launcher_of
from tests.support import Brain, MakeBrain, write_allocation

PROMPT, RESULT = "evospikenet/api/prompt", "evospikenet/api/result"
ROUTER = {"id": "prefrontal", "program": "nodes/prefrontal.py"}
INTEGRATOR = {"id": "memory_integrator", "program": "nodes/memory_integrator.py"}


class Foreign:
    """A client that knows nothing but Zenoh and JSON."""

    def __init__(self, session: zenoh.Session) -> None:
        self.session = session
        self.answers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._results = session.declare_subscriber(RESULT, self._received)

    def _received(self, sample: zenoh.Sample) -> None:
        answer = json.loads(sample.payload.to_bytes())
        self.answers[answer["prompt_id"]].append(answer)

    def put(self, prompt_id: str, text: str, region: str, **fields: Any) -> None:
        prompt = {"prompt_id": prompt_id, "text": text, "regions": [region], **fields}
        # Without BLOCK the client's own Zenoh drops what its queue cannot hold, before any of it is sent.
        block = zenoh.CongestionControl.BLOCK
        self.session.put(PROMPT, json.dumps(prompt), encoding="application/json", congestion_control=block)

    def wait(self, prompt_id: str) -> dict[str, Any]:
        (answer,) = wait_until(f"the answer to {prompt_id}", lambda: self.answers.get(prompt_id))
        return answer


def region(id: str, program: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "program": f"brainnet.testing.faults:{program}", **more}


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    folder = tmp_path_factory.mktemp("home")
    path = write_allocation(folder / "small.yaml", ROUTER, INTEGRATOR, region("echo", "Answers"))
    with Brain(folder) as brain:
        brain.launch(path)
        yield brain
        brain.run("stop", check=False)
        brain.wait_gone()


@pytest.fixture
def foreign(brain: Brain) -> Iterator[Foreign]:
    with brain.session() as session:
        yield Foreign(session)


def zygote_of(brain: Brain) -> int:
    return next(pid for pid, name in brain.processes().items() if name == "brainnet-zygote")


@pytest.mark.parametrize("victim", ["prefrontal", "memory_integrator", "echo", "zygote"])
def test_prompts_put_while_a_process_is_away_are_answered_once(brain: Brain, foreign: Foreign, victim: str) -> None:
    pids = {record.id: record.pid for record in brain.nodes().values()}
    names = [f"{victim}-{number}" for number in range(40)]
    foreign.put(names[0], "before", "echo")
    os.kill(zygote_of(brain) if victim == "zygote" else brain.pid(victim), signal.SIGKILL)
    for name in names[1:]:
        foreign.put(name, f"I am {name}", "echo")
    wait_until("every answer", lambda: set(names) <= set(foreign.answers))
    if victim == "zygote":
        assert {record.id: record.pid for record in brain.nodes().values()} == pids
    else:
        brain.wait_state(victim, "ready", but_pid=pids[victim])
    foreign.put("after", "after", "echo")
    foreign.wait("after")
    assert {name: len(answers) for name, answers in foreign.answers.items()} == dict.fromkeys([*names, "after"], 1)
    assert [a[0]["error"] for a in foreign.answers.values() if a[0]["error"]] == []
    assert foreign.answers[names[-1]][0]["text"] == f"I am {names[-1]}"
    foreign.answers.clear()


@pytest.mark.parametrize("victim", ["prefrontal", "memory_integrator", "echo"])
def test_a_get_during_a_restart_waits_for_it(brain: Brain, foreign: Foreign, victim: str) -> None:
    pid = brain.pid(victim)
    os.kill(pid, signal.SIGKILL)
    prompt = json.dumps({"text": "hello", "regions": ["echo"]})
    replies = list(foreign.session.get(PROMPT, payload=prompt, encoding="application/json", timeout=PATIENCE_S))
    assert [json.loads(reply.ok.payload.to_bytes())["text"] for reply in replies if reply.ok] == ["hello"]
    brain.wait_state(victim, "ready", but_pid=pid)


def test_the_same_prompt_put_many_times_is_answered_the_same_and_computed_once(brain: Brain, foreign: Foreign) -> None:
    def computed() -> int:
        counters = brain.rows("node", "info", "echo")[0]["counters"]
        return int(counters.get("answers", 0))

    foreign.put("first", "hello", "echo")
    foreign.wait("first")
    before = computed()
    for _ in range(5):  # one that comes after the answer gets the answer again
        foreign.put("again", "hello", "echo")
    foreign.put("other", "hello", "echo")
    foreign.wait("other")
    answers = wait_until("the answer", lambda: foreign.answers.get("again"))
    assert {answer["text"] for answer in answers} == {"hello"}
    wait_until("both to be counted", lambda: computed() >= before + 2)
    assert computed() == before + 2


def test_prompts_put_while_the_launcher_does_not_run_are_answered_once(brain: Brain, foreign: Foreign) -> None:
    names = [f"stopped-{number}" for number in range(30)]
    launcher = launcher_of(brain)
    os.kill(launcher, signal.SIGSTOP)  # as on a machine that has no time for it
    try:
        for name in names:  # for longer than the 2 s after which hubs of other hosts count as gone
            foreign.put(name, f"I am {name}", "echo")
            threading.Event().wait(0.1)
    finally:
        os.kill(launcher, signal.SIGCONT)
    wait_until("every answer", lambda: set(names) <= set(foreign.answers))
    assert [(len(foreign.answers[name]), foreign.answers[name][0].get("error")) for name in names] == [(1, None)] * 30


def test_more_prompts_than_can_be_answered_are_answered_or_refused_once(brain: Brain, foreign: Foreign) -> None:
    names = [f"many-{number}" for number in range(4000)]
    for name in names:
        foreign.put(name, f"I am {name}", "echo")
    wait_until("every answer", lambda: set(names) <= set(foreign.answers))
    assert [name for name in names if len(foreign.answers[name]) != 1] == []
    assert {foreign.answers[name][0].get("code") for name in names} <= {None, "busy"}


def test_a_launcher_that_is_killed_and_started_again_answers_what_it_accepted(
    tmp_path: Path, make_brain: MakeBrain
) -> None:
    path = write_allocation(tmp_path / "late.yaml", ROUTER, INTEGRATOR, region("slow", "HangAfterInit"))
    mine = make_brain()
    mine.launch(path)
    with mine.session() as session:
        foreign = Foreign(session)
        foreign.put("open", "hello", "slow", deadline_ms=120_000)
        journal = next(mine.home.rglob("journal.sqlite"))
        wait_until(
            "the prompt to be written down", lambda: b"open" in journal.with_name("journal.sqlite-wal").read_bytes()
        )
    launcher = psutil.Process(mine.pid("slow"))
    while launcher.ppid() in mine.processes():
        launcher = psutil.Process(launcher.ppid())
    launcher.kill()
    mine.wait_gone()
    path = write_allocation(tmp_path / "late.yaml", ROUTER, INTEGRATOR, region("slow", "Answers"))
    mine.launch(path)
    with mine.session() as session:
        prompt = json.dumps({"prompt_id": "open", "text": "hello", "regions": ["slow"]})
        (reply,) = session.get(PROMPT, payload=prompt, encoding="application/json", timeout=PATIENCE_S)
        assert reply.ok is not None
        answer = json.loads(reply.ok.payload.to_bytes())
        assert (answer["text"], answer.get("error")) == ("hello", None)
    mine.run("stop")
    mine.wait_gone()


def test_a_prompt_that_kills_its_region_is_given_up_and_the_region_lives(tmp_path: Path, make_brain: MakeBrain) -> None:
    fragile = region("fragile", "CrashOnWord", restart={"backoff_s": 0.05})
    mine = make_brain()
    mine.launch(write_allocation(tmp_path / "poison.yaml", ROUTER, INTEGRATOR, fragile))
    with mine.session() as session:
        foreign = Foreign(session)
        foreign.put("poison", "please crash now", "fragile", deadline_ms=60_000)
        given_up = foreign.wait("poison")
        assert given_up["code"] == "poison"
        assert "died 2 times while it worked on this prompt" in given_up["error"]
        foreign.put("fine", "hello", "fragile")
        assert foreign.wait("fine")["text"] == "hello"
    record = mine.nodes()["fragile"]
    assert (record.state, record.restarts) == ("ready", 2)
    mine.run("stop")
    mine.wait_gone()


def test_a_brain_whose_router_is_down_says_so_at_once(tmp_path: Path, make_brain: MakeBrain) -> None:
    router = {**ROUTER, "restart": {"policy": "never"}}
    mine = make_brain()
    mine.launch(write_allocation(tmp_path / "down.yaml", router, INTEGRATOR, region("echo", "Answers")))
    with mine.session() as session:
        foreign = Foreign(session)
        os.kill(mine.pid("prefrontal"), signal.SIGKILL)
        mine.wait_state("prefrontal", "stopped", "failed")
        foreign.put("now", "hello", "echo", deadline_ms=600_000)  # far longer than this test waits
        answer = foreign.wait("now")
        assert answer["code"] == "unavailable"
        assert "prefrontal" in answer["error"]
        mine.run("node", "restart", "prefrontal")
        mine.wait_state("prefrontal", "ready")
        foreign.put("later", "hello", "echo")
        assert foreign.wait("later")["text"] == "hello"
    mine.run("stop")
    mine.wait_gone()


def test_a_node_that_is_not_known_is_an_error_that_names_the_others(brain: Brain, foreign: Foreign) -> None:
    foreign.put("unknown", "hello", "nobody")
    assert "no region nobody is alive; alive are: echo" in foreign.wait("unknown")["error"]
