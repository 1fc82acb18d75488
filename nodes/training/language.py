"""Train the spiking language model: ``python nodes/training/language.py --data DIR [--steps N] [--resume]``.

DIR holds text/books.txt.gz, text/trivia_qa.txt.gz, xquad_en.json and text/wikitext2_test.txt. The tokenizer (byte-level
BPE) is trained first and written beside the weights. Three books, one trivia question in fifty and all of WikiText-2
are held out. Training reads each document in order, in parallel streams that carry the state of the network from window
to window.
"""

import argparse
import gzip
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from brainnet.snn.language_model import (
    LanguageConfig,
    SpikingLanguageModel,
    detached,
    load_language_model,
    weights_metadata,
)
from brainnet.snn.lif import LIF
from nodes.training.common import arguments, progress, save_weights, seeded

HELD_OUT_BOOKS = ("The Invisible Man", "A Room with a View", "The Jungle Book")
END = "<|end|>"
PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u2028": " "})
SECTION = 20_000
Tokens = NDArray[np.uint16]


@dataclass
class Corpus:
    """Documents to train on, and documents by name to measure on."""

    train: list[str]
    held_out: dict[str, list[str]]


def read_corpus(folder: Path) -> Corpus:
    """All texts, typographic quotes made plain; books are cut into sections so that a shuffle mixes the sources."""
    books = gzip.decompress((folder / "text/books.txt.gz").read_bytes()).decode().translate(PLAIN)
    train, held_books = [], []
    for book in books.split("# Title: ")[1:]:
        title, _, body = book.partition("\n")
        body = body.partition("-------")[2].replace("# ", "").replace("#", "").replace("*", "").strip()
        if title.strip() in HELD_OUT_BOOKS:
            held_books.append(body)
        else:
            train += sections(body)
    trivia = read_trivia(folder / "text/trivia_qa.txt.gz")
    passages = [
        paragraph["context"].translate(PLAIN)
        for article in json.loads((folder / "xquad_en.json").read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]
    train += ["\n\n".join(group) for group in chunks([q for i, q in enumerate(trivia) if i % 50], 40)]
    train += ["\n\n".join(group) for group in chunks(passages, 5)]
    return Corpus(
        train,
        {
            "books": held_books,
            "trivia": ["\n\n".join(trivia[::50])],
            "wikitext2_test": [(folder / "text/wikitext2_test.txt").read_text("utf-8")],
        },
    )


def read_trivia(path: Path) -> list[str]:
    """The questions with their right answers, as ``Q: ...`` / ``A: ...``."""
    found = []
    text = gzip.decompress(path.read_bytes()).decode(errors="ignore").translate(PLAIN)
    for entry in text.split("#Q ")[1:]:
        question, mark, rest = entry.partition("\n^ ")
        if mark:
            found.append(f"Q: {' '.join(question.split())}\nA: {rest.partition(chr(10))[0].strip()}")
    return found


def sections(text: str) -> list[str]:
    """``text`` in pieces of about ``SECTION`` characters that end with a paragraph."""
    pieces, start = [], 0
    while start < len(text):
        stop = text.find("\n\n", start + SECTION)
        stop = len(text) if stop < 0 else stop
        pieces.append(text[start:stop].strip())
        start = stop
    return pieces


def chunks(items: list[str], size: int) -> list[list[str]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def train_tokenizer(documents: list[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE: every text has tokens, and decoding gives it back exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[str]) -> Tokens:
    """All documents as one row of token ids, each begun by the end token."""
    ids = [i for encoding in tokenizer.encode_batch(documents) for i in (0, *encoding.ids)]
    return np.array(ids, np.uint16)


@torch.no_grad()
def bits_per_byte(model: SpikingLanguageModel, tokens: Tokens, size: int, device: str, streams: int = 16) -> float:
    """Mean code length over ``tokens``, the encoding of ``size`` bytes, read as ``streams`` parallel streams."""
    rows = parallel(tokens, streams).to(device)
    state, total = None, 0.0
    for start in range(0, len(rows) - 1, 256):
        window = rows[start : start + 257]
        logits, state = model(window[:-1], state)
        total += F.cross_entropy(logits.flatten(0, 1), window[1:].flatten(), reduction="sum").item()
    counted = (len(rows) - 1) * streams / len(tokens)
    return total / math.log(2) / (size * counted)


def parallel(tokens: Tokens, streams: int) -> Tensor:
    """``tokens`` as [length, streams]: column i is the i-th contiguous part."""
    length = len(tokens) // streams
    return torch.from_numpy(tokens[: length * streams].astype(np.int64)).view(streams, length).t().contiguous()


def optimizers(model: SpikingLanguageModel, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embedding, gains, biases and decays."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(step: int, steps: int) -> float:
    """Factor on the learning rate: a short warm-up, constant, then linear to zero over the second half."""
    return min(1.0, (step + 1) / 50, 2 * (1 - step / steps) + 0.01)


def train(
    model: SpikingLanguageModel, tokens: Tokens, probe: tuple[Tokens, int], options: argparse.Namespace
) -> dict[str, float]:
    """Run the remaining steps; every ``--every`` of them, print the losses and write a checkpoint."""
    device = options.device
    rows = parallel(tokens, options.streams)
    optimisers = optimizers(model, options.rate)
    checkpoint = options.out.with_suffix(".checkpoint")
    step, seen, seconds, state = 0, 0, 0.0, None
    if options.resume and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimiser, values in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        step, seen, seconds = saved["step"], saved["tokens"], saved["seconds"]
    begun, losses = time.monotonic() - seconds, []
    with progress() as bar:
        task = bar.add_task("language", total=options.steps, completed=step)
        while step < options.steps:
            start = step * options.window % (len(rows) - options.window - 1)
            window = rows[start : start + options.window + 1].to(device)
            with torch.autocast(device, torch.bfloat16):
                logits, state = model(window[:-1], state)
            loss = F.cross_entropy(logits.float().flatten(0, 1), window[1:].flatten())
            state = detached(state)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = options.rate * schedule(step, options.steps)
                optimiser.step()
                optimiser.zero_grad()
            losses.append(loss.item())
            step, seen = step + 1, seen + options.window * options.streams
            bar.update(task, completed=step)
            if step % options.every == 0 or step == options.steps:
                seconds = time.monotonic() - begun
                figures = f"loss {np.mean(losses):.3f}, validation {bits_per_byte(model, *probe, device):.3f} bits/byte"
                bar.console.print(f"step {step}, {seconds:.0f} s, {figures}", highlight=False)
                losses = []
                values = [optimiser.state_dict() for optimiser in optimisers]
                counts = {"step": step, "tokens": seen, "seconds": seconds}
                torch.save(
                    {"model": model.state_dict(), "optimisers": values, **counts}, checkpoint.with_suffix(".part")
                )
                checkpoint.with_suffix(".part").replace(checkpoint)
    return {"steps": step, "tokens": seen, "seconds": time.monotonic() - begun}


@torch.no_grad()
def firing_rates(model: SpikingLanguageModel, tokens: Tokens, device: str) -> list[float]:
    """Mean fraction of neurons that fire per token, for each LIF layer in order."""
    rates: list[float] = []
    hooks = [
        layer.register_forward_hook(lambda _m, _in, out: rates.append(out[0].mean().item()))
        for layer in model.modules()
        if isinstance(layer, LIF)
    ]
    model(parallel(tokens[:8192], 16).to(device))
    for hook in hooks:
        hook.remove()
    return rates


def main() -> None:
    parser = arguments(__doc__ or "", "language.safetensors")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=32, help="texts read in parallel")
    parser.add_argument("--window", type=int, default=128, help="tokens per step and stream")
    parser.add_argument("--rate", type=float, default=5e-3, help="peak learning rate")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint beside --out")
    parser.add_argument("--layers", type=int, default=LanguageConfig.layers)
    parser.add_argument("--width", type=int, default=LanguageConfig.width)
    options = parser.parse_args()
    seeded(options.seed, options.threads)
    config = LanguageConfig(width=options.width, layers=options.layers)

    corpus = read_corpus(options.data)
    order = np.random.default_rng(options.seed).permutation(len(corpus.train))
    documents = [corpus.train[i] for i in order]
    tokenizer = train_tokenizer(documents, config.vocabulary)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.out.with_suffix(".tokenizer.json")), pretty=False)
    tokens = encode(tokenizer, documents)
    sizes = {name: sum(len(text.encode()) for text in texts) for name, texts in corpus.held_out.items()}
    held_out = {name: encode(tokenizer, texts) for name, texts in corpus.held_out.items()}
    print(
        f"{sum(map(len, documents)) / 1e6:.1f} M characters, {len(tokens) / 1e6:.2f} M tokens to train on", flush=True
    )

    model = SpikingLanguageModel(config).to(options.device)
    share = 30_000 / len(held_out["books"])
    probe = (held_out["books"][:30_000], int(sizes["books"] * share))
    report: dict[str, object] = dict(train(model, tokens, probe, options))
    save_weights(options.out, model.state_dict(), weights_metadata(config), torch.float16)

    # measured on the weights as written, in float16
    model = load_language_model(options.out).to(options.device)
    report["bits_per_byte"] = {
        name: bits_per_byte(model, held_out[name], sizes[name], options.device) for name in sizes
    }
    report["firing_rates"] = [round(rate, 4) for rate in firing_rates(model, held_out["books"], options.device)]
    report["parameters"] = sum(p.numel() for p in model.parameters())
    print(json.dumps(report))


if __name__ == "__main__":
    main()
