"""Reads a document of any of the formats into the texts of its pages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Final

from brainnet.documents.finding import SUFFIXES
from brainnet.errors import DocumentError

__all__ = ["MAX_BYTES", "Document", "read_document"]

MAX_BYTES: Final = 256 << 20
"""Bytes of a file that is read."""
_HIDDEN: Final = frozenset({"script", "style", "template", "noscript", "nav", "svg", "head", "select", "textarea"})
"""Elements of HTML whose text is not part of what a person reads."""
_INLINE: Final = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd", "label"}
    | {"mark", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr"}
)
"""Elements of HTML that end no paragraph."""
_BROKEN_WORD: Final = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_])")


@dataclass(frozen=True, slots=True)
class Document:
    """What a document says.

    Attributes:
        title: Its title, or the name of its file without the end.
        pages: The text of each page; paragraphs are separated by blank lines.
        paged: Whether the format has pages; without, there is one text.
        digest: SHA-256 of the file, in hexadecimal digits.
    """

    title: str
    pages: list[str]
    paged: bool
    digest: str


def read_document(path: Path) -> Document:
    """Read a document; its format follows from the end of its name.

    Raises:
        DocumentError: The file cannot be read, is too large, damaged, encrypted, or has no text.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DocumentError(f"{path} has more than {MAX_BYTES >> 20} MB; divide it")
        content = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}") from None
    readers: dict[str, Callable[[Path, bytes], tuple[str, list[str]]]] = {
        "text": _read_text,
        "markdown": _read_markdown,
        "html": _read_html,
        "pdf": _read_pdf,
    }
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DocumentError(f"{path} is none of {', '.join(SUFFIXES)}")
    title, pages = readers[kind](path, content)
    if not any(page.strip() for page in pages):
        hint = "; a scanned document needs text recognition first" if kind == "pdf" else ""
        raise DocumentError(f"{path} has no text{hint}")
    title = " ".join(title.split())[:200]
    return Document(title or path.stem, pages, kind == "pdf", hashlib.sha256(content).hexdigest())


def _decoded(path: Path, content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise DocumentError(f"{path} is not UTF-8 text; convert it, for example with `iconv -t utf-8`") from None
    if "\0" in text:
        raise DocumentError(f"{path} is not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_text(path: Path, content: bytes) -> tuple[str, list[str]]:
    return "", [_decoded(path, content)]


def _read_markdown(path: Path, content: bytes) -> tuple[str, list[str]]:
    from markdown_it import MarkdownIt

    text = _decoded(path, content)
    if text.startswith("---\n"):  # the front matter that many tools put there
        end = text.find("\n---\n", 3)
        text = text[end + 5 :] if end > 0 else text
    return _extract(MarkdownIt("commonmark").enable("table").render(text))


def _read_html(path: Path, content: bytes) -> tuple[str, list[str]]:
    try:
        return _extract(_decoded(path, content))
    except (AssertionError, RecursionError) as error:  # which html.parser raises for some damaged declarations
        raise DocumentError(f"{path} cannot be read as HTML: {error}") from None


def _read_pdf(path: Path, content: bytes) -> tuple[str, list[str]]:
    try:
        import pypdf
    except ImportError:
        raise DocumentError(f"{path}: to read PDF files, install `pip install 'brainnet[documents]'`") from None
    try:
        reader = pypdf.PdfReader(BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError(f"{path} is encrypted; store it without a password first")
        # A word that is broken at the end of a line is one word.
        pages = [_BROKEN_WORD.sub("", page.extract_text()) for page in reader.pages]
        title = str((reader.metadata.title if reader.metadata else None) or "")
    except DocumentError:
        raise
    except Exception as error:  # pypdf raises its own errors, and many others for damaged files
        raise DocumentError(f"{path} cannot be read as PDF: {type(error).__name__}: {str(error)[:200]}") from None
    return title, pages


def _extract(html: str) -> tuple[str, list[str]]:
    reader = _TextOfHtml()
    reader.feed(html)
    reader.close()
    return reader.title or reader.heading, ["".join(reader.parts)]


class _TextOfHtml(HTMLParser):
    """Collects what a person reads of a page; a block ends a paragraph."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title = ""
        self.heading = ""
        self._hidden: list[str] = []
        self._inside = ""
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag == "body":  # a head that was never closed
            self._hidden.clear()
        if tag in ("title", "h1"):
            self._inside = tag
        if tag == "br":
            self.parts.append("\n")
        elif tag not in _INLINE:
            self._preformatted += tag == "pre"
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        if tag == self._inside:
            self._inside = ""
        if tag not in _INLINE:
            self._preformatted -= tag == "pre" and self._preformatted > 0
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data if len(self.title) < 1000 else ""
        if self._hidden:
            return
        if self._inside == "h1" and len(self.heading) < 1000:
            self.heading += data
        # a blank line in the source ends no paragraph
        self.parts.append(data if self._preformatted else re.sub(r"\s+", " ", data))
