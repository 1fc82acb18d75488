"""From bytes to text: UTF-8, or an error that says what else it looks like."""

from __future__ import annotations

import codecs

from brainnet.errors import TextError
from brainnet.yaml_text.document import Position, error_at
from brainnet.yaml_text.limits import MAX_BYTES


def decode(text: str | bytes, name: str) -> str:
    """Return the text without a byte order mark.

    Raises:
        TextError: It is longer than the limit, or not Unicode text.
    """
    if len(text) > MAX_BYTES:
        raise TextError(f"{name} has more than {MAX_BYTES} bytes, which is the limit for a text")
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            # An argument that is not UTF-8 reaches Python in this form.
            raise error_at(name, place(text, error.start), "these characters are not Unicode text; use UTF-8") from None
        return text.removeprefix("\ufeff")
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (b"\0" in text[:4] and len(text) > 1):
        raise TextError(f"{name} is not UTF-8 but UTF-16 or UTF-32; convert it: iconv -f UTF-16 -t UTF-8")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8-sig", errors="replace")
        raise error_at(
            name,
            place(before, len(before)),
            f"byte 0x{text[error.start]:02X} is not UTF-8; if the text is Latin-1, convert it: "
            "iconv -f LATIN1 -t UTF-8",
        ) from None


def place(text: str, index: int) -> Position:
    """Return the position of the character with this index."""
    before = text[:index]
    return Position(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
