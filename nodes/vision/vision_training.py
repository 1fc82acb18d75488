# mypy: allow-untyped-calls, no-warn-return-any
"""Digits (MNIST), clothing (Fashion-MNIST) and photos (CIFAR-10) for one spiking convolutional network that recognises
which of them it sees: three kinds, thirty classes. About 100 minutes of one core.

The non-spiking twin, the same stages with ReLU, is trained first. The spiking network begins with the twin's weights,
currents scaled so that a neuron at its limit of one spike a step stands for a strong ReLU response (conversion), and
learns on by surrogate gradients from labels and from the twin's answers, as in Rathi et al. 2020, *Enabling Deep
Spiking Neural Networks with Hybrid Conversion and Spike Timing Dependent Backpropagation*. Its loss is the mean of the
losses after every step, so that it is right early.

The last training pictures of each data set are held out. They choose the temperatures and the threshold of early
exit, nothing else; the test pictures are measured by the evaluation alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import TrainingError
from brainnet.snn.models.picture_classifier import (
    ClassifierConfig,
    SpikingClassifier,
    build_stages,
    load_classifier,
    load_weights,
    normalize_images,
    weights_metadata,
)
from brainnet.snn.synops import Meter
from brainnet.training import Row, Run, TrainingSettings, compare, expected_calibration_error, save_weights
from vision_data import KINDS, Batches, Pictures, read_pictures

BARS = {"digit": ("mnist", 99.4), "clothing": ("fashion_mnist", 92.5), "photo": ("cifar10", 78.0)}


class Settings(TrainingSettings):
    """Sizes and lengths; the defaults are those of the weights that ship."""

    channels: tuple[int, ...] = Field((48, 64, 128, 128, 256), description="channels of each stage")
    twin_pictures: int = Field(1_500_000, description="pictures the twin sees while it learns")
    pictures: int = Field(1_500_000, description="pictures the spiking network sees while it learns")
    batch: int = Field(64, description="pictures per update")
    twin_rate: float = Field(3e-3, description="peak learning rate of the twin")
    twin_warm_up: float = Field(0.3, description="share of the twin's training in which its learning rate rises")
    rate: float = Field(2e-3, description="peak learning rate of the spiking network")
    warm_up: float = Field(0.2, description="share of the spiking network's training in which its learning rate rises")
    decay: float = Field(0.02, description="weight decay")
    smoothing: float = Field(0.05, description="label smoothing")
    strong: float = Field(2.0, description="ReLU response that a spike at every step stands for at the beginning")
    teaching: float = Field(0.5, description="share of the loss that compares with the twin's answers")
    first_steps: int = Field(2, description="time steps in the first half of training")
    last_steps: int = Field(3, description="time steps in the second half")
    most_steps: int = Field(5, description="time steps that a picture may get once trained")
    held_out: int = Field(5000, description="pictures of each data set that are not learned from")
    cost: float = Field(0.1, description="points of held-out accuracy that early exit may cost")
    evaluated: int = Field(10_000, description="test pictures of each data set that the evaluation takes")


class Twin(nn.Module):
    """The same network without spikes: ReLU in place of the neurons, one pass."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = build_stages(config)
        self.readout = nn.Linear(config.features, len(config.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Scores [B, classes] of pictures [B, 3, 32, 32]."""
        x = normalize_images(images)
        for stage in self.stages:
            x = F.relu(stage(x))
        scores: Tensor = self.readout(x.flatten(1))
        return scores


def converted(twin: Twin, config: ClassifierConfig, strong: float) -> SpikingClassifier:
    """The spiking network whose neurons at one spike a step stand for the response `strong` of the twin's."""
    model = SpikingClassifier(config)
    with torch.no_grad():
        model.load_state_dict(twin.state_dict(), strict=False)  # all but the neurons' decay
        # the normalisation of the next stage takes the scale out again
        for stage in model.stages:
            stage.norm.weight.div_(strong)
            stage.norm.bias.div_(strong)
        model.readout.weight.mul_(strong)
    return model


def train(run: Run[Settings]) -> None:
    config = ClassifierConfig(KINDS, run.settings.channels, temperatures=(1.0,) * run.settings.most_steps)
    sets, kept = read_pictures(run, "train"), run.settings.held_out
    held_out = [part.part(-kept, None) for part in sets]
    batches = Batches([part.part(0, -kept) for part in sets], run.settings.batch, run.seed)
    twin = trained_twin(run, config, batches, held_out)
    model = trained_network(run, config, twin, batches, held_out)
    alone = torch.cat([scores_of(run, twin, part) for part in held_out])
    calm = replace(config, temperatures=(temperature(alone, torch.cat([part.labels for part in held_out])),))
    save_weights(twin_file(run), twin.state_dict(), weights_metadata(calm))
    save_weights(run.weights, model.state_dict(), weights_metadata(with_exit(run, model, held_out)))
    run.delete_checkpoints()


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    model, twin = load_classifier(run.weights).to(run.device), load_twin(run)
    sets = [part.part(0, run.settings.evaluated).arranged(run) for part in read_pictures(run, "test")]
    found = [outcome(run, model, twin, part) for part in sets]
    for part, each in zip(sets, found, strict=True):
        name, bar = BARS[part.kind]
        yield compare(
            f"{name}_accuracy",
            accuracy(each.early, part.labels),
            "%",
            rival="non-spiking twin",
            rival_value=accuracy(each.twin, part.labels),
            limit=("value", ">=", bar),
        )
    labels, whole = torch.cat([part.labels for part in sets]), Outcome(*map(torch.cat, zip(*found, strict=True)))
    for row, measure in (("kind_recognised", kind_accuracy), ("accuracy", accuracy), ("ece", calibration_error)):
        value, rival = measure(whole.early, labels), measure(whole.twin, labels)
        yield compare(row, value, "" if row == "ece" else "%", rival="non-spiking twin", rival_value=rival)

    most = model.config.steps
    for part, each in zip(sets, found, strict=True):
        taken = each.steps.float().mean().item()
        yield compare(f"{BARS[part.kind][0]}_steps", taken, "steps", rival="all steps", rival_value=most)
    saved = 100 * (1 - whole.steps.float().mean().item() / most)
    yield compare("steps_saved", saved, "%", limit=("value", ">=", 40))
    for part, each in zip(sets, found, strict=True):
        lost = accuracy(each.full, part.labels) - accuracy(each.early, part.labels)
        yield compare(f"{BARS[part.kind][0]}_lost_by_early_exit", lost, "points", limit=("value", "<=", 0.2))
    yield from activity(run, model, twin, sets)


def trained_twin(run: Run[Settings], config: ClassifierConfig, batches: Batches, held_out: list[Pictures]) -> Twin:
    settings = run.settings
    twin = Twin(config).to(run.device)

    def loss(images: Tensor, labels: Tensor, _: float) -> Tensor:
        return F.cross_entropy(twin(images), labels, label_smoothing=settings.smoothing)

    updates = settings.twin_pictures // settings.batch
    rates = settings.twin_rate, settings.twin_warm_up
    optimise(run, "twin", twin, loss, lambda: accuracies(run, twin, held_out), updates, *rates, batches)
    return twin.eval()


def trained_network(
    run: Run[Settings], config: ClassifierConfig, twin: Twin, batches: Batches, held_out: list[Pictures]
) -> SpikingClassifier:
    settings = run.settings
    model = converted(twin, config, settings.strong).to(run.device)

    def loss(images: Tensor, labels: Tensor, progress: float) -> Tensor:
        steps = settings.first_steps if progress < 0.5 else settings.last_steps
        scores = model(images, steps).scores.flatten(0, 1)
        with torch.no_grad():
            answers = twin(images).softmax(-1).repeat(steps, 1)
        told = F.cross_entropy(scores, labels.repeat(steps), label_smoothing=settings.smoothing)
        # as a cross-entropy, which has the gradient of the divergence
        taught = F.cross_entropy(scores, answers)
        return told.lerp(taught, settings.teaching)

    def check() -> str:
        return accuracies(run, lambda images: model(images, settings.last_steps).scores[-1], held_out)

    # other pictures than the twin began with
    start = settings.twin_pictures // settings.batch
    updates, rates = settings.pictures // settings.batch, (settings.rate, settings.warm_up)
    optimise(run, "network", model, loss, check, updates, *rates, batches, start)
    return model.eval()


def optimise(
    run: Run[Settings],
    part: str,
    model: nn.Module,
    loss: Callable[[Tensor, Tensor, float], Tensor],
    check: Callable[[], str],
    updates: int,
    rate: float,
    warm_up: float,
    batches: Batches,
    start: int = 0,
) -> None:
    """Minimise `loss` of images, labels and progress 0..1 over `updates` batches from number `start` on."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=run.settings.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=updates + 1, pct_start=warm_up)
    states: dict[str, Any] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    kept = run.load_checkpoint(part) or {"done": 0}
    for name in states.keys() & kept.keys():
        states[name].load_state_dict(kept[name])
    often = max(1, min(500, updates // 10))
    with run.progress() as bar:
        task = bar.add_task(part, total=updates, completed=kept["done"])
        for done in range(kept["done"] + 1, updates + 1):
            images, labels = (tensor.to(run.device) for tensor in batches[start + done - 1])
            model.train()
            value = loss(images, labels, done / updates)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            bar.advance(task)
            if done % often == 0 or done == updates:
                model.eval()
                run.log(f"{part} {done}/{updates}: loss {value.item():.3f}, held out {check()}")
                run.save_checkpoint({name: each.state_dict() for name, each in states.items()} | {"done": done}, part)


@torch.no_grad()
def accuracies(run: Run[Settings], scores: Callable[[Tensor], Tensor], sets: list[Pictures], most: int = 1000) -> str:
    """Accuracy on up to `most` pictures of each set, to be read."""
    shown = []
    for part in sets:
        right = 0
        for chosen in torch.arange(min(most, len(part.labels))).split(100):
            found = scores(part.framed(chosen).to(run.device)).argmax(-1).cpu()
            right += int((found == part.labels[chosen]).sum())
        shown.append(f"{part.kind} {100 * right / min(most, len(part.labels)):.1f} %")
    return ", ".join(shown)


class Outcome(NamedTuple):
    """Class probabilities [N, classes] with early exit, after all steps and of the twin; steps taken [N]."""

    early: Tensor
    full: Tensor
    twin: Tensor
    steps: Tensor


@torch.inference_mode()
def outcome(run: Run[Settings], model: SpikingClassifier, twin: Twin, part: Pictures) -> Outcome:
    early, steps, full, rival = [], [], [], []
    for images in run.track(part.images.to(run.device).split(100), part.kind):
        for each in model.classify(images):
            early.append(each.probabilities)
            steps.append(len(each.spikes))
        full.append((model(images).scores[-1] / model.config.temperatures[-1]).softmax(-1))
        rival.append((twin(images) / twin.config.temperatures[-1]).softmax(-1))
    return Outcome(torch.stack(early).cpu(), torch.cat(full).cpu(), torch.cat(rival).cpu(), torch.tensor(steps))


def activity(run: Run[Settings], model: SpikingClassifier, twin: Twin, sets: list[Pictures]) -> Iterator[Row]:
    """Firing rates and synaptic operations over a few pictures of each set."""
    images = torch.cat([part.images[:100] for part in sets]).to(run.device)
    rates: dict[int, Tensor] = {}
    handles = [
        neurons.register_forward_hook(lambda _, __, output, stage=stage: rates.update({stage: output[0].mean()}))
        for stage, neurons in enumerate(model.neurons, 1)
    ]
    with torch.inference_mode():
        model(images)
        for handle in handles:
            handle.remove()
        with Meter(model, len(images)) as spiking:
            model.classify(images)
        with Meter(twin, len(images)) as rival:
            twin(images)
    for stage, rate in rates.items():
        yield compare(f"stage_{stage}_firing", 100 * rate.item(), "% of neurons a step")
    twins = rival.synaptic_operations.Effective_MACs / 1e6
    counts = spiking.synaptic_operations
    yield compare(
        "accumulates",
        counts.Effective_ACs / 1e6,
        "million a picture",
        rival="twin's multiply-accumulates",
        rival_value=twins,
    )
    yield compare(
        "multiply_accumulates",
        counts.Effective_MACs / 1e6,
        "million a picture",
        rival="non-spiking twin",
        rival_value=twins,
    )


@torch.inference_mode()
def scores_of(run: Run[Settings], model: Callable[[Tensor], Tensor], part: Pictures) -> Tensor:
    """Scores [..., N, classes] of all pictures of a set."""
    chosen = torch.arange(len(part.labels)).split(100)
    return torch.cat([model(part.framed(some).to(run.device)).cpu() for some in run.track(chosen, part.kind)], -2)


def temperature(scores: Tensor, labels: Tensor) -> float:
    """What scores [N, classes] are to be divided by for the smallest cross-entropy (Guo et al. 2017)."""
    return min(torch.logspace(-1, 1, 81).tolist(), key=lambda each: F.cross_entropy(scores / each, labels).item())


def with_exit(run: Run[Settings], model: SpikingClassifier, held_out: list[Pictures]) -> ClassifierConfig:
    """The model's configuration with the temperature of each step and the threshold of early exit.

    The threshold is the lowest at which no data set loses more than `cost` points of accuracy.
    """
    labels = [part.labels for part in held_out]
    scores = [scores_of(run, lambda images: model(images).scores, part) for part in held_out]
    temperatures = tuple(temperature(step, torch.cat(labels)) for step in torch.cat(scores, 1))
    scale = torch.tensor(temperatures)[:, None, None]
    given = [(each / scale).softmax(-1) for each in scores]

    def lost(threshold: float) -> float:
        early = [leaving(each, threshold)[0] for each in given]
        return max(
            accuracy(g[-1], right) - accuracy(e, right) for g, e, right in zip(given, early, labels, strict=True)
        )

    # nothing is surer than 1.01: all steps
    threshold = next(each for each in torch.linspace(0.5, 1.01, 103).tolist() if lost(each) <= run.settings.cost)
    steps = ", ".join(f"{leaving(each, threshold)[1].float().mean():.2f}" for each in given)
    run.log(f"answers at a confidence of {threshold:.3f}, after {steps} of {len(temperatures)} steps")
    return replace(model.config, temperatures=temperatures, threshold=threshold)


def leaving(probabilities: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Of probabilities [T, N, classes], those at the step at which each picture is answered, and that step [N]."""
    sure = probabilities.amax(-1) >= threshold
    sure[-1] = True
    step = sure.int().argmax(0)
    return probabilities[step, torch.arange(len(step))], step + 1


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Per cent."""
    return 100 * (probabilities.argmax(-1) == labels).float().mean().item()


def kind_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Per cent of pictures of whose kind the classes have the most probability together."""
    kinds = torch.stack(
        [part.sum(-1) for part in probabilities.split([len(names) for names in KINDS.values()], -1)], -1
    )
    return 100 * (kinds.argmax(-1) == labels // 10).float().mean().item()


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    confidence, choice = probabilities.max(-1)
    return expected_calibration_error(confidence.numpy(), (choice == labels).numpy())


def twin_file(run: Run[Settings]) -> Path:
    return run.weights.parent / "baselines" / f"{run.weights.stem}_twin.safetensors"


def load_twin(run: Run[Settings]) -> Twin:
    """The twin that was trained beside the weights."""
    path = twin_file(run)
    if not path.is_file():
        raise TrainingError(f"{path}, the non-spiking twin's weights, is missing: `brainnet train` writes it")
    tensors, config = load_weights(path)
    twin = Twin(config)
    twin.load_state_dict(tensors)
    return twin.to(run.device).eval()
