"""The programs with faults: each fails as it says, in a brain in memory or of real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainnet import Prompt
from brainnet.testing import MemoryBrain, faults, until, wait_until
from brainnet.testing.faults.answers import GARBAGE
from brainnet.wire.keys import key
from brainnet.wire.messages import PartialHeader
from tests.support import Brain, MakeBrain, node, write_allocation

FAULTS = "brainnet.testing.faults"


@pytest.fixture
async def brain(tmp_path: Path) -> AsyncIterator[MemoryBrain]:
    async with MemoryBrain(tmp_path) as brain:
        yield brain


def test_none_loads_a_model_library() -> None:
    code = f"import sys, {FAULTS}; print(*sorted({{'torch', 'numba', 'zenoh'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_all_can_be_named_in_an_allocation(tmp_path: Path, make_brain: MakeBrain) -> None:
    path = write_allocation(tmp_path / "allocation.yaml", *(node(name.lower(), name) for name in faults.__all__))
    rows = make_brain().rows("validate", str(path))
    assert {row["id"] for row in rows} == {name.lower() for name in faults.__all__}


class TestInMemory:
    async def test_one_without_a_fault_answers(self, brain: MemoryBrain) -> None:
        await brain.start(faults.Answers, "right")
        partial = await brain.query("right", Prompt(text="hello"))
        assert partial.best is not None
        assert partial.best.text == "hello"

    async def test_two_final_partials_for_one_query(self, brain: MemoryBrain) -> None:
        await brain.start(faults.AnswersTwice, "twice")
        results = brain.bus("integrator", "listener").subscribe(key("partial", node_id="twice"))
        prompt = Prompt(text="hello")
        await brain.query("twice", prompt)
        received = [PartialHeader.of((await results.get()).message).partial for _ in range(2)]
        assert {partial.prompt_id for partial in received} == {prompt.prompt_id}
        assert all(partial.final for partial in received)
        assert {partial.best.text for partial in received if partial.best} == {"hello", "the other answer"}

    @pytest.mark.parametrize("program", [faults.ReturnsNone, faults.ReturnsText])
    async def test_what_is_no_partial_is_an_internal_error(self, brain: MemoryBrain, program: Any) -> None:
        await brain.start(program, "wrong")
        assert (await brain.query("wrong", Prompt(text="hello"))).code == "internal"

    @pytest.mark.parametrize("kind", GARBAGE)
    async def test_a_region_that_answers_with_garbage_goes_on(self, brain: MemoryBrain, kind: str) -> None:
        made = await brain.start(faults.Garbage, "garbage", parameters={"kind": kind})
        asking = await brain.start(faults.Answers, "right")
        router = brain.bus("router", "asker")
        await _ask(brain, router, "garbage")
        await until("the answer", lambda: made.health().counters.get("queries"))
        assert (await brain.query("right", Prompt(text="hello"))).error is None
        assert asking.health().state == made.health().state == "ready"

    async def test_late_means_after_the_deadline(self, brain: MemoryBrain) -> None:
        await brain.start(faults.Late, "late", parameters={"late_s": 0.05})
        partial = await brain.query("late", Prompt(text="hello", deadline_ms=100))
        assert partial.latency_ms >= 100

    async def test_a_leak_keeps_memory_up_to_its_limit(self, brain: MemoryBrain) -> None:
        await brain.start(faults.Leak, "leak", parameters={"prompt_mb": 2, "limit_mb": 5})
        kept = []
        for _ in range(4):
            partial = await brain.query("leak", Prompt(text="hello"))
            assert partial.best is not None
            kept.append(partial.best.content["kept_mb"])
        assert kept == [2, 4, 4, 4]

    async def test_a_flood_is_more_than_a_mailbox_holds(self, brain: MemoryBrain) -> None:
        made = await brain.start(faults.Flood, "flood", parameters={"neurons": 8})
        await until("a flood", lambda: made.health().counters.get("flooded", 0) > 5000)
        assert (await brain.query("flood", Prompt(text="hello"))).error is None


async def _ask(brain: MemoryBrain, router: Any, region: str) -> None:
    from brainnet.prompts import query_packet

    router.publish(key("query", region=region), query_packet(Prompt(text="hello")))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    home = tmp_path_factory.mktemp("faults")
    nodes = [
        *(node(id, f"nodes/{id}/{id}.py") for id in ("prefrontal", "memory_integrator")),
        node("words", "CrashOnWord"),
        node("once", "CrashAfter", parameters={"prompts": 1}),
        node("blocked", "BlockedLoop"),
        node("floods", "Flood", parameters={"burst": 10, "pause_s": 0.01}),
        node("right", "Answers"),
        *(node(id, "HangAfterInit") for id in ("hangs", "waits", "stuck")),  # each is of use to one test
    ]
    with Brain(home / "brain", BRAINNET_STOP_GRACE_S="0.3") as brain:
        brain.launch(write_allocation(home / "allocation.yaml", *nodes))
        yield brain


class TestProcesses:
    """Those that fail on a prompt, in one brain; tests/launcher launches those that fail before one, or never end."""

    def test_faults_on_a_prompt(self, running: Brain) -> None:
        for id in ("words", "once"):
            assert running.prompt("hello", "--region", id)["text"] == "hello"
        before = running.nodes()
        for id, text in {"words": "please crash", "once": "again", "blocked": "hello"}.items():
            running.start("prompt", text, "--region", id, "--timeout", "1")
        for id in ("words", "once", "blocked"):
            after = running.wait_state(id, "ready", "backoff", but_pid=before[id].pid)
            assert after.restarts >= 1 or after.state == "backoff"
        answer = running.rows("prompt", "hello", "--region", "hangs", "--timeout", "1", check=False)[0]
        assert answer["error"]
        assert running.nodes()["hangs"].pid == before["hangs"].pid

    def test_a_region_that_hangs_leaves_the_others_answering(self, running: Brain) -> None:
        waiting = running.start("prompt", "hello", "--region", "waits", "--timeout", "60", "--json")
        for id in ("right", "floods"):
            assert running.prompt("hello", "--region", id)["text"] == "hello"
        assert waiting.poll() is None
        after = running.nodes()
        assert {after[id].restarts for id in ("prefrontal", "memory_integrator", "right", "floods", "waits")} == {0}

    def test_health_is_told_while_a_model_hangs(self, running: Brain) -> None:
        running.start("prompt", "hello", "--region", "stuck", "--timeout", "60", "--json")

        def asked() -> bool:
            (health,) = running.rows("node", "info", "stuck")
            return bool(health["counters"].get("queries"))

        wait_until("the query to arrive", asked)
        running.run("node", "stop", "stuck")
        assert running.nodes()["stuck"].state == "stopped"
