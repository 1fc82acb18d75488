"""What a training program is given: data, checkpoints, weights, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file

from brainnet.errors import TrainingError
from brainnet.training import Program, Run, TrainingSettings, find_program, programs, save_weights
from brainnet.training.program import profiles, summaries


class Settings(TrainingSettings):
    epochs: int = Field(3, ge=1, description="passes over the data")


def run_in(
    folder: Path, *, epochs: int = 3, resume: bool = True, data: Path | None = None, seed: int = 0
) -> Run[Settings]:
    return Run("digits", Settings(epochs=epochs), folder / "digits.safetensors", data, resume=resume, seed=seed)


def test_data_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--data DIR"):
        run_in(tmp_path).file("mnist.npz")
    with pytest.raises(TrainingError, match="no folder"):
        run_in(tmp_path, data=tmp_path / "none").file("mnist.npz")
    with pytest.raises(TrainingError, match=re.escape(f"digits needs mnist.npz in {tmp_path}")):
        run_in(tmp_path, data=tmp_path).file("mnist.npz")
    (tmp_path / "mnist.npz").touch()
    assert run_in(tmp_path, data=tmp_path).file("mnist.npz") == tmp_path / "mnist.npz"


def test_a_seed_fixes_every_generator(tmp_path: Path) -> None:
    def drawn(seed: int) -> float:
        run_in(tmp_path, seed=seed)
        return torch.rand(()).item()

    assert drawn(1) == drawn(1) != drawn(2)


def test_checkpoints_come_back_for_the_same_settings_only(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    assert run.load_checkpoint() is None
    assert not run.has_checkpoint()
    run.save_checkpoint({"model": {"w": torch.arange(3.0)}, "step": 7})
    run.save_checkpoint({"step": 9}, "twin")
    assert run.has_checkpoint()
    found = run_in(tmp_path).load_checkpoint()
    assert found is not None
    assert found["step"] == 7
    assert torch.equal(found["model"]["w"], torch.arange(3.0))
    assert run_in(tmp_path).load_checkpoint("twin") == {"step": 9}
    assert run_in(tmp_path, resume=False).load_checkpoint() is None
    with pytest.raises(TrainingError, match="other settings"):
        run_in(tmp_path, epochs=4).load_checkpoint()
    run.delete_checkpoints()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 nor this"])
def test_a_broken_checkpoint_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "digits.checkpoint").write_bytes(content)
    with pytest.raises(TrainingError, match="remove it"):
        run_in(tmp_path).load_checkpoint()


def test_weights_keep_their_integers_and_narrow_their_floats(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.safetensors"
    save_weights(path, {"w": torch.tensor([1.5, 2.0]), "ids": torch.tensor([1, 2])}, {"kind": "test"})
    found = load_file(path)
    assert found["w"].dtype == torch.float16
    assert found["ids"].dtype == torch.int64
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def configured(changes: dict[str, object]) -> TrainingSettings:
    return Program("digits", "", Settings, lambda _: None, lambda _: []).configure(None, changes)


def test_settings_are_checked_by_name_and_value() -> None:
    assert configured({"epochs": 5}) == Settings(epochs=5)
    with pytest.raises(TrainingError, match=r"no setting 'epoch'; it has: epochs"):
        configured({"epoch": 5})
    with pytest.raises(TrainingError, match=r"epochs: .*greater than or equal to 1 \(got 0\)"):
        configured({"epochs": 0})


def test_every_profile_of_the_shipped_configuration_fits_its_program() -> None:
    for name, named in profiles().items():
        program = find_program(name)
        for profile in named:
            program.configure(profile, {})
        with pytest.raises(TrainingError, match="no profile 'nonsense'"):
            program.configure("nonsense", {})


def test_every_shipped_program_says_what_it_trains() -> None:
    assert summaries().keys() == programs().keys()
    assert all(summaries().values())


def test_a_program_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no training program 'nonsense'; there are: "):
        find_program("nonsense")
    with pytest.raises(TrainingError, match="does not exist"):
        find_program(str(tmp_path / "none.py"))
    path = tmp_path / "half.py"
    path.write_text("from brainnet.training import TrainingSettings as Settings\n")
    with pytest.raises(TrainingError, match="does not define train, evaluate"):
        find_program(str(path))
    path.write_text("1 / 0\n")
    with pytest.raises(TrainingError, match="fails to import: ZeroDivisionError"):
        find_program(str(path))
