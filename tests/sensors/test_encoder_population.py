"""Encoders as populations: recordings give the same spikes however they are cut, topics what came in time."""

from __future__ import annotations

import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from brainnet.connectome import build as build_network
from brainnet.connectome import load
from brainnet.connectome.summary import summary
from brainnet.errors import BrainnetError, ConnectomeError, ModelError
from brainnet.programs.listening import block_of
from brainnet.sensors.blocks import Block, in_windows
from brainnet.sensors.encoder_model import MAX_WAITING, EncoderModel
from brainnet.sensors.encoders.cochlea import Cochlea
from brainnet.sensors.encoders.rate import Rate
from brainnet.sensors.events import EVENT
from brainnet.sensors.synthetic import MovingBar, ToneSweep
from brainnet.simulation.models.base import Setting, Window, compute
from brainnet.simulation.models.registry import make_model, model_class
from brainnet.simulation.spikes import Spikes
from brainnet.testing import wait_until
from brainnet.wire.messages import SensorSample
from tests.sensors.test_event_files import evt2
from tests.simulation.models import run, same, same_state
from tests.support import MakeBrain

TOPIC = "input/audio/ear"


def encoder(folder: Path = Path(), *, realtime: bool = False, dt_ms: float = 1.0, **parameters: Any) -> EncoderModel:
    kind = model_class("encoder")
    setting = Setting("ear", 1, dt_ms, 7, folder, realtime=realtime)
    shape = kind.shape(kind.Parameters.model_validate(parameters), setting)
    assert shape is not None
    made = make_model(kind, Setting("ear", shape[1], dt_ms, 7, folder, realtime=realtime), parameters)
    assert isinstance(made, EncoderModel)
    return made


SIGNALS: list[dict[str, Any]] = [
    {"encoder": "cochlea", "options": {"bands": 6}, "source": {"signal": "ToneSweep", "options": {"seconds": 0.1}}},
    {"encoder": "rate", "source": {"signal": "MovingBar", "options": {"height": 4, "width": 6, "seconds": 0.1}}},
    {"encoder": "latency", "options": {"code_steps": 9}, "source": {"signal": "MovingBar", "options": {"width": 8}}},
    {"encoder": "frame_change", "options": {"threshold": 99}, "source": {"signal": "MovingBar"}},
    {"encoder": "sample_change", "options": {"threshold": 0.1}, "source": {"signal": "RandomWalk"}},
    {"encoder": "addresses", "options": {"pool": 4}, "source": {"signal": "MovingEdge", "options": {"seconds": 0.1}}},
    {
        "encoder": "voxels",
        "options": {"low": [-1, -1, -1], "high": [1, 1, 1], "cells": [3, 3, 3]},
        "source": {"signal": "RotatingPoints", "options": {"points": 20}},
    },
]


@pytest.mark.parametrize("parameters", SIGNALS, ids=lambda p: p["encoder"])
@pytest.mark.parametrize("loop", [False, True])
def test_cuts_and_saved_states_change_nothing(parameters: dict[str, Any], loop: bool) -> None:
    parameters = parameters | {"source": parameters["source"] | {"loop": loop}}
    whole, cut, before, after = (encoder(**parameters) for _ in range(4))
    spikes = run(whole, {}, 350)
    assert spikes.count > 3
    assert same(spikes, run(cut, {}, 350, [1, 2, 100, 133, 301]))
    first = run(before, {}, 133)
    after.load(before.save())
    run(before, {}, 350, first=133)  # what was saved is a copy
    assert same(spikes, Spikes.joined([first, run(after, {}, 350, [134], first=133)]))
    assert same_state(whole, after)


def test_the_spikes_are_those_of_the_encoder_and_seed_and_name_are_those_of_the_population() -> None:
    bar = {"height": 4, "width": 6}
    expected = Rate((4, 6), 1000, seed=7, name="ear")
    fired = [expected.window(at, 20, blocks) for at, blocks in in_windows(MovingBar(**bar), 1000, 20)]
    model = encoder(encoder="rate", source={"signal": "MovingBar", "options": bar})
    whole = Spikes.joined(fired)
    assert same(whole, run(model, {}, whole.steps))


