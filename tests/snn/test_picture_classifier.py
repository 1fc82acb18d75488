"""The spiking classifier against the same network built from snnTorch; early exit against all steps; weights files."""

from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.paths import region_file, share_dir
from brainnet.snn.models.picture_classifier import (
    ClassifierConfig,
    SpikingClassifier,
    load_classifier,
    load_weights,
    weights_metadata,
)
from brainnet.snn.models.picture_inference import PictureInference
from brainnet.snn.models.pictures import read_picture
from brainnet.training import save_weights

SMALL = ClassifierConfig(
    {"letter": ("a", "b"), "sign": ("!", "?", ".")},
    channels=(6, 8, 10),
    pooled=(True, True, True),
    temperatures=(0.5, 0.4, 0.3, 0.2, 0.1),
    threshold=0.6,
)


@cache
def network() -> SpikingClassifier:
    """Random weights, normalisation as if trained, so that the neurons of every stage fire."""
    torch.manual_seed(0)
    model = SpikingClassifier(SMALL)
    with torch.no_grad():
        for stage in model.stages:
            stage.norm.momentum = None
        model(images(16), steps=2)
        for stage, layer in zip(model.stages, model.neurons, strict=True):
            stage.norm.bias.uniform_(-0.2, 0.6)
            layer.decay.uniform_(0.5, 3)
    return model.eval()


def images(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_spikes_of_every_step_equal_snntorch() -> None:
    model, pictures = network(), images(5)
    neurons = [snntorch.Leaky(beta=torch.sigmoid(layer.decay)) for layer in model.neurons]
    membranes = [None] * len(neurons)
    scores, trains = [], []
    for _ in range(SMALL.steps):
        signal = (pictures - 0.5) * 4
        for index, (stage, neuron) in enumerate(zip(model.stages, neurons, strict=True)):
            current = stage.norm(torch.nn.functional.max_pool2d(stage.conv(signal), 2))
            membrane = torch.full_like(current, 0.5) if membranes[index] is None else membranes[index]
            signal, membranes[index] = neuron(current, membrane)
        trains.append(signal.flatten(1))
        scores.append(model.readout(signal.flatten(1)))
    result = model(pictures)
    assert 0.01 < result.spikes.mean() < 0.9
    assert torch.equal(result.spikes, torch.stack(trains))
    for step in range(SMALL.steps):
        torch.testing.assert_close(result.scores[step], torch.stack(scores[: step + 1]).mean(0))


@given(threshold=st.floats(0.2, 1.1), count=st.integers(1, 5), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_a_picture_is_answered_at_the_first_step_that_is_sure(threshold: float, count: int, seed: int) -> None:
    model, pictures = network(), images(count, seed)
    with torch.no_grad():
        steps = model(pictures)
    given = torch.stack([s.softmax(-1) for s in steps.scores / torch.tensor(SMALL.temperatures)[:, None, None]])
    for index, found in enumerate(model.classify(pictures, threshold)):
        taken = len(found.spikes)
        sure = given[:, index].amax(-1)
        assert taken == SMALL.steps or sure[taken - 1] >= threshold - 1e-4
        assert (sure[: taken - 1] < threshold + 1e-4).all()
        torch.testing.assert_close(found.probabilities, given[taken - 1, index], atol=1e-4, rtol=1e-4)
        assert torch.equal(found.spikes, steps.spikes[:taken, index])


@given(threshold=st.floats(0.2, 1.1), count=st.integers(0, 5), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_the_compiled_kernels_find_the_same(threshold: float, count: int, seed: int) -> None:
    model, pictures = network(), images(count, seed)
    expected = model.classify(pictures, threshold)
    given = PictureInference(model).classify(pictures.numpy(), threshold)
    assert len(given) == count
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one.probabilities, other.probabilities, atol=1e-5, rtol=1e-5)
        assert torch.equal(one.spikes, other.spikes.to(torch.uint8))


def test_the_compiled_kernels_find_the_same_with_the_shipped_weights() -> None:
    model = load_classifier(region_file("vision").with_name("vision.safetensors"))
    inference = PictureInference(model)
    for path in sorted((share_dir() / "scripts" / "samples").glob("*.png")):
        picture = read_picture(path.read_bytes())[None]
        for threshold in (None, 1.1):
            (expected,) = model.classify(torch.from_numpy(picture), threshold)
            (given,) = inference.classify(picture, threshold)
            torch.testing.assert_close(given.probabilities, expected.probabilities, atol=1e-5, rtol=1e-5)
            assert torch.equal(given.spikes, expected.spikes.to(torch.uint8))


def test_a_negative_scale_of_the_normalisation_is_applied_after_the_pooling() -> None:
    model, pictures = deepcopy(network()), images(3)
    with torch.no_grad():
        model.stages[1].norm.weight[::2] *= -1
    for one, other in zip(PictureInference(model).classify(pictures.numpy()), model.classify(pictures), strict=True):
        assert torch.equal(one.spikes, other.spikes.to(torch.uint8))


def test_images_that_the_compiled_kernels_cannot_read_are_refused() -> None:
    inference = PictureInference(network())
    with pytest.raises(ModelError, match=r"\[B, 3, 32, 32\].*\(2, 3, 28, 28\)"):
        inference.classify(np.zeros((2, 3, 28, 28), np.float32))
    with pytest.raises(ModelError, match="finite"):
        inference.classify(np.full((1, 3, 32, 32), np.nan, np.float32))


def test_a_lower_threshold_never_takes_more_steps() -> None:
    model, pictures = network(), images(20)
    taken = [[len(found.spikes) for found in model.classify(pictures, level)] for level in (0.3, 0.5, 0.7, 0.9, 1.1)]
    assert all(a <= b for low, high in pairwise(taken) for a, b in zip(low, high, strict=True))
    assert taken[0] != taken[-1] == [SMALL.steps] * 20


def test_gradients_reach_every_parameter() -> None:
    model = deepcopy(network()).train()
    model(images(4), steps=3).scores.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_pictures_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\[B, 3, 32, 32\].*\(2, 3, 28, 28\)"):
        network()(torch.zeros(2, 3, 28, 28))


def test_a_weights_file_gives_the_same_network_again(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "eye.safetensors"
    save_weights(path, model.state_dict(), weights_metadata(SMALL), torch.float32)
    again = load_classifier(path)
    assert again.config == SMALL
    assert again.config.classes == ("a", "b", "!", "?", ".")
    assert torch.equal(again(images(3)).scores, model(images(3)).scores)


def test_files_that_are_no_classifier_are_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        load_weights(path)
    save_file({"stages.0.conv.weight": torch.zeros(1)}, path, weights_metadata(SMALL))
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        load_classifier(path)
    save_file({"readout.weight": torch.zeros(1)}, path, {"config": "[]"})
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        load_classifier(path)
