"""Reads YAML and JSON as people write them: files, arguments of commands, settings.

Text that is JSON is read as JSON. Any other text is YAML 1.2 with its core schema:

- `1e-4`, `.5`, `0x1F`, `0o17` and `010` (ten) are numbers; `true` and `false` are the truth values; `null` and `~` are
  null. Everything else is text: `yes`, `no`, `on`, `off`, `2026-11-28`, `12:30`.
- Merge keys (`<<: *base`) work, and a key of the map itself wins over a merged one.
- Keys are text, as in JSON: `1: x` is the key `"1"`. A key given twice is refused.

Guarantees: the value is one of None, bool, int, float, str, list and dict, so it can be written as JSON again; numbers
are finite; size, depth and the expansion of aliases have limits; each error is one `TextError`.
"""

from brainnet.yaml_text.document import Document, Location, Position, dotted
from brainnet.yaml_text.limits import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, MAX_VALUES
from brainnet.yaml_text.reading import parse, read

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "MAX_VALUES",
    "Document",
    "Location",
    "Position",
    "dotted",
    "parse",
    "read",
]
