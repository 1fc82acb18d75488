"""What a training program is given: its settings, its data, where the weights go, and ways to show progress."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from brainnet.errors import TrainingError
from brainnet.training import checkpoint


class TrainingSettings(BaseModel):
    """Base of a program's `Settings`. Every field needs a default; a `Field` description is shown to users."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S_co = TypeVar("S_co", bound=TrainingSettings, covariant=True)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Run(Generic[S_co]):
    """One call of `train` or `evaluate`.

    Made by `brainnet train` and `brainnet eval`, and by tests. Python's, NumPy's and torch's generators are seeded
    and torch's threads are set when it is made.
    """

    name: str
    settings: S_co
    weights: Path
    """The safetensors file that training writes and evaluation reads."""
    data_dir: Path | None = None
    device: str = "cpu"
    seed: int = 0
    threads: int = 1
    resume: bool = False
    """Go on from a checkpoint where there is one."""
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def __post_init__(self) -> None:
        random.seed(self.seed)
        np.random.seed(self.seed % 2**32)
        torch.manual_seed(self.seed)
        torch.set_num_threads(self.threads)

    @property
    def data(self) -> Path:
        """The folder of `--data`.

        Raises:
            TrainingError: none was given, or it is no folder.
        """
        if self.data_dir is None:
            raise TrainingError(f"{self.name} learns from data: name the folder that holds it with --data DIR")
        if not self.data_dir.is_dir():
            raise TrainingError(f"--data {self.data_dir} is no folder")
        return self.data_dir

    def file(self, name: str) -> Path:
        """A file of the data folder.

        Raises:
            TrainingError: it is not there.
        """
        path = self.data / name
        if not path.is_file():
            raise TrainingError(f"{self.name} needs {name} in {self.data}; nodes/README.md says what it holds")
        return path

    def beside(self, name: str) -> Path:
        """A file next to the weights, such as a tokenizer or the weights of a baseline."""
        return self.weights.with_name(name)

    def say(self, text: str) -> None:
        """A line for the person who waits, above the progress bar."""
        self.console.print(text)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress bar on stderr."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console) as bar:
            yield bar

    def track(self, items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
        """`items`, with a progress bar."""
        with self.progress() as bar:
            yield from bar.track(items, total, description=description)

    def load_checkpoint(self, part: str = "") -> dict[str, Any] | None:
        """What :meth:`save_checkpoint` kept, when this run is to resume and there is something; else None.

        `part` tells several trainings of one program apart (a model and its baseline, say).
        """
        return checkpoint.load(self._checkpoint(part), self._identity()) if self.resume else None

    def save_checkpoint(self, state: Mapping[str, Any], part: str = "") -> None:
        """Keep tensors, numbers, strings and containers of them; the last checkpoint is replaced whole, or not."""
        checkpoint.save(self._checkpoint(part), state, self._identity())

    def has_checkpoint(self) -> bool:
        """Whether a training of these weights left something to go on from."""
        return bool(self._checkpoints())

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints: the weights are written."""
        for path in self._checkpoints():
            path.unlink()

    def _checkpoints(self) -> list[Path]:
        folder, stem = self.weights.parent, self.weights.stem
        return [*folder.glob(f"{stem}.checkpoint"), *folder.glob(f"{stem}-*.checkpoint")]

    def _checkpoint(self, part: str) -> Path:
        return self.weights.with_name(f"{self.weights.stem}{'-' if part else ''}{part}.checkpoint")

    def _identity(self) -> str:
        return f"{self.name} {self.settings.model_dump_json()} seed {self.seed}"
