"""The language model's training program, on texts small enough to learn by heart."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from tokenizers import Tokenizer

import language_training as language
from brainnet.errors import TrainingError
from brainnet.snn.models.text_generation import EventDrivenModel, TextGenerator
from brainnet.snn.models.text_model import SpikingTextModel, TextModelConfig, load_text_model
from brainnet.training import Run
from language_eager import EagerModel
from language_muon import Muon, orthogonal
from language_texts import Text, encode, parallel, read_library, read_shakespeare, train_tokenizer
from language_training import Settings, evaluate, nats, train

BOOK = "It was a dark night, and the wind cried “no”.\n\nThe rain fell on the roof of the old house by the sea.\n\n"
TINY = {"vocabulary": 300, "width": 16, "layers": 2, "expansion": 2, "streams": 2, "window": 16, "warmup_steps": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    books = "".join(
        f"# Title: {title}\n## Author: X\n-------\n\n# Chapter\n\n{BOOK * 20}"
        for title in ("A Night", "The Jungle Book")
    )
    (folder / "text/books.txt.gz").write_bytes(gzip.compress(books.encode()))
    trivia = "".join(f"#Q How many are {n} and\n{n}?\n^ {2 * n}\nA {2 * n}\nB 1\n\n" for n in range(100))
    (folder / "text/trivia_qa.txt.gz").write_bytes(gzip.compress(trivia.encode()))
    passages = {"data": [{"paragraphs": [{"context": "The sea is deep."}, {"context": "The roof is high."}]}]}
    (folder / "xquad_en.json").write_text(json.dumps(passages))
    (folder / "text/wikitext2_test.txt").write_text(" = Sea = \n\n The sea is <unk> .\n" * 20)
    (folder / "text/tinyshakespeare.txt").write_text("To be, or not to be: that is the question.\n" * 100)
    return folder


def run_of(
    weights: Path, data: Path | None, *, resume: bool = False, seed: int = 0, **settings: object
) -> Run[Settings]:
    console = Console(file=io.StringIO())
    values = Settings.model_validate({**TINY, **settings})
    return Run("language", values, weights, data, resume=resume, console=console)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights file of a library model, with all that stands beside it."""
    weights = tmp_path_factory.mktemp("weights") / "language.safetensors"
    for text, role in (("library", "model"), ("library", "control"), ("shakespeare", "model")):
        train(run_of(weights, data, text=text, role=role, steps=24, eval_interval=12, learning_rate=0.03))
    return weights


def test_training_writes_models_that_load_and_have_learned(data: Path, trained: Path) -> None:
    beside = trained.parent
    names = {path.relative_to(beside).as_posix() for path in beside.rglob("*.safetensors")}
    assert names == {
        "language.safetensors",
        "language_shakespeare.safetensors",
        "baselines/language_control.safetensors",
    }
    assert not load_text_model(beside / "baselines/language_control.safetensors").config.spiking
    held_out = read_shakespeare(run_of(trained, data).file)[2]
    model = load_text_model(beside / "language_shakespeare.safetensors")
    torch.manual_seed(0)
    untrained = SpikingTextModel(model.config)
    assert nats(model, held_out) < 0.9 * nats(untrained, held_out)
    written = TextGenerator(trained, trained.with_suffix(".tokenizer.json")).generate("The sea", 3)
    assert len(list(written)) <= 3


def test_evaluation_reports_every_figure_beside_its_rival(data: Path, trained: Path) -> None:
    rows = {row.name: row for row in evaluate(run_of(trained, data, timing_s=0.02, max_eval_tokens=60))}
    assert {"books_bits_per_byte", "wikitext2_bits_per_byte"} <= set(rows)
    assert {"library_firing_rate", "shakespeare_nats_per_char", "shakespeare_firing_rate"} <= set(rows)
    control = load_text_model(trained.parent / "baselines/language_control.safetensors")
    tokenizer = Tokenizer.from_file(str(trained.with_suffix(".tokenizer.json")))
    text = encode(tokenizer, read_library(run_of(trained, data).file).held_out["books"]).first(60)
    expected = nats(control, text) / np.log(2) / text.bytes
    assert rows["books_bits_per_byte"].rival_value == pytest.approx(expected, rel=1e-5)
    assert rows["books_bits_per_byte"].ratio == pytest.approx(rows["books_bits_per_byte"].value / expected)
    assert rows["books_bits_per_byte"].bar == "ratio <= 1.05"
    assert rows["trivia_bits_per_byte"].bar is None
    assert rows["shakespeare_nats_per_char"].rival_value == 1.4697
    assert rows["shakespeare_tokens_per_s_over_eager"].bar == "ratio >= 10"
    assert 0 < rows["library_firing_rate"].value < 100


