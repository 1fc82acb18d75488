"""Sources that fire at given times, once or again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from brainnet.array_files import UNREADABLE
from brainnet.errors import ModelError
from brainnet.simulation.models.base import Model, ModelParameters, Setting, Window, described
from brainnet.simulation.spikes import Spikes

Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PatternParameters(ModelParameters):
    """The spikes, in the description itself or in a file."""

    spikes: list[tuple[Time, Annotated[int, Field(ge=0)]]] | None = Field(
        None, description="a list of [time_ms, neuron], in any order"
    )
    file: str | None = Field(
        None, description="an npz file with the arrays times_ms [spikes] and neurons [spikes], in place of `spikes`"
    )
    repeat_ms: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="period after which the pattern begins anew; once without it"
    )

    @model_validator(mode="after")
    def _check(self) -> PatternParameters:
        if (self.spikes is None) == (self.file is None):
            raise ValueError("give either spikes or file")
        return self


class Pattern(Model):
    """A population of sources that follow a list, to which no projection goes.

    A spike is in the step that is nearest to its time. A neuron that is listed twice for one step fires twice in it.
    """

    Parameters: ClassVar[type[ModelParameters]] = PatternParameters
    parameters: PatternParameters
    ports: ClassVar[tuple[str, ...]] = ()

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        p = self.parameters
        if p.file is not None:
            times, neurons = self._read(setting.folder / p.file)
        else:
            pairs = p.spikes or []
            times = np.array([time for time, _ in pairs], np.float64)
            neurons = np.array([min(neuron, np.iinfo(np.int64).max) for _, neuron in pairs], np.int64)
        if neurons.size and (int(neurons.min()) < 0 or int(neurons.max()) >= setting.size):
            wrong = neurons[(neurons < 0) | (neurons >= setting.size)][0]
            raise ModelError(
                f"{described(self)}: a spike is of neuron {wrong}, and there are {setting.size}, from 0 on",
                field="spikes" if p.file is None else "file",
            )
        steps = np.floor(times / setting.dt_ms + 0.5)
        if steps.size and float(steps.max()) >= 2**62:
            raise ModelError(
                f"{described(self)}: a spike at {float(times.max()):g} ms is too late for steps of {setting.dt_ms:g} ms"
            )
        self._period = 0
        if p.repeat_ms is not None:
            self._period = setting.steps(p.repeat_ms)
            if self._period < 1:
                raise ModelError(
                    f"{described(self)}: repeat_ms {p.repeat_ms:g} is shorter than a step of {setting.dt_ms:g} ms"
                )
            if steps.size and float(steps.max()) >= self._period:
                raise ModelError(
                    f"{described(self)}: a spike at {float(times.max()):g} ms is not within the period of "
                    f"{p.repeat_ms:g} ms"
                )
        order = np.lexsort((neurons, steps))
        self._steps = steps[order].astype(np.int64)
        self._neurons = neurons[order].astype(np.int32)

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        steps = np.arange(window.first_step, window.first_step + window.steps)
        if self._period:
            steps %= self._period
        low, high = (np.searchsorted(self._steps, steps, side) for side in ("left", "right"))
        counts = high - low
        offsets = np.zeros(window.steps + 1, np.int32)
        np.cumsum(counts, out=offsets[1:])
        at = np.repeat(low - offsets[:-1], counts) + np.arange(offsets[-1])
        return Spikes(window.first_step, offsets, self._neurons[at])

    def _read(self, path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        try:
            with np.load(path, allow_pickle=False) as file:
                times, neurons = np.asarray(file["times_ms"]), np.asarray(file["neurons"])
        except FileNotFoundError:
            raise ModelError(f"{described(self)}: the file {path} does not exist", field="file") from None
        except UNREADABLE as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{described(self)}: {path} must be an npz file with the arrays times_ms and neurons: {reason}",
                field="file",
            ) from None
        if (
            times.ndim != 1
            or times.shape != neurons.shape
            or times.dtype.kind not in "iuf"
            or neurons.dtype.kind not in "iu"
        ):
            raise ModelError(
                f"{described(self)}: {path} holds times_ms {times.dtype} {list(times.shape)} and neurons "
                f"{neurons.dtype} {list(neurons.shape)}; give numbers and whole numbers, one of each for a spike",
                field="file",
            )
        if not (np.isfinite(times).all() and (times >= 0).all()):
            raise ModelError(f"{described(self)}: {path} holds a time that is negative or not finite", field="file")
        return times.astype(np.float64), neurons.astype(np.int64)
