"""The argument of a training program: settings, data, weights file, checkpoints and progress display."""

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
    """Base class of a program's `Settings`. Every field needs a default; its `Field` description is shown to users."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S_co = TypeVar("S_co", bound=TrainingSettings, covariant=True)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Run(Generic[S_co]):
    """One call of `train` or `evaluate`.

    Made by `brainnet train` and `brainnet eval`, and by tests. Python's, NumPy's and torch's generators are seeded
    and torch's threads are set when it is made.

    Attributes:
        name: Name of the training program.
        settings: Its hyper-parameters.
        weights: The safetensors file that training writes and evaluation reads.
        data_dir: The folder of `--data`, if given; `data` checks it.
        device: `cpu`, `cuda` or `cuda:N`.
        seed: Seed of every random draw.
        threads: CPU threads of torch.
        resume: Whether to continue from a checkpoint when there is one.
        console: Where progress is shown.
    """

    name: str
    settings: S_co
    weights: Path
    data_dir: Path | None = None
    device: str = "cpu"
    seed: int = 0
    threads: int = 1
    resume: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, markup=False))

    def __post_init__(self) -> None:
        random.seed(self.seed)
        np.random.seed(self.seed % 2**32)
        torch.manual_seed(self.seed)
        torch.set_num_threads(self.threads)

    @property
    def data(self) -> Path:
        """The folder of `--data`.

        Raises:
            TrainingError: None was given, or it is not a folder.
        """
        if self.data_dir is None:
            raise TrainingError(f"{self.name} learns from data: name the folder that holds it with --data DIR")
        if not self.data_dir.is_dir():
            raise TrainingError(f"--data {self.data_dir} is no folder")
        return self.data_dir

    def file(self, name: str) -> Path:
        """Return the path of a file of the data folder.

        Raises:
            TrainingError: There is no such file.
        """
        path = self.data / name
        if not path.is_file():
            raise TrainingError(f"{self.name} needs {name} in {self.data}; nodes/README.md says what it holds")
        return path

    def sibling(self, name: str) -> Path:
        """Return the path of a file in the folder of the weights, such as a tokenizer."""
        return self.weights.with_name(name)

    def log(self, text: str) -> None:
        """Print a line above the progress bar."""
        self.console.print(text)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show a progress bar on stderr."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console) as bar:
            yield bar

    def track(self, items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
        """Iterate over `items` with a progress bar."""
        with self.progress() as bar:
            yield from bar.track(items, total, description=description)

    def load_checkpoint(self, part: str = "") -> dict[str, Any] | None:
        """Read what `save_checkpoint` wrote.

        Args:
            part: Name of the training, where a program has several (a model and its baseline, for example).

        Returns:
            The state; None when this run does not resume, or there is no checkpoint.

        Raises:
            TrainingError: The checkpoint cannot be read, or is one of other settings.
        """
        return checkpoint.load(self._checkpoint(part), self._identity()) if self.resume else None

    def save_checkpoint(self, state: Mapping[str, Any], part: str = "") -> None:
        """Write tensors, numbers, strings and containers of them; replaces the last checkpoint atomically."""
        checkpoint.save(self._checkpoint(part), state, self._identity())

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint of these weights."""
        return bool(self._checkpoints())

    def delete_checkpoints(self) -> None:
        """Delete the checkpoints, once the weights are written."""
        for path in self._checkpoints():
            path.unlink()

    def _checkpoints(self) -> list[Path]:
        folder, stem = self.weights.parent, self.weights.stem
        return [*folder.glob(f"{stem}.checkpoint"), *folder.glob(f"{stem}-*.checkpoint")]

    def _checkpoint(self, part: str) -> Path:
        return self.weights.with_name(f"{self.weights.stem}{'-' if part else ''}{part}.checkpoint")

    def _identity(self) -> str:
        return f"{self.name} {self.settings.model_dump_json()} seed {self.seed}"
