"""The default brain as a user meets it, whose nodes and launcher are killed and which is stopped and launched again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from brainnet.testing import PATIENCE_S, wait_until
from tests.support import Brain, default_brain

DIGIT = Path(__file__).resolve().parent.parent / "scripts" / "samples" / "digit_7.png"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    with default_brain(tmp_path_factory.mktemp) as brain:
        yield brain


@pytest.fixture
def brain(home: Brain) -> Brain:
    """The brain, launched again if the last test has left none."""
    if not home.processes():
        home.launch()
    return home


def test_every_kind_of_node_that_freezes_is_replaced(brain: Brain) -> None:
    before = brain.nodes()
    assert len(before) == 8
    for record in before.values():
        assert record.pid is not None
        os.kill(record.pid, signal.SIGSTOP)
    for id, record in before.items():
        after = brain.wait_state(id, "ready", but_pid=record.pid)
        assert "no heartbeat" in after.reason
    assert not {record.pid for record in before.values()} & brain.processes().keys()


@pytest.mark.parametrize("victim", ["vision", "prefrontal", "memory_integrator"])
def test_a_killed_node_is_back_and_the_next_prompt_is_answered(brain: Brain, victim: str) -> None:
    before = brain.nodes()[victim]
    os.kill(brain.pid(victim), signal.SIGKILL)
    answer = brain.prompt("which digit is this?", "--image", str(DIGIT))
    assert answer["text"] == "7"
    after = brain.wait_state(victim, "ready", but_pid=before.pid)
    assert after.restarts == before.restarts + 1


@pytest.mark.parametrize("victim", ["prefrontal", "memory_integrator", "motor_cortex"])
def test_a_node_that_dies_in_the_middle_of_a_prompt_costs_no_answer(brain: Brain, victim: str) -> None:
    """Whoever dies while the arm is on its way: the client gets its answer, and everybody sees exactly one."""
    pid = brain.pid(victim)
    answers: list[Any] = []
    spikes: list[Any] = []
    with brain.session() as session:
        results = session.declare_subscriber("evospikenet/api/result", answers.append)
        moving = session.declare_subscriber("evospikenet/spikes/motor_cortex/*", spikes.append)
        text = f"Move the arm to ({'-' if victim == 'prefrontal' else ''}0.12, 0.08)"
        asking = brain.start("prompt", text, "--json")
        wait_until("spikes", lambda: len(spikes) > 0)
        os.kill(pid, signal.SIGKILL)
        output, _ = asking.communicate(timeout=PATIENCE_S)
        brain.wait_state(victim, "ready", but_pid=pid)
        results.undeclare()  # type: ignore[no-untyped-call]
        moving.undeclare()  # type: ignore[no-untyped-call]
    answer = json.loads(output)
    assert answer["error"] is None
    assert answer["contributing"] == ["motor_cortex"]
    assert len([a for a in answers if answer["prompt_id"].encode() in a.payload.to_bytes()]) == 1


def test_what_was_remembered_outlives_the_brain(brain: Brain) -> None:
    brain.prompt("Remember that the blue toolbox is under the workbench.")
    brain.run("stop")
    brain.wait_gone()
    brain.launch()
    answer = brain.prompt("Where is the blue toolbox?")
    assert answer["contributing"] == ["hippocampus"]
    assert "under the workbench" in answer["text"]


def test_a_killed_launcher_leaves_nothing_behind(brain: Brain) -> None:
    launcher = psutil.Process(brain.pid("vision"))
    while launcher.ppid() in brain.processes():
        launcher = psutil.Process(launcher.ppid())
    mapped = {part.path for pid in brain.processes() for part in psutil.Process(pid).memory_maps()}
    launcher.kill()
    brain.wait_gone()
    assert mapped
    assert not [path for path in mapped if path.startswith("/dev/shm/")]  # the kernel removes it with no process
