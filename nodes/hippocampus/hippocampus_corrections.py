"""What corrects a statement: "No, ...", "not in the drawer but in the car", "in the car, not in the drawer"."""

from __future__ import annotations

import re
from typing import Final

from hippocampus_said import MAX_READ

PAUSE = re.compile(r" ?[,.:;!—–、。，：！،؛।-]")
"""What stands behind a "no" that corrects: "No cars are allowed here." corrects nothing."""
# "not X but Y" and "Y, not X": what was said to be wrong is X
_NOT_BUT = re.compile(
    r"(?:(?:(?<=\bis)|(?<=\bare)|(?<=\bwas)|(?<=\bwere))n't|(?<!\w)(?:not|nicht|niet|inte"
    r"|ikke)) (?P<wrong>[^,.;!?]{1,80}?),? "
    r"(?:but(?: rather)?|sondern|maar|utan|men) (?P<right>[^.;!?]{1,200})",
    re.IGNORECASE,
)
_BUT_NOT = re.compile(
    r", ?(?:and not|und nicht|not|nicht|et non|pas|e non|non|y no|no|e nao|e não|nao|não|en niet|niet|och inte|inte"
    r"|og ikke"
    r"|ikke|a nie|nie|а не|не) (?P<wrong>[^,.;!?]{1,80})[.!]{0,3}$",
    re.IGNORECASE,
)
_FRAGMENT = re.compile(
    r"(?:in|on|at|under|behind|beside|to|with|by|im|am|an|auf|unter|hinter|bei|mit|dans|sur|sous|chez|en|al|sobre"
    r"|bajo|con"
    r"|nel|nella|sul|sulla|da|no|na|em|op|bij|pa|w|в|на|у|под)(?!\w) "
)
_NOT_SURE: Final = frozenset(
    {"actually", "in fact", "rather", "sorry", "oops", "pardon", "update", "eigentlich", "tatsachlich"}
)


_NO_LONGER = re.compile(
    r"(?<!\w)(?:no longer|any ?more|any longer|(?:is|are|was)(?:n't| not))(?!\w)[^.!?]{1,100}"
    r"[,;.] ?(?:it|he|she|they|that|but)(?:'s|'re| is| are| has| now)(?!\w)",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"(?:please )?(?:change|update|correct) (?P<what>(?:the|my|our|\w{2,20}'s) [^.,:;!?]{2,80}?) (?:to|into"
    r"|in) (?P<value>[^.,:;!?]{1,80})[.!]{0,2}\Z",
    re.IGNORECASE,
)


def changed(text: str) -> str | None:
    """Return the statement of a request to change a value, "Change the door code to 5512."; None if it is none."""
    change = _CHANGE.match(text[:MAX_READ])
    if not change:
        return None
    what = change["what"]
    return f"{what} {'are' if what.endswith('s') and not what.endswith('ss') else 'is'} {change['value']}."


def is_sure(phrase: str) -> bool:
    """Return whether a phrase says by itself that something was wrong, unlike "actually" and "sorry"."""
    return phrase not in _NOT_SURE


def is_fragment(folded: str) -> bool:
    """Return whether a text is only a place or a time: "on Friday"."""
    return bool(_FRAGMENT.match(folded)) and "?" not in folded


def has_contrast(text: str) -> bool:
    """Return whether a text says what is wrong beside what is right."""
    return corrected(text)[1] != "" or bool(_NO_LONGER.search(text[:MAX_READ]))


def corrected(text: str) -> tuple[str, str]:
    """Return what is right in a text, and what it says to be wrong: empty if it does not say that.

    "The key is not in the drawer but in the car." is "The key is in the car." and "in the drawer".
    """
    contrast = _NOT_BUT.search(text[:MAX_READ])
    if contrast:
        joint = " " if contrast.group().startswith("n't") else ""
        right = text[: contrast.start()] + joint + contrast["right"] + text[contrast.end() :]
        return " ".join(right.split()), contrast["wrong"].strip()
    contrast = _BUT_NOT.search(text[:MAX_READ]) if "," in text[:MAX_READ] else None
    if contrast:
        return text[: contrast.start()] + ".", contrast["wrong"].strip()
    return text, ""
