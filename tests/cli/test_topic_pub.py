"""`brainnet topic pub`: what arrives, and what is refused."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainnet.bus import Mailbox
from brainnet.cli.topic import writing
from brainnet.errors import WireError
from brainnet.testing import PATIENCE_S
from brainnet.wire import messages
from brainnet.wire.extension import load_extension
from tests.own_topics import write_topics
from tests.small_brain import SmallBrain, run_command

PATIENT = ("--wait", f"{PATIENCE_S:g}", "--require-match")


async def _take(mailbox: Mailbox[Any], count: int = 1) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        return [await mailbox.get() for _ in range(count)]


async def test_a_typed_message_arrives_stamped(small_brain: SmallBrain) -> None:
    pfc = await small_brain.join("supervisor", "pfc")
    prompts = pfc.subscribe("api/prompt")
    done = await small_brain.run("topic", "pub", "api/prompt", '{"text": "which digit?", "priority": 7}', "--json")
    (received,) = await _take(prompts)
    assert done.rows == [{"key": "test/api/prompt", "sent": 1}]
    assert (received.message.text, received.message.priority) == ("which digit?", 7)
    assert received.stamp.seq == 1


async def test_packets_arrive_complete_and_in_order(small_brain: SmallBrain) -> None:
    ear = await small_brain.join("region", "ear")
    packets = ear.subscribe("spikes/**", capacity=500)
    data = "{data: [[0, 1, 0], [1, 0, 0]], modality: lidar, dt_us: 500, metadata: {place: front}}"
    done = await small_brain.run("topic", "pub", "spikes/lidar/front", data, "--count", "300")
    received = [r.message for r in await _take(packets, 300)]
    assert done.code == 0
    assert [packet.seq for packet in received] == list(range(1, 301))
    first = received[0]
    assert np.array_equal(first.data, [[0, 1, 0], [1, 0, 0]])
    assert (first.modality, first.dt_us, first.metadata) == ("lidar", 500, {"place": "front"})


async def test_random_spikes_have_the_shape_and_density_asked_for(small_brain: SmallBrain) -> None:
    ear = await small_brain.join("region", "ear")
    packets = ear.subscribe("spikes/**")
    await small_brain.run("topic", "pub", "spikes/a/b", "--random", "200x50@0.1", "--rate", "200", "--count", "3")
    received = [r.message for r in await _take(packets, 3)]
    assert {packet.shape for packet in received} == {(200, 50)}
    assert all(0.05 < packet.density < 0.15 for packet in received)
    assert not np.array_equal(received[0].data, received[1].data)


async def test_floats_are_graded(small_brain: SmallBrain) -> None:
    ear = await small_brain.join("region", "ear")
    packets = ear.subscribe("spikes/**")
    await small_brain.run("topic", "pub", "spikes/force/hand", "{data: [[0.5], [-1.25]]}")
    (received,) = await _take(packets)
    assert received.message.data.dtype == np.float32
    assert received.message.data.tolist() == [[0.5], [-1.25]]


async def test_foreign_keys_take_text_and_files(small_brain: SmallBrain, tmp_path: Path) -> None:
    listener = await small_brain.join("client")
    samples = listener.subscribe_raw("my/**")
    await small_brain.run("topic", "pub", "my/own/key", "hello")
    path = tmp_path / "blob"
    path.write_bytes(b"\x00\x01")
    await small_brain.run("topic", "pub", "my/own/key", f"@{path}")
    first, second = await _take(samples, 2)
    assert (first.payload, first.encoding) == (b"hello", "text/plain")
    assert second.payload == b"\x00\x01"


async def test_packets_come_from_files(small_brain: SmallBrain, tmp_path: Path) -> None:
    ear = await small_brain.join("region", "ear")
    packets = ear.subscribe("spikes/**")
    spikes = np.eye(4, 6, dtype=np.uint8)
    np.savez(tmp_path / "one.npz", anything=spikes)
    np.savez(tmp_path / "two.npz", data=spikes * 0.5, labels=np.zeros((1, 1)))
    np.save(tmp_path / "plain.npy", spikes.astype(bool))
    (tmp_path / "written.yaml").write_text(f"data: {spikes.tolist()}\nmodality: lidar\ndt_us: 500\n")
    for name in ("one.npz", "two.npz", "plain.npy", "written.yaml"):
        done = await small_brain.run("topic", "pub", "spikes/a/b", f"@{tmp_path / name}", *PATIENT)
        assert done.code == 0, done.err
    received = [r.message for r in await _take(packets, 4)]
    for packet, values in zip(received, (spikes, spikes * 0.5, spikes, spikes), strict=True):
        assert np.array_equal(packet.data, values)
    assert (received[3].modality, received[3].dt_us) == ("lidar", 500)


async def test_messages_come_from_files(small_brain: SmallBrain, tmp_path: Path) -> None:
    pfc = await small_brain.join("supervisor", "pfc")
    prompts = pfc.subscribe("api/prompt")
    (tmp_path / "prompt.json").write_text('{"text": "which digit?", "priority": 7}')
    (tmp_path / "prompt.yaml").write_text("# a comment\ntext: which digit?\npriority: 7\n")
    for name in ("prompt.json", "prompt.yaml"):
        await small_brain.run("topic", "pub", "api/prompt", f"@{tmp_path / name}", *PATIENT)
    assert [(r.message.text, r.message.priority) for r in await _take(prompts, 2)] == [("which digit?", 7)] * 2


@pytest.mark.parametrize(
    ("key", "name", "says"),
    [
        ("api/prompt", "none.yaml", "none.yaml cannot be read"),
        ("api/prompt", "list.yaml", "list.yaml must be a map"),
        ("api/prompt", "wrong.yaml", "wrong.yaml, line 2"),
        ("api/prompt", "one.npz", "no field 'data'"),
        ("spikes/a/b", "several.npz", "call the one to send data"),
        ("spikes/a/b", "flat.npz", "[neurons, steps]"),
        ("spikes/a/b", "text.npz", "no npz or npy file"),
        ("spikes/a/b", "none.npz", "no such file"),
        ("lab/odometry", "list.yaml", "Odometry {x_m: float, heading_rad: float, covariance: list[float]}"),
        ("lab/odometry", "place.yaml", "heading_rad"),
    ],
)
def test_files_that_cannot_be_sent_are_refused_by_name(tmp_path: Path, key: str, name: str, says: str) -> None:
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "wrong.yaml").write_text("text: hi\ntext: ho\n")
    (tmp_path / "place.yaml").write_text("x_m: 1\n")
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "one.npz", data=np.eye(2))
    np.savez(tmp_path / "several.npz", a=np.eye(2), b=np.eye(2))
    np.savez(tmp_path / "flat.npz", data=np.ones(3))
    known = load_extension([write_topics(tmp_path / "topics.yaml")]).contract
    with pytest.raises(WireError, match=re.escape(says)) as caught:
        writing.writer(key, "test", f"@{tmp_path / name}", None, known)
    assert "\n" not in str(caught.value)


async def test_nobody_listening_is_said_and_with_require_match_an_error(small_brain: SmallBrain) -> None:
    done = await small_brain.run("topic", "pub", "my/key", "x", "--wait", "0.1")
    assert done.code == 0
    assert "nobody subscribed to my/key" in done.err
    refused = await small_brain.run("topic", "pub", "my/key", "x", "--wait", "0.1", "--require-match")
    assert refused.code == 1
    assert "nothing was sent" in refused.err


@pytest.mark.parametrize(
    ("key", "data", "random", "says"),
    [
        ("api/prompt", "{text: hi, deadline_ms: soon}", None, "deadline_ms"),
        ("api/prompt", "{txt: hi}", None, "no field 'txt'"),
        ("api/prompt", "{text: ''}", None, "empty"),
        ("api/prompt", "hello", None, "must be a map"),
        ("api/prompt", "{text: [", None, "neither YAML nor JSON"),
        ("api/prompt", None, None, "DATA is missing"),
        ("api/prompt", None, "2x2@0.5", "carries Prompt"),
        ("api/nonsense", "x", None, "no topic of the contract"),
        ("alive/a/b", "{}", None, "carries no message"),
        ("spikes/a/b", "{data: [[0, 1], [1]]}", None, "rows of equal length"),
        ("spikes/a/b", "{data: [[300]]}", None, "between 0 and 255"),
        ("spikes/a/b", "{data: [[1]], dt_us: 0}", None, "dt_us"),
        ("spikes/a/b", "{data: [[1]], modality: 3}", None, "modality"),
        ("spikes/a/b", "{data: [[1]], colour: red}", None, "no field 'colour'"),
        ("spikes/a/b", "{modality: x}", None, "needs data"),
        ("spikes/a/b", None, "16", "NEURONSxSTEPS@DENSITY"),
        ("spikes/a/b", None, "2x2@1.5", "density between 0 and 1"),
        ("spikes/*/b", "{data: [[1]]}", None, "is not a key"),
        ("spikes/a/b", "{data: [[1e300]]}", None, "finite 32-bit floats"),
        ("spikes/a/b", "{data: [[.inf]]}", None, "not a finite number"),
        ("spikes/a/b", "{data: [[1e999]]}", None, "not a finite number"),
        ("spikes/a/b", "{data: [[1]], metadata: {at: !!timestamp 2026-11-28}}", None, "!!timestamp is not known"),
        ("spikes/a/b", "{data: &d [*d]}", None, "inside what it names"),
        ("api/prompt", "{text: a, text: b}", None, "text is given twice"),
        ("api/prompt", '{"text": "\\ud83d"}', None, "surrogate"),
        ("api/prompt", "{text: x, image: !!binary '?'}", None, "base64"),
        ("api/prompt", "[" * 1000, None, "inside one another"),
        ("my/key", "@/no/such/file", None, "cannot be read"),
        ("my/key", None, None, "DATA is missing"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(key: str, data: str | None, random: str | None, says: str) -> None:
    with pytest.raises(WireError, match=re.escape(says)) as caught:
        writing.writer(key, "test", data, random)
    assert "\n" not in str(caught.value)


async def test_what_people_write_arrives_as_they_mean_it(small_brain: SmallBrain) -> None:
    listener = await small_brain.join("client")
    prompts = listener.subscribe_raw("test/api/prompt")
    texts = [
        '{"text":\t"\\ud83d\\ude00 one\ttwo", "image": "aGk="}',
        "{text: 2026-11-28, image: !!binary aGk=, deadline_ms: 1e3}",
        "\ufeff{text: yes}",
    ]
    for text in texts:
        done = await small_brain.run("topic", "pub", "api/prompt", text)
        assert done.code == 0, done.err
    received = [messages.read_prompt(s.payload, s.encoding) for s in await _take(prompts, 3)]
    assert [p.text for p in received] == ["\U0001f600 one\ttwo", "2026-11-28", "yes"]
    assert [p.image for p in received] == [b"hi", b"hi", None]
    assert received[1].deadline_ms == 1000


async def test_metadata_keep_their_types(small_brain: SmallBrain) -> None:
    ear = await small_brain.join("region", "ear")
    packets = ear.subscribe("spikes/**")
    metadata = "{rate: 1e-4, day: 2026-11-28, on: yes, 1: 0o17, base: &b {x: 1}, all: {<<: *b, y: 2}}"
    done = await small_brain.run("topic", "pub", "spikes/force/hand", f"{{data: [[1e-4]], metadata: {metadata}}}")
    assert done.code == 0, done.err
    (received,) = await _take(packets)
    assert received.message.data.tolist() == [[pytest.approx(1e-4)]]
    assert received.message.metadata == {
        "rate": 1e-4,
        "day": "2026-11-28",
        "on": "yes",
        "1": 15,
        "base": {"x": 1},
        "all": {"x": 1, "y": 2},
    }


async def test_bytes_that_are_no_text_travel_on_a_foreign_key(small_brain: SmallBrain) -> None:
    listener = await small_brain.join("client")
    samples = listener.subscribe_raw("my/**")
    done = await small_brain.run("topic", "pub", "my/key", "caf\udce9")
    assert done.code == 0, done.err
    (sample,) = await _take(samples)
    assert sample.payload == b"caf\xe9"


async def test_a_refusal_is_one_line_and_status_1() -> None:
    done = await run_command("topic", "pub", "api/prompt", "{text: hi, deadline_ms: soon}", "--port", "1")
    assert done.code == 1
    assert done.err.startswith("brainnet: Prompt: deadline_ms")
    assert done.err.count("\n") == 1


async def test_samples_of_sensors_are_numbered_and_may_be_files(small_brain: SmallBrain, tmp_path: Path) -> None:
    eye = await small_brain.join("region", "eye")
    samples = eye.subscribe("input/**", capacity=100)
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8 no real picture")
    cloud = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "cloud.npy", cloud)
    for key, data, *options in (
        ("input/vision/front", f"@{tmp_path / 'picture.jpg'}", "--count", "3"),
        ("input/points/top", f"@{tmp_path / 'cloud.npy'}"),
        ("input/force/hand", "{data: [[0.5, -1.25]], rate_hz: 1000, source: hand}"),
        ("input/events/eye", "{data: [1, 70000], dtype: uint32}"),
    ):
        done = await small_brain.run("topic", "pub", key, data, *options)
        assert done.code == 0, done.err
    *pictures, points, force, events = [r.message for r in await _take(samples, 6)]
    assert [(p.format, p.data, p.sequence) for p in pictures] == [
        ("jpeg", b"\xff\xd8 no real picture", n) for n in (1, 2, 3)
    ]
    assert pictures[0].timestamp_ns < pictures[2].timestamp_ns
    np.testing.assert_array_equal(points.array(), cloud)
    assert (force.array().tolist(), force.dtype, force.rate_hz, force.source) == (
        [[0.5, -1.25]],
        "float32",
        1000.0,
        "hand",
    )
    assert (events.array().tolist(), events.dtype) == ([1, 70000], "uint32")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{data: [[1, 2], [3]]}", "rows of equal length"),
        ("{data: [x]}", "rows of equal length"),
        ("{data: [300], dtype: uint8}", "rows of equal length"),
        ("{data: !!binary aGk=, shape: [3]}", "uint8 of shape [3] has 3 bytes, and there are 2"),
        ("{colour: red}", "no field 'colour'"),
        ("@/no/such/file.npy", "cannot be read"),
    ],
)
def test_what_is_no_sample_is_refused(data: str, says: str) -> None:
    with pytest.raises(WireError, match=re.escape(says)) as caught:
        writing.writer("input/force/hand", "test", data, None)
    assert "\n" not in str(caught.value)
