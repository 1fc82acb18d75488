"""The plan of the house holds: who may import whom, and what loads what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from brainnet.wire.topics import contract

ROOT = Path(__file__).resolve().parent.parent
REGIONS = sorted(p.name for p in (ROOT / "nodes").iterdir() if (p / f"{p.name}.py").is_file())
FILES = sorted((ROOT / "nodes").glob("*/*.py"))
RUNTIME = sorted((ROOT / "brainnet").rglob("*.py"))


@dataclass
class Source:
    """What one reading of a file finds: its imports, its docstrings, its other strings and its classes."""

    imports: set[str] = field(default_factory=set)
    docstrings: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    classes: list[ast.ClassDef] = field(default_factory=list)


@pytest.fixture(scope="module")
def sources() -> dict[Path, Source]:
    """Every file of the library and of the regions, read once for all tests."""
    return {file.relative_to(ROOT): source_of(file) for file in [*RUNTIME, *FILES]}


def source_of(path: Path) -> Source:
    found = Source()
    alone: set[int] = set()
    strings: list[ast.Constant] = []
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.Import):
            found.imports |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom):
            found.imports.add("." * item.level + (item.module or ""))
        elif isinstance(item, ast.Expr):
            alone.add(id(item.value))
        elif isinstance(item, ast.Constant) and isinstance(item.value, str):
            strings.append(item)
        if isinstance(item, ast.ClassDef):
            found.classes.append(item)
        if isinstance(item, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(item)
            found.docstrings += [] if text is None else [text]
    found.texts = [str(item.value) for item in strings if id(item) not in alone]
    return found


def test_a_region_imports_the_library_and_its_own_files_and_no_other_region(sources: dict[Path, Source]) -> None:
    for file in FILES:
        names = sources[file.relative_to(ROOT)].imports
        by_place = [name for name in names if name.startswith(".")]
        assert by_place == [], f"{file}: a program's files import each other by name"
        roots = {name.partition(".")[0] for name in names}
        others = {other.stem for other in FILES if other.parent != file.parent}
        assert not roots & (others | {"nodes", "topics", "launch", "config", "scripts", "tests"}), file


def test_every_region_is_a_folder_that_holds_all_of_it() -> None:
    assert len({file.stem for file in FILES}) == len(FILES), "files of all regions share one name space"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    folders = {f"nodes/{file.parent.name}" for file in FILES}
    assert {f"nodes/{name}" for name in REGIONS} <= folders
    assert set(settings["pytest"]["ini_options"]["pythonpath"]) == {".", *folders}
    assert {path.partition("/")[2] for path in settings["mypy"]["mypy_path"].split(":")} == folders


def test_the_runtime_does_not_know_the_regions() -> None:
    names = "|".join(name.replace("_", "[_ ]") for name in REGIONS)
    named = re.compile(rf"\b(?:{names})\b", re.IGNORECASE)
    assert {module: found for module in RUNTIME if (found := named.findall(module.read_text()))} == {}


def test_keys_are_made_from_the_contract(sources: dict[Path, Source]) -> None:
    """No string but a docstring begins like a key of the contract, up to its first variable chunk."""
    beginnings = tuple(topic.key.partition("{")[0] for topic in contract().topics)
    keys = [
        (file, text)
        for file, source in sources.items()
        for text in source.texts
        if text.startswith(beginnings) and " " not in text
    ]
    assert keys == []


@pytest.mark.parametrize(
    "module",
    [
        "brainnet",
        "brainnet.cli",
        "brainnet.client",
        "brainnet.bus",
        "brainnet.node",
        "brainnet.observe",
        "brainnet.launcher.run.supervisor",
    ],
)
def test_the_runtime_loads_no_model_library(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'numba', 'snntorch', 'mujoco'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_what_is_public_can_be_imported() -> None:
    import brainnet

    missing = [name for name in brainnet.__all__ if not hasattr(brainnet, name)]
    assert missing == []
    assert set(dir(brainnet)) == set(brainnet.__all__)


def assigned(definition: ast.ClassDef, *methods: str) -> set[str]:
    """The attributes of `self` that these methods assign; without names, all methods."""
    return {
        item.attr
        for method in definition.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and (not methods or method.name in methods)
        for item in ast.walk(method)
        if isinstance(item, ast.Attribute)
        and isinstance(item.ctx, ast.Store)
        and isinstance(item.value, ast.Name)
        and item.value.id == "self"
    }


def created(definition: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """The attributes that a class and its bases declare in their bodies or create in `__init__`."""
    targets = [
        target
        for item in definition.body
        for target in ([item.target] if isinstance(item, ast.AnnAssign) else getattr(item, "targets", []))
    ]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    bases = [classes[base.id] for base in definition.bases if isinstance(base, ast.Name) and base.id in classes]
    return names.union(assigned(definition, "__init__", "__post_init__"), *(created(base, classes) for base in bases))


def test_state_is_created_in_init_or_declared_with_its_type(sources: dict[Path, Source]) -> None:
    definitions = [item for source in sources.values() for item in source.classes]
    classes = {definition.name: definition for definition in definitions}
    late = {d.name: found for d in definitions if (found := assigned(d) - created(d, classes))}
    assert late == {}


def test_docstrings_have_one_form(sources: dict[Path, Source]) -> None:
    """Errors stand in a "Raises:" section, code in single backticks; ruff checks the rest."""
    for file, source in sources.items():
        for text in source.docstrings:
            assert re.search(r"\bRaises (?!:)`?[A-Z]\w+", text) is None, f"{file}: {text}"
            other = re.search(r"(?<!`)``(?!`)|:(?:math|class|func|meth):`|::\n|\.\. math::", text)
            assert other is None, f"{file}: {text}"
