"""The baseline of the trained router: keyword rules written by hand. The region itself does not use them.

They were written after the training templates, corrected on the validation prompts, and never changed after the test.
Rules are tried from top to bottom, and the first that matches decides; each holds for prompts with a picture, without
one, or both.
"""

from __future__ import annotations

import re
from typing import Literal

# Repetitions are bounded, so that the time is linear in the length of the text.
_NUMBER = r"[-+−]?\d{0,12}\.?\d{1,12}"
_LIMB = r"(?:arm|hand|gripper|finger\w*|tip|effector|manipulator|elbow|shoulder|wrist|joints?|limb)"
_VERB = r"(?:move|reach|stretch|lift|raise|lower|bend|turn|rotate|swing|wave|shift|extend|put|give)"
_ORDER = r"(?:stop|halt|freeze|cease|hold still|move|reach|touch|grab|point|follow)"
_KEEP = (
    r"(?:remember|memori[sz]e|keep (?:it|this|that)|bear in mind|jot|store|save|retain|(?:write|note) (?:down|that))"
)
_FORGET = r"(?:don't forget|do not forget|never forget|(?:make|take) a note|be reminded)"
_RECALL = r"(?:recall|forgot|forget|lost|looking for|find|did i|have i|told you|tell you|told me|asked you)"
_ASK = r"(?:where\w*|when|who|whose|(?:in|on|at|from|until) (?:which|what|whose)|which)"
_FORESIGHT = r"(?:predict|foresee|foretell|anticipat|forecast|expect|adapt|adjust|calibrat|cerebell|compensat|correct)"
_MODEL = r"(?:(?:forward|internal|arm) model|motor (?:error|learning|control|skill)|force field|coordinated|surprise)"
_MOVEMENT = r"(?:movements?|reach(?:es)?|motions?|moving)"

_RULES: list[tuple[str, Literal["with", "without", "any"], str]] = [
    # coordinates mean a movement
    ("motor_cortex", "any", rf"[(\[]\s{{0,9}}{_NUMBER}\s{{0,9}}[,;]\s{{0,9}}{_NUMBER}\s{{0,9}}[)\]]"),
    ("motor_cortex", "any", rf"\bx\s{{0,9}}=?\s{{0,9}}{_NUMBER}"),
    ("motor_cortex", "any", r"[-+−]?\d?\.\d{1,12}[\s,;]{1,9}(?:and )?[-+−]?\d?\.\d"),
    # statements to remember, with or without a picture
    ("hippocampus", "any", rf"\b(?:{_KEEP}|{_FORGET})\b"),
    # questions about prediction and adaptation of movements
    ("cerebellum", "any", rf"\b(?:{_FORESIGHT}|{_MODEL})"),
    ("cerebellum", "any", rf"\b(?:how|did|do|does|was|were|are|is)\b.{{0,300}}\b{_MOVEMENT}\b"),
    ("motor_cortex", "without", rf"\b{_VERB}\b.{{0,300}}\b{_LIMB}\b"),
    ("motor_cortex", "without", rf"^(?:please )?{_ORDER}\b|\b{_LIMB}\b.{{0,300}}\b(?:left|right|up|down)\b"),
    # any other prompt with a picture is about the picture
    ("vision", "with", r""),
    ("vision", "without", r"\b(?:picture|image|photo\w*|digit|drawing|scan|camera)\b"),
    # questions to memory
    ("hippocampus", "without", rf"^{_ASK}\b|\bwhere(?:'s|s)?\b|\b{_RECALL}\b"),
    ("hippocampus", "without", r"\b(?:what|how many|does|has)\b.{0,300}\b(?:my|our|the)\b.{0,300}\?"),
    # anything else is text to continue
    ("language", "any", r""),
]
_COMPILED = [(route, when, re.compile(pattern, re.IGNORECASE)) for route, when, pattern in _RULES]


def route_by_rules(text: str, *, has_image: bool) -> str:
    """Return the route of the first rule that matches; the last rule matches everything."""
    present = "with" if has_image else "without"
    return next(route for route, when, rule in _COMPILED if when in ("any", present) and rule.search(text))
