"""The training program of vision on pictures of its own making: it learns, can be interrupted, and measures itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from brainnet.errors import TrainingError
from brainnet.snn.models.picture_classifier import load_classifier
from brainnet.training import Program, Row, Run, find_program

SMALL = {
    "channels": (8, 8, 8, 8, 16),
    "ann_pictures": 2560,
    "pictures": 1280,
    "batch": 32,
    "max_steps": 4,
    "held_out": 60,
    "ann_learning_rate": 1e-2,
    "learning_rate": 5e-3,
}


def pictures(count: int, side: int, generator: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bars whose height and brightness tell the class, and the classes."""
    labels = generator.permutation(np.arange(count) % 10).astype(np.uint8)
    images = generator.integers(0, 30, (count, side, side)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top = 3 + 8 * (label // 4)
        image[top : top + 5, 6 : side - 6] = 70 + 60 * (label % 4)
    return images, labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name in ("mnist", "fashion_mnist"):
        arrays: dict[str, Any] = {}
        for split, count in (("train", 260), ("test", 40)):
            images, labels = pictures(count, 28, generator)
            images[:, [0, -1]], images[:, :, [0, -1]] = 0, 0
            images[:, :, :: 4 if name == "mnist" else 2] = 0
            arrays |= {f"x_{split}": images, f"y_{split}": labels}
        np.savez(folder / f"{name}.npz", **arrays)
    arrays = {}
    for split, count in (("train", 260), ("test", 40)):
        images, labels = pictures(count, 32, generator)
        files = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(np.stack([image, 200 - image // 2, image // 3], -1)).save(buffer, "JPEG", quality=95)
            files.append(buffer.getvalue())
        arrays[f"jpeg_{split}"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"end_{split}"] = np.cumsum([len(file) for file in files])
        arrays[f"y_{split}"] = labels
    np.savez(folder / "cifar10_jpeg.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def program() -> Program:
    return find_program("vision")


@pytest.fixture(scope="module")
def run(program: Program, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run[Any]]:
    def made(weights: Path | None = None, resume: bool = False, **changes: object) -> Run[Any]:
        path = weights or tmp_path_factory.mktemp("weights") / "eye.safetensors"
        return Run("vision", program.configure(None, {**SMALL, **changes}), path, data, resume=resume)

    return made


@pytest.fixture(scope="module")
def trained(program: Program, run: Callable[..., Run[Any]]) -> Run[Any]:
    whole = run()
    program.train(whole)
    return whole


@pytest.fixture(scope="module")
def rows(program: Program, trained: Run[Any]) -> dict[str, Row]:
    return {row.name: row for row in program.evaluate(trained)}


def test_it_learns_which_bar_of_which_kind_it_sees(rows: dict[str, Row]) -> None:
    # three in a hundred by chance
    assert rows["accuracy"].value > 25
    assert (rows["accuracy"].rival_value or 0) > 40
    parts = [rows[f"{name}_accuracy"].value for name in ("mnist", "fashion_mnist", "cifar10")]
    assert rows["accuracy"].value == pytest.approx(np.mean(parts))
    assert rows["kind_recognised"].value > 60


def test_early_exit_is_measured_against_all_steps(rows: dict[str, Row]) -> None:
    steps = [rows[f"{name}_steps"].value for name in ("mnist", "fashion_mnist", "cifar10")]
    assert all(1 <= each <= 4 for each in steps)
    assert rows["steps_saved"].value == pytest.approx(100 * (1 - np.mean(steps) / 4), abs=1e-3)
    assert 0 < rows["stage_1_firing"].value < 100
    # only the first stage sees anything but 0 and 1
    assert 0 < rows["multiply_accumulates"].value <= 27 * 8 * 32 * 32 / 1e6


def test_the_threshold_that_ships_loses_no_more_than_was_asked(program: Program, trained: Run[Any]) -> None:
    config = load_classifier(trained.weights).config
    assert config.steps == 4
    assert 0.5 <= config.threshold <= 1.01
    assert all(temperature > 0 for temperature in config.temperatures)


def test_an_interrupted_training_ends_with_the_same_weights(
    program: Program, run: Callable[..., Run[Any]], trained: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = run()
    kept = Run.save_checkpoint

    def interrupted(self: Run[Any], state: dict[str, object], part: str = "") -> None:
        kept(self, state, part)
        if (part, state["done"]) == ("network", 20):
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        program.train(broken)
    monkeypatch.undo()
    again = run(broken.weights, resume=True)
    program.train(again)
    ours, theirs = load_file(trained.weights), load_file(again.weights)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name])


def test_a_missing_baseline_is_named(program: Program, trained: Run[Any], tmp_path: Path) -> None:
    alone = tmp_path / "eye.safetensors"
    alone.write_bytes(trained.weights.read_bytes())
    with pytest.raises(TrainingError, match=r"eye_twin\.safetensors"):
        list(program.evaluate(Run("vision", trained.settings, alone, trained.data_dir)))
