"""The `brainnet` command: one module per verb, imported when the verb is called."""

from __future__ import annotations

from brainnet.cli.app import main

__all__ = ["main"]
