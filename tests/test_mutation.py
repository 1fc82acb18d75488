"""The mutation check: which constants it changes, and that every module it names has tests."""

from __future__ import annotations

import pytest
import typer

from scripts import mutation

SOURCE = '''
"""A neuron of 5 parts."""
BLOCK = 512


@lru_cache(maxsize=8)
def step(v: Literal[1], dt: float = 0.5, *, high: int = -32768) -> int:
    if v.ndim != 3 or len(v) < 2:
        return 0
    if v > 7:
        raise ValueError(f"{v:.3f} is above {7}")
    é, x = v[-1], v.sum(1).unflatten(0, (3, 2)) * 0.04
    return é + math.pi * x.clamp(min=1) + torch.zeros(4) + 0.0
'''


def test_the_numbers_of_formulas_and_defaults_are_changed_and_no_others() -> None:
    found = mutation.mutants_of("test", SOURCE)
    assert [(mutant.original, mutant.changed) for mutant in sorted(found, key=lambda m: (m.line, m.column))] == [
        ("512", "513"),
        ("0.5", "0.55"),
        ("32768", "32769"),
        ("0", "1"),
        ("0.04", "0.044000000000000004"),
        ("math.pi", "(math.pi * 1.1)"),
        ("1", "2"),
        ("0.0", "0.1"),
    ]


def test_a_mutant_differs_in_that_constant_alone() -> None:
    pi = next(mutant for mutant in mutation.mutants_of("test", SOURCE) if mutant.original == "math.pi")
    changed = mutation.mutated(SOURCE, pi)
    assert changed == SOURCE.replace("é + math.pi *", "é + (math.pi * 1.1) *")


def test_an_exemption_covers_its_piece_of_the_line_and_must_be_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mutation.EQUIVALENT, "test", {"clamp(min=1)": "for this test"})
    found = [mutant.original for mutant in mutation.mutants_of("test", SOURCE)]
    assert "math.pi" in found
    assert "1" not in found
    monkeypatch.setitem(mutation.EQUIVALENT, "test", {"gone": "for this test"})
    with pytest.raises(typer.BadParameter, match="gone"):
        mutation.mutants_of("test", SOURCE)


@pytest.mark.parametrize("module", mutation.FORMULAS)
def test_every_module_of_formulas_has_tests_and_can_be_changed(module: str) -> None:
    mutation.mutants_of(module, mutation.source_of(module, mutation.ROOT).read_text())
    assert mutation.tests_of(module, mutation.ROOT)
