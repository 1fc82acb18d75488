"""What a brain says when it does not know: which regions did not, why, and what the regions that are alive can do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from brainnet.texts import shorten
from brainnet.wire.messages import Health

_EXAMPLES: Final = 4
"""Regions of which an example is named."""
_LENGTH: Final = 100
"""Characters of an example, of a description and of a reason that are shown."""


def examples(regions: Iterable[Health]) -> str:
    """Return one prompt of some regions, in their own words, as one sentence; empty where none names any."""
    first = [shorten(region.examples[0], _LENGTH) for region in regions if region.examples]
    return f"You can say, for example: {'; '.join(first[:_EXAMPLES])}." if first else ""


def descriptions(regions: Iterable[Health]) -> str:
    """Return what regions say of themselves, one on each line."""
    return "\n".join(_description(region) for region in regions)


def _description(region: Health) -> str:
    about = shorten(region.about, _LENGTH).rstrip(".") or "says nothing of itself"
    example = f" For example: {shorten(region.examples[0], _LENGTH)}" if region.examples else ""
    return f"{region.node_id}: {about}.{example}"


def honest_text(opening: str, reasons: Mapping[str, str], able: str) -> str:
    """Return an answer that asserts nothing.

    Args:
        opening: The first words, as "I do not know".
        reasons: By region, why it did not answer; a reason of no region has an empty name.
        able: What the brain can do, a sentence or nothing.
    """
    because = "; ".join(
        f"{region}: {shorten(reason, 2 * _LENGTH).rstrip('.')}".removeprefix(": ") for region, reason in reasons.items()
    )
    return " ".join(part for part in (f"{opening}.", f"{because}." if because else "", able) if part)
