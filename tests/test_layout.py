"""The plan of the house holds: who may import whom, and what loads what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted((ROOT / "nodes").glob("*.py"))
RUNTIME = sorted(p for p in (ROOT / "brainnet").rglob("*.py"))
REGIONS = {p.stem for p in PROGRAMS} - {"prefrontal", "memory_integrator"}  # these two are roles of the wire contract


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.Import):
            names |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom):
            names.add("." * item.level + (item.module or ""))
    return names


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_a_region_imports_the_library_and_no_other_region(program: Path) -> None:
    siblings = {p.stem for p in PROGRAMS} | {"nodes", "topics", "launch", "config", "scripts", "tests"}
    roots = {name.partition(".")[0] for name in imported(program)}
    assert "" not in roots, "relative imports reach into nodes/"
    assert not roots & siblings


@pytest.mark.parametrize("module", RUNTIME, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_runtime_does_not_know_the_regions(module: Path) -> None:
    tree = ast.parse(module.read_text())
    docstrings = {
        id(item.body[0].value)
        for item in ast.walk(tree)
        if isinstance(item, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and item.body
        and isinstance(item.body[0], ast.Expr)
    }
    texts = [
        item.value
        for item in ast.walk(tree)
        if isinstance(item, ast.Constant) and isinstance(item.value, str) and id(item) not in docstrings
    ]
    assert not REGIONS & set(texts)
    names = {item.id for item in ast.walk(tree) if isinstance(item, ast.Name)}
    assert not {"hippocampus", "cerebellum", "motor_cortex", "arm_body"} & names


@pytest.mark.parametrize("module", ["brainnet", "brainnet.cli", "brainnet.bus", "brainnet.node", "brainnet.launcher"])
def test_the_runtime_loads_no_model_library(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'numba', 'snntorch', 'mujoco'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_what_is_public_can_be_imported() -> None:
    import brainnet

    missing = [name for name in brainnet.__all__ if not hasattr(brainnet, name)]
    assert missing == []
    assert set(dir(brainnet)) == set(brainnet.__all__)
