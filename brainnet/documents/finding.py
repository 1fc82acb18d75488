"""Which files are documents, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brainnet.errors import DocumentError

__all__ = ["SUFFIXES", "DocumentFile", "find_documents"]

SUFFIXES: Final = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}
"""The formats by the ends of file names, in lower case."""


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A file that is a document.

    Attributes:
        path: The file.
        source: What it is called: its name, or, where a folder was given, the name of that folder and the way from
            there, such as `manuals/pump.pdf`.
    """

    path: Path
    source: str


def find_documents(paths: Iterable[Path]) -> list[DocumentFile]:
    """Return the documents among files and in folders, sorted by name within each folder.

    In a folder, files of other formats are left out, and whatever has a name that begins with a full stop. Links to
    folders are not followed.

    Raises:
        DocumentError: A path does not exist, a file that is named has another format, or two files would have the same
            name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            top = path.resolve()
            files = [(each, each.relative_to(top.parent).as_posix()) for each in _below(top)]
        elif path.is_file():
            if path.suffix.lower() not in SUFFIXES:
                raise DocumentError(f"{path} is none of {', '.join(SUFFIXES)}; rename it if it is text")
            files = [(path.resolve(), path.name)]
        else:
            raise DocumentError(f"{path}: there is no such file or folder")
        for file, source in files:
            if found.setdefault(source, file) != file:
                raise DocumentError(
                    f"{found[source]} and {file} would both be called {source!r}; name the folder that both are in"
                )
    return [DocumentFile(path, source) for source, path in found.items()]


def _below(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(parent, name)
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return [file for file in files if file.is_file()]
