"""Figures of speed in the documentation come from the report of `brainnet bench all`, never from a hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brainnet.bench.report import fill, read, render, unmarked
from tests.docs.markdown import PAGES, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
SPEED = re.compile(
    r"\d[\d,.]*\s*(?:[kM]\s?)?(?:µs|us|ns|(?:packets|prompts|answers|tokens|messages|episodes|neuron-steps|steps)/s)\b"
)
MEASURED_OTHERWISE = {"README.md": ["tokens/s | eager torch"]}
"""Lines whose figures another command measures; the text around them names it."""


def test_the_page_of_the_figures_follows_from_its_data() -> None:
    assert PAGE.read_text() == render(read(PAGE.with_suffix(".json")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_figures_in_a_page_follow_from_the_report(page: Path) -> None:
    if page == PAGE:
        return
    text = page.read_text()
    assert fill(text, read(PAGE.with_suffix(".json"))) == text, "python -m brainnet.bench.report docs/benchmarks.json"
    allowed = MEASURED_OTHERWISE.get(page.name, [])
    prose = re.sub(r"^```.*?^```$", "", unmarked(text), flags=re.DOTALL | re.MULTILINE)
    by_hand = [
        line for line in prose.splitlines() if SPEED.search(line) and not any(words in line for words in allowed)
    ]
    assert page.name == "CHANGELOG.md" or by_hand == []


def test_the_report_is_of_a_whole_run() -> None:
    report = read(PAGE.with_suffix(".json"))
    assert not report.quick
    assert set(report.groups) == {"bus", "prompt", "boot", "memory", "streams", "snn"}