def test_a_recording_that_begins_again_goes_on_without_a_gap() -> None:
    # 0.1 s of sound are 1,600 samples: no whole number of blocks, and the filters ring on from one turn to the next
    options: dict[str, Any] = {"seconds": 0.1, "from_hz": 300, "to_hz": 300}
    sound = np.concatenate([block.payload for block in ToneSweep(**options)] * 3)
    expected = Cochlea(16_000, 1000, bands=6).window(0, 300, [Block(0, sound, 0, 16_000.0)])
    source = {"signal": "ToneSweep", "options": options, "loop": True}
    assert same(expected, run(encoder(encoder="cochlea", options={"bands": 6}, source=source), {}, 300, [99]))


def test_without_loop_silence_follows() -> None:
    model = encoder(encoder="sample_change", options={"threshold": 0.1}, source={"signal": "RandomWalk"})
    assert run(model, {}, 1000).count
    assert not run(model, {}, 2000, first=1000).count
    assert model.counts() == {}
    assert model.trouble() == ""


def events(count: int = 300) -> list[tuple[int, int, int, bool]]:
    """Rows of time in microseconds, x, y and polarity on a sensor of 40 x 30 pixels."""
    draws = np.random.default_rng(3)
    times = np.sort(draws.integers(0, 90_000, count)).tolist()
    return [(t, int(draws.integers(40)), int(draws.integers(30)), bool(draws.integers(2))) for t in times]


def write_network(folder: Path, file: str, **options: Any) -> Path:
    """A network of a user's: the events of a file drive a population of neurons, in another process."""
    path = folder / "network.yaml"
    source: dict[str, Any] = {"file": file, "kind": "events"}
    if file.endswith(".csv"):
        source["options"] = {"width": 40, "height": 30}
    eye = {"encoder": "addresses", "options": options, "source": source}
    value = {
        "version": 1,
        "populations": [
            {"id": "eye", "model": "encoder", "parameters": eye},
            {"id": "v1", "model": "relay", "size": 2400, "parameters": {"threshold": 1}},
        ],
        "projections": [
            {"from": "eye", "to": "v1", "synapses": {"connect": "one_to_one", "weight": 1, "delay_ms": 4}},
        ],
    }
    path.write_text(yaml.safe_dump(value))
    return path


