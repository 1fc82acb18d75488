"""What the tests of the launcher have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import write_allocation


@pytest.fixture
def allocation(tmp_path: Path) -> Callable[..., Path]:
    """Write an allocation file."""

    def write(*nodes: dict[str, Any], **more: Any) -> Path:
        return write_allocation(tmp_path / "allocation.yaml", *nodes, **more)

    return write
