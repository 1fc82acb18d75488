"""The reference says what the code says, the checks are the same everywhere, and the recipes work."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

import brainnet
from brainnet.errors import ERROR_CODES
from scripts import reference
from tests.docs.markdown import ROOT, blocks

DOCS = ROOT / "docs"
PAGES = {path.name: text for path, text in reference.pages().items()}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_follows_from_the_code_is_up_to_date(name: str) -> None:
    written = (reference.PAGES / name).read_text()
    assert written == PAGES[name], "run `python scripts/reference.py`"


def test_each_error_code_has_its_cause_and_its_fix() -> None:
    text = (DOCS / "reference" / "errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert sorted(code for code, _, _ in rows) == sorted(ERROR_CODES)
    for code, cause, fix in rows:
        explained, _, shown = cause.partition(" *")
        assert len(explained) > 20, f"{code}: why it comes"
        assert len(shown) > 5, f"{code}: an example of the sentence that is shown, in italics"
        assert shown.endswith("*"), f"{code}: the sentence ends the cause"
        assert len(fix) > 20, f"{code}: what to do"
        assert re.search(r"`[^`]+`", fix), f"{code}: what to type or to change"


def test_each_public_package_has_a_page_of_its_docstrings() -> None:
    pages = (DOCS / "reference" / "api").glob("*.md")
    shown = {name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}
    private = {"cli", "launcher", "bench", "programs"}
    packages = {path.parent.name for path in (ROOT / "brainnet").glob("*/__init__.py")} - private
    assert {f"brainnet.{name}" for name in packages} | {"brainnet", "brainnet.errors"} <= shown


def test_the_pages_load_nothing_from_elsewhere() -> None:
    """Material for MkDocs fetches fonts, and the script that draws Mermaid blocks, from other servers."""
    config = (ROOT / "mkdocs.yml").read_text()
    assert re.search(r"^  font: false$", config, re.MULTILINE)
    assert "extra_javascript" not in config
    assert "extra_css" not in config
    assert not [block for page in DOCS.rglob("*.md") for block in blocks(page) if block.language == "mermaid"]


def test_the_checks_before_a_commit_are_those_of_the_tests() -> None:
    listed = subprocess.run([ROOT / "scripts/check", "--list"], capture_output=True, text=True, check=True).stdout
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert [hook["id"] for hook in hooks] == listed.split()
    assert all(hook["entry"] == f"scripts/check {hook['id']}" for hook in hooks)
    assert re.search(r"^scripts/check >", (ROOT / "scripts/test").read_text(), re.MULTILINE), "without a choice"


def test_the_changelog_begins_with_this_version() -> None:
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == brainnet.__version__
