"""A spiking convolutional classifier of pictures 32 x 32 that answers as soon as it is sure.

The picture is a constant current (direct encoding). Each stage is convolution, max-pooling where asked, batch
normalisation, LIF neurons; the last stage's spikes drive a linear readout that sums them, so that there are graded
scores after every time step. All classes of all kinds of pictures stand in one softmax: what kind of picture it is, is
part of the answer.

Early exit follows Li et al. 2023, *Unleashing the Potential of Spiking Neural Networks with Dynamic Confidence*: a
picture is answered at the first step at which its calibrated confidence reaches a threshold; both the calibration and
the threshold are chosen on pictures held out from training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.models.pictures import SIDE
from brainnet.snn.neurons.lif import LIF, LIFState


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the network and when it answers; they travel in the metadata of its weights file.

    `kinds` maps each kind of picture to its classes. `temperatures` [steps] divide the scores after each step
    before the softmax. `threshold` is the confidence at which a picture is answered.
    """

    kinds: Mapping[str, tuple[str, ...]]
    channels: tuple[int, ...] = (48, 64, 128, 128, 256)
    pooled: tuple[bool, ...] = (True, True, False, True, True)
    temperatures: tuple[float, ...] = (1.0,) * 8
    threshold: float = 1.0

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, kind by kind, in the order of the scores."""
        return tuple(name for names in self.kinds.values() for name in names)

    @property
    def steps(self) -> int:
        """The most steps a picture gets."""
        return len(self.temperatures)

    @property
    def features(self) -> int:
        """Neurons of the last stage."""
        return self.channels[-1] * (SIDE >> sum(self.pooled)) ** 2


class Stage(nn.Module):
    """From pictures or spikes [B, C, H, W] to currents: convolution 3 x 3, max-pooling by 2, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.pooled = pooled

    def forward(self, inputs: Tensor) -> Tensor:
        # normalising a quarter of the values: the maximum commutes with a scale above 0
        currents = self.conv(inputs)
        result: Tensor = self.norm(F.max_pool2d(currents, 2) if self.pooled else currents)
        return result


def stages(config: ClassifierConfig) -> Sequence[Stage]:
    """The stages of a network of this configuration, untrained: a ModuleList."""
    sizes = (3, *config.channels)
    layers: Any = nn.ModuleList(map(Stage, sizes, sizes[1:], config.pooled))
    result: Sequence[Stage] = layers.to(memory_format=torch.channels_last)
    return result


def centred(images: Tensor) -> Tensor:
    """Pixels 0..1 [B, 3, 32, 32] to about -2..2, in the memory format in which convolutions are fastest."""
    if images.ndim != 4 or images.shape[1:] != (3, SIDE, SIDE):
        raise ModelError(f"images must be [B, 3, {SIDE}, {SIDE}], not of shape {tuple(images.shape)}")
    return ((images - 0.5) * 4).contiguous(memory_format=torch.channels_last)


class Step(NamedTuple):
    """After one time step: `scores` [B, classes] so far, and the last stage's `spikes` [B, features] of it."""

    scores: Tensor
    spikes: Tensor


class Classification(NamedTuple):
    """One picture's answer: `probabilities` [classes], and the last stage's `spikes` [steps taken, features]."""

    probabilities: Tensor
    spikes: Tensor


class SpikingClassifier(nn.Module):
    """Classifies pictures [B, 3, 32, 32] with pixels in 0..1."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = stages(config)
        # one decay logit per stage: nearly no leak at the start
        neurons: Any = nn.ModuleList(LIF(torch.tensor(3.0)) for _ in config.channels)
        self.neurons: Sequence[LIF] = neurons
        self.readout = nn.Linear(config.features, len(config.classes))

    def forward(self, images: Tensor, steps: int | None = None) -> Step:
        """All steps at once, for training and evaluation: every field of the result has the steps in front."""
        steps = steps or self.config.steps
        currents = self.stages[0](centred(images))
        spikes = self._fire(0, currents.expand(steps, *currents.shape), None)[0]
        for index in range(1, len(self.stages)):
            currents = self.stages[index](spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])
            spikes = self._fire(index, currents, None)[0]
        features = spikes.flatten(2)
        count = torch.arange(1, steps + 1, device=images.device)[:, None, None]
        return Step(self.readout(features).cumsum(0) / count, features)

    @torch.inference_mode()
    def classify(self, images: Tensor, threshold: float | None = None) -> list[Classification]:
        """Answer each picture at the first step at which its confidence reaches `threshold` (the configured one).

        A picture that is answered leaves the batch: later steps are computed for the others alone.
        """
        limit = self.config.threshold if threshold is None else threshold
        waiting = torch.arange(len(images), device=images.device)
        probabilities = torch.empty(len(images), len(self.config.classes), device=images.device)
        trains: list[list[Tensor]] = [[] for _ in images]
        current, total = self.stages[0](centred(images)), torch.zeros_like(probabilities)
        states: list[LIFState | None] = [None] * len(self.stages)
        for count, temperature in enumerate(self.config.temperatures, 1):
            spikes = self._advance(current, states)
            total += self.readout(spikes)
            probabilities[waiting] = given = (total / (count * temperature)).softmax(-1)
            for index, train in zip(waiting.tolist(), spikes, strict=True):
                trains[index].append(train)
            unsure = given.amax(-1) < limit
            if not unsure.any():
                break
            if not unsure.all():
                waiting, current, total = waiting[unsure], current[unsure], total[unsure]
                states = [state and LIFState(state.membrane[unsure]) for state in states]
        return [Classification(p, torch.stack(train)) for p, train in zip(probabilities, trains, strict=True)]

    def _advance(self, current: Tensor, states: list[LIFState | None]) -> Tensor:
        """One step of all stages from the first stage's current; `states` are replaced by those after it."""
        for index in range(len(self.stages)):
            spikes, states[index] = self._fire(index, current[None], states[index])
            if index + 1 < len(self.stages):
                current = self.stages[index + 1](spikes[0])
        return spikes[0].flatten(1)

    def _fire(self, index: int, currents: Tensor, state: LIFState | None) -> tuple[Tensor, LIFState]:
        """Neurons of one stage over currents [T, B, C, H, W]; their potential begins halfway to the threshold."""
        # channels last, as the convolution left them, so that nothing is copied
        along = currents.permute(0, 1, 3, 4, 2)
        if state is None:
            # as in Bu et al. 2022, Optimized Potential Initialization for Low-latency Spiking Neural Networks
            state = LIFState(torch.full_like(along[0], 0.5, memory_format=torch.contiguous_format))
        spikes, state = self.neurons[index](along, state)
        return spikes.permute(0, 1, 4, 2, 3), state


def load_classifier(path: Path) -> SpikingClassifier:
    """The network of a weights file, in float32 and eval mode.

    Raises ModelError, naming the file, when it is no safetensors file or not of this network.
    """
    tensors, config = load_weights(path)
    try:
        model = SpikingClassifier(config)
        model.load_state_dict(tensors)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} holds no spiking classifier: {error}") from error
    return model.eval()


def load_weights(path: Path) -> tuple[dict[str, Tensor], ClassifierConfig]:
    """The tensors of a weights file and the configuration in its metadata.

    Raises ModelError, naming the file, when it is no safetensors file or lacks the configuration.
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
        raise ModelError(f"{path} holds no picture classifier: {error}") from error


def weights_metadata(config: ClassifierConfig) -> dict[str, str]:
    """The safetensors metadata that `load_classifier` reads."""
    return {"config": json.dumps(asdict(config))}
