"""A NIR file as a region: `program: nir:FILE` in an allocation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.errors import ConfigError
from brainnet.node import NodeParameters
from brainnet.programs.array_region import ArrayRegion
from brainnet.snn.nir.conventions import Method, Reset

if TYPE_CHECKING:
    from brainnet.snn.nir.models import Network


class NirRegion(ArrayRegion):
    """Runs the spiking network of a NIR file.

    An input with several axes, such as channels, height and width, is flattened in row-major order.
    """

    class Parameters(NodeParameters):
        """What NIR does not specify, for files that do not say it."""

        dt_s: float | None = Field(None, gt=0, description="time step in seconds, for a file that does not say")
        reset: Reset | None = Field(None, description="what a spike does, for a file that does not say")
        method: Method | None = Field(
            None, description="how the equations become steps, for a file that does not say; else Euler's method"
        )

    params: Parameters
    network: Network
    """Made by `load`, used in the model thread."""

    def load(self) -> None:
        """Load the network of the checkpoint."""
        from brainnet.snn.nir import models as nir_models

        assert self.checkpoint is not None
        params = self.params
        self.network = nir_models.load(self.checkpoint, dt=params.dt_s, reset=params.reset, method=params.method)
        for note in self.network.notes:
            self.log.warning("the NIR file was repaired", file=str(self.checkpoint), note=note)
        # The first run loads the compiled kernels, which would delay the first answer.
        self.outputs_of(np.zeros((self.network.inputs, 1), np.uint8))

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.network.inputs

    @property
    def emits_values(self) -> bool:
        """Whether the outputs are values instead of spikes."""
        return self.network.emits == "values"

    def details(self) -> dict[str, Any]:
        """Return whether the file's golden trace was replayed."""
        return {"verified": self.network.verified}

    def outputs_of(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [outputs, steps] for input [inputs, steps]: uint8 spikes, or float32 values."""
        import torch

        from brainnet.snn.nir import models as nir_models

        steps = torch.from_numpy(np.ascontiguousarray(data.T, np.float32))
        spikes, _ = nir_models.run(self.network, steps[:, None])
        outputs = spikes[:, 0].T.numpy()
        # several spikes of a neuron in a step are a whole number; beyond 255 it needs the wider type
        narrow = self.network.emits != "values" and float(outputs.max()) <= 255
        return np.ascontiguousarray(outputs, np.uint8 if narrow else np.float32)


def program(file: Path) -> type[NirRegion]:
    """Make the region that runs `file`, which is its default checkpoint.

    Raises:
        ConfigError: There is no such file.
        ModelError: It cannot be read as NIR, or the packages for that are missing.
    """
    if not file.is_file():
        raise ConfigError(f"program nir:{file} does not exist")
    from brainnet.snn.nir import file as nir_file

    nir_file.read(file)  # so that `brainnet validate` finds what `load` would refuse
    return type(
        "NirRegion", (NirRegion,), {"__doc__": f"Runs {file.name}.", "default_checkpoint": str(file.absolute())}
    )
