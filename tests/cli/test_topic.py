"""`brainnet topic`: list, info, echo, hz, bw and delay."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from brainnet.bus import Bus, Publisher
from brainnet.prompts import query_packet
from brainnet.simulation.spikes import Spikes
from brainnet.streams.window import SpikeWindow, encode_window
from brainnet.testing import PATIENCE_S, until
from brainnet.wire.extension import load_extension
from brainnet.wire.messages import Decision, Prompt
from brainnet.wire.packet import SpikePacket
from brainnet.wire.topics import contract
from tests.own_topics import write_topics
from tests.small_brain import SmallBrain, run_command

NEAR = pytest.approx


def _spikes(seq: int = 1, source: str = "eye", timestamp_ns: int = 1) -> bytes:
    return SpikePacket(np.eye(8, dtype=bool), source=source, seq=seq, timestamp_ns=timestamp_ns).encode()


async def _publisher(bus: Bus, full_key: str, encoding: str = "") -> Publisher:
    """A publisher that somebody listens to."""
    publisher = bus.publish_raw(full_key, b"", encoding)
    assert await bus.wait_publisher(publisher, PATIENCE_S)
    return publisher


class TestList:
    async def test_the_contract_needs_no_brain(self) -> None:
        done = await run_command("topic", "list", "--contract")
        for topic in contract().topics:
            assert topic.key in done.out

    async def test_every_key_has_its_publishers_subscribers_and_rate(self, small_brain: SmallBrain) -> None:
        eye, ear = await small_brain.node("region", "eye"), await small_brain.node("region", "ear")
        pfc = await small_brain.node("router", "pfc")
        ear.subscribe("spikes/eye/ear")
        pfc.subscribe("spikes/**")
        assert await eye.wait_matching("spikes/eye/ear", PATIENCE_S)
        for _ in range(25):
            eye.publish("spikes/eye/ear", SpikePacket(np.eye(4, dtype=bool)))
        done = await small_brain.run("topic", "list", "--json")
        rows = {row["key"]: row for row in done.rows}
        flow = rows["spikes/eye/ear"]
        assert done.code == 0
        assert (flow["publishers"], flow["subscribers"]) == (["eye"], ["ear", "pfc"])
        assert (flow["payload"], flow["topic"], flow["count"]) == ("SpikePacket", "spikes", 25)
        assert flow["rate_hz"] > 0
        assert flow["bytes_per_s"] > flow["rate_hz"]
        assert "spikes/**" not in rows
        assert "api/prompt" not in rows
        assert "node/ear/status" not in rows

        everything = await small_brain.run("topic", "list", "--all")
        assert "api/prompt" in everything.out
        assert "node/ear/status" in everything.out
        assert "25" in everything.out
        assert "0 messages dropped, 0 missing" in everything.err

    async def test_drops_and_gaps_are_shown(self, small_brain: SmallBrain) -> None:
        stranger, ear = await small_brain.join("client"), await small_brain.node("region", "ear")
        mailbox = ear.subscribe("spikes/eye/ear", capacity=2)
        publisher = await _publisher(stranger, "test/spikes/eye/ear")
        for seq in (1, 5):
            publisher.put(_spikes(seq), None)
        for _ in range(2):
            async with asyncio.timeout(PATIENCE_S):
                await mailbox.get()
        for seq in (6, 7, 8):
            publisher.put(_spikes(seq), None)
        await until("5 messages", lambda: mailbox.statistics().received == 5)
        done = await small_brain.run("topic", "list", "--json")
        (flow,) = [row for row in done.rows if row["key"] == "spikes/eye/ear"]
        assert (flow["dropped"], flow["lost"]) == (1, 3)

    async def test_no_brain_is_one_clear_error(self) -> None:
        done = await run_command("topic", "list", "--port", "1")
        assert done.code == 1
        assert "brainnet launch" in done.err
        assert done.err.count("\n") == 1


class TestInfo:
    async def test_contract_and_traffic_of_a_key(self, small_brain: SmallBrain) -> None:
        ear = await small_brain.node("region", "ear")
        ear.subscribe("spikes/eye/ear")
        done = await small_brain.run("topic", "info", "spikes/eye/ear", "--json")
        (row,) = done.rows
        assert row["key"] == "test/spikes/eye/ear"
        assert [entry["name"] for entry in row["contract"]] == ["spikes"]
        assert [flow["subscribers"] for flow in row["traffic"]] == [["ear"]]

    async def test_a_foreign_key_is_named_as_one(self, small_brain: SmallBrain) -> None:
        done = await small_brain.run("topic", "info", "some/where")
        assert done.code == 0
        assert "not in the contract" in done.err


class TestEcho:
    async def test_each_kind_of_message_as_json(self, small_brain: SmallBrain) -> None:
        pfc = await small_brain.join("router", "pfc")
        echo = await small_brain.start("topic", "echo", "**", "--count", "5", "--json")
        assert await pfc.wait_matching("pfc/pfc/decisions", PATIENCE_S)
        pfc.publish("pfc/pfc/decisions", Decision(prompt_id="p1", chosen=["eye"]))
        spikes = await _publisher(pfc, "test/spikes/pfc/ear")
        spikes.put(_spikes(7), None)
        spikes.put(b"garbage", None)
        with_bytes = SpikePacket(np.zeros((0, 0), bool), source="x", metadata={"image": b"\x00\xff"})
        spikes.put(with_bytes.encode(), None)
        (await _publisher(pfc, "test/not/in/contract", "text/plain")).put(b"hello", None)
        done = await echo.ended()
        (decision,) = [row for row in done.rows if row["key"] == "pfc/pfc/decisions"]
        packet, malformed, empty = [row for row in done.rows if row["key"] == "spikes/pfc/ear"]
        (text,) = [row for row in done.rows if row["key"] == "not/in/contract"]
        assert done.code == 0
        assert (decision["kind"], decision["source"]) == ("Decision", "pfc")
        assert decision["message"]["chosen"] == ["eye"]
        assert (packet["source"], packet["seq"], packet["shape"], packet["encoding"]) == ("eye", 7, [8, 8], "bits")
        assert packet["density"] == 1 / 8
        assert malformed["kind"] == "malformed"
        assert "msgpack" in malformed["error"]
        assert empty["metadata"] == {"image": "AP8="}
        assert (text["kind"], text["value"]) == ("text", "hello")
        assert "5 messages seen, 0 missing" in done.err

    async def test_the_text_that_spikes_say_is_shown(self, small_brain: SmallBrain) -> None:
        pfc = await small_brain.join("router", "pfc")
        echo = await small_brain.start("topic", "echo", "brain/query/*", "--count", "2", "--json")
        assert await pfc.wait_matching("brain/query/eye", PATIENCE_S)
        pfc.publish("brain/query/eye", query_packet(Prompt(text="Wo ist der Schlüssel?")))
        own = SpikePacket(np.eye(3, dtype=bool), "text", metadata={"prompt_id": "p"}, first_step=32)
        pfc.publish("brain/query/eye", own)  # somebody's own code
        first, second = (await echo.ended()).rows
        assert first["text"] == "Wo ist der Schlüssel?"
        assert "text" not in second
        assert second["first_step"] == 32

    async def test_foreign_payloads_are_shown_by_what_they_are(self, small_brain: SmallBrain) -> None:
        stranger = await small_brain.join("client")
        echo = await small_brain.start("topic", "echo", "my/**", "-n", "4")
        for payload, encoding in (
            (b"words", ""),
            (b'{"a": 1}', "application/json"),
            (msgpack.packb({"b": b"12345"}), "application/msgpack"),
            (b"\x00\xff", ""),
        ):
            (await _publisher(stranger, "my/own/key", encoding)).put(payload, None)
        shown = (await echo.ended()).out
        for text in ("my/own/key  text", "words", "json", "{'a': 1}", "msgpack", "<5 bytes>", "bytes", "00 ff"):
            assert text in shown

    async def test_gaps_in_the_numbering_are_said(self, small_brain: SmallBrain) -> None:
        stranger = await small_brain.join("client")
        echo = await small_brain.start("topic", "echo", "spikes/**", "-n", "3")
        publisher = await _publisher(stranger, "test/spikes/eye/ear")
        for seq in (4, 5, 9):
            publisher.put(_spikes(seq), None)
        assert "3 messages seen, 3 missing" in (await echo.ended()).err

    async def test_too_few_messages_in_the_time_given_is_status_1(self, small_brain: SmallBrain) -> None:
        done = await small_brain.run("topic", "echo", "spikes/**", "--count", "1", "--duration", "0.3")
        assert done.code == 1
        assert "0 messages seen" in done.err

    async def test_rasters_have_a_caption_and_neurons_down(self, small_brain: SmallBrain) -> None:
        stranger = await small_brain.join("client")
        echo = await small_brain.start("topic", "echo", "--raster", "spikes/**", "-n", "2", "--rows", "4")
        (await _publisher(stranger, "test/spikes/eye/ear")).put(_spikes(3), None)
        large = SpikePacket(np.ones((500, 300), bool), modality="vision", source="eye", seq=4)
        (await _publisher(stranger, "test/spikes/eye/ear")).put(large.encode(), None)
        lines = (await echo.ended()).out.splitlines()
        assert lines[0].split("  ")[:3] == ["spikes/eye/ear", "eye #3", "spikes"]
        assert "8 neurons x 8 steps" in lines[0]
        assert "density 12.50%" in lines[0]
        assert lines[1:5] == ["▀▄", "  ▀▄", "    ▀▄", "      ▀▄"]
        assert "vision" in lines[5]
        assert lines[6:] == ["█" * 100] * 4

    async def test_packets_without_spikes_are_not_drawn(self, small_brain: SmallBrain) -> None:
        stranger = await small_brain.join("client")
        echo = await small_brain.start("topic", "echo", "--raster", "spikes/**", "-n", "2")
        publisher = await _publisher(stranger, "test/spikes/eye/ear")
        publisher.put(SpikePacket(np.zeros((8, 8), bool), source="eye", seq=2).encode(), None)
        publisher.put(_spikes(3), None)
        shown = (await echo.ended()).out
        assert ("#2" in shown, "#3" in shown) == (False, True)

    async def test_values_are_shown_by_step(self, small_brain: SmallBrain) -> None:
        stranger = await small_brain.join("client")
        counts = np.array([[0, 1, 0], [0, 2, 0], [0, 0, 1]])
        spikes = Spikes.of_dense(40, counts)
        window = SpikeWindow("v1", "run", 40, 3, 1000, spikes.offsets, spikes.neurons, seq=9)
        graded = SpikePacket(np.array([[0.5, -1.0]], np.float32), source="v1", seq=10)
        shown = []
        for options in ([], ["--json"]):
            echo = await small_brain.start("topic", "echo", "--data", "stream/v1", "-n", "2", *options)
            publisher = await _publisher(stranger, "test/stream/v1")
            for payload in (encode_window(window), graded.encode()):
                publisher.put(payload, None)
            shown.append((await echo.ended()).out.splitlines())
        lines, json_lines = shown
        assert lines[1:3] == ["  step 41: 0 1 1", "  step 42: 2"]
        assert lines[4:] == ["  neuron 0: 0.5 -1"]
        rows = [json.loads(line) for line in json_lines]
        assert rows[0]["spikes"] == [[41, 0], [41, 1], [41, 1], [42, 2]]
        assert rows[1]["values"] == [[0.5, -1.0]]

    async def test_values_of_a_topic_of_the_users_own(self, small_brain: SmallBrain, tmp_path: Path) -> None:
        path = write_topics(tmp_path / "topics.yaml")
        robot = await small_brain.join("body", "robot")
        robot.contract = load_extension([path]).contract
        place = {"x_m": 0.5, "heading_rad": 1, "covariance": np.arange(60)}
        shown = []
        for options in ([], ["--data"], ["--json"]):
            echo = await small_brain.start("topic", "echo", "lab/odometry", "-n", "1", "--topics", str(path), *options)
            assert await robot.wait_matching("lab/odometry", PATIENCE_S)
            robot.publish("lab/odometry", place)
            shown.append((await echo.ended()).out.splitlines())
        lines, data_lines, (row,) = shown
        assert lines[1:3] == ["  x_m: 0.5", "  heading_rad: 1.0"]
        assert data_lines[-1] == f"  covariance: {' '.join(map(str, range(50)))} and 10 more"
        assert json.loads(row)["message"] == {"x_m": 0.5, "heading_rad": 1, "covariance": list(range(60))}

    @pytest.mark.parametrize("key", ["a//b", "/a", "a/", "spikes/**/x*y?", "a b#c"])
    async def test_a_wrong_key_expression_is_one_clear_error(self, small_brain: SmallBrain, key: str) -> None:
        done = await small_brain.run("topic", "echo", key)
        assert done.code == 1
        assert "is not a key expression" in done.err
        assert done.err.count("\n") == 1


class TestMeasures:
    """Eye sends 1, 2, 3, 6, 7, ... 12: 12 sent, 10 of them seen. After the fifth its clock is set back by an hour."""

    SEQUENCE = (1, 2, 3, 6, 7, 8, 9, 10, 11, 12)
    HOUR_NS = 3600 * 10**9

    def _payloads(self) -> list[bytes]:
        now = time.time_ns()
        return [_spikes(seq, timestamp_ns=now - self.HOUR_NS * (seq > 7)) for seq in self.SEQUENCE]

    async def _measured(self, small_brain: SmallBrain, verb: str, *options: str) -> list[dict[str, Any]]:
        stranger = await small_brain.join("client")
        count = str(len(self.SEQUENCE) + 2)
        measuring = await small_brain.start("topic", verb, "**", "--count", count, "--json", *options)
        publisher = await _publisher(stranger, "test/spikes/eye/ear")
        for payload in self._payloads():
            publisher.put(payload, None)
        foreign = await _publisher(stranger, "test/other/key")
        for payload in (b"1234", b"12345678"):
            foreign.put(payload, None)
        done = await measuring.ended()
        assert done.code == 0
        assert "12 messages seen, 2 missing" in done.err
        return done.rows

    async def test_hz_counts_what_was_sent_and_ignores_the_senders_clock(self, small_brain: SmallBrain) -> None:
        eye, foreign = await self._measured(small_brain, "hz")
        assert (eye["source"], eye["sent"], eye["seen"], eye["missing"]) == ("eye", 12, 10, 2)
        assert eye["rate_hz"] > 0
        assert 0 <= eye["interval_min_s"] <= eye["interval_max_s"] < PATIENCE_S
        assert (foreign["source"], foreign["sent"], foreign["seen"]) == ("", None, 2)

    async def test_bw_is_the_bytes_that_were_sent(self, small_brain: SmallBrain) -> None:
        eye, foreign = await self._measured(small_brain, "bw")
        sizes = [len(payload) for payload in self._payloads()]
        assert (eye["size_min"], eye["size_mean"], eye["size_max"]) == (min(sizes), NEAR(_mean(sizes)), max(sizes))
        assert eye["bytes_per_s"] > 0
        assert (foreign["size_min"], foreign["size_mean"], foreign["size_max"]) == (4, 6, 8)

    async def test_delay_is_from_the_timestamp_to_here_and_a_wrong_clock_is_named(
        self, small_brain: SmallBrain
    ) -> None:
        eye, foreign = await self._measured(small_brain, "delay")
        assert 0 < eye["delay_min_ms"] <= eye["delay_mean_ms"] <= eye["delay_max_ms"] < 1000 * PATIENCE_S
        assert 3_600_000 < eye["clock_difference_ms"] < 3_600_000 + 1000 * PATIENCE_S
        assert (foreign["delay_mean_ms"], foreign["clock_difference_ms"]) == (None, None)

    async def test_without_an_end_it_reports_every_second_until_interrupted(self, small_brain: SmallBrain) -> None:
        stranger = await small_brain.join("client")
        measuring = await small_brain.start("topic", "hz", "spikes/**")
        publisher = await _publisher(stranger, "test/spikes/eye/ear")
        for payload in self._payloads():
            publisher.put(payload, None)
        assert measuring.process.stdout is not None
        line = ""
        async with asyncio.timeout(PATIENCE_S):
            while "sent 12, seen 10, missing 2" not in line:  # the first report may come before the last message
                line = (await measuring.process.stdout.readline()).decode()
        assert line.startswith("spikes/eye/ear from eye: ")
        assert "?" not in line
        assert " -" not in line
        measuring.process.send_signal(2)
        done = await measuring.ended()
        assert done.code == 130
        assert "10 messages seen, 2 missing" in done.err
        assert "Traceback" not in done.err


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
