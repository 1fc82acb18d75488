"""The integrator's training program: prompts that need two regions, asked of the regions that ship."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import memory_integrator_training as program
from brainnet import Candidate, Partial
from brainnet.errors import TrainingError
from brainnet.paths import share_dir
from brainnet.prompts import Trust, claim, load_trust
from brainnet.training import Run
from memory_integrator_training import CASES, KINDS, Responses, Settings, Task, damaged, fit_trust

SAMPLES = sorted((share_dir() / "scripts" / "samples").glob("digit_*.png"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample digits in the form of the three data sets; only the digits are what their names say."""
    folder = tmp_path_factory.mktemp("data")
    pictures = [np.asarray(Image.open(path).convert("L").resize((28, 28))) for path in SAMPLES]
    labels = [int(path.stem.removeprefix("digit_")) for path in SAMPLES]
    x, y = np.stack(pictures), np.array(labels, np.uint8)
    for name in ("mnist.npz", "fashion_mnist.npz"):
        np.savez(folder / name, x_train=x, y_train=y, x_test=x, y_test=y)
    jpegs = [_jpeg(picture) for picture in pictures]
    jpeg, end = np.frombuffer(b"".join(jpegs), np.uint8), np.cumsum([len(jpeg) for jpeg in jpegs])
    both: dict[str, Any] = {
        f"{name}_{split}": part
        for split in ("train", "test")
        for name, part in (("jpeg", jpeg), ("end", end), ("y", y))
    }
    np.savez(folder / "cifar10_jpeg.npz", **both)
    return folder


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).resize((32, 32)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def run_of(weights: Path, data: Path | None, **settings: int) -> Run[Settings]:
    given = Settings.model_validate({"training_prompts": 12, "test_prompts": 12, "steps": 5} | settings)
    return Run("memory_integrator", given, weights, data, console=Console(quiet=True))


def test_it_asks_the_real_regions_learns_and_measures(tmp_path: Path, data: Path) -> None:
    weights = tmp_path / "trust.safetensors"
    program.train(run_of(weights, data))
    assert list(load_trust(weights)) == ["vision", "hippocampus"]
    rows = {row.name: row for row in program.evaluate(run_of(weights, data))}
    assert rows["test_prompts"].value == 12
    assert rows["early_answers_that_differ"].value == 0
    for name in ("accuracy", "accuracy_beside_average", "accuracy_of_trust"):
        assert 0 <= rows[name].value <= 100
        assert rows[name].rival_value is not None


def test_without_pictures_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--data"):
        program.train(run_of(tmp_path / "w.safetensors", None))
    with pytest.raises(TrainingError, match=r"mnist\.npz"):
        program.train(run_of(tmp_path / "w.safetensors", tmp_path))


def test_a_statement_claims_the_name_of_what_is_asked_for() -> None:
    rng = random.Random(0)
    for kind in KINDS:
        for question in kind.questions:
            for statement in kind.statements:
                name = rng.choice(kind.names)
                stored = program._article(statement.format(thing="Anna's red door", name=name))
                asked = question.format(thing="Anna's red door")
                assert claim(stored, asked) == claim(name, asked), (stored, asked)


def test_damage_grows_with_severity() -> None:
    pixels = np.asarray(Image.open(SAMPLES[0]).convert("L").resize((28, 28)))
    left = [np.asarray(Image.open(io.BytesIO(damaged(pixels, s, random.Random(0))))) for s in (0.0, 0.3, 1.0)]
    assert np.array_equal(left[0], pixels)
    differences = [float(np.abs(after.astype(int) - pixels).mean()) for after in left]
    assert differences == sorted(differences)
    assert differences[2] > differences[1] > 0


def test_the_cases_are_what_they_say(data: Path) -> None:
    run = run_of(data / "w.safetensors", data)
    drawn = program.tasks([program.Album(run, KINDS[0], "test")], 300, random.Random(1))
    assert len({task.question.split("'s")[0] + str(task.statements) for task in drawn}) == 300
    for task in drawn:
        right = [claim(statement, task.question) == claim(task.truth, task.question) for statement in task.statements]
        assert sorted(right) == {"right": [True], "stale": [False], "torn": [False, True]}[task.case]
    for case, share in CASES.items():
        assert abs(sum(task.case == case for task in drawn) / 300 - share) < 0.12


def responses(eye: str, memory: str, truth: str, sure: float) -> Responses:
    def partial(text: str, confidence: float) -> Partial:
        rest = [Candidate(text=other, probability=0.1) for other in "0123" if other != text]
        return Partial(candidates=[Candidate(text=text, probability=0.7), *rest], confidence=confidence)

    task = Task("Which digit?", b"", (), truth, "right")
    both = ["vision", "hippocampus"]
    partials = {"vision": partial(eye, sure), "hippocampus": partial(memory, 0.9)}
    return Responses(task, dict.fromkeys(both, 0.5), both, partials)


def test_the_region_that_is_right_more_often_is_trusted_more() -> None:
    prompts = [responses("1", "2", "1" if i % 4 else "2", 0.5 + 0.04 * (i % 10)) for i in range(80)]
    trust = fit_trust(prompts, 200)
    assert [prompt.fused(trust).ranked[0].text for prompt in prompts] == ["1"] * 80
    turned = [replace(p, task=replace(p.task, truth="2" if i % 4 else "1")) for i, p in enumerate(prompts)]
    assert [prompt.fused(fit_trust(turned, 200)).ranked[0].text for prompt in turned[:3]] == ["2"] * 3


def test_trust_follows_confidence_where_confidence_tells() -> None:
    prompts = [responses("1", "2", "1" if sure > 0.5 else "2", sure) for sure in np.linspace(0.05, 0.95, 60)]
    trust = fit_trust(prompts, 300)
    assert trust["vision"](0.95) > trust["vision"](0.05)


def test_nothing_to_learn_from() -> None:
    with pytest.raises(TrainingError, match="nothing to learn from"):
        fit_trust([responses("1", "2", "9", 0.5)], 1)


def test_early_answers_are_counted_over_all_orders() -> None:
    prompts = [responses("1", "2", "1", 0.99), replace(responses("1", "2", "1", 0.99), chosen=["vision"])]
    rows = {row.name: row.value for row in program.early(prompts, {"hippocampus": Trust(0.0, -5.0)})}
    assert rows == {"early_answers": 50.0, "early_answers_that_differ": 0}


def test_a_plain_average_counts_all_alike() -> None:
    assert claim(program._averaged(responses("1", "1", "1", 0.1)) or "") == "1"
    alone = replace(responses("1", "2", "1", 0.1), chosen=["hippocampus"])
    assert program._averaged(alone) == "2"
