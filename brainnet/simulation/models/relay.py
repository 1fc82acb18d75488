"""Neurons that pass on what reaches them, without a state."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import Finite, Model, ModelParameters, Window
from brainnet.simulation.spikes import Spikes


class RelayParameters(ModelParameters):
    """When a neuron fires."""

    threshold: Finite = Field(1.0, gt=0, description="the sum of weights in one step from which on a neuron fires")


class Relay(Model):
    """A population in which a neuron fires once in each step whose input reaches the threshold."""

    Parameters: ClassVar[type[ModelParameters]] = RelayParameters
    parameters: RelayParameters

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        return Spikes.of_dense(window.first_step, (window.sum() >= self.parameters.threshold * UNIT).T)
