"""Every promise of docs/concepts/promises.md names the tests that attack it, and each of them exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "concepts" / "promises.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| (?!promise |-)", line)]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


@cache
def names_in(path: Path) -> set[str]:
    """Return the tests of a file, those of a class as `Class::test`."""
    found = set()
    for item in ast.parse(path.read_text()).body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(item.name)
        elif isinstance(item, ast.ClassDef):
            methods = (m for m in item.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{item.name}::{method.name}" for method in methods}
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_each_test_that_attacks_a_promise_exists(row: list[str]) -> None:
    assert len(row) == 2, f"a promise and its tests: {row}"
    named = NAMED.findall(row[1])
    assert named, f"nothing attacks this promise: {row[0]}"
    assert len(named) == row[1].count("`") // 2, f"a name that is no FILE::TEST: {row[1]}"
    for file, test in named:
        assert (ROOT / file).is_file(), f"there is no {file}"
        assert test in names_in(ROOT / file), f"{file} has no test {test}"


def test_there_are_promises() -> None:
    assert len(ROWS) > 15
