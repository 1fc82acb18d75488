"""The spike codes of texts and values: what is written comes back, and the code of texts is TAS."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainnet.errors import PacketError
from brainnet.snn.codes.tas import TasWindow, tas_decode, tas_encode
from brainnet.wire.codes import texts
from brainnet.wire.codes.values import CONFIDENCE, ValueCode
from brainnet.wire.messages import MAX_TEXT
from brainnet.wire.packet import SpikePacket

ANY_TEXT = st.text(st.characters())  # half of a surrogate pair, too


def sent(spikes: np.ndarray) -> SpikePacket:
    """Return the packet that arrives when these spikes are sent."""
    return SpikePacket.decode(SpikePacket(spikes, "text", source="ear").encode())


@given(ANY_TEXT)
def test_every_text_comes_back(text: str) -> None:
    assert texts.decode(sent(texts.encode(text))) == text


@pytest.mark.parametrize("unit", ["a", "\x00", "ß", "鍵", "😀"])
def test_the_longest_text_of_a_prompt_fits_into_one_packet(unit: str) -> None:
    text = unit * MAX_TEXT
    assert texts.decode(SpikePacket(texts.encode(text))) == text


def test_every_byte_comes_back_at_every_position() -> None:
    data = bytes(range(256)).decode("latin-1")
    for length in range(1, 60):
        for first in range(0, 256, length):
            part = data[first : first + length]
            assert texts.decode(SpikePacket(texts.encode(part))) == part


@given(st.text(max_size=40))
def test_the_code_is_tas_with_one_embedding_for_every_byte(text: str) -> None:
    digits = torch.from_numpy(texts.DIGITS)
    embedding = torch.logit(torch.from_numpy(texts.RATES))[digits]
    tokens = torch.tensor(list(text.encode()), dtype=torch.int64)
    window = TasWindow(texts.STEPS, max(1, len(tokens)))
    expected = tas_encode(embedding[tokens][None], window)[0]
    spikes = texts.encode(text)
    assert spikes.tolist() == expected.permute(1, 2, 0).reshape(-1, texts.STEPS).tolist()
    if text:
        by_position = torch.from_numpy(spikes).reshape(len(tokens), texts.WIDTH, texts.STEPS).permute(2, 0, 1)
        assert torch.equal(tas_decode(by_position[None].float(), embedding.float(), window)[0], tokens)


def test_lost_spikes_change_letters_and_silent_positions_are_left_out() -> None:
    spikes = texts.encode("Where is the red key?")
    spikes[: 6 * texts.WIDTH] = 0
    assert texts.decode(SpikePacket(spikes)) == "is the red key?"
    assert texts.decode(SpikePacket(np.zeros_like(spikes))) == ""
    few = texts.decode(SpikePacket(texts.encode("ü") * np.array([[1]] * 4 + [[0]] * 4, np.uint8)))
    assert few == "\ufffd"  # half of a letter


def test_what_is_no_text_is_refused() -> None:
    spikes = texts.encode("abc")
    for bad in (spikes[1:], spikes[:, 1:], spikes.astype(np.float32), 3 * spikes):
        with pytest.raises(PacketError, match=r"a text is spikes \[4 n, 10\], got .* from 'ear'"):
            texts.decode(SpikePacket(bad, source="ear"))


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.integers(1, 20), st.integers(1, 20))
def test_values_come_back_as_finely_as_spikes_can_say_them(values: list[float], neurons: int, steps: int) -> None:
    code = ValueCode((1.0, 2.5, 0.25), neurons, steps)
    packet = sent(code.encode(np.array(values)))
    read = code.decode(packet)
    largest = np.array(code.largest)
    wanted = np.clip(values, -largest, largest)
    places = neurons * steps
    finest = (np.sqrt(np.abs(wanted) / largest) + 1 / (4 * places)) / places * largest
    assert (np.abs(read - wanted) <= finest + 1e-12).all()
    np.testing.assert_allclose(read, code.rounded(np.array(values)), rtol=0, atol=1e-12)
    assert np.array_equal(code.decode(SpikePacket(code.encode(read))), read)


def test_the_spikes_of_a_value_are_spread_over_steps_and_neurons() -> None:
    spikes = CONFIDENCE.encode(np.array([0.25]))  # half of all places
    positive, negative = np.split(spikes, 2)
    assert positive.sum(axis=0).tolist() == [CONFIDENCE.neurons // 2] * CONFIDENCE.steps
    assert not negative.any()
    assert CONFIDENCE.encode(np.array([-0.25]))[CONFIDENCE.neurons :].tolist() == positive.tolist()


def test_a_value_with_lost_spikes_is_smaller() -> None:
    code = ValueCode((2.0,))
    spikes = code.encode(np.array([-1.6]))
    spikes[:, ::2] = 0
    np.testing.assert_allclose(code.decode(SpikePacket(spikes)), [-0.4], atol=0.01)


def test_what_is_no_value_is_refused() -> None:
    code = ValueCode((1.0, 1.0))
    spikes = code.encode(np.zeros(2))
    for bad in (spikes[1:], spikes[:, 1:], spikes.astype(np.float32), spikes + 2):
        with pytest.raises(PacketError, match=r"2 values are spikes \[256, 16\]"):
            code.decode(SpikePacket(bad))
