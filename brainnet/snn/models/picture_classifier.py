"""A spiking convolutional classifier of 32 x 32 images that stops as soon as it is confident.

The image is a constant current (direct encoding). Each stage is a convolution, max-pooling where configured, batch
normalisation, and LIF neurons. The spikes of the last stage drive a linear readout that sums them, so that there are
scores after every time step. The classes of all kinds of images share one softmax, so that the kind of image is part
of the answer.

Early exit follows Li et al. 2023, *Unleashing the Potential of Spiking Neural Networks with Dynamic Confidence*: an
image is classified at the first step at which its calibrated confidence reaches a threshold. Calibration and threshold
are chosen on images held out from training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.models.pictures import SIDE
from brainnet.snn.neurons.lif import LIF, LIFState

START: Final = 0.5
"""The membrane potential before the first step, half the threshold: Bu et al. 2022, *Optimized Potential Initialization
for Low-latency Spiking Neural Networks*."""
PIXEL_CENTRE: Final = 0.5
"""What is subtracted from a pixel of 0..1."""
PIXEL_SCALE: Final = 4
"""The factor on a centred pixel: the network gets -2..2."""


@dataclass(frozen=True)
class ClassifierConfig:
    """The configuration of the network, stored in the metadata of its weights file.

    Attributes:
        kinds: the classes of each kind of image.
        channels: output channels of each stage.
        pooled: whether each stage has max-pooling.
        temperatures: [steps], the divisor of the scores after each step before the softmax.
        threshold: the confidence at which an image is classified.
        asserted_from: by kind, the confidence below which a class is only a guess; 0 for a kind that is not named.
    """

    kinds: Mapping[str, tuple[str, ...]]
    channels: tuple[int, ...] = (48, 64, 128, 128, 256)
    pooled: tuple[bool, ...] = (True, True, False, True, True)
    temperatures: tuple[float, ...] = (1.0,) * 8
    threshold: float = 1.0
    asserted_from: Mapping[str, float] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, kind by kind, in the order of the scores."""
        return tuple(name for names in self.kinds.values() for name in names)

    @property
    def steps(self) -> int:
        """The largest number of time steps."""
        return len(self.temperatures)

    @property
    def features(self) -> int:
        """The number of neurons of the last stage."""
        return self.channels[-1] * (SIDE >> sum(self.pooled)) ** 2


