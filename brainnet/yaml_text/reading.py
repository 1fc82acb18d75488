"""Reads a text or a file as JSON if it is JSON, and as YAML if it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brainnet.errors import TextError
from brainnet.yaml_text.document import Document, error_at
from brainnet.yaml_text.encoding import decode
from brainnet.yaml_text.json_text import JsonPositions, mistake
from brainnet.yaml_text.limits import MAX_BYTES
from brainnet.yaml_text.yaml_reader import YamlReader


def parse(
    text: str | bytes, name: str, *, allow_bytes: bool = False, syntax: str = "neither YAML nor JSON"
) -> Document:
    """Read a text that holds one document.

    Args:
        text: The text, or its bytes in UTF-8, with or without a byte order mark.
        name: What the text is, for errors.
        allow_bytes: Accept `!!binary`, which becomes bytes; for what is sent as msgpack.
        syntax: What a text is that breaks the syntax, for errors.

    Raises:
        TextError: The text is not YAML, is not UTF-8, or is beyond a limit; names line and column.
    """
    decoded = decode(text, name)
    twice: list[None] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice.append(None)
        return found

    try:
        # Not strict: a tab inside of a text is a mistake of the editor, not of the person.
        value = json.loads(decoded, object_pairs_hook=object_of, strict=False)
    except (ValueError, RecursionError):
        return YamlReader(decoded, name, allow_bytes, syntax).read()
    document = Document(name, value, lambda: JsonPositions(decoded).read())
    wrong = mistake(value)
    if wrong is not None:
        location, problem = wrong
        raise TextError(f"{name}: {problem}") if location is None else document.error(location, problem)
    if twice:
        positions = JsonPositions(decoded)
        positions.read()
        raise error_at(name, *positions.twice[0])
    return document


def read(path: Path, name: str | None = None) -> Document:
    """Read a file that holds one document.

    Args:
        path: The file.
        name: What the file is, for errors; by default its path.

    Raises:
        FileNotFoundError: There is no such file.
        TextError: It cannot be read, or `parse` refuses it.
    """
    name = name or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # with a limit, because it may be a device that never ends
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise TextError(f"{name} is a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise TextError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse(data, name, syntax="not YAML")
