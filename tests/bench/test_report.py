"""The report of all benchmarks: the page, its data, and the sections of other pages that follow from it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.bench import report as reports
from brainnet.bench.report import Report, describe, fill, read, render, table, unmarked, write
from brainnet.errors import ConfigError
from brainnet.rows import Row, compare

GROUPS = {
    "bus": [
        compare("round_trip_p50", 123.4, "us", rival="raw", rival_value=100.0, limit=("ratio", "<=", 1.5)),
        compare("stream", 71_234.5, "packets/s"),
    ],
    "boot": [compare("boot_ready", 2.5, "s")],
}
SECTION = "before\n<!-- figures: bus stream -->\nold\n<!-- end of figures -->\nafter\n"


@pytest.fixture
def report() -> Report:
    return Report(machine=describe(), quick=False, groups=GROUPS)


def test_the_machine_is_described() -> None:
    machine = describe()
    assert machine.cores >= 1
    assert machine.memory_gb > 0
    assert {"torch", "numpy", "eclipse-zenoh"} <= set(machine.packages)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", machine.date)
    assert machine.cpu


def test_the_page_names_the_machine_every_group_and_every_row(report: Report) -> None:
    page = render(report)
    assert report.machine.kernel in page
    for group, rows in GROUPS.items():
        assert f"## {group}" in page
        for row in rows:
            assert f"`{row.name}`" in page
    assert "ratio ≤ 1.5: holds" in page
    assert "quick" not in page
    assert "quick run" in render(report.model_copy(update={"quick": True}))


def test_what_is_written_can_be_read_and_written_again(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    readme = tmp_path / "README.md"
    readme.write_text(SECTION)
    assert set(write(report, page)) == {page, page.with_suffix(".json"), readme}
    first = {path: path.read_text() for path in (page, page.with_suffix(".json"), readme)}
    assert "`stream`" in first[readme]
    assert "old" not in first[readme]
    assert "round_trip_p50" not in first[readme]
    again = read(page.with_suffix(".json"))
    assert again == report
    write(again, page)
    assert {path: path.read_text() for path in first} == first


def test_a_readme_without_sections_is_left_alone(report: Report, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("no figures\n")
    assert len(write(report, tmp_path / "docs" / "benchmarks.md")) == 2
    assert (tmp_path / "README.md").read_text() == "no figures\n"


def test_a_baseline_that_is_not_installed_is_neither_missed_nor_quoted(report: Report) -> None:
    absent = Row(name="stream", value=1.0, unit="packets/s", rival="fish (not installed)", bar="ratio >= 5")
    more = report.model_copy(update={"groups": {"bus": [*GROUPS["bus"], absent]}})
    assert "fish" not in fill(SECTION, more)
    assert "missed" not in render(more)


@pytest.mark.parametrize("words", ["fish", "bus fish"])
def test_a_section_of_figures_that_there_are_not_is_one_error(report: Report, words: str) -> None:
    with pytest.raises(ConfigError, match="fish"):
        fill(SECTION.replace("bus stream", words), report)


def test_errors_of_files_are_one_sentence(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write(report, tmp_path / "missing" / "benchmarks.md")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"bad\.json"):
        read(tmp_path / "bad.json")


def test_what_is_outside_of_the_sections() -> None:
    assert unmarked(SECTION) == "before\n\nafter\n"


@given(st.floats(-1e12, 1e12, allow_nan=False))
def test_numbers_are_right_to_three_digits(value: float) -> None:
    (line,) = table([Row(name="x", value=value, unit="ms")]).splitlines()[2:]
    written = float(line.split("|")[2].removesuffix(" ms ").replace(",", ""))
    assert math.isclose(written, value, rel_tol=0.0051, abs_tol=1e-300)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=20))
def test_a_cell_ends_no_cell(text: str) -> None:
    line = table([Row(name="x", value=1, unit="ms", rival=text)]).splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", line)) == 7


def test_every_group_says_what_it_measures() -> None:
    import typer.main

    from brainnet.cli.bench import app

    commands = set(getattr(typer.main.get_command(app), "commands", {}))
    assert set(reports.ABOUT) == commands - {"all"}


def test_the_command_writes_the_page_and_prints_every_row(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from brainnet.cli.app import load_verb

    asked: list[bool] = []

    def measure(quick: bool, progress: object) -> Report:
        asked.append(quick)
        return report

    monkeypatch.setattr(reports, "measure", measure)
    page = tmp_path / "benchmarks.md"
    load_verb("bench").main(["all", "--quick", "--report", str(page), "--json"], standalone_mode=False)
    assert asked == [True]
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["bus: round_trip_p50", "bus: stream", "boot: boot_ready"]
    assert page.read_text() == render(report)
