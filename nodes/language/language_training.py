# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the spiking language model, on books, trivia and passages or on the characters of tinyshakespeare.

The first is the model that ships. With `role=control` the non-spiking control of the same size is trained.

Texts are read in order, in parallel streams that carry the state of the network from window to window (truncated
back-propagation through time). The loss is the cross-entropy of the next token; Muon optimises the matrices inside the
blocks, AdamW the rest. A cost of spikes is added to the loss while more neurons fire than `max_firing_rate`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn

from brainnet.snn.models.text_generation import EventDrivenModel, sample
from brainnet.snn.models.text_model import (
    SpikingTextModel,
    TextModelConfig,
    detach_state,
    firing_fraction,
    load_text_model,
    quantized_tensors,
    weights_metadata,
)
from brainnet.training import Row, Run, TrainingSettings, compare, save_weights
from language_eager import EagerModel
from language_muon import Muon
from language_texts import Text, encode, parallel, read_library, read_shakespeare, train_tokenizer

NANOGPT = 1.4697
"""Validation loss in nats per character that karpathy/nanoGPT reports for its character model of 10.7 M parameters."""

PUBLISHED = "nanoGPT (10.7 M parameters), as published"
RATIO_BAR: tuple[Literal["ratio"], Literal["<="], float] = ("ratio", "<=", 1.05)
"""Bar of the bits per byte, relative to the control's."""
TEST_TEXTS = ("books", "wikitext2")
"""The held-out texts on which nothing was chosen; trivia choose the step whose weights are written."""
SPIKE_COST_RATE = 0.05
"""Step size of the spike cost: nats per step and per unit of the firing rate above its maximum."""
FIRING_RATE_TOKENS = 4000
"""Number of tokens over which the firing rate is measured."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults are those of the shipped weights.

    They take about 18 minutes of one core that multiplies in bfloat16 (AVX-512).
    """

    text: Literal["library", "shakespeare"] = Field("library", description="training text, as tokens or as characters")
    role: Literal["model", "control"] = Field(
        "model",
        description="control: SiLU in place of the neurons, for comparison with a model trained with the same settings",
    )
    vocabulary: int = Field(2048, ge=300, description="tokens of the library's byte-level BPE")
    width: int = Field(192, ge=8, description="channels of the residual stream")
    layers: int = Field(5, ge=1, description="blocks")
    expansion: int = Field(3, ge=1, description="hidden neurons of a block's feed-forward part, as a multiple of width")
    mixer_neurons: int = Field(4, ge=1, description="neurons per channel before the recurrence")
    channel_neurons: int = Field(2, ge=1, description="neurons per channel before the feed-forward part")
    steps: int = Field(2000, ge=1, description="optimiser steps, each over one window of all streams")
    streams: int = Field(32, ge=1, description="texts read in parallel (batch size)")
    window: int = Field(128, ge=1, description="tokens of each stream per step, through which gradients flow back")
    learning_rate: float = Field(1.2e-2, gt=0, description="peak learning rate")
    warmup_steps: int = Field(50, ge=1, description="steps over which the learning rate rises")
    cooldown: float = Field(0.7, gt=0, le=1, description="last share of the steps, over which the rate falls to 0")
    weight_decay: float = Field(0.1, ge=0, description="weight decay of the matrices")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the residual branches")
    max_firing_rate: float = Field(
        0.14, gt=0, le=1, description="share of firing neurons above which the spike cost rises"
    )
    precision: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="type in which the blocks multiply in training; sums are in float32"
    )
    initial_weights: Path | None = Field(None, description="weights to start from, in place of random ones")
    eval_interval: int = Field(200, ge=1, description="steps between measurements, each with a checkpoint")
    timing_s: float = Field(2.0, gt=0, description="evaluation: seconds of each of three timings of a generator")
    max_eval_tokens: int = Field(10**9, ge=2, description="evaluation: largest number of tokens of a held-out text")


def train(run: Run[Settings]) -> None:
    """Train, and write the weights of the step with the best held-out loss (and the tokenizer of the library)."""
    settings = run.settings
    # On CPUs this still multiplies in float32, but with oneDNN, which takes half of MKL's time on AMD processors.
    torch.set_float32_matmul_precision("medium")
    corpus = read_corpus(run)
    config = TextModelConfig(
        corpus.vocabulary,
        settings.width,
        settings.layers,
        settings.expansion,
        settings.mixer_neurons,
        settings.channel_neurons,
        settings.role != "control",
    )
    model = SpikingTextModel(config, settings.dropout, settings.precision == "bfloat16")
    if settings.initial_weights is not None:
        model.load_state_dict(load_text_model(settings.initial_weights).state_dict())
    run.log(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(corpus.train.tokens):,} training tokens")
    fit(run, model.to(run.device).train(), corpus)


