"""What numpy raises for files of arrays (npz, npy) that are damaged, or of another kind."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from typing import Final

UNREADABLE: Final = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, SyntaxError, RuntimeError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip
"""The header of an array is Python text, so it can also fail as such. `NotImplementedError` is a `RuntimeError`."""
