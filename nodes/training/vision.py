"""Train the spiking digit classifier on MNIST: ``python nodes/training/vision.py --data DIR`` (DIR holds mnist.npz).

Pictures are shifted, turned, scaled and sheared at random while training. The last 5,000 training pictures choose
nothing but show progress; the 10,000 test pictures are measured once, at the end, on the weights as written. The
neurons are this project's compiled sequence; ``--neurons snntorch`` trains with snnTorch's own Leaky: the same spikes
and gradients, more slowly.
"""

import json
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import snntorch
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from brainnet.snn.conv_classifier import (
    ClassifierConfig,
    Sequence,
    SpikingClassifier,
    load_classifier,
    weights_metadata,
)
from brainnet.snn.lif import LIFParams, LIFState, lif_sequence
from nodes.training.common import arguments, progress, save_weights, seeded


@cache
def leaky(threshold: float, reset: str) -> snntorch.Leaky:
    """One module for all calls: snnTorch keeps every instance it ever made alive, and with it its last graph."""
    return snntorch.Leaky(beta=1.0, threshold=threshold, reset_mechanism=reset)


def snntorch_sequence(currents: Tensor, state: LIFState | None, params: LIFParams) -> tuple[Tensor, LIFState]:
    """``lif_sequence`` by snnTorch, one step at a time."""
    neurons = leaky(params.threshold, params.reset)
    neurons.beta = params.beta
    membrane = torch.zeros_like(currents[0]) if state is None else state.membrane
    spikes = []
    for current in currents.unbind(0):
        spike, membrane = neurons(current, membrane)
        spikes.append(spike)
    return torch.stack(spikes), LIFState(membrane)


def read_mnist(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Pictures [N, 28, 28] uint8 and labels [N]."""
    with np.load(folder / "mnist.npz") as file:
        return torch.from_numpy(file[f"x_{split}"]), torch.from_numpy(file[f"y_{split}"].astype(np.int64))


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture under its own small random affine map: 12 degrees, 12 % scale, 0.15 shear, 2 pixels."""

    def uniform(spread: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * spread

    angle, scale, shear = uniform(0.21), 1 + uniform(0.12), uniform(0.15)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    x = torch.stack([cos, shear - sin, uniform(2 / 14)], 1)
    y = torch.stack([sin, cos, uniform(2 / 14)], 1)
    grid = F.affine_grid(torch.stack([x, y], 1), [len(images), 1, *images.shape[1:]], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


@torch.no_grad()
def predictions(model: SpikingClassifier, images: Tensor, device: str) -> tuple[Tensor, float]:
    """Class probabilities [N, classes] and the head's mean firing rate per step."""
    outputs = [model(batch.to(device) / 255) for batch in images.split(500)]
    rate = float(torch.stack([output.spikes.mean() for output in outputs]).mean())
    return torch.cat([output.logits.softmax(-1).cpu() for output in outputs]), rate


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error over equal bins of confidence (Guo et al. 2017)."""
    confidence, choice = probabilities.max(-1)
    right = (choice == labels).float()
    bucket = (confidence * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins).index_add(0, bucket, right - confidence)
    return float(gaps.abs().sum() / len(labels))


def main() -> None:
    parser = arguments(__doc__ or "", "vision.safetensors")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--neurons", choices=["compiled", "snntorch"], default="compiled")
    options = parser.parse_args()
    generator = seeded(options.seed, options.threads)
    device = options.device
    sequence: Sequence = snntorch_sequence if options.neurons == "snntorch" else lif_sequence
    images, labels = read_mnist(options.data, "train")
    held_images, held_labels = images[-5000:], labels[-5000:]
    images, labels = images[:-5000], labels[:-5000]
    config = ClassifierConfig()
    model = SpikingClassifier(config).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=1e-3)
    steps = options.epochs * (len(images) // options.batch)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=steps, pct_start=0.15)
    begun = time.monotonic()
    with progress() as bar:
        task = bar.add_task("vision", total=steps)
        for epoch in range(options.epochs):
            losses = []
            order = torch.randperm(len(images), generator=generator)
            for chosen in order[: len(images) // options.batch * options.batch].split(options.batch):
                batch = augmented(images[chosen] / 255, generator).to(device)
                loss = F.cross_entropy(model(batch, sequence).logits, labels[chosen].to(device))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                decay.step()
                losses.append(loss.item())
                bar.advance(task)
            accuracy = (predictions(model, held_images, device)[0].argmax(-1) == held_labels).float().mean()
            figures = f"loss {np.mean(losses):.4f}, held-out accuracy {accuracy:.4f}, {time.monotonic() - begun:.0f} s"
            bar.console.print(f"epoch {epoch + 1}: {figures}", highlight=False)
    save_weights(options.out, model.state_dict(), weights_metadata(config), torch.float16)

    images, labels = read_mnist(options.data, "test")
    probabilities, rate = predictions(load_classifier(options.out).to(device), images, device)
    report = {
        "test_accuracy": (probabilities.argmax(-1) == labels).float().mean().item(),
        "calibration_error": calibration_error(probabilities, labels),
        "head_firing_rate": rate,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": time.monotonic() - begun,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
