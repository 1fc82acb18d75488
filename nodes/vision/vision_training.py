# mypy: allow-untyped-calls, no-warn-return-any
"""Trains vision: one spiking convolutional network for three data sets. About 100 minutes of one core.

The data sets are MNIST, Fashion-MNIST and CIFAR-10. The thirty classes of these three kinds of pictures (digit,
clothing, photo) share one softmax, so the network also recognises the kind. A non-spiking network (ANN: the same stages
with ReLU) is trained first. The spiking network is initialised by conversion: it takes the ANN's weights, scaled so
that one spike per step, the highest rate of a neuron, corresponds to a strong ReLU response. It is then trained by
surrogate gradients on labels and on the ANN's outputs (distillation), as in Rathi et al. 2020, *Enabling Deep Spiking
Neural Networks with Hybrid Conversion and Spike Timing Dependent Backpropagation*. The loss is the mean over all time
steps, so that early outputs become accurate too.

The last training pictures of each data set are held out. They choose the temperatures and the threshold of early exit,
nothing else; only the evaluation uses the test pictures.
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
"""For each kind the name of its data set in the figures, and the bar of its accuracy in per cent."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults are those of the shipped weights."""

    channels: tuple[int, ...] = Field((48, 64, 128, 128, 256), description="channels of each stage")
    ann_pictures: int = Field(1_500_000, description="pictures that the non-spiking network is trained on")
    pictures: int = Field(1_500_000, description="pictures that the spiking network is trained on")
    batch: int = Field(64, description="pictures per update")
    ann_learning_rate: float = Field(3e-3, description="peak learning rate of the non-spiking network")
    ann_warmup: float = Field(0.3, description="share of the non-spiking network's updates in which its rate rises")
    learning_rate: float = Field(2e-3, description="peak learning rate of the spiking network")
    warmup: float = Field(0.2, description="share of the spiking network's updates in which its rate rises")
    weight_decay: float = Field(0.02, description="weight decay")
    label_smoothing: float = Field(0.05, description="label smoothing")
    max_rate_response: float = Field(2.0, description="ReLU response that one spike per step replaces at conversion")
    distillation: float = Field(
        0.5, description="share of the loss that compares with the non-spiking network's outputs"
    )
    first_steps: int = Field(2, description="time steps in the first half of training")
    last_steps: int = Field(3, description="time steps in the second half of training")
    max_steps: int = Field(5, description="largest number of time steps after training")
    wrong_asserted: float = Field(
        0.05, gt=0, lt=1, description="largest share of wrong ones among the classes that are asserted"
    )
    held_out: int = Field(5000, description="pictures of each data set that are held out from training")
    max_accuracy_loss: float = Field(0.1, description="points of held-out accuracy that early exit may lose")
    test_pictures: int = Field(10_000, description="evaluation: test pictures of each data set")


class NonSpikingClassifier(nn.Module):
    """The same network with ReLU in place of the neurons, run once per picture.

    Args:
        config: Configuration of the spiking network.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = build_stages(config)
        self.readout = nn.Linear(config.features, len(config.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Compute scores [B, classes] of pictures [B, 3, 32, 32]."""
        x = normalize_images(images)
        for stage in self.stages:
            x = F.relu(stage(x))
        scores: Tensor = self.readout(x.flatten(1))
        return scores


def convert(ann: NonSpikingClassifier, config: ClassifierConfig, max_rate_response: float) -> SpikingClassifier:
    """Make a spiking network in which one spike per step replaces the ReLU response `max_rate_response` of `ann`."""
    model = SpikingClassifier(config)
    with torch.no_grad():
        # Not strict: the ANN has no counterpart of the neurons' decays.
        model.load_state_dict(ann.state_dict(), strict=False)
        # Scaling a stage's output is safe: the batch normalisation of the next stage removes the scale again.
        for stage in model.stages:
            stage.norm.weight.div_(max_rate_response)
            stage.norm.bias.div_(max_rate_response)
        model.readout.weight.mul_(max_rate_response)
    return model


