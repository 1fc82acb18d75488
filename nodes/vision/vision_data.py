"""The training pictures of vision: three data sets with random augmentation, in reproducible batches."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import TrainingError
from brainnet.snn.models.pictures import SIDE, preprocess
from brainnet.training import Run

KINDS = {
    "digit": tuple("0123456789"),
    "clothing": (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
    ),
    "photo": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip
SHARES = {"digit": 0.2, "clothing": 0.4, "photo": 0.4}
"""Share of each kind in a batch; digits, where accuracy is highest, get the fewest pictures."""


@dataclass(frozen=True)
class Pictures:
    """One data set.

    Attributes:
        kind: Which of `KINDS`.
        images: uint8 [N, C, H, W].
        labels: Class numbers [N], counted over all kinds.
    """

    kind: str
    images: Tensor
    labels: Tensor

    def part(self, first: int, last: int | None) -> Pictures:
        """Return the pictures from number `first` up to `last`, as a slice does."""
        return replace(self, images=self.images[first:last], labels=self.labels[first:last])

    def preprocessed(self, run: Run[Any]) -> Pictures:
        """Return the pictures as the region converts those of a prompt: [N, 3, 32, 32] float32 in 0..1."""
        pixels = self.images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
        images = [preprocess(np.ascontiguousarray(each)) for each in run.track(pixels, f"preprocessing {self.kind}")]
        return replace(self, images=torch.from_numpy(np.stack(images)))

    def padded(self, chosen: Tensor) -> Tensor:
        """Return the input of the network: [n, 3, 32, 32] in 0..1, smaller pictures padded with black."""
        images = self.images[chosen].float() / 255
        edge = (SIDE - images.shape[-1]) // 2
        return F.pad(images, [edge] * 4).expand(-1, 3, -1, -1)

    def augmented(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return the input of the network with random augmentation: affine maps for digits, else flips and shifts."""
        images = self.padded(chosen)
        if self.kind == "digit":  # a mirrored digit would be another sign
            return random_affine(images[:, :1], generator).expand(-1, 3, -1, -1)
        flipped = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
        return random_shift(images, 4 if self.kind == "photo" else 2, generator)


def read_pictures(run: Run[Any], split: str) -> list[Pictures]:
    """Read the three data sets; CIFAR-10 is decoded from JPEG.

    Args:
        run: The training run.
        split: `train` or `test`.

    Raises:
        TrainingError: A file is missing, or its pictures are too large or do not match its labels.
    """
    sets = []
    for kind, name in (("digit", "mnist.npz"), ("clothing", "fashion_mnist.npz"), ("photo", "cifar10_jpeg.npz")):
        with np.load(run.file(name)) as file:
            labels = torch.from_numpy(file[f"y_{split}"].astype(np.int64))
            if kind == "photo":
                images = decode_jpegs(run, file[f"jpeg_{split}"], file[f"end_{split}"])
            else:
                images = torch.from_numpy(file[f"x_{split}"])[:, None]
        if images.shape[-1] > SIDE or len(images) != len(labels):
            raise TrainingError(f"{name}: {len(labels)} labels, pictures of shape {tuple(images.shape)}")
        sets.append(Pictures(kind, images, labels + list(KINDS).index(kind) * 10))
    return sets


def decode_jpegs(run: Run[Any], data: NDArray[np.uint8], ends: NDArray[np.int64]) -> Tensor:
    """Decode pictures [N, 3, H, W] from concatenated JPEG files and the offsets at which each ends."""
    content, begin, pictures = data.tobytes(), 0, []
    for end in run.track(ends.tolist(), "decoding CIFAR-10"):
        pictures.append(np.asarray(Image.open(io.BytesIO(content[begin:end])).convert("RGB")))
        begin = end
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def random_affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a random small affine map to each picture: 12 degrees, 12 % scale, 0.15 shear, 2 pixels."""

    def uniform(spread: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * spread

    angle, scale, shear = uniform(0.21), 1 + uniform(0.12), uniform(0.15)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # Coordinates run from -1 to 1, so two pixels are 4 / SIDE.
    x = torch.stack([cos, shear - sin, uniform(4 / SIDE)], 1)
    y = torch.stack([sin, cos, uniform(4 / SIDE)], 1)
    grid = F.affine_grid(torch.stack([x, y], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each picture at random by up to `pixels` in both directions; the border is mirrored."""
    padded = F.pad(images, [pixels] * 4, mode="reflect")
    corner = torch.randint(0, 2 * pixels + 1, (2, len(images), 1), generator=generator)
    rows, columns = corner + torch.arange(SIDE)
    picture = torch.arange(len(images))[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


class Batches:
    """Batches of the three kinds in fixed shares.

    A batch depends only on its number and the seed, so a training can be interrupted and resumed anywhere.

    Args:
        sets: The data sets.
        size: Pictures per batch.
        seed: Seed of order and augmentation.
    """

    def __init__(self, sets: list[Pictures], size: int, seed: int) -> None:
        counts = [round(size * SHARES[part.kind]) for part in sets[:-1]]
        self.parts = list(zip(sets, [*counts, size - sum(counts)], strict=True))
        self.seed = seed
        self.orders: dict[tuple[str, int], Tensor] = {}

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        # A large prime factor keeps the generators of different seeds apart; those of `_order` are 500 million further.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        images, labels = [], []
        for part, count in self.parts:
            places = range(number * count, (number + 1) * count)
            chosen = torch.stack([self._order(part, p // len(part.labels))[p % len(part.labels)] for p in places])
            images.append(part.augmented(chosen, generator))
            labels.append(part.labels[chosen])
        return torch.cat(images), torch.cat(labels)

    def _order(self, part: Pictures, epoch: int) -> Tensor:
        """Return the random order of a data set in an epoch; a batch may need two successive ones."""
        if (part.kind, epoch) not in self.orders:
            for old in [key for key in self.orders if key[0] == part.kind and key[1] < epoch - 1]:
                del self.orders[old]
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch + 500_000_000)
            self.orders[part.kind, epoch] = torch.randperm(len(part.labels), generator=generator)
        return self.orders[part.kind, epoch]