def test_evaluation_without_weights_has_no_rows(data: Path, tmp_path: Path) -> None:
    assert list(evaluate(run_of(tmp_path / "language.safetensors", data))) == []


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams begin afresh on resuming, so the interruption falls where a pass over the text ends."""
    sizes: dict[str, Any] = {"streams": 8, "window": 32}
    text = read_shakespeare(run_of(tmp_path, data).file)[1]
    passes = language.Windows(text, Settings.model_validate({**TINY, **sizes}), 0, "cpu").per_pass
    options = {**sizes, "text": "shakespeare", "steps": 2 * passes, "eval_interval": passes}
    train(run_of(tmp_path / "whole.safetensors", data, **options))

    factor = language.schedule

    def stop(step: int, settings: Settings) -> float:
        if step == passes:
            raise KeyboardInterrupt
        return factor(step, settings)

    with monkeypatch.context() as patch:
        patch.setattr(language, "schedule", stop)
        with pytest.raises(KeyboardInterrupt):
            train(run_of(tmp_path / "parts.safetensors", data, **options))
    train(run_of(tmp_path / "parts.safetensors", data, resume=True, **options))
    whole, parts = (load_file(tmp_path / f"{name}_shakespeare.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_training_goes_on_from_weights_and_counts_their_tokens(data: Path, trained: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    again.with_suffix(".tokenizer.json").write_bytes(trained.with_suffix(".tokenizer.json").read_bytes())
    train(run_of(again, data, initial_weights=trained, steps=1, eval_interval=1, learning_rate=1e-9))
    before, after = language.metadata_of(trained), language.metadata_of(again)
    assert int(after["tokens"]) == int(before["tokens"]) + 2 * 16
    for name, tensor in load_text_model(again).state_dict().items():
        torch.testing.assert_close(tensor, load_text_model(trained).state_dict()[name], rtol=1e-4, atol=1e-5)


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"tinyshakespeare\.txt"):
        train(run_of(tmp_path / "language.safetensors", tmp_path, text="shakespeare"))


def test_held_out_texts_are_not_learned_from(data: Path, tmp_path: Path) -> None:
    library = read_library(run_of(tmp_path, data).file)
    held_out = {
        line for name in ("trivia", "wikitext2") for text in library.held_out[name] for line in text.split("\n\n")
    }
    assert len(library.held_out["books"]) == 1
    assert len(held_out) > 2
    learned = "\n\n".join(library.train).split("\n\n")
    assert not held_out & set(learned) - {""}


@given(text=st.text(max_size=200))
@settings(max_examples=25, deadline=None)
def test_tokens_stand_for_all_bytes(text: str) -> None:
    tokenizer = train_tokenizer([BOOK], 300)
    encoded = encode(tokenizer, [text, BOOK])
    assert encoded.bytes == len((text + BOOK).encode())
    assert tokenizer.decode(encoded.tokens.tolist(), skip_special_tokens=True) == text + BOOK


@given(length=st.integers(1, 100), streams=st.integers(1, 10))
def test_streams_are_contiguous_parts(length: int, streams: int) -> None:
    tokens = np.arange(length, dtype=np.uint16)
    rows = parallel(tokens, streams)
    assert rows.t().flatten().tolist() == tokens[: length // streams * streams].tolist()


def windows(settings: Settings, length: int, steps: int) -> Iterator[torch.Tensor]:
    reader = language.Windows(Text(np.arange(length, dtype=np.uint16), length), settings, 0, "cpu")
    for step in range(steps):
        yield reader.at(step)[0]


def test_every_pass_predicts_nearly_every_token_once() -> None:
    settings = Settings.model_validate({**TINY, "streams": 3, "window": 5})
    length = 200
    passes = language.Windows(Text(np.arange(length, dtype=np.uint16), length), settings, 0, "cpu").per_pass
    predicted = torch.cat([window[1:].flatten() for window in windows(settings, length, passes)])
    assert len(set(predicted.tolist())) == len(predicted) > length - 3 * 6


def test_a_held_out_text_is_read_to_its_last_token() -> None:
    torch.manual_seed(0)
    model = SpikingTextModel(TextModelConfig(vocabulary=30, width=16, layers=1, expansion=2))
    tokens = torch.randint(30, (1500,))
    with torch.no_grad():
        logits, _ = model(tokens[:-1, None])
        expected = torch.nn.functional.cross_entropy(logits[:, 0], tokens[1:], reduction="sum").item()
    assert nats(model, Text(tokens.numpy().astype(np.uint16), 1500)) == pytest.approx(expected, rel=1e-5)


def test_eager_steps_equal_the_model_and_the_events() -> None:
    torch.manual_seed(0)
    model = SpikingTextModel(TextModelConfig(vocabulary=30, width=16, layers=2, expansion=2)).eval()
    driven = EventDrivenModel(model)
    tokens = torch.randint(30, (20,))
    eager = EagerModel(model)
    with torch.no_grad():
        expected, _ = model(tokens[:, None])
    for token, logits in zip(tokens.tolist(), expected[:, 0], strict=True):
        torch.testing.assert_close(eager.advance(token), logits, rtol=1e-3, atol=1e-4)
        driven.advance(token)


@given(rows=st.integers(2, 20), columns=st.integers(2, 20), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_muon_steps_towards_the_orthogonal_factor(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix)
    kept = s > s.max() / 50
    ratios = torch.diagonal(u.t() @ found @ v.t())[kept]
    assert ((ratios > 0.4) & (ratios < 1.7)).all()


def test_muon_fits_a_linear_map() -> None:
    torch.manual_seed(0)
    target, inputs = torch.randn(6, 8), torch.randn(64, 8)
    weight = torch.zeros(6, 8, requires_grad=True)
    optimiser = Muon([weight], 0.05, weight_decay=0.0)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / 300)
        loss = (inputs @ (weight - target).t()).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
    assert loss.item() < 0.01
