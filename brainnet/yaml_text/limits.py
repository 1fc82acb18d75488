"""The limits of a text, and what an error says about those that several readers check."""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 4 << 20
"""Bytes of a text."""
MAX_DEPTH: Final = 64
"""Maps and lists inside one another."""
MAX_DIGITS: Final = 100
"""Digits of a whole number; Python reads longer ones in quadratic time."""
MAX_VALUES: Final = 500_000
"""Values of a text, with every alias counted as all that it stands for, and a long text as one for 32 characters."""
MANY_DIGITS: Final = f"is a whole number of more than {MAX_DIGITS} digits; write it with an exponent, such as 1e200"
TOO_DEEP: Final = f"more than {MAX_DEPTH} maps and lists are inside one another"
TOO_MANY: Final = f"more than {MAX_VALUES} values, counting what aliases stand for"
