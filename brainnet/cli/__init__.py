"""The `brainnet` command: one file per verb, each imported only when it is called."""

from __future__ import annotations

from brainnet.cli.app import main

__all__ = ["main"]
