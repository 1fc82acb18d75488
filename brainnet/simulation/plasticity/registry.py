"""Finds the rule of plasticity that a connectome names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from brainnet.errors import ModelError
from brainnet.imports import find_class
from brainnet.limits import mistake
from brainnet.simulation.plasticity.base import Rule
from brainnet.simulation.plasticity.dopamine_stdp import DopamineSTDP
from brainnet.simulation.plasticity.short_term import ShortTerm
from brainnet.simulation.plasticity.stdp import STDP
from brainnet.texts import did_you_mean

ENTRY_POINT_GROUP: Final = "brainnet.plasticity"

RULES: Final[dict[str, type[Rule]]] = {"stdp": STDP, "short_term": ShortTerm, "dopamine_stdp": DopamineSTDP}
"""The rules of this package by their short names."""


def rule_of(description: Mapping[str, Any], folder: Path | None = None) -> Rule:
    """Return the rule that a description in a file gives.

    Args:
        description: The fields of the rule, with `rule`: one of `RULES`, `FILE.py:Class`, `package.module:Class` or an
            entry point of `brainnet.plasticity`.
        folder: Where relative paths of files begin.

    Raises:
        ConfigError: There is no such rule, or it cannot be imported.
        ModelError: A constant does not fit; names it and says what is accepted.
    """
    name = description.get("rule")
    if not isinstance(name, str):
        raise ModelError(f"rule is missing; rules are {', '.join(RULES)}, FILE.py:Class and module:Class")
    kind = RULES.get(name)
    if kind is None:
        base: Any = Rule
        hint = f"{did_you_mean(name, RULES)}; rules are {', '.join(RULES)}, FILE.py:Class and module:Class"
        kind = find_class(name, base, "plasticity rule", ENTRY_POINT_GROUP, folder or Path(), hint)
    try:
        return kind.model_validate(dict(description))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"])) or "rule"
        if problem["type"] == "extra_forbidden":
            known = [known for known in kind.model_fields if known != "rule"]
            raise ModelError(
                f"unknown {field}{did_you_mean(field, known)}; constants are {', '.join(known)}", field=field
            ) from None
        raise ModelError(f"{field}: {mistake(problem)}", field=field) from None
