"""Which prompts a process was working on when it died: a record that outlives a kill.

A prompt that kills its region would kill it again whenever it is asked again, until the region is not restarted any
more. So a region writes down what it works on. A successor reads what was in work when its predecessor died: those
prompts are suspects. Each suspect is then computed alone. A prompt that is in the record of two deaths is not computed
a third time; it is answered with an error, and the region lives.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MAX_DEATHS: Final = 2
"""Deaths of a process during one prompt after which the prompt is not computed any more."""
_MAX_SUSPECTS: Final = 1024
"""Suspects that are remembered; the oldest is dropped. A region works on far fewer prompts at once."""


class WorkRecord:
    """The record of one node, in a file of its own.

    Guarantees: what `begin` returned from is known to the next process after SIGKILL (not after a power cut: the file
    is written, not flushed to the disk). A record that cannot be read or written is empty: the node works without it.
    Not thread-safe.

    Args:
        path: The file; its folder is made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._working: dict[str, None] = {}
        self._deaths: dict[str, int] = {}
        self._written = b""
        self._file = -1
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._recover(os.read(self._file, 1 << 20))

    def _recover(self, content: bytes) -> None:
        self._written = content
        try:
            before = json.loads(content.rstrip(b"\0 ") or b"{}")
            deaths = {str(name): int(count) for name, count in before.get("deaths", {}).items()}
            for name in before.get("working", []):
                deaths[str(name)] = deaths.get(str(name), 0) + 1
        except (ValueError, TypeError, AttributeError):  # not one of ours, or damaged
            deaths = {}
        self._deaths = dict(list(deaths.items())[-_MAX_SUSPECTS:])
        self._write()

    def deaths(self, prompt_id: str) -> int:
        """Return how often the process died while it worked on a prompt."""
        return self._deaths.get(prompt_id, 0)

    def begin(self, prompt_ids: Iterable[str]) -> None:
        """Record prompts as being worked on."""
        self._working.update(dict.fromkeys(prompt_ids))
        self._write()

    def end(self, prompt_ids: Iterable[str]) -> None:
        """Record that prompts are done: they are no suspects any more."""
        for prompt_id in prompt_ids:
            self._working.pop(prompt_id, None)
            self._deaths.pop(prompt_id, None)
        self._write()

    def _write(self) -> None:
        if self._file < 0:
            return
        content = json.dumps({"working": list(self._working), "deaths": self._deaths}).encode()
        # One write that covers what was there before: no other moment exists in which the file is shorter.
        padded = content.ljust(len(self._written))
        if padded != self._written:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, padded, 0)
            self._written = padded

    def close(self) -> None:
        """Empty the record, because the process ends in order, and close the file."""
        self._working.clear()
        self._write()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
