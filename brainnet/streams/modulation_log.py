"""What a process was told about modulators since its last saved state, on disk: nobody tells it again after a kill."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from brainnet.errors import StoreError


class Told(NamedTuple):
    """One value of a modulator.

    Attributes:
        number: Its number in the run, from 1 on.
        name: Of the modulator.
        step: The step in which it is added.
        amount: What is added.
    """

    number: int
    name: str
    step: int
    amount: float


class ModulationLog:
    """The values of modulators that are not in a saved state yet.

    Guarantee: what `add` has returned for is there after this process was killed. (It may be lost with the machine.)

    Args:
        path: The file.
        run: The run of the network; values of another run are left out.

    Attributes:
        number: The number of the last value.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.number = 0
        self._path, self._run = path, run

    def add(self, name: str, step: int, amount: float) -> None:
        """Write a value down.

        Raises:
            StoreError: It cannot be written.
        """
        self.number += 1
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([self._run, self.number, name, step, amount]) + "\n")
        except OSError as error:
            raise StoreError(f"a modulator cannot be written down: {self._path}: {error.strerror}") from error

    def load(self, after: int) -> list[Told]:
        """Return the values with higher numbers than a saved state has, in their order; a broken line is left out."""
        self.number = after
        found: list[Told] = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    run, number, name, step, amount = json.loads(line)
                    if run == self._run and int(number) > self.number:
                        found.append(Told(int(number), str(name), int(step), float(amount)))
                        self.number = int(number)
        return found

    def forget(self, up_to: int) -> None:
        """Drop the values that a saved state has."""
        left = [told for told in self.load(up_to) if told.number > up_to]
        text = "".join(json.dumps([self._run, *told]) + "\n" for told in left)
        with contextlib.suppress(OSError):  # what is there twice is left out when it is read
            if text:
                new = self._path.with_suffix(".new")
                new.write_text(text, encoding="utf-8")
                new.replace(self._path)
            else:
                self._path.unlink(missing_ok=True)
