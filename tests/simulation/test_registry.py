"""How a connectome names models."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from brainnet.errors import ConfigError, ModelError
from brainnet.simulation.models.base import Model
from brainnet.simulation.models.lif import LIF
from brainnet.simulation.models.registry import ENTRY_POINT_GROUP, MODELS, model_class
from tests.simulation.models import build, run, setting, sums_of

RELAY = """
import numpy as np
from pydantic import Field
from helper import FACTOR
from brainnet.simulation.models.base import Model, ModelParameters

class Mine(Model):
    size = 3

    class Parameters(ModelParameters):
        above: float = Field(1.0, description="what it takes to fire")

    def advance(self, window):
        return window.total() * FACTOR > self.parameters.above

class Other(Model):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.py").write_text(RELAY)
    (tmp_path / "models" / "helper.py").write_text("FACTOR = 2")
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_short_names(name: str) -> None:
    assert issubclass(model_class(name), Model)


def test_a_file_beside_the_connectome(folder: Path) -> None:
    model = build("models/mine.py:Mine", setting(3), folder, above=4)
    assert run(model, sums_of([[1, 3, 2.5], [0, 0, 2]]), 2).neurons.tolist() == [1, 2]
    kind = model_class("models/mine.py:Mine", folder)
    assert kind.shape(kind.Parameters(), setting()) == (3, 3)
    assert LIF.shape(LIF.Parameters(), setting()) is None


def test_a_module() -> None:
    assert model_class("brainnet.simulation.models.lif:LIF") is LIF
    assert model_class("brainnet.simulation.models.lif") is LIF


def test_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("leaky", "brainnet.simulation.models.lif:LIF", ENTRY_POINT_GROUP)
    points = importlib.metadata.EntryPoints([point])
    monkeypatch.setattr(importlib.metadata, "entry_points", points.select)
    assert model_class("leaky") is LIF
    with pytest.raises(ConfigError, match="no entry point"):
        model_class("leakier")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("izhikevitch", "did you mean izhikevich?"),
        ("nothing_like_it", "FILE.py:Class"),
        ("no_such_package.module:Class", "is no file, no module"),
        ("models/none.py:Mine", "does not exist"),
        ("models/mine.py:Mien", "did you mean Mine?"),
        ("models/mine.py", "must hold one Model class, found Mine, Other"),
        ("models/mine.py:FACTOR", "is not a Model class: 2"),
        ("models/broken.py:Mine", "ZeroDivisionError"),
        ("brainnet.errors:ModelError", "is not a Model class"),
        ("nir:none.nir", "does not exist"),
        ("nir:", "names no file"),
        ("torch:none.py:Net", "does not exist"),
    ],
)
def test_names_that_stand_for_nothing(name: str, says: str, folder: Path) -> None:
    (folder / "models" / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError) as caught:
        model_class(name, folder)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_advance(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"Other has no method advance\(window\)"):
        build("models/mine.py:Other", setting(3), folder)
