"""Neurons and synapses that learn, all of them of this package: a window of them is one call of compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from brainnet.simulation.incoming import Incoming
from brainnet.simulation.models.base import Model, Window
from brainnet.simulation.models.compiled_model import CompiledModel
from brainnet.simulation.plasticity.pair_and_triplet import STDPSynapses
from brainnet.simulation.plasticity.stdp import STDP
from brainnet.simulation.rows import Rows
from brainnet.simulation.spikes import Spikes

_PROJECTIONS: Final = 2
"""With synapses that learn; fewer are made up with some that have none. The loop would be compiled for each number of
them, which takes seconds."""
_NO_SYNAPSES: Final = Rows(np.zeros(1, np.int64), *(np.zeros(count, np.int32) for count in (0, 1, 1)))


class CompiledLearning:
    """The neurons of one population, and the projections to it whose synapses learn by STDP.

    Guarantees: spikes, weights and state are those of the same steps computed one by one.

    Args:
        model: The neurons.
        projections: Each projection, and its synapses.
    """

    def __init__(self, model: CompiledModel, projections: Sequence[tuple[Incoming, STDPSynapses]]) -> None:
        self._model = model
        self._projections = projections
        none = STDPSynapses(_NO_SYNAPSES, model.setting.size, STDP(), model.setting.dt_ms)
        self._others = [(0, *none.kernel_arguments(Spikes.none(0, 0)))] * (_PROJECTIONS - len(projections))

    @classmethod
    def of(cls, model: Model, plastic: Sequence[Incoming]) -> CompiledLearning | None:
        """Return the neurons and projections of a population, or None where a part of it is not compiled.

        Args:
            model: The neurons.
            plastic: All projections to them whose synapses learn.
        """
        if not isinstance(model, CompiledModel) or not 0 < len(plastic) <= _PROJECTIONS:
            return None
        kind = type(model)
        if kind.advance is not CompiledModel.advance or kind.ports != CompiledModel.ports:  # a subclass of a user's
            return None
        projections = []
        for each in plastic:
            # A subclass may be another rule.
            if type(each.plastic) is not STDPSynapses or each.efficacies is not None or each.modulation is not None:
                return None
            projections.append((each, each.plastic))
        return cls(model, projections)

    def computed(self, window: Window) -> Spikes:
        """Compute a window, and return what fired.

        Args:
            window: The steps, with the input but that of the synapses that learn, which is added to it.
        """
        arguments = [
            (each.port, *synapses.kernel_arguments(_plain(each.history))) for each, synapses in self._projections
        ]
        return self._model.learn(window, (*arguments, *self._others))


def _plain(history: Spikes | None) -> Spikes:
    """Return spikes in arrays of the one kind that the loop is compiled for: contiguous, aligned, and not read-only.

    A model of a user may return others, for which the loop would be compiled once more.
    """
    if history is None:
        return Spikes.none(0, 0)
    offsets, neurons = history.offsets, history.neurons
    if offsets.flags.carray and neurons.flags.carray:
        return history
    return Spikes(history.first_step, offsets.copy(), neurons.copy())
