"""A spiking convolutional classifier for small grey pictures: conv-LIF-pool twice, flatten, LIF head.

The picture is a constant current (direct encoding); the head has a population of neurons per class, and the class whose
population fires most over the steps wins. Spikes equal those of the same network built from ``snntorch.Leaky``.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.lif import LIF, LIFParams, LIFState, lif_sequence

# mean and spread of the training pictures' pixels in 0..1
PIXEL_MEAN, PIXEL_STD = 0.1307, 0.3081

Sequence = Callable[[Tensor, LIFState | None, LIFParams], tuple[Tensor, LIFState]]


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the network; they travel in the metadata of its weights file."""

    classes: tuple[str, ...] = tuple("0123456789")
    side: int = 28
    channels: tuple[int, int] = (16, 32)
    kernel: int = 5
    population: int = 10
    steps: int = 6


class Classification(NamedTuple):
    """Per picture: ``logits`` [B, classes], and the ``spikes`` of the head [T, B, classes * population]."""

    logits: Tensor
    spikes: Tensor


class SpikingClassifier(nn.Module):
    """Classifies pictures [B, side, side] with pixels in 0..1, bright strokes on dark ground."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.channels
        rest = ((config.side - config.kernel + 1) // 2 - config.kernel + 1) // 2
        self.conv1 = nn.Conv2d(1, first, config.kernel)
        self.conv2 = nn.Conv2d(first, second, config.kernel)
        self.head = nn.Linear(second * rest * rest, len(config.classes) * config.population)
        # one decay logit per layer: beta 0.88 at the start
        self.lif1, self.lif2, self.lif3 = (LIF(torch.tensor(2.0)) for _ in range(3))
        self.gain = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor, sequence: Sequence = lif_sequence) -> Classification:
        """Run all steps; ``sequence`` is the implementation of the neurons, of :func:`lif_sequence`'s signature."""
        steps, batch = self.config.steps, len(images)
        constant = self.conv1((images[:, None] - PIXEL_MEAN) / PIXEL_STD)
        spikes = self._fire(sequence, self.lif1, constant.expand(steps, *constant.shape))
        spikes = self._fire(sequence, self.lif2, self.conv2(_pooled(spikes)).unflatten(0, (steps, batch)))
        currents = self.head(_pooled(spikes).flatten(1)).view(steps, batch, -1)
        spikes = self._fire(sequence, self.lif3, currents)
        rates = spikes.mean(0).view(batch, len(self.config.classes), -1).mean(-1)
        return Classification(self.gain * rates, spikes)

    @staticmethod
    def _fire(sequence: Sequence, layer: LIF, currents: Tensor) -> Tensor:
        return sequence(currents, None, LIFParams(torch.sigmoid(layer.decay)))[0]


def _pooled(spikes: Tensor) -> Tensor:
    """[T, B, C, H, W] to [T*B, C, H/2, W/2]: a pooled neuron spikes when one of its four does."""
    return F.max_pool2d(spikes.flatten(0, 1), 2)


def load_classifier(path: Path) -> SpikingClassifier:
    """The network of a weights file, in float32 and eval mode.

    Raises ModelError, naming the file, when it is no safetensors file or not of this network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["config"])
            values["classes"], values["channels"] = tuple(values["classes"]), tuple(values["channels"])
            model = SpikingClassifier(ClassifierConfig(**values))
            model.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} holds no spiking classifier: {error}") from error
    return model.eval()


def weights_metadata(config: ClassifierConfig) -> dict[str, str]:
    """The safetensors metadata that :func:`load_classifier` reads."""
    return {"config": json.dumps(asdict(config))}
