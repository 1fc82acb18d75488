"""Models for the benchmark of streams, which cost nearly nothing: what is measured is what lies between two of them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from brainnet.simulation.models.base import EXCITATORY, Model, ModelParameters, Setting, Window
from brainnet.simulation.spikes import Spikes


class ReplayParameters(ModelParameters):
    """How much fires."""

    share: float = Field(0.1, gt=0, le=1, description="of the neurons that fire in each step")


class Replay(Model):
    """A source that fires the same neurons in every step."""

    Parameters: ClassVar[type[ModelParameters]] = ReplayParameters
    parameters: ReplayParameters
    ports: ClassVar[tuple[str, ...]] = ()

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        rng = np.random.default_rng(setting.seed)
        self._fired = np.flatnonzero(rng.random(setting.size) < self.parameters.share).astype(np.int32)

    def advance(self, window: Window) -> Spikes:
        """Return the spikes of one window."""
        steps, count = window.steps, self._fired.size
        offsets = np.arange(0, (steps + 1) * count, max(1, count), dtype=np.int32)[: steps + 1]
        return Spikes(window.first_step, offsets, np.tile(self._fired, steps))


class Silent(Model):
    """A population that takes everything in and never fires."""

    ports: ClassVar[tuple[str, ...]] = (EXCITATORY,)

    def advance(self, window: Window) -> Spikes:
        """Return a window without spikes."""
        return Spikes.none(window.first_step, window.steps)
