"""A NIR file as a region: `program: nir:FILE` in an allocation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.errors import ConfigError, PacketError, RegionError
from brainnet.node import NodeParameters, Query, Region
from brainnet.snn.nir.conventions import Method, Reset
from brainnet.wire.messages import Candidate, Partial
from brainnet.wire.packet import SpikePacket

if TYPE_CHECKING:
    from brainnet.snn.nir.models import Network

ARRAY = "spikes"
"""Name of the prompt's array that holds the input, when it has several."""


class NirRegion(Region):
    """Runs the spiking network of a NIR file.

    The prompt has a SpikePacket [inputs, steps] in its arrays; one column is one time step of the network, which
    starts each prompt from rest. An input with several axes, such as channels, height and width, is flattened in
    row-major order. The partial holds the output spikes [outputs, steps], their counts, and one candidate per neuron
    that fired, with its share of the spikes as probability.

    Where the output is no spikes but potentials or currents, the partial holds these values as float32 and their means
    over the steps, and every output is a candidate, with the softmax of its mean as probability.
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

    def answer(self, query: Query) -> Partial:
        """Run the network on the prompt's spikes."""
        data = self.input_of(query.prompt.arrays)
        outputs = self.outputs_of(data)
        content: dict[str, Any] = {"steps": outputs.shape[1], "verified": self.network.verified}
        if self.network.emits == "values":
            means = outputs.mean(1, dtype=float)
            content["means"] = means.tolist()
            scores = np.exp(means - means.max())
        else:
            scores = outputs.sum(1, dtype=int)
            content["counts"] = scores.tolist()
        total = scores.sum()
        ranking = [int(n) for n in np.argsort(-scores, kind="stable") if scores[n]]
        return Partial(
            candidates=[Candidate(text=str(n), probability=float(scores[n] / total)) for n in ranking],
            confidence=float(scores.max() / total) if total else 0.0,
            spikes=outputs,
            content=content,
        )

    def input_of(self, arrays: dict[str, bytes]) -> NDArray[Any]:
        """Return the input [inputs, steps] of a prompt.

        Raises:
            RegionError: The prompt's arrays hold no SpikePacket of the network's inputs.
        """
        payload = next(iter(arrays.values())) if len(arrays) == 1 else arrays.get(ARRAY)
        if payload is None:
            raise RegionError(f"{self.id} needs a SpikePacket in the prompt's arrays, named {ARRAY!r}")
        try:
            packet = SpikePacket.decode(payload)
        except PacketError as error:
            raise RegionError(f"{self.id}: the prompt's array is no SpikePacket: {error}") from error
        neurons, steps = packet.shape
        if neurons != self.network.inputs or not steps:
            raise RegionError(f"{self.id} takes spikes [{self.network.inputs}, steps >= 1], got [{neurons}, {steps}]")
        return packet.data


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