def train(run: Run[Settings]) -> None:
    """Train the non-spiking network, then the spiking one, and write both."""
    config = ClassifierConfig(KINDS, run.settings.channels, temperatures=(1.0,) * run.settings.max_steps)
    sets, count = read_pictures(run, "train"), run.settings.held_out
    held_out = [part.part(-count, None) for part in sets]
    batches = Batches([part.part(0, -count) for part in sets], run.settings.batch, run.seed)
    ann = train_ann(run, config, batches, held_out)
    model = train_network(run, config, ann, batches, held_out)
    scores = torch.cat([scores_of(run, ann, part) for part in held_out])
    labels = torch.cat([part.labels for part in held_out])
    calibrated = replace(config, temperatures=(best_temperature(scores, labels),))
    save_weights(ann_file(run), ann.state_dict(), weights_metadata(calibrated))
    model.config = with_early_exit(run, model, held_out)
    model.config = with_assertions(run, model, held_out)
    save_weights(run.weights, model.state_dict(), weights_metadata(model.config))
    run.delete_checkpoints()


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure accuracy and calibration beside the non-spiking network, early exit, and synaptic operations."""
    model, ann = load_classifier(run.weights).to(run.device), load_ann(run)
    sets = [part.part(0, run.settings.test_pictures).preprocessed(run) for part in read_pictures(run, "test")]
    outcomes = [outcome_of(run, model, ann, part) for part in sets]
    for part, outcome in zip(sets, outcomes, strict=True):
        name, bar = BARS[part.kind]
        yield compare(
            f"{name}_accuracy",
            accuracy(outcome.early, part.labels),
            "%",
            rival="non-spiking network",
            rival_value=accuracy(outcome.ann, part.labels),
            limit=("value", ">=", bar),
        )
    labels, total = torch.cat([part.labels for part in sets]), Outcome(*map(torch.cat, zip(*outcomes, strict=True)))
    for row, measure in (("kind_recognised", kind_accuracy), ("accuracy", accuracy), ("ece", calibration_error)):
        value, rival = measure(total.early, labels), measure(total.ann, labels)
        yield compare(row, value, "" if row == "ece" else "%", rival="non-spiking network", rival_value=rival)

    most = model.config.steps
    for part, outcome in zip(sets, outcomes, strict=True):
        taken = outcome.steps.float().mean().item()
        yield compare(f"{BARS[part.kind][0]}_steps", taken, "steps", rival="all steps", rival_value=most)
    saved = 100 * (1 - total.steps.float().mean().item() / most)
    yield compare("steps_saved", saved, "%", limit=("value", ">=", 40))
    for part, outcome in zip(sets, outcomes, strict=True):
        lost = accuracy(outcome.full, part.labels) - accuracy(outcome.early, part.labels)
        yield compare(f"{BARS[part.kind][0]}_lost_by_early_exit", lost, "points", limit=("value", "<=", 0.2))
    for part, outcome in zip(sets, outcomes, strict=True):
        confidence, choice = outcome.early.max(-1)
        asserted = confidence >= model.config.asserted_from.get(part.kind, 0.0)
        wrong = (choice != part.labels)[asserted].float().mean().item()
        name = BARS[part.kind][0]
        yield compare(f"{name}_asserted", 100 * asserted.float().mean().item(), "%")
        yield compare(f"{name}_wrong_of_asserted", 100 * wrong, "%", limit=("value", "<=", 6))
    yield from activity(run, model, ann, sets)


def train_ann(
    run: Run[Settings], config: ClassifierConfig, batches: Batches, held_out: list[Pictures]
) -> NonSpikingClassifier:
    """Train the non-spiking network on labels."""
    settings = run.settings
    ann = NonSpikingClassifier(config).to(run.device)

    def loss(images: Tensor, labels: Tensor, _: float) -> Tensor:
        return F.cross_entropy(ann(images), labels, label_smoothing=settings.label_smoothing)

    updates = settings.ann_pictures // settings.batch
    rates = settings.ann_learning_rate, settings.ann_warmup
    optimise(run, "ann", ann, loss, lambda: accuracies(run, ann, held_out), updates, *rates, batches)
    return ann.eval()


def train_network(
    run: Run[Settings], config: ClassifierConfig, ann: NonSpikingClassifier, batches: Batches, held_out: list[Pictures]
) -> SpikingClassifier:
    """Convert the non-spiking network, and train the spiking one on labels and on the other's outputs."""
    settings = run.settings
    model = convert(ann, config, settings.max_rate_response).to(run.device)

    def loss(images: Tensor, labels: Tensor, progress: float) -> Tensor:
        steps = settings.first_steps if progress < 0.5 else settings.last_steps
        scores = model(images, steps).scores.flatten(0, 1)
        with torch.no_grad():
            outputs = ann(images).softmax(-1).repeat(steps, 1)
        label_loss = F.cross_entropy(scores, labels.repeat(steps), label_smoothing=settings.label_smoothing)
        # The cross-entropy has the same gradient as the Kullback-Leibler divergence.
        distillation_loss = F.cross_entropy(scores, outputs)
        return label_loss.lerp(distillation_loss, settings.distillation)

    def check() -> str:
        return accuracies(run, lambda images: model(images, settings.last_steps).scores[-1], held_out)

    # Continues with the batches that the non-spiking network has not used.
    start = settings.ann_pictures // settings.batch
    updates, rates = settings.pictures // settings.batch, (settings.learning_rate, settings.warmup)
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
    warmup: float,
    batches: Batches,
    start: int = 0,
) -> None:
    """Minimise a loss with AdamW and a one-cycle learning rate.

    Args:
        run: The training run.
        part: Name of the model, for checkpoints and messages.
        model: The model to train.
        loss: From images, labels and progress (0 to 1) to the loss.
        check: Returns the held-out accuracy as text.
        updates: Number of batches.
        rate: Peak learning rate.
        warmup: Share of the updates in which the rate rises.
        batches: The batches.
        start: Number of the first batch.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=run.settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=updates + 1, pct_start=warmup)
    states: dict[str, Any] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    checkpoint = run.load_checkpoint(part) or {"done": 0}
    for name in states.keys() & checkpoint.keys():
        states[name].load_state_dict(checkpoint[name])
    interval = max(1, min(500, updates // 10))
    with run.progress() as bar:
        task = bar.add_task(part, total=updates, completed=checkpoint["done"])
        for done in range(checkpoint["done"] + 1, updates + 1):
            images, labels = (tensor.to(run.device) for tensor in batches[start + done - 1])
            model.train()
            value = loss(images, labels, done / updates)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            bar.advance(task)
            if done % interval == 0 or done == updates:
                model.eval()
                run.log(f"{part} {done}/{updates}: loss {value.item():.3f}, held out {check()}")
                run.save_checkpoint({name: each.state_dict() for name, each in states.items()} | {"done": done}, part)


@torch.no_grad()
def accuracies(run: Run[Settings], scores: Callable[[Tensor], Tensor], sets: list[Pictures], most: int = 1000) -> str:
    """Write the accuracy on up to `most` pictures of each set as text."""
    texts = []
    for part in sets:
        hits = 0
        for chosen in torch.arange(min(most, len(part.labels))).split(100):
            predicted = scores(part.padded(chosen).to(run.device)).argmax(-1).cpu()
            hits += int((predicted == part.labels[chosen]).sum())
        texts.append(f"{part.kind} {100 * hits / min(most, len(part.labels)):.1f} %")
    return ", ".join(texts)


class Outcome(NamedTuple):
    """Results on a set of pictures.

    Attributes:
        early: Class probabilities [N, classes] of the spiking network with early exit.
        full: The same after all steps.
        ann: The same of the non-spiking network.
        steps: Steps taken with early exit, [N].
    """

    early: Tensor
    full: Tensor
    ann: Tensor
    steps: Tensor


@torch.inference_mode()
def outcome_of(run: Run[Settings], model: SpikingClassifier, ann: NonSpikingClassifier, part: Pictures) -> Outcome:
    """Run both networks on a set of pictures."""
    early, steps, full, other = [], [], [], []
    for images in run.track(part.images.to(run.device).split(100), part.kind):
        for classification in model.classify(images):
            early.append(classification.probabilities)
            steps.append(len(classification.spikes))
        full.append((model(images).scores[-1] / model.config.temperatures[-1]).softmax(-1))
        other.append((ann(images) / ann.config.temperatures[-1]).softmax(-1))
    return Outcome(torch.stack(early).cpu(), torch.cat(full).cpu(), torch.cat(other).cpu(), torch.tensor(steps))


def activity(
    run: Run[Settings], model: SpikingClassifier, ann: NonSpikingClassifier, sets: list[Pictures]
) -> Iterator[Row]:
    """Measure firing rates and synaptic operations on the first 100 pictures of each set."""
    images = torch.cat([part.images[:100] for part in sets]).to(run.device)
    rates: dict[int, Tensor] = {}
    # The default argument binds the number of each stage.
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
        with Meter(ann, len(images)) as non_spiking:
            ann(images)
    for stage, rate in rates.items():
        yield compare(f"stage_{stage}_firing", 100 * rate.item(), "% of neurons per step")
    ann_operations = non_spiking.synaptic_operations.Effective_MACs / 1e6
    counts = spiking.synaptic_operations
    yield compare(
        "accumulates",
        counts.Effective_ACs / 1e6,
        "million per picture",
        rival="non-spiking network's multiply-accumulates",
        rival_value=ann_operations,
    )
    yield compare(
        "multiply_accumulates",
        counts.Effective_MACs / 1e6,
        "million per picture",
        rival="non-spiking network",
        rival_value=ann_operations,
    )


@torch.inference_mode()
def scores_of(run: Run[Settings], model: Callable[[Tensor], Tensor], part: Pictures) -> Tensor:
    """Compute scores [..., N, classes] of all pictures of a set."""
    chosen = torch.arange(len(part.labels)).split(100)
    return torch.cat([model(part.padded(some).to(run.device)).cpu() for some in run.track(chosen, part.kind)], -2)


def best_temperature(scores: Tensor, labels: Tensor) -> float:
    """Find the divisor of scores [N, classes] with the smallest cross-entropy (Guo et al. 2017)."""
    return min(torch.logspace(-1, 1, 81).tolist(), key=lambda each: F.cross_entropy(scores / each, labels).item())


def with_early_exit(run: Run[Settings], model: SpikingClassifier, held_out: list[Pictures]) -> ClassifierConfig:
    """Return the model's configuration with the temperature of each step and the threshold of early exit.

    The threshold is the lowest at which no data set loses more than `max_accuracy_loss` points of accuracy.
    """
    labels = [part.labels for part in held_out]
    scores = [scores_of(run, lambda images: model(images).scores, part) for part in held_out]
    temperatures = tuple(best_temperature(step, torch.cat(labels)) for step in torch.cat(scores, 1))
    scale = torch.tensor(temperatures)[:, None, None]
    probabilities = [(each / scale).softmax(-1) for each in scores]

    def accuracy_loss(threshold: float) -> float:
        early = [exit_at(each, threshold)[0] for each in probabilities]
        return max(
            accuracy(p[-1], right) - accuracy(e, right)
            for p, e, right in zip(probabilities, early, labels, strict=True)
        )

    # No probability reaches 1.01, so the last candidate always takes all steps and loses nothing.
    candidates = torch.linspace(0.5, 1.01, 103).tolist()
    threshold = next(each for each in candidates if accuracy_loss(each) <= run.settings.max_accuracy_loss)
    steps = ", ".join(f"{exit_at(each, threshold)[1].float().mean():.2f}" for each in probabilities)
    run.log(f"early exit at a confidence of {threshold:.3f}, after {steps} of {len(temperatures)} steps")
    return replace(model.config, temperatures=temperatures, threshold=threshold)


@torch.inference_mode()
def with_assertions(run: Run[Settings], model: SpikingClassifier, held_out: list[Pictures]) -> ClassifierConfig:
    """Return the model's configuration with the confidence from which a class of each kind is asserted.

    It is the lowest at which at most `wrong_asserted` of what is asserted on held-out pictures is wrong, one more wrong
    picture included for the finite sample (conformal risk control; Angelopoulos et al. 2024, *Conformal Risk Control*).
    """
    asserted_from = {}
    for part in held_out:
        pictures = torch.arange(len(part.labels)).split(100)
        answers = [one for some in run.track(pictures, part.kind) for one in model.classify(part.padded(some))]
        asserted_from[part.kind] = assertion_threshold(
            torch.stack([answer.probabilities for answer in answers]).cpu(), part.labels, run.settings.wrong_asserted
        )
    run.log(f"asserted from a confidence of {asserted_from}")
    return replace(model.config, asserted_from=asserted_from)


def assertion_threshold(probabilities: Tensor, labels: Tensor, wrong_share: float) -> float:
    """Return the lowest confidence from which at most a share of the classes is wrong, one more wrong one included.

    Args:
        probabilities: Of all classes, [N, classes].
        labels: The right classes, [N].
        wrong_share: Largest share of wrong ones among those at or above the confidence.
    """
    confidence, choice = probabilities.max(-1)
    order = confidence.argsort(descending=True)
    wrong = (choice != labels)[order].int().cumsum(0)
    share = (wrong + 1) / (torch.arange(len(order)) + 2)
    good = (share <= wrong_share).nonzero()
    return float(confidence[order][good[-1, 0]]) if len(good) else 1.0


def exit_at(probabilities: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Apply early exit to probabilities [T, N, classes].

    Returns:
        The probabilities at the step at which each picture is answered, and that step [N], counted from 1.
    """
    confident = probabilities.amax(-1) >= threshold
    confident[-1] = True
    step = confident.int().argmax(0)
    return probabilities[step, torch.arange(len(step))], step + 1


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Compute the accuracy in per cent."""
    return 100 * (probabilities.argmax(-1) == labels).float().mean().item()


def kind_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Compute, in per cent, how often the classes of a picture's kind have the largest total probability."""
    kinds = torch.stack(
        [part.sum(-1) for part in probabilities.split([len(names) for names in KINDS.values()], -1)], -1
    )
    # Labels are counted over all kinds, ten per kind.
    return 100 * (kinds.argmax(-1) == labels // 10).float().mean().item()


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Compute the expected calibration error."""
    confidence, choice = probabilities.max(-1)
    return expected_calibration_error(confidence.numpy(), (choice == labels).numpy())


def ann_file(run: Run[Settings]) -> Path:
    """Return the path of the non-spiking network's weights."""
    return run.weights.parent / "baselines" / f"{run.weights.stem}_twin.safetensors"


def load_ann(run: Run[Settings]) -> NonSpikingClassifier:
    """Load the non-spiking network that was trained together with the weights.

    Raises:
        TrainingError: Its file does not exist.
    """
    path = ann_file(run)
    if not path.is_file():
        raise TrainingError(f"{path}, the weights of the non-spiking network, is missing: `brainnet train` writes it")
    tensors, config = load_weights(path)
    ann = NonSpikingClassifier(config)
    ann.load_state_dict(tensors)
    return ann.to(run.device).eval()