@dataclass(frozen=True)
class Corpus:
    """The texts of one training.

    Attributes:
        vocabulary: Number of different tokens.
        train: The training text.
        held_out: The text that decides which step's weights are written.
        metadata: Metadata for the weights file.
    """

    vocabulary: int
    train: Text
    held_out: Text
    metadata: dict[str, str]


def read_corpus(run: Run[Settings]) -> Corpus:
    """Read the texts, and train or read the tokenizer."""
    if run.settings.text == "shakespeare":
        characters, train_text, held_out = read_shakespeare(run.file)
        return Corpus(len(characters), train_text, held_out, {"characters": json.dumps(characters)})
    library = read_library(run.file)
    order = np.random.default_rng(run.seed).permutation(len(library.train))
    documents = [library.train[i] for i in order]
    path = tokenizer_path(run)
    # Initial weights, and the model that a control is compared with, belong to the existing tokenizer.
    if run.settings.initial_weights is not None or run.settings.role != "model":
        tokenizer = Tokenizer.from_file(str(path))
    else:
        tokenizer = train_tokenizer(documents, run.settings.vocabulary)
        path.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(path), pretty=False)
    return Corpus(
        tokenizer.get_vocab_size(), encode(tokenizer, documents), encode(tokenizer, library.held_out["trivia"]), {}
    )


