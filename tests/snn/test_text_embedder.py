"""The spiking text embedder: its neurons, its vectors, and that related texts lie closer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.paths import share_dir
from brainnet.snn.lif import LIFParams, lif_sequence
from brainnet.snn.text_embedder import EmbedderConfig, SpikingTextEmbedder, lif_response

WEIGHTS = share_dir() / "nodes" / "weights" / "hippocampus.safetensors"
RELATED = [
    ("Where is the blue toolbox?", "The blue toolbox is under the workbench."),
    ("Who is allergic to peanuts?", "Lisa has an allergy: she cannot eat peanuts."),
    ("When does the train to Berlin leave?", "Trains for Berlin are leaving every hour from platform 4."),
    ("What is the code of the garage door?", "To open the garage, type the code 4711 at the door."),
    ("Which animals live on the farm?", "The farmer keeps cows, chickens and an old donkey."),
    ("How was the weather at sea?", "There was a storm over the sea and heavy rain all night."),
]


@pytest.fixture(scope="module")
def embedder() -> SpikingTextEmbedder:
    return SpikingTextEmbedder.load(WEIGHTS)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 40), beta=st.sampled_from([0.5, 0.9, 0.97]))
def test_its_neurons_are_those_of_lif_sequence(seed: int, steps: int, beta: float) -> None:
    currents = np.random.default_rng(seed).normal(0, 0.6, 64).astype(np.float32)
    drive = torch.from_numpy(currents).expand(steps, 64).contiguous()
    expected, _ = lif_sequence(drive, None, LIFParams(torch.tensor(beta)))
    assert np.array_equal(lif_response(currents, steps, beta), expected.numpy())


def test_related_texts_lie_closer_than_unrelated_ones(embedder: SpikingTextEmbedder) -> None:
    asked = embedder.embed([question for question, _ in RELATED])
    told = embedder.embed([statement for _, statement in RELATED])
    similarity = asked @ told.T
    nearest = similarity.argmax(1)
    assert (nearest == np.arange(len(RELATED))).sum() >= len(RELATED) - 1
    related = similarity.diagonal().mean()
    unrelated = similarity[~np.eye(len(RELATED), dtype=bool)].mean()
    assert related > 2 * unrelated


def test_vectors_are_the_counts_of_the_spikes_at_unit_length(embedder: SpikingTextEmbedder) -> None:
    text = "The blue toolbox is under the workbench."
    spikes = embedder.spikes(text)
    assert spikes.shape == (2 * embedder.width, embedder.config.steps)
    assert set(np.unique(spikes)) == {0, 1}
    on, off = spikes.sum(1, dtype=np.float64).reshape(2, -1)
    assert not (on * off).any()
    counts = on - off
    assert embedder.embed([text])[0] == pytest.approx(counts / np.linalg.norm(counts), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.text(max_size=60), max_size=4))
def test_any_text_has_a_vector(texts: list[str]) -> None:
    embedder = SpikingTextEmbedder.load(WEIGHTS)
    vectors = embedder.embed(texts)
    assert vectors.shape == (len(texts), embedder.width)
    norms = np.linalg.norm(vectors, axis=1)
    assert all(norm == pytest.approx(1.0, abs=1e-5) or norm == 0 for norm in norms)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(embedder.embed([text])[0], vector)


def test_a_text_without_words_has_no_direction(embedder: SpikingTextEmbedder) -> None:
    assert not embedder.embed(["", "?!", "  "]).any()
    assert not embedder.spikes("...").any()


def test_saved_weights_are_the_same_embedder(tmp_path: Path) -> None:
    config = EmbedderConfig(buckets=64, width=8, steps=16)
    rng = np.random.default_rng(0)
    fresh = SpikingTextEmbedder(config, rng.normal(size=(64, 8)).astype(np.float16))
    fresh.save(tmp_path / "weights.safetensors")
    loaded = SpikingTextEmbedder.load(tmp_path / "weights.safetensors")
    assert loaded.config == config
    assert loaded.fingerprint == fresh.fingerprint
    assert np.array_equal(loaded.embed(["a fox"]), fresh.embed(["a fox"]))
    other = SpikingTextEmbedder(config, fresh.weight + np.float32(0.5))
    assert other.fingerprint != fresh.fingerprint


def test_weights_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    for name in ("bad.safetensors", "missing.safetensors"):
        with pytest.raises(ModelError, match=rf"{name}.*nodes/training/hippocampus\.py"):
            SpikingTextEmbedder.load(tmp_path / name)
    with pytest.raises(ModelError, match="do not fit"):
        SpikingTextEmbedder(EmbedderConfig(buckets=4, width=2), np.zeros((3, 2)))