class Stage(nn.Module):
    """Convolution 3 x 3, max-pooling by 2 and batch normalisation: images or spikes [B, C, H, W] to currents."""

    def __init__(self, inputs: int, outputs: int, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.pooled = pooled

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the currents [B, outputs, H, W], or half the height and width with pooling."""
        # pooling first: a quarter of the values to normalise, and the maximum commutes with a positive scale
        currents = self.conv(inputs)
        result: Tensor = self.norm(F.max_pool2d(currents, 2) if self.pooled else currents)
        return result


def build_stages(config: ClassifierConfig) -> Sequence[Stage]:
    """Return the untrained stages of a network of this configuration, as a ModuleList."""
    sizes = (3, *config.channels)
    layers: Any = nn.ModuleList(map(Stage, sizes, sizes[1:], config.pooled))
    result: Sequence[Stage] = layers.to(memory_format=torch.channels_last)
    return result


def normalize_images(images: Tensor) -> Tensor:
    """Return pixels 0..1 [B, 3, 32, 32] scaled to -2..2, in the memory format that is fastest for convolutions.

    Raises:
        ModelError: images of another shape.
    """
    if images.ndim != 4 or images.shape[1:] != (3, SIDE, SIDE):
        raise ModelError(f"images must be [B, 3, {SIDE}, {SIDE}], not of shape {tuple(images.shape)}")
    return ((images - PIXEL_CENTRE) * PIXEL_SCALE).contiguous(memory_format=torch.channels_last)


class ClassifierOutput(NamedTuple):
    """The output of the network.

    Attributes:
        scores: [steps, B, classes], the mean scores up to each step.
        spikes: [steps, B, features], of the last stage.
    """

    scores: Tensor
    spikes: Tensor


class Classification(NamedTuple):
    """The result for one image.

    Attributes:
        probabilities: [classes].
        spikes: [steps taken, features], of the last stage.
    """

    probabilities: Tensor
    spikes: Tensor


class SpikingClassifier(nn.Module):
    """A classifier of images [B, 3, 32, 32] with pixels in 0..1."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = build_stages(config)
        # one decay logit per stage: nearly no leak at the start
        neurons: Any = nn.ModuleList(LIF(torch.tensor(3.0)) for _ in config.channels)
        self.neurons: Sequence[LIF] = neurons
        self.readout = nn.Linear(config.features, len(config.classes))

    def forward(self, images: Tensor, steps: int | None = None) -> ClassifierOutput:
        """Run all steps at once, for training and evaluation; `steps` None takes those of the configuration."""
        steps = steps or self.config.steps
        currents = self.stages[0](normalize_images(images))
        spikes = self._run_neurons(0, currents.expand(steps, *currents.shape), None)[0]
        for index in range(1, len(self.stages)):
            currents = self.stages[index](spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])
            spikes = self._run_neurons(index, currents, None)[0]
        features = spikes.flatten(2)
        count = torch.arange(1, steps + 1, device=images.device)[:, None, None]
        return ClassifierOutput(self.readout(features).cumsum(0) / count, features)

    @torch.inference_mode()
    def classify(self, images: Tensor, threshold: float | None = None) -> list[Classification]:
        """Classify each image at the first step at which its confidence reaches the threshold.

        An image that is classified leaves the batch, so that later steps are computed for the others only.

        Args:
            images: [B, 3, 32, 32], pixels in 0..1.
            threshold: the confidence; None for that of the configuration.
        """
        limit = self.config.threshold if threshold is None else threshold
        pending = torch.arange(len(images), device=images.device)
        probabilities = torch.empty(len(images), len(self.config.classes), device=images.device)
        trains: list[list[Tensor]] = [[] for _ in images]
        current, total = self.stages[0](normalize_images(images)), torch.zeros_like(probabilities)
        states: list[LIFState | None] = [None] * len(self.stages)
        for count, temperature in enumerate(self.config.temperatures, 1):
            spikes = self._step(current, states)
            total += self.readout(spikes)
            probabilities[pending] = current_probabilities = (total / (count * temperature)).softmax(-1)
            for index, train in zip(pending.tolist(), spikes, strict=True):
                trains[index].append(train)
            unsure = current_probabilities.amax(-1) < limit
            if not unsure.any():
                break
            if not unsure.all():
                pending, current, total = pending[unsure], current[unsure], total[unsure]
                states = [state and LIFState(state.membrane[unsure]) for state in states]
        return [Classification(p, torch.stack(train)) for p, train in zip(probabilities, trains, strict=True)]

    def _step(self, current: Tensor, states: list[LIFState | None]) -> Tensor:
        """Run one step of all stages, starting from the current of the first; `states` are replaced."""
        for index in range(len(self.stages)):
            spikes, states[index] = self._run_neurons(index, current[None], states[index])
            if index + 1 < len(self.stages):
                current = self.stages[index + 1](spikes[0])
        return spikes[0].flatten(1)

    def _run_neurons(self, index: int, currents: Tensor, state: LIFState | None) -> tuple[Tensor, LIFState]:
        """Run the neurons of one stage over currents [T, B, C, H, W]."""
        # channels last, the memory order of the convolution's output, so that nothing is copied
        along = currents.permute(0, 1, 3, 4, 2)
        if state is None:
            state = LIFState(torch.full_like(along[0], START, memory_format=torch.contiguous_format))
        spikes, state = self.neurons[index](along, state)
        return spikes.permute(0, 1, 4, 2, 3), state


def load_classifier(path: Path) -> SpikingClassifier:
    """Return the network of a weights file, in float32 and eval mode.

    Raises:
        ModelError: the file is not a safetensors file of this network.
    """
    tensors, config = load_weights(path)
    try:
        model = SpikingClassifier(config)
        model.load_state_dict(tensors)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} holds no spiking classifier: {error}") from error
    return model.eval()


def load_weights(path: Path) -> tuple[dict[str, Tensor], ClassifierConfig]:
    """Return the tensors of a weights file and the configuration in its metadata.

    Raises:
        ModelError: the file is not a safetensors file, or lacks the configuration.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kinds = {kind: tuple(classes) for kind, classes in values.pop("kinds").items()}
        lists: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return tensors, ClassifierConfig(kinds, **lists)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} holds no image classifier: {error}") from error


def weights_metadata(config: ClassifierConfig) -> dict[str, str]:
    """Return the safetensors metadata that `load_classifier` reads."""
    return {"config": json.dumps(asdict(config))}
