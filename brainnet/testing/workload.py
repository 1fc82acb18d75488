"""Prompts that load and measure a brain, by kind; the kinds of the shipped regions are in `workload.yaml`."""

from __future__ import annotations

import base64
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field

_FILE: Final = Path(__file__).with_name("workload.yaml")


class Kind(BaseModel):
    """One kind of prompt.

    Attributes:
        name: In reports.
        text: What is asked; `{n}` becomes a number, and `{d}` its last digit.
        image: A picture to send along, or None.
        regions: The regions that are asked by name; None lets the brain route.
        first: Texts that are asked once before the kind is measured.
        needs: Nodes without which the kind is left out.
        plain: Whether it may be sent as plain text with a mark behind it.
        flood: Whether it is quick enough to overload a brain with.
        weight: How often it is chosen, relative to the others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, val_json_bytes="base64")

    name: str
    text: str
    image: bytes | None = None
    regions: tuple[str, ...] | None = None
    first: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    plain: bool = False
    flood: bool = False
    weight: float = Field(1.0, gt=0)

    def fields(self, number: int) -> dict[str, Any]:
        """Return the fields of a prompt of this kind, as a message has them.

        Args:
            number: Makes it differ from the others of its kind, where the text says so.
        """
        fields: dict[str, Any] = {"text": self.text.replace("{n}", str(number)).replace("{d}", str(number % 10))}
        if self.image is not None:
            fields["image"] = self.image
        if self.regions is not None:
            fields["regions"] = list(self.regions)
        return fields


def kinds_for(nodes: Collection[str], regions: Collection[str]) -> list[Kind]:
    """Return the kinds of prompts that a brain can answer.

    Args:
        nodes: Ids of its nodes.
        regions: Ids of those that answer prompts. One that no shipped kind is for is asked by name.
    """
    shipped = [_read(entry) for entry in yaml.safe_load(_FILE.read_text())]
    covered = {node for kind in shipped for node in kind.needs}
    found = [kind for kind in shipped if kind.needs <= set(nodes)]
    others = sorted(set(regions) - covered)
    return found + [Kind(name=region, text="prompt {n}", regions=(region,), flood=True) for region in others]


def _read(entry: dict[str, Any]) -> Kind:
    image = entry.get("image")
    return Kind.model_validate(entry | ({} if image is None else {"image": base64.b64decode(image)}))
