"""Injects faults into a running brain, and counts what becomes of the prompts that it is asked meanwhile.

The prompts come from a client as any foreign program may be: plain Zenoh, three formats, no retries. The command is
`brainnet chaos`.
"""

from __future__ import annotations

from brainnet.testing.chaos.report import Report
from brainnet.testing.chaos.run import FAULTS, Fault, Options, parse_faults, run

__all__ = ["FAULTS", "Fault", "Options", "Report", "parse_faults", "run"]
