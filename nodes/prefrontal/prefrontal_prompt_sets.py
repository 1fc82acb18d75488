"""Prompts written by hand for this project: conversation by intent, and prompts for regions of a user's own.

conversation_prompts.yaml holds prompts of plain conversation and about the brain itself, and prompts that only look
like them. own_region_prompts.yaml holds made-up regions, as somebody could add them to a brain, with prompts for each.
Every fifth line of a list is held out from training, for choosing settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from brainnet.paths import region_file

_HERE = Path(__file__)

_ASKED = frozenset("qoynux")
OTHER = "other"
"""The intent of prompts that are no conversation, though they look like it."""


@dataclass(frozen=True)
class OwnRegion:
    """A made-up region of a user's own.

    Attributes:
        name: Its name: lower-case letters, digits and `_`.
        about: What it says about itself, one line.
        examples: Prompts that it gives as examples of what it answers.
        prompts: Prompts that should go to it, worded otherwise than the examples.
    """

    name: str
    about: str
    examples: tuple[str, ...]
    prompts: tuple[str, ...]


def conversation(held_out: bool | None = None) -> dict[str, list[str]]:
    """Read the prompts of conversation_prompts.yaml by intent, in the order of the file.

    Args:
        held_out: True for every fifth prompt of an intent, which is held out from training; False for the others;
            None for all.

    Returns:
        The prompts of each intent; under `OTHER` those that are no conversation. The lists are the caller's own.

    Raises:
        OSError: When the file cannot be read.
        yaml.YAMLError: When it is no YAML.
    """
    return {intent: _chosen(lines, held_out) for intent, lines in _read("conversation_prompts.yaml").items()}


def own_regions(held_out: bool | None = None) -> list[OwnRegion]:
    """Read the regions of own_region_prompts.yaml, in the order of the file.

    Args:
        held_out: True for every fifth prompt of a region, which is held out from training; False for the others; None
            for all. The examples are always all there, since a region in use gives all of its examples.

    Raises:
        OSError: When the file cannot be read.
        yaml.YAMLError: When it is no YAML.
    """
    return [
        OwnRegion(
            name=name,
            about=fields["about"],
            examples=tuple(fields["examples"].splitlines()),
            prompts=tuple(_chosen(fields["prompts"], held_out)),
        )
        for name, fields in _read("own_region_prompts.yaml").items()
    ]


def memory_questions(held_out: bool) -> dict[str, list[str]]:
    """Read the questions to memory that its cross-encoder learns from, by language (`hippocampus_worded_*.txt`).

    They are worded in twenty languages, far more than any other prompts here, and none of them is conversation.

    Args:
        held_out: True for those about every fifth of the worlds, which are held out from training; False for others.
    """
    found: dict[str, list[str]] = {}
    number, language = -1, ""
    for path in sorted(region_file("hippocampus").parent.glob("hippocampus_worded_*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            kind, _, text = line.partition(" ")
            if kind == "W":
                number, language = number + 1, text.split()[1]
            elif kind in _ASKED and (number % 5 == 4) == held_out:
                found.setdefault(language, []).append(text)
    return found


@cache
def _read(name: str) -> dict[str, Any]:
    wording: dict[str, Any] = yaml.safe_load(_HERE.with_name(name).read_text(encoding="utf-8"))
    return wording


def _chosen(lines: str, held_out: bool | None) -> list[str]:
    return [line for i, line in enumerate(lines.splitlines()) if held_out is None or (i % 5 == 4) == held_out]
