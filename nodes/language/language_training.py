# mypy: allow-untyped-calls, no-warn-return-any
"""The spiking language model, trained on books, trivia and passages (the model that the language region ships) or on
the characters of tinyshakespeare; with `role=control` its non-spiking control, of the same size.

Texts are read in order, in parallel streams that carry the state of the network from window to window. What is
minimised is the cross-entropy of the next token, with Muon for the matrices inside the blocks and AdamW for the rest.
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
"""Validation loss in nats per character that karpathy/nanoGPT states for its 10.7 M parameter character model."""

PUBLISHED = "nanoGPT (10.7 M parameters), as published"
WITHIN: tuple[Literal["ratio"], Literal["<="], float] = ("ratio", "<=", 1.05)
JUDGED = ("books", "wikitext2")
"""The held-out texts that decided nothing: trivia choose the step whose weights are kept."""
PRICE_RATE = 0.05
"""Nats that the price of all neurons' firing rises by, per step and share of them that fires too much."""
READ = 4000
"""Tokens that are read to see how many neurons fire."""


class Settings(TrainingSettings):
    """The defaults train the shipped model in about 18 minutes of one core that multiplies in bfloat16 (AVX-512)."""

    text: Literal["library", "shakespeare"] = Field("library", description="what to learn: tokens or characters")
    role: Literal["model", "control"] = Field(
        "model",
        description="control: SiLU in place of the neurons, for comparison with the model that the same settings train",
    )
    vocabulary: int = Field(2048, ge=300, description="tokens of the library's byte-level BPE")
    width: int = Field(192, ge=8, description="channels of the residual stream")
    layers: int = Field(5, ge=1, description="blocks")
    expansion: int = Field(3, ge=1, description="hidden neurons of a block's feed-forward part, in widths")
    mixer_neurons: int = Field(4, ge=1, description="neurons that a channel drives before the recurrence")
    channel_neurons: int = Field(2, ge=1, description="neurons that a channel drives before the feed-forward part")
    steps: int = Field(2000, ge=1, description="windows to learn from, each of all streams")
    streams: int = Field(32, ge=1, description="texts read in parallel")
    window: int = Field(128, ge=1, description="tokens of each stream per step, through which errors flow back")
    rate: float = Field(1.2e-2, gt=0, description="peak learning rate")
    warm_up: int = Field(50, ge=1, description="steps over which the rate rises")
    decay: float = Field(0.7, gt=0, le=1, description="share of the steps, at the end, over which the rate falls to 0")
    weight_decay: float = Field(0.1, ge=0, description="of the matrices")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the residual branches")
    firing: float = Field(0.14, gt=0, le=1, description="share of the neurons above which spikes get ever dearer")
    products: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="what the blocks multiply in while training; sums are in float32"
    )
    start: Path | None = Field(None, description="weights to go on from, in place of random ones")
    every: int = Field(200, ge=1, description="steps between measurements, each with a checkpoint")
    timed: float = Field(2.0, gt=0, description="evaluation: seconds for which each generator is timed, three times")
    at_most: int = Field(10**9, ge=2, description="evaluation: tokens of each held-out text, from its beginning")


def train(run: Run[Settings]) -> None:
    """Write the weights of the step with the best held-out loss; beside the library's, their tokenizer."""
    settings = run.settings
    # on CPUs this still multiplies in float32, but by oneDNN, which takes half of MKL's time on AMD's
    torch.set_float32_matmul_precision("medium")
    lesson = read_lesson(run)
    config = TextModelConfig(
        lesson.vocabulary,
        settings.width,
        settings.layers,
        settings.expansion,
        settings.mixer_neurons,
        settings.channel_neurons,
        settings.role != "control",
    )
    model = SpikingTextModel(config, settings.dropout, settings.products == "bfloat16")
    if settings.start is not None:
        model.load_state_dict(load_text_model(settings.start).state_dict())
    run.log(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(lesson.train.tokens):,} tokens to learn from"
    )
    learn(run, model.to(run.device).train(), lesson)


@dataclass(frozen=True)
class Lesson:
    """What one training works with; `held_out` only decides which step's weights are kept."""

    vocabulary: int
    train: Text
    held_out: Text
    metadata: dict[str, str]


def read_lesson(run: Run[Settings]) -> Lesson:
    if run.settings.text == "shakespeare":
        characters, train_text, held_out = read_shakespeare(run.file)
        return Lesson(len(characters), train_text, held_out, {"characters": json.dumps(characters)})
    library = read_library(run.file)
    order = np.random.default_rng(run.seed).permutation(len(library.train))
    documents = [library.train[i] for i in order]
    path = tokenizer_path(run)
    if run.settings.start is not None or run.settings.role != "model":
        tokenizer = Tokenizer.from_file(str(path))  # the weights to start from, or to be compared with, are of it
    else:
        tokenizer = train_tokenizer(documents, run.settings.vocabulary)
        path.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(path), pretty=False)
    return Lesson(
        tokenizer.get_vocab_size(), encode(tokenizer, documents), encode(tokenizer, library.held_out["trivia"]), {}
    )


