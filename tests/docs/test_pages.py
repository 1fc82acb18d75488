"""Every fenced block and every command of README.md, CONTRIBUTING.md, CHANGELOG.md and docs/ works as it stands.

The blocks of pages that ask a brain, which they do not launch, are tried in test_pages_that_ask.py.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.docs import command_line
from tests.docs.markdown import PAGES, ROOT, blocks, prose, spans
from tests.docs.pages import asks, name_of, read
from tests.support import Brain


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p) and not asks(p)], ids=name_of)
def test_the_blocks_of_a_page_work_in_their_order(page: Path, folder: Path, own: Brain) -> None:
    read(page, folder, own)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_in_the_text_of_a_page_exist(page: Path) -> None:
    for span in spans(page):
        program = span.split()[0]
        if program == "brainnet":
            command_line.check(span, complete=False)
        elif program.startswith("scripts/") and program != "scripts/":
            command_line.check(span)
        elif span.startswith("python -m "):
            assert importlib.util.find_spec(span.split()[2]), span
        elif span.startswith("python "):
            script = span.split()[1]
            titles = [block.title for block in blocks(page)]
            assert (ROOT / script).is_file() or script in titles, f"{page}: there is no {script}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent == ROOT], ids=name_of)
def test_the_links_of_a_page_outside_docs_lead_to_a_file(page: Path) -> None:
    """The links inside docs/ are checked by `mkdocs build --strict`."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(page)):
        assert target.startswith(("https://", "http://")) or (page.parent / target).exists(), target
