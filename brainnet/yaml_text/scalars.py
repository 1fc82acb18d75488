"""Single values: what a plain scalar means in the core schema of YAML 1.2, and which values are refused."""

from __future__ import annotations

import re
from typing import Any, Final

from brainnet.yaml_text.limits import MANY_DIGITS, MAX_DIGITS

_TOO_LARGE: Final = 10**MAX_DIGITS
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
KINDS: Final[dict[str, type]] = {"null": type(None), "bool": bool, "int": int, "float": float}
"""The tags of single values that are neither text nor bytes, and the types that they stand for."""


def resolve(text: str) -> Any:
    """Return what a plain scalar means in YAML's core schema."""
    # Most scalars are words. Without this look at the first character each would be tried against every pattern.
    if text[:1] in "+-.0123456789":
        if INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    return text


def problem_of(value: Any) -> str:
    """Return why a single value is refused; empty when it is not."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair is no Unicode text"
    elif isinstance(value, float):
        if value - value != 0:  # only a finite number has the difference 0
            return "is not a finite number"
    elif isinstance(value, int) and not -_TOO_LARGE < value < _TOO_LARGE:
        return MANY_DIGITS
    return ""
