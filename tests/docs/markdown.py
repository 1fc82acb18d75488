"""The fenced blocks, commands and links of the project's pages.

A comment in the line before a fence says how its block is checked, where that is not plain from its language:

    <!-- check: output -->          console: what each command prints is what stands below it, but for numbers
    <!-- check: output in any order -->  the same, and the lines may come in any order
    <!-- check: syntax -->          console: verbs and options exist; nothing is run
    <!-- check: background -->      console: runs beside the next block, and must end by itself
    <!-- check: message NAME -->    json: the fields of this message

A block whose fence has a title is a file, which is written to the page's folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_CHECK = re.compile(r"^<!-- check: (.+) -->$")
_FENCE = re.compile(r"^```(\w*)(?:\s+title=\"([^\"]+)\")?\s*$")
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass
class Block:
    """One fenced block.

    Attributes:
        page: Where it stands.
        line: Line of its fence, counted from 1.
        language: What the fence says; empty where it says nothing.
        title: Name of the file that the block is, or None.
        check: What the comment before the fence says, or an empty string.
        text: What stands in it.
    """

    page: Path
    line: int
    language: str
    title: str | None
    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass
class Command:
    """One command of a console block, and the lines that it prints there."""

    text: str
    output: list[str] = field(default_factory=list)


def blocks(page: Path) -> list[Block]:
    """Read the fenced blocks of a page, in order."""
    found: list[Block] = []
    check, opened = "", None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if opened is not None:
            if line == "```":
                found.append(Block(page, *opened, "\n".join(lines) + "\n"))
                opened = None
            else:
                lines.append(line)
        elif line.startswith("```"):
            match = _FENCE.match(line)
            assert match, f"{page}:{number}: a fence that no test can read"
            opened, lines = (number, match[1], match[2], check), []
        marked = _CHECK.match(line)
        check = marked[1] if marked else ""
    assert opened is None, f"{page}: a fence is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """Read the commands of a console block; a line that ends with a backslash goes on."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif found and not found[-1].output and found[-1].text.endswith("\\"):
            found[-1].text = found[-1].text[:-1] + line.strip()
        else:
            assert found, f"{block}: output before any command"
            found[-1].output.append(line)
    return found


def prose(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def spans(page: Path) -> list[str]:
    """Return the inline code of a page."""
    return [match[1] for match in _SPAN.finditer(prose(page))]
