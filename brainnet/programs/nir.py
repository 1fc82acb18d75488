"""A NIR file as a region: `program: nir:FILE` in an allocation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.errors import ConfigError, PacketError, RegionError
from brainnet.node import NodeParameters, Query, Region
from brainnet.wire.messages import Candidate, Partial
from brainnet.wire.packet import SpikePacket

if TYPE_CHECKING:
    from brainnet.snn.nir.models import LIFNetwork

ARRAY = "spikes"
"""Name of the prompt's array that holds the input, when it has several."""


class NirRegion(Region):
    """Runs the spiking network of a NIR file.

    The prompt has a SpikePacket [inputs, steps] in its arrays; one column is one time step of the network, which
    starts each prompt from rest. The partial holds the output spikes [outputs, steps], their counts, and one
    candidate per neuron that fired, with its share of the spikes as probability.
    """

    class Parameters(NodeParameters):
        """Values that a NIR file may leave open."""

        dt_s: float | None = Field(None, gt=0, description="time step in seconds, for a file that does not say")
        reset: Literal["subtract", "zero", "none"] | None = Field(None, description="for a file that does not say")

    params: Parameters
    network: LIFNetwork
    """Made by `load`, used in the model thread."""

    def load(self) -> None:
        """Load the network of the checkpoint."""
        from brainnet.snn.nir import models as nir_models

        assert self.checkpoint is not None
        self.network = nir_models.load(self.checkpoint, dt=self.params.dt_s, reset=self.params.reset)
        # The first run loads the compiled kernels, which would delay the first answer.
        self.spikes_of(np.zeros((self.network.inputs, 1), np.uint8))

    def spikes_of(self, data: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the output spikes [outputs, steps] for input [inputs, steps]."""
        import torch

        from brainnet.snn.nir import models as nir_models

        steps = torch.from_numpy(np.ascontiguousarray(data.T, np.float32))
        spikes, _ = nir_models.run(self.network, steps[:, None])
        return np.ascontiguousarray(spikes[:, 0].T.numpy().astype(np.uint8))

    def answer(self, query: Query) -> Partial:
        """Run the network on the prompt's spikes."""
        data = self.input_of(query.prompt.arrays)
        spikes = self.spikes_of(data)
        counts = spikes.sum(1, dtype=int)
        total = int(counts.sum())
        ranking = [int(n) for n in np.argsort(-counts, kind="stable") if counts[n]]
        return Partial(
            candidates=[Candidate(text=str(n), probability=counts[n] / total) for n in ranking],
            confidence=float(counts.max() / total) if total else 0.0,
            spikes=spikes,
            content={"counts": counts.tolist(), "steps": spikes.shape[1], "verified": self.network.verified},
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
    """
    if not file.is_file():
        raise ConfigError(f"program nir:{file} does not exist")
    return type(
        "NirRegion", (NirRegion,), {"__doc__": f"Runs {file.name}.", "default_checkpoint": str(file.absolute())}
    )
