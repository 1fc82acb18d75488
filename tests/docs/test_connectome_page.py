"""The mistakes that the page about connectomes lists are refused with the words that stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brainnet.connectome import load
from brainnet.connectome.summary import summary
from brainnet.errors import ConnectomeError
from tests.docs.markdown import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "connectome.md"
NETWORK = next(block.text for block in blocks(PAGE) if block.title == "network.yaml")
MISTAKES = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.+) \|$", PAGE.read_text().partition("## Mistakes")[2], re.M)


@pytest.mark.parametrize(("right", "wrong", "error"), MISTAKES, ids=lambda text: text.strip()[:40])
def test_a_mistake_is_refused_as_the_page_says(tmp_path: Path, right: str, wrong: str, error: str) -> None:
    assert right in NETWORK
    path = tmp_path / "network.yaml"
    path.write_text(NETWORK.replace(right, wrong, 1))
    with pytest.raises(ConnectomeError) as raised:
        summary(load(path))
    assert error in str(raised.value)
    assert raised.value.line is not None


def test_there_are_mistakes() -> None:
    assert len(MISTAKES) > 10