def metadata_of(path: Path) -> dict[str, str]:
    """Read the metadata of a weights file; `tokens` is the number of tokens that its model was trained on."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def tokenizer_path(run: Run[Settings]) -> Path:
    """Return the path of the tokenizer, in the folder of the weights."""
    return run.weights.with_suffix(".tokenizer.json")


def weights_path(run: Run[Settings], text: str, role: str) -> Path:
    """Return the path of a model's weights.

    `run.weights` is the shipped model; the character model is in the same folder, controls are in baselines/.
    """
    stem = run.weights.stem if text == "library" else f"{run.weights.stem}_{text}"
    if role == "model":
        return run.sibling(f"{stem}.safetensors")
    return run.weights.parent / "baselines" / f"{stem}_{role}.safetensors"


def fit(run: Run[Settings], model: SpikingTextModel, corpus: Corpus) -> None:
    """Train from the last checkpoint on; at intervals measure, and write the weights if they are the best so far."""
    settings, path = run.settings, weights_path(run, run.settings.text, run.settings.role)
    optimisers = make_optimisers(model, settings)
    windows = Windows(corpus.train, settings, run.seed, run.device)
    part = path.stem.removeprefix(run.weights.stem).strip("_")
    step, seconds, best, spike_cost = 0, 0.0, math.inf, 0.0
    saved = run.load_checkpoint(part)
    if saved is not None:
        model.load_state_dict(saved["model"])
        for optimiser, values in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        step, seconds, best, spike_cost = (saved[name] for name in ("step", "seconds", "best", "spike_cost"))
    earlier = int(metadata_of(settings.initial_weights).get("tokens", 0)) if settings.initial_weights else 0
    # Every neuron has one bias.
    neurons = sum(p.numel() for name, p in model.named_parameters() if name.endswith(".bias"))
    started, losses, state = time.process_time() - seconds, [], None
    with run.progress() as bar:
        task = bar.add_task(path.stem, total=settings.steps, completed=step)
        while step < settings.steps:
            window, first = windows.at(step)
            model.set_spike_cost(spike_cost / (settings.streams * settings.window * neurons))
            loss, state = model.loss(window[:-1], window[1:], None if first else state)
            state = detach_state(state)
            # Dual ascent: the cost is the Lagrange multiplier of the limit on the firing rate.
            spike_cost = max(0.0, spike_cost + SPIKE_COST_RATE * (firing_fraction(state) - settings.max_firing_rate))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = settings.learning_rate * schedule(step, settings)
                optimiser.step()
                optimiser.zero_grad()
            losses.append(loss.item())
            step += 1
            bar.update(task, completed=step)
            if step % settings.eval_interval == 0 or step == settings.steps:
                held_out = nats(model, corpus.held_out) / corpus.held_out.bytes
                seconds = time.process_time() - started
                run.log(
                    f"step {step}, {seconds:.0f} s of CPU, {step * settings.streams * settings.window / 1e6:.2f} M "
                    f"tokens: loss {np.mean(losses):.4f} nats/token, held out {held_out:.4f} nats/byte, "
                    f"{firing_fraction(state):.1%} fired, spike cost {spike_cost:.2f}"
                )
                losses = []
                if held_out < best:
                    best = held_out
                    tokens = {"tokens": str(earlier + step * settings.streams * settings.window)}
                    metadata = weights_metadata(model.config) | corpus.metadata | tokens
                    save_weights(path, quantized_tensors(model), metadata, torch.float32)
                values = {"model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers]}
                progress = {"step": step, "seconds": seconds, "best": best, "spike_cost": spike_cost}
                run.save_checkpoint({**values, **progress}, part)


def make_optimisers(model: SpikingTextModel, settings: Settings) -> list[torch.optim.Optimizer]:
    """Make the optimisers: Muon for the matrices inside the blocks, AdamW for embedding, gains, biases and decays."""
    inside = {name: p for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2}
    others = [p for name, p in model.named_parameters() if name not in inside]
    # `project` holds the matrices of forget gate, value and output gate, one above the other.
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in inside.items() if name.endswith("project.weight")], "maps": 3},
        {"params": [p for name, p in inside.items() if not name.endswith("project.weight")]},
    ]
    dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    return [
        Muon(groups, settings.learning_rate, settings.weight_decay, dtype=dtype),
        torch.optim.AdamW(others, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(step: int, settings: Settings) -> float:
    """Compute the factor on the learning rate: linear warm-up, constant, then linear to zero."""
    left = (settings.steps - step) / settings.steps
    return min(1.0, (step + 1) / settings.warmup_steps, left / settings.cooldown)


class Windows:
    """Windows of the training text.

    Each pass begins at another place of the text, so that windows begin at other tokens in every pass.

    Args:
        text: The training text.
        settings: The hyper-parameters.
        seed: Seed of the places.
        device: Where the windows are needed.

    Attributes:
        per_pass: Number of windows in one pass over the text.
    """

    def __init__(self, text: Text, settings: Settings, seed: int, device: str) -> None:
        self._text, self._settings, self._seed, self._device = text, settings, seed, device
        self.per_pass = (len(text.tokens) // settings.streams - 1) // settings.window
        self._pass, self._rows = -1, torch.empty(0)

    def at(self, step: int) -> tuple[Tensor, bool]:
        """Return the window of a step.

        Returns:
            Its tokens, [window + 1, streams], and whether it is the first of a pass, where the state must be reset.
        """
        number, index = divmod(step, self.per_pass)
        if number != self._pass:
            offset = int(np.random.default_rng((self._seed, number)).integers(len(self._text.tokens)))
            self._rows = parallel(np.roll(self._text.tokens, -offset), self._settings.streams)
            self._pass = number
        start = index * self._settings.window
        return self._rows[start : start + self._settings.window + 1].to(self._device), index == 0


@torch.no_grad()
def nats(model: SpikingTextModel, text: Text, window: int = 0) -> float:
    """Compute the total cross-entropy in nats of all tokens but the first, read in order.

    Args:
        model: The model.
        text: The text.
        window: If given, the state is reset after every `window` tokens, as for a model with a limited context.

    Returns:
        The code length of the text in nats.
    """
    was_training = model.training
    model.eval()
    size = window or 1024
    tokens = torch.from_numpy(text.tokens.astype(np.int64)).to(model.embedding.weight.device)
    state, total = None, 0.0
    for start in range(0, len(tokens) - 1, size):
        part = tokens[start : start + size + 1, None]
        loss, state = model.loss(part[:-1], part[1:], None if window else state)
        total += loss.item() * (len(part) - 1)
    model.train(was_training)
    return total


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure held-out loss beside the controls, firing rates, and speed beside eager torch.

    All models in the folder of `run.weights` are measured, whatever the settings of training; those whose file does
    not exist have no rows.
    """
    yield from evaluate_library(run)
    yield from evaluate_shakespeare(run)


