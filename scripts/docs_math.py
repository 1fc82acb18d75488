"""MkDocs hook: formulas in the pages and in docstrings become MathML, which browsers show without a script."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_FORMULA = re.compile(r'<(span|div) class="arithmatex">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', re.DOTALL)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replace each formula that pymdownx.arithmatex has marked.

    Raises:
        PluginError: A formula is not TeX that can be converted; names the page and the formula.
    """

    def replace(match: re.Match[str]) -> str:
        tag, formula = match.group(1), html.unescape(match.group(2)).strip()
        # the converter knows `align*`, not `aligned`, and takes an escaped underscore in \text literally
        formula = formula.replace("{aligned}", "{align*}").replace("\\_", "_")
        try:
            return convert(formula, display="block" if tag == "div" else "inline")
        except Exception as error:  # the library raises many kinds
            raise PluginError(f"{page.file.src_uri}: formula {formula!r}: {type(error).__name__}: {error}") from error

    return _FORMULA.sub(replace, content)
