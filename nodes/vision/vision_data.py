"""The pictures that vision learns from: three data sets, varied at random, in batches that can be made again."""

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


@dataclass(frozen=True)
class Pictures:
    """One data set: pictures [N, C, H, W] uint8 and their labels [N], counted through all kinds."""

    kind: str
    images: Tensor
    labels: Tensor

    def part(self, first: int, last: int | None) -> Pictures:
        return replace(self, images=self.images[first:last], labels=self.labels[first:last])

    def arranged(self, run: Run[Any]) -> Pictures:
        """The pictures as the region would take them from a file: [N, 3, 32, 32] float32 in 0..1."""
        pixels = self.images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
        seen = [preprocess(np.ascontiguousarray(each)) for each in run.track(pixels, f"arranging {self.kind}")]
        return replace(self, images=torch.from_numpy(np.stack(seen)))

    def framed(self, chosen: Tensor) -> Tensor:
        """Pictures as the network takes them: [n, 3, 32, 32] in 0..1, small ones on black ground."""
        images = self.images[chosen].float() / 255
        edge = (SIDE - images.shape[-1]) // 2
        return F.pad(images, [edge] * 4).expand(-1, 3, -1, -1)

    def varied(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """As :meth:`framed`, each picture changed at random as its kind may be and stay what it is."""
        images = self.framed(chosen)
        if self.kind == "digit":
            return turned(images[:, :1], generator).expand(-1, 3, -1, -1)
        flipped = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
        return shifted(images, 4 if self.kind == "photo" else 2, generator)


def read_pictures(run: Run[Any], split: str) -> list[Pictures]:
    """The three data sets; CIFAR-10 is decoded from its JPEGs."""
    found = []
    for kind, name in (("digit", "mnist.npz"), ("clothing", "fashion_mnist.npz"), ("photo", "cifar10_jpeg.npz")):
        with np.load(run.file(name)) as file:
            labels = torch.from_numpy(file[f"y_{split}"].astype(np.int64))
            if kind == "photo":
                images = decoded(run, file[f"jpeg_{split}"], file[f"end_{split}"])
            else:
                images = torch.from_numpy(file[f"x_{split}"])[:, None]
        if images.shape[-1] > SIDE or len(images) != len(labels):
            raise TrainingError(f"{name}: {len(labels)} labels, pictures of shape {tuple(images.shape)}")
        found.append(Pictures(kind, images, labels + list(KINDS).index(kind) * 10))
    return found


def decoded(run: Run[Any], data: NDArray[np.uint8], ends: NDArray[np.int64]) -> Tensor:
    """Pictures [N, 3, H, W] from their concatenated JPEGs and the offsets at which each ends."""
    whole, begin, pictures = data.tobytes(), 0, []
    for end in run.track(ends.tolist(), "decoding CIFAR-10"):
        pictures.append(np.asarray(Image.open(io.BytesIO(whole[begin:end])).convert("RGB")))
        begin = end
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture under its own small affine map: 12 degrees, 12 % scale, 0.15 shear, 2 pixels."""

    def uniform(spread: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * spread

    angle, scale, shear = uniform(0.21), 1 + uniform(0.12), uniform(0.15)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    x = torch.stack([cos, shear - sin, uniform(4 / SIDE)], 1)
    y = torch.stack([sin, cos, uniform(4 / SIDE)], 1)
    grid = F.affine_grid(torch.stack([x, y], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each picture moved by up to `most` pixels, mirrored at the edge."""
    padded = F.pad(images, [most] * 4, mode="reflect")
    corner = torch.randint(0, 2 * most + 1, (2, len(images), 1), generator=generator)
    rows, columns = corner + torch.arange(SIDE)
    picture = torch.arange(len(images))[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


class Batches:
    """Batches of the three kinds in fixed shares. A batch depends on its number and the seed alone, so that a
    training may be interrupted anywhere.
    """

    def __init__(self, sets: list[Pictures], size: int, seed: int) -> None:
        counts = [round(size * SHARES[part.kind]) for part in sets[:-1]]
        self.parts = list(zip(sets, [*counts, size - sum(counts)], strict=True))
        self.seed = seed
        self.orders: dict[tuple[str, int], Tensor] = {}

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        images, labels = [], []
        for part, count in self.parts:
            places = range(number * count, (number + 1) * count)
            chosen = torch.stack([self._order(part, p // len(part.labels))[p % len(part.labels)] for p in places])
            images.append(part.varied(chosen, generator))
            labels.append(part.labels[chosen])
        return torch.cat(images), torch.cat(labels)

    def _order(self, part: Pictures, epoch: int) -> Tensor:
        if (part.kind, epoch) not in self.orders:
            for old in [key for key in self.orders if key[0] == part.kind and key[1] < epoch - 1]:
                del self.orders[old]
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch + 500_000_000)
            self.orders[part.kind, epoch] = torch.randperm(len(part.labels), generator=generator)
        return self.orders[part.kind, epoch]
