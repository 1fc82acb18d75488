"""The spiking text embedder: its neurons, its vectors, and that related texts lie closer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.paths import region_file
from brainnet.snn.models.text_embedder import EmbedderConfig, SpikingTextEmbedder, count_thresholds, lif_response
from brainnet.snn.models.text_features import SubwordVocabulary
from brainnet.snn.neurons.lif import LIFParams, lif_sequence

WEIGHTS = region_file("hippocampus", ".safetensors")
RELATED = [
    ("Where is the blue toolbox?", "The blue toolbox is under the workbench."),
    ("Who is allergic to peanuts?", "Lisa has an allergy: she cannot eat peanuts."),
    ("When does the train to Berlin leave?", "Trains for Berlin are leaving every hour from platform 4."),
    ("What is the code of the garage door?", "To open the garage, type the code 4711 at the door."),
    ("Which animals live on the farm?", "The farmer keeps cows, chickens and an old donkey."),
    ("How was the weather at sea?", "There was a storm over the sea and heavy rain all night."),
]
MEANT = [
    ("My daughter is ill.", "The child has a fever."),
    ("Where did they park their automobile?", "We left our car by a tree."),
    ("supersonic aircraft", "jet planes faster than sound"),
    ("What is his profession?", "He works as an engineer."),
]


@pytest.fixture(scope="module")
def embedder() -> SpikingTextEmbedder:
    return SpikingTextEmbedder.load(WEIGHTS)


@pytest.mark.parametrize("texts", [[], ["Where is the key?"], ["Where is the key?", "", "Größe 7"]])
def test_counts_and_spikes_in_one_run_are_those_of_each_text(embedder: SpikingTextEmbedder, texts: list[str]) -> None:
    counts, spikes = embedder.counts_and_spikes(texts)
    assert len(counts) == len(spikes) == len(texts)
    for text, its_counts, its_spikes in zip(texts, counts, spikes, strict=True):
        assert np.array_equal(its_counts, embedder.counts([text])[0])
        assert np.array_equal(its_spikes, embedder.spikes(text))
        on, off = its_spikes.reshape(2, embedder.width, -1).sum(2).astype(np.int8)
        assert np.array_equal(its_counts, on - off)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 40), beta=st.sampled_from([0.5, 0.9, 0.97]))
def test_its_neurons_are_those_of_lif_sequence(seed: int, steps: int, beta: float) -> None:
    currents = np.random.default_rng(seed).normal(0, 0.6, 64).astype(np.float32)
    drive = torch.from_numpy(currents).expand(steps, 64).contiguous()
    expected, _ = lif_sequence(drive, None, LIFParams(torch.tensor(beta)))
    assert np.array_equal(lif_response(currents, steps, beta), expected.numpy())


@settings(deadline=None, max_examples=30)
@given(
    currents=st.lists(st.floats(-8, 8, width=32), max_size=200),
    steps=st.integers(1, 60),
    beta=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    threshold=st.sampled_from([0.5, 1.0]),
)
def test_thresholds_tell_how_often_a_neuron_fires(
    currents: list[float], steps: int, beta: float, threshold: float
) -> None:
    levels = count_thresholds(steps, beta, threshold)
    tried = np.concatenate([np.array(currents, np.float32), levels, np.nextafter(levels, np.float32(0))])
    fired = lif_response(tried, steps, beta, threshold).sum(0)
    assert np.array_equal(np.searchsorted(levels, tried, side="right"), fired)


def test_related_texts_lie_closer_than_unrelated_ones(embedder: SpikingTextEmbedder) -> None:
    similarity = embedder.embed([one for one, _ in RELATED]) @ embedder.embed([other for _, other in RELATED]).T
    assert (similarity.argmax(1) == np.arange(len(RELATED))).all()
    related, unrelated = similarity.diagonal().mean(), similarity[~np.eye(len(RELATED), dtype=bool)].mean()
    assert related > 2 * unrelated


def test_a_meaning_is_found_without_a_shared_word(embedder: SpikingTextEmbedder) -> None:
    similarity = embedder.embed([one for one, _ in MEANT]) @ embedder.embed([other for _, other in MEANT]).T
    assert (similarity.argmax(1) == np.arange(len(MEANT))).all()


def test_vectors_are_the_counts_of_the_spikes_at_unit_length(embedder: SpikingTextEmbedder) -> None:
    text = "The blue toolbox is under the workbench."
    spikes = embedder.spikes(text)
    assert spikes.shape == (2 * embedder.width, embedder.config.steps)
    assert set(np.unique(spikes)) == {0, 1}
    on, off = spikes.sum(1, dtype=np.int64).reshape(2, -1)
    assert not (on * off).any()
    assert np.array_equal(embedder.counts([text])[0], on - off)
    assert embedder.embed([text])[0] == pytest.approx((on - off) / np.linalg.norm(on - off), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.text(max_size=60), max_size=4))
def test_any_text_has_a_vector(embedder: SpikingTextEmbedder, texts: list[str]) -> None:
    vectors = embedder.embed(texts)
    assert vectors.shape == (len(texts), embedder.width)
    norms = np.linalg.norm(vectors, axis=1)
    assert all(norm == pytest.approx(1.0, abs=1e-5) or norm == 0 for norm in norms)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(embedder.embed([text])[0], vector)


def test_a_text_without_words_has_no_direction(embedder: SpikingTextEmbedder) -> None:
    assert not embedder.embed(["", "?!", "  "]).any()
    assert not embedder.spikes("...").any()


def test_words_of_like_meaning_have_like_vectors(embedder: SpikingTextEmbedder) -> None:
    vectors = embedder.word_vectors(["car", "Vehicle", "sofa", "couch", "doctor", "physician", "?"])
    assert vectors.shape == (7, embedder.width)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0] * 6 + [0.0])
    similar = vectors[:6] @ vectors[:6].T - 2 * np.eye(6)
    assert similar.argmax(1).tolist() == [1, 0, 3, 2, 5, 4]
    assert np.array_equal(embedder.word_vectors(["vehicle"])[0], vectors[1])
    assert embedder.word_vectors([]).shape == (0, embedder.width)


@pytest.mark.parametrize("words", ["dog Hund chien perro cane", "car Auto voiture coche macchina"])
def test_words_of_other_languages_are_near_their_translation(embedder: SpikingTextEmbedder, words: str) -> None:
    english, *others = embedder.word_vectors(words.split())
    far = embedder.word_vectors(["mountain", "letter", "yesterday", "sing", "blue"])
    for other in others:
        assert english @ other > (far @ other).max() + 0.2


def test_currents_are_of_one_strength(embedder: SpikingTextEmbedder) -> None:
    currents = embedder.currents(["kettle", "The kettle is on the stove, and the water in it is boiling."])
    assert np.sqrt((currents**2).mean(1)) == pytest.approx(embedder.config.gain, rel=1e-4)


def small(rng: np.random.Generator, known: list[str], buckets: int = 64, width: int = 8) -> SpikingTextEmbedder:
    config = EmbedderConfig(buckets=buckets, steps=16)
    hashes = SubwordVocabulary.build(known, buckets).hashes
    count = len(hashes) + buckets
    rows = rng.integers(-127, 128, (count, width)).astype(np.int8)
    return SpikingTextEmbedder(config, hashes, rows, rng.random(count).astype(np.float16))


def test_saved_weights_are_the_same_embedder(tmp_path: Path) -> None:
    fresh = small(np.random.default_rng(0), ["fox", "dog"])
    fresh.save(tmp_path / "weights.safetensors")
    loaded = SpikingTextEmbedder.load(tmp_path / "weights.safetensors")
    assert loaded.config == fresh.config
    assert loaded.fingerprint == fresh.fingerprint
    assert np.array_equal(loaded.counts(["a fox", "a wolf"]), fresh.counts(["a fox", "a wolf"]))
    other = SpikingTextEmbedder(fresh.config, fresh.vocabulary.hashes, fresh.rows, 2 * fresh.scale)
    assert other.fingerprint != fresh.fingerprint


def test_weights_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    for name in ("bad.safetensors", "missing.safetensors"):
        with pytest.raises(ModelError, match=rf"{name}.*brainnet train"):
            SpikingTextEmbedder.load(tmp_path / name)
    with pytest.raises(ModelError, match="2 words and 64 buckets"):
        SpikingTextEmbedder(EmbedderConfig(buckets=64), np.arange(2), np.zeros((3, 2), np.int8), np.zeros(3))
