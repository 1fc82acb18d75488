"""The wheel: installed into an environment of its own, it does the main job from an empty folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support import MakeBrain

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_what_the_wheel_installs_as_packages_is_brainnet_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        data = {name.split("/")[4] for name in archive.namelist() if "/data/share/brainnet/" in name}
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == {"brainnet"}
    assert data == {"nodes", "topics", "launch", "config"}


def test_it_runs_from_an_empty_folder(wheel: Path, tmp_path: Path, make_brain: MakeBrain) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    # the dependencies of this environment, without the checkout that is installed in it as editable
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(home / "bin" / "python")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    brain = make_brain(cwd=empty, python=python)
    code = "import brainnet; print(brainnet.__file__)"
    where = subprocess.run([python, "-c", code], cwd=empty, capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()).is_relative_to(site)
    brain.launch()
    assert {node["state"] for node in brain.status().values()} == {"ready"}
    brain.prompt("Remember that the blue toolbox is under the workbench.")
    answer = brain.prompt("Where is the blue toolbox?")
    assert answer["text"] == "The blue toolbox is under the workbench."
    brain.run("stop")
    brain.wait_gone()
    assert list(empty.iterdir()) == []
