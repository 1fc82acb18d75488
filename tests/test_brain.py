"""The default brain as a user meets it: launched with one command, every part real, asked from outside."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zenoh

from brainnet.testing import PATIENCE_S, wait_until
from tests.support import Brain, MakeBrain, default_brain, has_subscriber

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = sorted((ROOT / "scripts" / "samples").glob("digit_*.png"))
EIGHT = {
    "prefrontal",
    "hippocampus",
    "cerebellum",
    "motor_cortex",
    "language",
    "vision",
    "memory_integrator",
    "arm_body",
}


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brain]:
    with default_brain(tmp_path_factory.mktemp) as brain:
        yield brain


def test_the_eight_nodes_are_ready_and_small(brain: Brain) -> None:
    nodes = brain.status()
    assert set(nodes) == EIGHT
    assert {n["state"] for n in nodes.values()} == {"ready"}
    assert all(psutil.pid_exists(n["pid"]) and n["host"] for n in nodes.values())
    assert sum(n["memory_bytes"] for n in nodes.values()) / len(nodes) < 90e6


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: p.stem)
def test_vision_names_a_handwritten_digit(brain: Brain, sample: Path) -> None:
    answer = brain.prompt("which digit is this?", "--image", str(sample))
    assert answer["text"] == sample.stem.removeprefix("digit_")
    assert answer["contributing"] == ["vision"]
    assert answer["decision"]["chosen"] == ["vision"]
    assert answer["latency_ms"] > 0


def test_the_arm_goes_where_it_is_told(brain: Brain) -> None:
    answer = brain.prompt("Move the arm to (0.10, 0.10)")
    assert answer["contributing"] == ["motor_cortex"]
    reach = answer["content"]["regions"]["motor_cortex"]
    assert reach["distance_m"] < 0.03
    assert "final distance" in answer["text"]


def test_language_streams_what_it_then_answers(brain: Brain) -> None:
    rows = brain.rows("prompt", "Once upon a time there was", "--watch")
    kinds = [row["type"] for row in rows]
    assert kinds[-1] == "answer"
    assert "decision" in kinds
    assert kinds.count("partial") > 2
    assert rows[-1]["contributing"] == ["language"]
    assert len(rows[-1]["text"]) > 20


def test_any_zenoh_program_is_a_client(brain: Brain) -> None:
    answers: list[Any] = []
    with brain.session() as session:
        subscriber = session.declare_subscriber("evospikenet/api/result", answers.append)
        publisher = session.declare_publisher("evospikenet/api/prompt")
        wait_until("a subscriber", lambda: has_subscriber(publisher))
        publisher.put("Move the arm to (0.05, 0.12)")
        picture = base64.b64encode(SAMPLES[0].read_bytes()).decode()
        wait_until("the first answer", lambda: len(answers) == 1)
        publisher.put(json.dumps({"text": "which digit?", "image": picture}), encoding="application/json")
        wait_until("the second answer", lambda: len(answers) == 2)
        publisher.put(b"\xff\xfe\xfd")
        wait_until("the third answer", lambda: len(answers) == 3)
        # without BLOCK the client's own Zenoh drops what its queues cannot hold, before any of it is sent
        block = zenoh.CongestionControl.BLOCK
        session.put("evospikenet/api/prompt", bytes(50 << 20), congestion_control=block)
        wait_until("the fourth answer", lambda: len(answers) == 4)
        replies = list(session.get("evospikenet/api/prompt", payload="Where is nothing at all?", timeout=PATIENCE_S))
        # the query's answer goes out to everybody, too
        wait_until("the fifth answer", lambda: len(answers) == 5)
        subscriber.undeclare()  # type: ignore[no-untyped-call]
    texts = [json.loads(a.payload.to_bytes()) for a in answers]
    assert "final distance" in texts[0]["text"]
    assert texts[1]["contributing"] == ["vision"]
    assert "neither msgpack, JSON nor UTF-8" in texts[2]["error"]
    assert "at most" in texts[3]["error"]
    assert len(replies) == 1
    assert replies[0].ok is not None
    assert "prompt_id" in json.loads(replies[0].ok.payload.to_bytes())
    assert len({t["prompt_id"] for t in texts}) == len(texts) == 5


def test_malformed_packets_harm_nobody(brain: Brain) -> None:
    before = {name: node["restarts"] for name, node in brain.status().items()}
    with brain.session() as session:
        for key in ("brain/query/vision", "brain/result/vision", "motor/feedback/arm", "pfc/prefrontal/decisions"):
            publisher = session.declare_publisher(f"evospikenet/{key}")
            wait_until("a subscriber", lambda publisher=publisher: has_subscriber(publisher))  # type: ignore[misc]
            for payload in (b"", b"\x93\x01", bytes(1000), os.urandom(1000)):
                publisher.put(payload)
    test_vision_names_a_handwritten_digit(brain, SAMPLES[0])
    assert {name: node["restarts"] for name, node in brain.status().items()} == before


def test_what_cannot_be_answered_is_an_error_that_says_so(brain: Brain, tmp_path: Path) -> None:
    no_picture = tmp_path / "no.png"
    no_picture.write_bytes(b"this is no picture")
    cases: dict[tuple[str, ...], str] = {
        ("which digit is this?", "--image", str(tmp_path / "missing.png")): "missing.png",
        ("hello", "--region", "olfactory"): "no region olfactory is alive",
        ("   ",): "empty",
        ("Move the arm to (5, 5)", "--region", "motor_cortex"): "the arm reaches",
    }
    for arguments, reason in cases.items():
        done = brain.run("prompt", *arguments, check=False)
        assert done.returncode != 0
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_what_no_region_can_do_is_said_with_the_reason_and_what_can_be_asked(brain: Brain, tmp_path: Path) -> None:
    no_picture = tmp_path / "no.png"
    no_picture.write_bytes(b"this is no picture")
    cases: dict[tuple[str, ...], tuple[str, str]] = {
        ("which digit is this?", "--image", str(no_picture)): ("cannot", "picture"),
        ("Move the arm to (5, 5)",): ("cannot", "the arm reaches"),
        ("Where did I leave the golden harpsichord?",): ("unknown", "harpsichord"),
    }
    for arguments, (reason, text) in cases.items():
        (answer,) = brain.rows("prompt", *arguments)
        assert (answer["unsure"], answer["reason"], answer["error"], answer["contributing"]) == (True, reason, None, [])
        assert text in answer["text"]
        assert "You can say, for example:" in answer["text"]
    done = brain.run("node", "param", "set", "language", "temperature", "warm", check=False)
    assert done.returncode != 0
    assert "temperature" in done.stderr


def test_a_second_launch_of_the_same_brain_is_refused(brain: Brain) -> None:
    done = brain.run("launch", "--detach", check=False)
    assert done.returncode != 0
    assert "already running" in done.stderr
    assert {n["state"] for n in brain.status().values()} == {"ready"}


def test_topics_show_their_rates_and_spikes(brain: Brain) -> None:
    brain.prompt("Move the arm to (0.12, 0.05)")
    keys = {row["key"] for row in brain.rows("topic", "list")}
    assert {"motor/feedback/arm", "api/prompt", "api/result"} <= keys
    assert "heartbeat/vision" in {row["key"] for row in brain.rows("topic", "list", "--all")} - keys
    echo = brain.start("topic", "echo", "--raster", "spikes/motor_cortex/cerebellum", "--count", "3")
    while echo.poll() is None:
        brain.prompt("Move the arm to (0.05, 0.10)")
    shown, _ = echo.communicate()
    assert "motor_cortex" in shown


def test_a_lesion_cuts_the_spikes_of_a_prompt_until_it_is_healed(brain: Brain) -> None:
    brain.prompt("Remember that the ladder is behind the barn.", "--region", "hippocampus")
    question = ("Where is the ladder?", "--region", "hippocampus", "--json")
    (row,) = brain.rows("node", "lesion", "prefrontal", "hippocampus", "--silence")
    try:
        assert row == {"from": "prefrontal", "to": "hippocampus", "kind": "silence", "share": 1.0}
        assert brain.rows("node", "lesion") == [row]
        assert brain.rows("node", "info", "hippocampus")[0]["lesions"] == [
            {"source": "prefrontal", "kind": "silence", "share": 1.0}
        ]
        refused = brain.run("prompt", *question, check=False)
        assert refused.returncode != 0
        assert "no spike of the prompt arrived at hippocampus" in refused.stdout
    finally:
        assert brain.rows("node", "lesion", "prefrontal", "hippocampus", "--heal") == []
    assert "behind the barn" in brain.prompt("Where is the ladder?", "--region", "hippocampus")["text"]
    for wrong, says in (
        (("prefrontal",), "name both FROM and TO"),
        (("--silence",), "name both FROM and TO"),
        (("prefrontal", "vision"), "say one of --silence"),
        (("prefrontal", "vision", "--heal", "--drop", "0.1"), "say one of --silence"),
        (("prefrontal", "nobody", "--silence"), "no node 'nobody' answers"),
        (("prefrontal", "vision", "--drop", "2"), "less than or equal to 1"),
    ):
        done = brain.run("node", "lesion", *wrong, check=False)
        assert done.returncode != 0, wrong
        assert says in " ".join(done.stderr.replace("│", " ").split()), wrong


def test_a_region_outside_the_tree_joins_by_path(tmp_path: Path, make_brain: MakeBrain) -> None:
    (tmp_path / "reverser.py").write_text(
        "from brainnet import Candidate, Partial, Query, Region\n\n\n"
        "class Reverser(Region):\n"
        '    """Says it backwards."""\n\n'
        "    def answer(self, query: Query) -> Partial:\n"
        "        answer = Candidate(text=query.prompt.text[::-1], probability=1.0)\n"
        "        return Partial(candidates=[answer], confidence=1.0)\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "version: 1\n"
        "nodes:\n"
        "  - {id: prefrontal, program: nodes/prefrontal.py}\n"
        "  - {id: memory_integrator, program: nodes/memory_integrator.py}\n"
        "  - {id: reverser, program: reverser.py}\n"
    )
    mine = make_brain(cwd=tmp_path)
    mine.launch("mine.yaml")
    answer = mine.prompt("neurons", "--region", "reverser")
    assert (answer["text"], answer["contributing"]) == ("snoruen", ["reverser"])
    mine.run("stop")
    mine.wait_gone()
