"""A torch module as a region: `program: torch:my_net.py:Net` in an allocation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import create_model

from brainnet.errors import ConfigError
from brainnet.node import NodeParameters
from brainnet.programs.array_region import ArrayRegion
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import Setting, Window
from brainnet.simulation.models.torch_module import TorchModel, TorchParameters, model

_DT_MS = 1.0
"""Duration of a step; the module knows only steps."""
_FIELDS: Any = {name: (field.annotation, field) for name, field in TorchParameters.model_fields.items()}
"""The parameters are those of the same module as a population."""


class TorchRegion(ArrayRegion):
    """Runs a module of snnTorch, Norse or spikingjelly layers, or of one's own."""

    Parameters: Any = cast(type[NodeParameters], create_model("Parameters", __base__=NodeParameters, **_FIELDS))
    kind: type[TorchModel]
    """The model of the module; set by `program`."""
    network: TorchModel
    """Made by `load`, used in the model thread."""
    _rest: dict[str, NDArray[Any]]
    """Its state before the first step."""

    def load(self) -> None:
        """Make the module, load its checkpoint, and find its state."""
        super().load()
        parameters = self.kind.Parameters.model_validate(self.params.model_dump())
        setting = Setting(self.id, 1, _DT_MS, 0, Path(), self.checkpoint)
        shape = self.kind.shape(parameters, setting)
        assert shape is not None
        self.network = self.kind(Setting(self.id, shape[1], _DT_MS, 0, Path(), self.checkpoint), parameters)
        self._rest = self.network.save()

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.network.inputs

    def outputs_of(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return the output spikes [outputs, steps] for input [inputs, steps]."""
        self.network.load(self._rest)
        sums = np.rint(np.ascontiguousarray(data.T, np.float64) * UNIT).astype(np.int64)
        spikes = self.network.advance(Window(0, data.shape[1], _DT_MS, {self.network.ports[0]: sums}))
        counts = spikes.dense(self.network.setting.size)
        return counts.astype(np.uint8 if counts.max(initial=0) <= 255 else np.float32)


def program(source: Path) -> type[TorchRegion]:
    """Make the region that runs FILE.py:NAME.

    Raises:
        ConfigError: The file does not exist, cannot be imported, or does not hold the name.
    """
    if not str(source).partition(":")[0]:
        raise ConfigError("program torch: names no file; write torch:FILE.py:NAME")
    return type("TorchRegion", (TorchRegion,), {"__doc__": f"Runs {source.name}.", "kind": model(str(source), None)})
