"""Programs with faults, for tests of a brain: each fails in one way, and is a correct region otherwise.

Name one in an allocation as `program: brainnet.testing.faults:CrashOnWord`, or start it in a `MemoryBrain`. None of
them loads a model library. Those that end their process belong into a brain of real processes.
"""

from __future__ import annotations

from brainnet.testing.faults.answers import Answers, AnswersTwice, Garbage, Late, ReturnsNone, ReturnsText
from brainnet.testing.faults.crashes import CrashAfter, CrashAtOnce, CrashOnWord
from brainnet.testing.faults.resources import Flood, Leak
from brainnet.testing.faults.stalls import BlockedLoop, HangAfterInit, HangInLoad, IgnoresSignals

__all__ = [
    "Answers",
    "AnswersTwice",
    "BlockedLoop",
    "CrashAfter",
    "CrashAtOnce",
    "CrashOnWord",
    "Flood",
    "Garbage",
    "HangAfterInit",
    "HangInLoad",
    "IgnoresSignals",
    "Late",
    "Leak",
    "ReturnsNone",
    "ReturnsText",
]
