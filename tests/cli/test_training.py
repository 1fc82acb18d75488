"""`brainnet train` and `brainnet eval` as a person runs them, with the program of nodes/README.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "nodes/README.md").read_text(), re.S)
    path = tmp_path / "line.py"
    path.write_text(source)
    return path


def brainnet(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brainnet", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def test_train_then_eval(tmp_path: Path, program: Path) -> None:
    trained = brainnet(tmp_path, "train", program, "--json")
    assert trained.returncode == 0, trained.stderr
    assert [file["weights"] for file in json.loads(trained.stdout)["written"]] == ["line.safetensors"]
    measured = brainnet(tmp_path, "eval", program, "--json")
    assert measured.returncode == 0, measured.stderr
    row = json.loads(measured.stdout)
    assert (row["name"], row["rival"], row["ok"]) == ("largest_error", "zeros", True)
    table = brainnet(tmp_path, "eval", program)
    assert "holds" in table.stdout


def test_a_program_that_writes_a_baseline_alone(tmp_path: Path, program: Path) -> None:
    source = program.read_text()
    saved = 'run.weights.parent / "baselines" / "control.safetensors"'
    program.write_text(source.replace("save_weights(run.weights,", f"save_weights({saved},"))
    trained = brainnet(tmp_path, "train", program)
    assert trained.returncode == 0, trained.stderr
    assert "wrote baselines/control.safetensors" in trained.stdout


def test_a_missed_bar_shows_in_the_exit_status(tmp_path: Path, program: Path) -> None:
    assert brainnet(tmp_path, "train", program, "--set", "steps=1").returncode == 0
    measured = brainnet(tmp_path, "eval", program)
    assert measured.returncode == 1
    assert "missed" in measured.stdout


def test_settings_are_listed_and_mistakes_explained(tmp_path: Path, program: Path) -> None:
    listed = brainnet(tmp_path, "train", program, "--list-settings")
    assert re.search(r"steps +200 +gradient steps", listed.stdout)
    for arguments, message in (
        (["train", program, "--set", "steps=0"], "steps: Input should be greater than or equal to 1 (got 0)"),
        (["train", program, "--set", "steps"], "--set takes KEY=VALUE, not 'steps'"),
        (["train", program, "--device", "abacus"], "--device abacus cannot be used here"),
        (["train", program, "--profile", "none"], "line has no profile 'none'"),
        (["eval", program, "--weights", "none.safetensors"], "no weights at none.safetensors"),
        (["train", "nonsense"], "no training program 'nonsense'"),
    ):
        refused = brainnet(tmp_path, *arguments)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_programs_are_listed_without_loading_them(tmp_path: Path) -> None:
    listed = brainnet(tmp_path, "train", "--json")
    assert listed.returncode == 0
    for line in listed.stdout.splitlines():
        assert json.loads(line).keys() == {"program", "about", "profiles"}