def evaluate_library(run: Run[Settings]) -> Iterator[Row]:
    """Measure the model of books, trivia and passages."""
    path = weights_path(run, "library", "model")
    if not path.is_file():
        return
    model = load_text_model(path).to(run.device)
    control, control_name = read_baseline(run, "library", "control")
    tokenizer = Tokenizer.from_file(str(tokenizer_path(run)))
    texts = {name: encode(tokenizer, documents) for name, documents in read_library(run.file).held_out.items()}
    for name, full_text in texts.items():
        text = full_text.first(run.settings.max_eval_tokens)
        row, value = f"{name}_bits_per_byte", bits_per_byte(model, text)
        if control is None:
            yield compare(row, value, "bits/byte")
            continue
        beside, limit = bits_per_byte(control, text), RATIO_BAR if name in TEST_TEXTS else None
        yield compare(row, value, "bits/byte", rival=control_name, rival_value=beside, limit=limit)
    yield from firing_and_speed("library", model.cpu(), texts["books"], run.settings.timing_s)


def evaluate_shakespeare(run: Run[Settings]) -> Iterator[Row]:
    """Measure the character model."""
    path = weights_path(run, "shakespeare", "model")
    if not path.is_file():
        return
    model = load_text_model(path).to(run.device)
    control, control_name = read_baseline(run, "shakespeare", "control")
    text = read_shakespeare(run.file)[2].first(run.settings.max_eval_tokens)
    row, unit, count = "shakespeare_nats_per_char", "nats/char", len(text.tokens) - 1
    value, windowed = nats(model, text) / count, nats(model, text, window=256) / count
    yield compare(row, value, unit, rival=PUBLISHED, rival_value=NANOGPT, limit=("value", "<=", 1.47))
    # nanoGPT's context is 256 characters.
    yield compare(f"{row}_windows_of_256", windowed, unit, rival=PUBLISHED, rival_value=NANOGPT)
    if control is not None:
        beside = nats(control, text) / count
        yield compare(f"{row}_beside_control", value, unit, rival=control_name, rival_value=beside)
    yield from firing_and_speed("shakespeare", model.cpu(), text, run.settings.timing_s)


def read_baseline(run: Run[Settings], text: str, role: str) -> tuple[SpikingTextModel | None, str | None]:
    """Load a baseline and its description; both are None when its file does not exist."""
    path = weights_path(run, text, role)
    if not path.is_file():
        return None, None
    return load_text_model(path).to(run.device), f"{role}, {int(metadata_of(path)['tokens']) / 1e6:.1f} M tokens"


def bits_per_byte(model: SpikingTextModel, text: Text) -> float:
    """Compute the cross-entropy in bits per byte, which does not depend on the tokenizer."""
    return nats(model, text) / math.log(2) / text.bytes


def firing_and_speed(name: str, model: SpikingTextModel, text: Text, seconds: float) -> Iterator[Row]:
    """Measure the share of neurons that fire while reading, and the tokens generated per second of one core."""
    driven, eager = EventDrivenModel(model), EagerModel(model)
    tokens = text.tokens[:FIRING_RATE_TOKENS].tolist()
    rate = float(np.mean([driven.advance(token)[1].mean() for token in tokens]))
    yield compare(f"{name}_firing_rate", 100 * rate, "%", limit=("value", "<=", 15))

    def event_driven_logits(token: int) -> NDArray[np.float32]:
        return driven.advance(token)[0]

    def eager_logits(token: int) -> NDArray[np.float32]:
        return eager.advance(token).numpy()

    # The two take turns, so that other load of the machine affects both.
    speeds = [
        (generation_speed(event_driven_logits, seconds), generation_speed(eager_logits, seconds)) for _ in range(3)
    ]
    ours, theirs = (float(np.median(column)) for column in zip(*speeds, strict=True))
    row, unit, rival = f"{name}_tokens_per_s", "tokens/s", "eager torch"
    if name != "shakespeare":  # the bars hold for the size of the character model
        yield compare(row, ours, unit, rival=rival, rival_value=theirs)
        return
    yield compare(row, ours, unit, rival=rival, rival_value=theirs, limit=("value", ">=", 3000))
    yield compare(f"{row}_over_eager", ours, unit, rival=rival, rival_value=theirs, limit=("ratio", ">=", 10))


def generation_speed(advance: Callable[[int], NDArray[np.float32]], seconds: float) -> float:
    """Measure the tokens sampled per second of this thread's CPU time."""
    generator = np.random.default_rng(0)
    token, count, started = 1, 0, time.thread_time()
    while (spent := time.thread_time() - started) < seconds:
        for _ in range(20):
            token, _ = sample(advance(token), 0.8, 0.95, generator)
        count += 20
    return count / spent
