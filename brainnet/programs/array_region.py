"""Regions that answer prompts by running a network of spiking neurons on an array."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import PacketError, RegionError
from brainnet.node import Query, Region
from brainnet.wire.messages import Candidate, Partial
from brainnet.wire.packet import SpikePacket

ARRAY = "spikes"
"""Name of the prompt's array that holds the input, when it has several."""


class ArrayRegion(Region):
    """Answers a prompt with what a network makes of its array, a SpikePacket [inputs, steps].

    One column is one time step of the network, which starts each prompt from rest. The partial holds the output spikes
    [outputs, steps], their counts, and one candidate per neuron that fired, with its share of the spikes as
    probability.

    Where the output is no spikes but potentials or currents, the partial holds these values as float32 and their means
    over the steps, and every output is a candidate, with the softmax of its mean as probability.
    """

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Number of inputs."""

    @property
    def emits_values(self) -> bool:
        """Whether the outputs are values instead of spikes."""
        return False

    @abstractmethod
    def outputs_of(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [outputs, steps] for input [inputs, steps]: uint8 spikes, or float32 values."""

    def details(self) -> dict[str, Any]:
        """Return what the content of a partial says besides."""
        return {}

    def answer(self, query: Query) -> Partial:
        """Run the network on the prompt's spikes."""
        data = self.input_of(query.prompt.arrays)
        outputs = self.outputs_of(data)
        content: dict[str, Any] = {"steps": outputs.shape[1], **self.details()}
        if self.emits_values:
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
        if neurons != self.inputs or not steps:
            raise RegionError(f"{self.id} takes spikes [{self.inputs}, steps >= 1], got [{neurons}, {steps}]")
        return packet.data
