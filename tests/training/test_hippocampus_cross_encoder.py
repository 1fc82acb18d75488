"""The cross-encoder of memory: its data, its training, and that NumPy computes what torch computes."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from brainnet.errors import ModelError, TrainingError
from brainnet.paths import region_file
from brainnet.training import Run
from hippocampus_cross_encoder import BLEND, NO, NOTHING, YES, CrossEncoder, Pieces
from hippocampus_cross_encoder_training import Encoded, Network, Settings, evaluate, outcome_of, padded, save, text_of
from hippocampus_worded import worded_worlds

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz?.",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]
WEIGHTS = region_file("hippocampus").with_name("hippocampus_cross_encoder.safetensors")


def small_network() -> Network:
    """Return a network of two layers with random weights."""
    torch.manual_seed(0)
    width, inner = 16, 32
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), width),
        "embeddings.position_embeddings.weight": (128, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(2):
        at = f"encoder.layer.{layer}."
        for name, rows, columns in (
            ("attention.self.query", width, width), ("attention.self.key", width, width),
            ("attention.self.value", width, width), ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width), ("output.dense", width, inner),
        ):  # fmt: skip
            shapes |= {f"{at}{name}.weight": (rows, columns), f"{at}{name}.bias": (rows,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{name}.weight": (width,), f"{at}{name}.bias": (width,)}
    weights = {name: torch.randn(shape) / 2 for name, shape in shapes.items()}
    teacher = SimpleNamespace(weights=weights, width=width, heads=4, layers=2)
    return Network(teacher, 2, 0.1).eval()  # type: ignore[arg-type]


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Network, CrossEncoder]:
    net = small_network()
    path = tmp_path / "cross_encoder.safetensors"
    save(net, WORDS, path)
    return net, CrossEncoder.load(path)


def test_numpy_computes_what_torch_computes(saved: tuple[Network, CrossEncoder]) -> None:
    net, model = saved
    statements = ["a cab is here.", "b", "the key is in the drawer of the old desk.", ""]
    pairs = Pieces(WORDS).pairs("where is the key?", statements)
    with torch.inference_mode():
        expected = net(*padded([Encoded(*pair, 0) for pair in pairs])).numpy()
    assert model.logits("where is the key?", statements) == pytest.approx(expected, abs=0.05)  # int8 weights
    assert (model.threshold, model.blend.tolist()) == (0.5, [1.0, *[0.0] * BLEND])


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
    assert rows["q_first"] > 0.9
    assert rows["o_first"] > 0.65
    assert rows["x_refused"] > 0.85