def expected_spikes(rows: list[tuple[int, int, int, bool]]) -> list[tuple[int, int]]:
    return sorted({(t // 1000, (on * 30 + y) * 40 + x) for t, x, y, on in rows})


@pytest.mark.parametrize("format", ["evt2.raw", "csv", "npz"])
def test_an_event_file_drives_a_network_with_the_spikes_of_its_events(format: str, tmp_path: Path) -> None:
    rows, file = events(), tmp_path / f"events.{format}"
    if format == "csv":
        lines = [f"{t},{x},{y},{int(on)}" for t, x, y, on in rows]
        file.write_text("\n".join(["t_us,x,y,polarity", *lines]))
    elif format == "npz":
        t, x, y, on = (np.array(column) for column in zip(*rows, strict=True))
        np.savez(file, t_us=t, x=x, y=y, polarity=on, width=40, height=30)
    else:
        pytest.importorskip("faery", reason="needs brainnet[events]")
        file.write_bytes(evt2(rows))
    network = build_network(load(write_network(tmp_path, file.name)))
    found: dict[str, list[Spikes]] = {"eye": [], "v1": []}
    for _ in range(25):
        for name, spikes in network.advance(4).items():
            found[name].append(spikes)
    for name, delay in (("eye", 0), ("v1", 4)):
        whole = Spikes.joined(found[name])
        fired = [(s - delay, int(n)) for s in range(100) for n in whole.in_step(s)]
        assert fired == expected_spikes(rows)


def test_two_processes_fire_as_one(make_brain: MakeBrain, tmp_path: Path) -> None:
    t, x, y, on = (np.array(column) for column in zip(*events(), strict=True))
    np.savez(tmp_path / "events.npz", t_us=t, x=x, y=y, polarity=on, width=40, height=30)
    path = write_network(tmp_path, "events.npz")
    network = build_network(load(path))
    network.run(400, 4)
    with make_brain() as brain:
        *_, row = brain.rows("launch", str(path), "--steps", "400", "--digest")
    assert row["digest"] == network.digest()


# -- topics


def ear(**source: Any) -> EncoderModel:
    source = {"topic": TOPIC, "oldest_ms": 60_000} | source
    return encoder(realtime=True, encoder="cochlea", options={"rate_hz": 8000, "bands": 6}, source=source)


def now_us() -> int:
    return time.time_ns() // 1000


def step(model: EncoderModel, first: int, steps: int = 10) -> Spikes:
    return compute(model, Window(first, steps, 1.0, {}))


def sound(samples: int, number: int = 1, **fields: Any) -> Block:
    tone = (10_000 * np.sin(np.arange(samples) / 4)).astype(np.int16)
    return Block(fields.get("t_us", now_us()), tone[:, None], number, 8000.0)


def test_sound_on_a_topic_goes_on_sample_by_sample_whenever_its_blocks_come() -> None:
    model, blocks = ear(), [sound(120, number) for number in range(4)]
    joined = np.concatenate([block.payload for block in blocks])
    expected = Cochlea(8000, 1000, bands=6).window(20, 100, [Block(20_000, joined, 0, 8000.0)])
    fired = [step(model, 0), step(model, 10)]
    for at in range(20, 120, 10):
        # blocks of 15 ms, all before they are due, and the last two at once
        for block in {20: blocks[:1], 30: blocks[1:2], 40: blocks[2:]}.get(at, []):
            model.sense(block)
        fired.append(step(model, at))
    assert expected.count
    assert same(expected, Spikes.joined(fired[2:]))
    assert not Spikes.joined(fired[:2]).count
    assert model.counts() == {
        "samples": 4, "samples_lost": 0, "samples_dropped": 0, "samples_late": 0, "samples_bad": 0,
    }  # fmt: skip


def test_the_place_between_two_blocks_is_saved() -> None:
    whole, before, after = ear(), ear(), ear()
    first, second = sound(200), sound(200, 2)
    for model in (whole, before):
        model.sense(first)
        step(model, 0)
    after.load(before.save())
    for model in (whole, after):
        model.sense(second)
    for at in range(10, 60, 10):
        assert same(step(whole, at), step(after, at))
    assert same_state(whole, after)


def test_what_comes_too_late_or_is_lost_or_too_much_is_counted() -> None:
    model = ear(oldest_ms=1000)
    model.sense(sound(80, 1, t_us=now_us() - 2_000_000))
    model.sense(sound(80, 5))
    step(model, 0)
    counts = model.counts()
    assert (counts["samples"], counts["samples_late"], counts["samples_lost"]) == (2, 1, 3)
    for number in range(6, 6 + MAX_WAITING + 2):
        model.sense(sound(8, number))
    assert model.counts()["samples_dropped"] == 2


def test_a_sample_that_does_not_fit_is_left_out_and_the_others_are_not() -> None:
    model, alone = ear(), ear()
    good = sound(300)
    bad = Block(now_us(), np.zeros((8, 3), np.int16), 2, 8000.0)
    for block in (good, bad, bad):
        model.sense(block)
    alone.sense(good)
    assert same(step(model, 0, 40), fired := step(alone, 0, 40))
    assert fired.count
    assert model.counts()["samples_bad"] == 2
    assert f"{TOPIC}: Cochlea: payload 2 of" in model.trouble()
    model.sense(sound(80, 3))
    step(model, 40)
    assert model.trouble() == ""


def test_a_silent_sensor_is_trouble_unless_it_may_be_silent() -> None:
    model = ear(silent_s=0.0001)
    wait_until("trouble", model.trouble)
    assert f"no sample on {TOPIC} for more than 0.0001 s" in model.trouble()
    assert ear(silent_s=0).trouble() == ""


def test_events_and_frames_on_a_topic() -> None:
    source = {"topic": "input/events/eye", "oldest_ms": 60_000}
    eye = encoder(realtime=True, encoder="addresses", options={"width": 8, "height": 8}, source=source)
    listed = np.array([(5_000, 1, 2, True), (27_000, 3, 2, False)], EVENT)
    sample = SensorSample(format="events", shape=[2], data=listed.tobytes(), sequence=1)
    eye.sense(block_of(sample))
    fired = Spikes.joined([step(eye, 0), step(eye, 10), step(eye, 20)])
    assert [(s, n) for s in range(30) for n in fired.in_step(s)] == [(0, (8 + 2) * 8 + 1), (22, 2 * 8 + 3)]

    source = {"topic": "input/vision/front", "grey": True, "size": [2, 3], "oldest_ms": 60_000}
    options = {"shape": [2, 3], "max_rate_hz": 1000}
    camera = encoder(realtime=True, encoder="rate", options=options, source=source)
    frame = np.zeros((20, 30, 3), np.uint8)
    frame[:10, 20:] = 255
    camera.sense(Block(now_us(), frame, 1))
    seen = step(camera, 0, 4)
    assert [seen.in_step(s).tolist() for s in range(4)] == 4 * [[2]]
    camera.sense(Block(now_us(), np.zeros((0, 3), np.uint8), 2))
    assert "a frame is uint8" in camera.trouble()


def test_samples_that_cannot_be_read() -> None:
    with pytest.raises(BrainnetError, match="bytes for each"):
        block_of(SensorSample(format="events", data=b"1234567"))
    with pytest.raises(BrainnetError, match="a sample of format 'jpeg' is not a picture"):
        block_of(SensorSample(format="jpeg", data=b"no picture"))


# -- mistakes


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"encoder": "cochle"}, r"parameters\.encoder.*did you mean cochlea"),
        ({"encoder": "mine.py"}, r"parameters\.encoder.*mine\.py does not exist"),
        ({"options": {"band": 3}}, r"parameters\.options.*no option 'band', did you mean bands"),
        ({"options": {"bands": "many"}}, r"parameters\.options.*does not accept these options"),
        ({"options": {"bands": 0}}, r"parameters\.options.*1 to .* neurons, not 0"),
        ({"source": {}}, r"parameters\.source.*name one of topic, file and signal, not none"),
        ({"source": {"file": "a.wav", "signal": "ToneSweep"}}, "not file and signal"),
        ({"source": {"file": "none.wav"}}, r"parameters\.source\.file.*there is no such file"),
        ({"source": {"file": "broken.wav"}}, r"parameters\.source\.file.*is no WAV file"),
        ({"source": {"signal": "ToneSwep"}}, r"parameters\.source\.signal.*did you mean ToneSweep"),
        ({"source": {"signal": "MovingBar", "options": {"seconds": 0}}}, r"parameters\.source\.signal.*nothing"),
        ({"source": {"topic": "input/audio/ear"}}, r"parameters\.source\.topic.*cannot be encoded in lock-step"),
        ({"source": {"topic": "audio/ear"}}, r"parameters\.source\.topic"),
        ({"encoder": "voxels", "source": {"signal": "RotatingPoints"}}, r"needs the option low, high, cells"),
    ],
)
def test_a_mistake_names_its_place(parameters: dict[str, Any], says: str, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    value = {"encoder": "cochlea", "source": {"signal": "ToneSweep"}} | parameters
    path = tmp_path / "network.yaml"
    population = {"id": "ear", "model": "encoder", "parameters": value}
    path.write_text(yaml.safe_dump({"version": 1, "populations": [population]}, sort_keys=False))
    with pytest.raises(ConnectomeError, match=rf"network\.yaml.*line \d+.*{says}") as caught:
        summary(load(path))
    assert "\n" not in str(caught.value)


def test_nothing_projects_to_an_encoder(tmp_path: Path) -> None:
    path = write_network(tmp_path, "events.csv")
    (tmp_path / "events.csv").write_text("t_us,x,y,polarity\n0,1,1,1\n")
    text = path.read_text().replace("from: eye", "from: v1").replace("to: v1", "to: eye")
    path.write_text(text)
    with pytest.raises(ConnectomeError, match="'eye' takes no input; its model is a source"):
        build_network(load(path))


def test_a_recording_that_is_damaged_ends_the_network(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    cut = (tmp_path / "tone.wav").read_bytes()[:-4000]
    (tmp_path / "tone.wav").write_bytes(cut)
    model = encoder(tmp_path, encoder="cochlea", source={"file": "tone.wav"})
    with pytest.raises(ModelError, match=r"population ear \(EncoderModel\): .*tone.wav is cut off"):
        run(model, {}, 1000)


MINE = """
import numpy as np
from brainnet.sensors.encoders.base import Encoder
from brainnet.simulation.spikes import Spikes

class Loudness(Encoder):
    '''Fires in the step of a block, the more neurons the louder it is.'''

    def __init__(self, dt_us, *, neurons=8):
        super().__init__(neurons, dt_us)

    def _encode(self, first_step, steps, at, payloads):
        counts = np.zeros((self.size, steps), np.uint8)
        for step, block in zip(at, payloads):
            counts[: int(self.size * np.abs(block.payload).mean() / 32768) + 1, step - first_step] = 1
        return Spikes.of_dense(first_step, counts)
"""


def test_an_encoder_of_a_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    source = {"signal": "ToneSweep", "options": {"amplitude": 0.9}}
    model = encoder(tmp_path, encoder="mine.py", options={"neurons": 5}, source=source)
    fired = run(model, {}, 100, [7])
    assert [s for s in range(100) if fired.in_step(s).size] == [0, 64]
    assert fired.in_step(64).tolist() == [0, 1, 2]