def metadata_of(path: Path) -> dict[str, str]:
    """What a weights file says of itself; `tokens` is how many its model learned from."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def tokenizer_path(run: Run[Settings]) -> Path:
    return run.weights.with_suffix(".tokenizer.json")


def weights_path(run: Run[Settings], text: str, role: str) -> Path:
    """`run.weights` is the shipped model; the character model stands beside it, what they are compared with in
    baselines/.
    """
    stem = run.weights.stem if text == "library" else f"{run.weights.stem}_{text}"
    if role == "model":
        return run.sibling(f"{stem}.safetensors")
    return run.weights.parent / "baselines" / f"{stem}_{role}.safetensors"


def learn(run: Run[Settings], model: SpikingTextModel, lesson: Lesson) -> None:
    """Take the remaining steps; now and then measure, keep a checkpoint, and write the weights if they are the best."""
    settings, path = run.settings, weights_path(run, run.settings.text, run.settings.role)
    optimisers = optimizers(model, settings)
    reader = Reader(lesson.train, settings, run.seed, run.device)
    part = path.stem.removeprefix(run.weights.stem).strip("_")
    step, seconds, best, price = 0, 0.0, math.inf, 0.0
    saved = run.load_checkpoint(part)
    if saved is not None:
        model.load_state_dict(saved["model"])
        for optimiser, values in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        step, seconds, best, price = (saved[name] for name in ("step", "seconds", "best", "price"))
    earlier = int(metadata_of(settings.start).get("tokens", 0)) if settings.start else 0
    neurons = sum(p.numel() for name, p in model.named_parameters() if name.endswith(".bias"))
    begun, losses, state = time.process_time() - seconds, [], None
    with run.progress() as bar:
        task = bar.add_task(path.stem, total=settings.steps, completed=step)
        while step < settings.steps:
            window, fresh = reader.window(step)
            model.set_spike_cost(price / (settings.streams * settings.window * neurons))
            loss, state = model.loss(window[:-1], window[1:], None if fresh else state)
            state = detach_state(state)
            # dual ascent: what a spike costs rises while more fire than should, and falls while fewer do
            price = max(0.0, price + PRICE_RATE * (firing_fraction(state) - settings.firing))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = settings.rate * schedule(step, settings)
                optimiser.step()
                optimiser.zero_grad()
            losses.append(loss.item())
            step += 1
            bar.update(task, completed=step)
            if step % settings.every == 0 or step == settings.steps:
                held_out = nats(model, lesson.held_out) / lesson.held_out.bytes
                seconds = time.process_time() - begun
                run.log(
                    f"step {step}, {seconds:.0f} s of CPU, {step * settings.streams * settings.window / 1e6:.2f} M "
                    f"tokens: loss {np.mean(losses):.4f} nats/token, held out {held_out:.4f} nats/byte, "
                    f"{firing_fraction(state):.1%} fired, price {price:.2f}"
                )
                losses = []
                if held_out < best:
                    best = held_out
                    tokens = {"tokens": str(earlier + step * settings.streams * settings.window)}
                    metadata = weights_metadata(model.config) | lesson.metadata | tokens
                    save_weights(path, quantized_tensors(model), metadata, torch.float32)
                values = {"model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers]}
                run.save_checkpoint({**values, "step": step, "seconds": seconds, "best": best, "price": price}, part)


def optimizers(model: SpikingTextModel, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embedding, gains, biases and decays."""
    inside = {name: p for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2}
    others = [p for name, p in model.named_parameters() if name not in inside]
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in inside.items() if name.endswith("project.weight")], "maps": 3},
        {"params": [p for name, p in inside.items() if not name.endswith("project.weight")]},
    ]
    dtype = torch.bfloat16 if settings.products == "bfloat16" else torch.float32
    return [
        Muon(groups, settings.rate, settings.weight_decay, dtype=dtype),
        torch.optim.AdamW(others, lr=settings.rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(step: int, settings: Settings) -> float:
    """Factor on the learning rate: a warm-up, constant, then linear to zero."""
    left = (settings.steps - step) / settings.steps
    return min(1.0, (step + 1) / settings.warm_up, left / settings.decay)


class Reader:
    """Windows of the training text. Each pass begins at another place of the text, so that no two cut it alike."""

    def __init__(self, text: Text, settings: Settings, seed: int, device: str) -> None:
        self._text, self._settings, self._seed, self._device = text, settings, seed, device
        self.windows = (len(text.tokens) // settings.streams - 1) // settings.window
        self._pass, self._rows = -1, torch.empty(0)

    def window(self, step: int) -> tuple[Tensor, bool]:
        """Tokens [window + 1, streams] of a step, and whether they begin afresh: the first window of a pass."""
        number, index = divmod(step, self.windows)
        if number != self._pass:
            turn = int(np.random.default_rng((self._seed, number)).integers(len(self._text.tokens)))
            self._rows = parallel(np.roll(self._text.tokens, -turn), self._settings.streams)
            self._pass = number
        start = index * self._settings.window
        return self._rows[start : start + self._settings.window + 1].to(self._device), index == 0


@torch.no_grad()
def nats(model: SpikingTextModel, text: Text, window: int = 0) -> float:
    """Code length of all tokens but the first, read in order with the state carried from first to last.

    With a `window` the state is forgotten before every so many tokens, as a model without state would have it.
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
    """Held-out code lengths of both models beside their controls, firing rates, and speed beside eager torch's.

    All from the files next to `run.weights`, whatever the settings that say how to train one of them. A model
    or control whose file is not there has no rows.
    """
    yield from evaluate_library(run)
    yield from evaluate_shakespeare(run)


def evaluate_library(run: Run[Settings]) -> Iterator[Row]:
    path = weights_path(run, "library", "model")
    if not path.is_file():
        return
    model = load_text_model(path).to(run.device)
    control, control_name = read_baseline(run, "library", "control")
    tokenizer = Tokenizer.from_file(str(tokenizer_path(run)))
    texts = {name: encode(tokenizer, documents) for name, documents in read_library(run.file).held_out.items()}
    for name, whole in texts.items():
        text = whole.first(run.settings.at_most)
        row, value = f"{name}_bits_per_byte", bits_per_byte(model, text)
        if control is None:
            yield compare(row, value, "bits/byte")
            continue
        beside, limit = bits_per_byte(control, text), WITHIN if name in JUDGED else None
        yield compare(row, value, "bits/byte", rival=control_name, rival_value=beside, limit=limit)
    yield from neurons_and_speed("library", model.cpu(), texts["books"], run.settings.timed)


def evaluate_shakespeare(run: Run[Settings]) -> Iterator[Row]:
    path = weights_path(run, "shakespeare", "model")
    if not path.is_file():
        return
    model = load_text_model(path).to(run.device)
    control, control_name = read_baseline(run, "shakespeare", "control")
    text = read_shakespeare(run.file)[2].first(run.settings.at_most)
    row, unit, counted = "shakespeare_nats_per_char", "nats/char", len(text.tokens) - 1
    value, forgetful = nats(model, text) / counted, nats(model, text, window=256) / counted
    yield compare(row, value, unit, rival=PUBLISHED, rival_value=NANOGPT, limit=("value", "<=", 1.47))
    yield compare(f"{row}_windows_of_256", forgetful, unit, rival=PUBLISHED, rival_value=NANOGPT)
    if control is not None:
        beside = nats(control, text) / counted
        yield compare(f"{row}_beside_control", value, unit, rival=control_name, rival_value=beside)
    yield from neurons_and_speed("shakespeare", model.cpu(), text, run.settings.timed)


def read_baseline(run: Run[Settings], text: str, role: str) -> tuple[SpikingTextModel | None, str | None]:
    """A baseline and what it is called, or nothing where its file is not there."""
    path = weights_path(run, text, role)
    if not path.is_file():
        return None, None
    return load_text_model(path).to(run.device), f"{role}, {int(metadata_of(path)['tokens']) / 1e6:.1f} M tokens"


def bits_per_byte(model: SpikingTextModel, text: Text) -> float:
    return nats(model, text) / math.log(2) / text.bytes


def neurons_and_speed(name: str, model: SpikingTextModel, text: Text, seconds: float) -> Iterator[Row]:
    """The share of neurons that fire while reading, and tokens written per second of one core."""
    driven, eager = EventDrivenModel(model), EagerModel(model)
    tokens = text.tokens[:READ].tolist()
    rate = float(np.mean([driven.advance(token)[1].mean() for token in tokens]))
    yield compare(f"{name}_firing_rate", 100 * rate, "%", limit=("value", "<=", 15))

    def event_driven_logits(token: int) -> NDArray[np.float32]:
        return driven.advance(token)[0]

    def eager_logits(token: int) -> NDArray[np.float32]:
        return eager.advance(token).numpy()

    # the two take turns, so that whatever else the machine does meets both
    speeds = [(writing_speed(event_driven_logits, seconds), writing_speed(eager_logits, seconds)) for _ in range(3)]
    ours, theirs = (float(np.median(column)) for column in zip(*speeds, strict=True))
    row, unit, rival = f"{name}_tokens_per_s", "tokens/s", "eager torch"
    if name != "shakespeare":  # the bars are for that size
        yield compare(row, ours, unit, rival=rival, rival_value=theirs)
        return
    yield compare(row, ours, unit, rival=rival, rival_value=theirs, limit=("value", ">=", 3000))
    yield compare(f"{row}_over_eager", ours, unit, rival=rival, rival_value=theirs, limit=("ratio", ">=", 10))


def writing_speed(advance: Callable[[int], NDArray[np.float32]], seconds: float) -> float:
    """Tokens drawn per second of this thread's CPU time, each from the logits after the one before."""
    generator = np.random.default_rng(0)
    token, count, begun = 1, 0, time.thread_time()
    while (spent := time.thread_time() - begun) < seconds:
        for _ in range(20):
            token, _ = sample(advance(token), 0.8, 0.95, generator)
        count += 20
    return count / spent
