"""A NIR file as a population: `model: nir:FILE`.

One step of the network is one step of the clock. The state after a window is the state before the next one, so that the
spikes are those of one long run. Equality holds for one version of torch on one kind of processor: how these add
floating-point numbers is theirs.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.errors import ConfigError, ModelError
from brainnet.simulation.models.base import Model, ModelParameters, Setting, Window, check_saved, described
from brainnet.simulation.models.torch_steps import array_of, input_of, one_thread
from brainnet.simulation.spikes import Spikes
from brainnet.snn.nir.conventions import Method, Reset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brainnet.snn.nir.models import Network, NetworkState


class NirParameters(ModelParameters):
    """What NIR does not specify, for files that do not say it."""

    reset: Reset | None = Field(None, description="what a spike does, for a file that does not say")
    method: Method | None = Field(
        None, description="how the equations become steps, for a file that does not say; else Euler's method"
    )
    ignore_dt: bool = Field(
        False, description="take one step of the network in each step of the clock, even where the file says another dt"
    )


class NirModel(Model):
    """The network of a NIR file; its inputs are the targets of projections, its outputs are what fires.

    An input with several axes is flattened in row-major order. What arrives at all ports together is the input.
    """

    Parameters: ClassVar[type[ModelParameters]] = NirParameters
    parameters: NirParameters
    learns: ClassVar[bool] = False
    file: ClassVar[Path]

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        self.network = self._load(self.parameters, setting)
        if self.network.emits == "values":
            raise ModelError(
                f"{described(self)}: the outputs of {self.file} are values and not spikes; it must end with "
                "neurons that fire"
            )
        if setting.size != self.network.outputs:
            raise ModelError(
                f"{described(self)}: {self.file} has {self.network.outputs} outputs, and the size is {setting.size}"
            )
        self._after: NetworkState = _start(self.network)
        self.state = _arrays(self._after)

    @classmethod
    def shape(cls, parameters: ModelParameters, setting: Setting) -> tuple[int, int] | None:
        """Return the inputs and outputs of the file.

        Raises:
            ModelError: It cannot be read.
        """
        assert isinstance(parameters, NirParameters)
        network = cls._load(parameters, setting)
        return network.inputs, network.outputs

    @property
    def inputs(self) -> int:
        """The inputs of the network."""
        return self.network.inputs

    @classmethod
    def _load(cls, parameters: NirParameters, setting: Setting) -> Network:
        try:
            stamp = cls.file.stat().st_mtime_ns
        except OSError as error:
            raise ModelError(f"population {setting.name}: {cls.file} cannot be read: {error.strerror}") from None
        return _load(
            cls.file, stamp, setting.name, setting.dt_ms, parameters.reset, parameters.method, parameters.ignore_dt
        )

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        import torch

        from brainnet.snn.nir import models as nir_models

        steps = torch.from_numpy(input_of(window, self.inputs))
        with one_thread():
            try:
                counts, self._after = nir_models.run(self.network, steps[:, None], self._after)
            except ModelError as error:
                raise ModelError(
                    f"{described(self)}: steps {window.first_step} to {window.first_step + window.steps - 1}: {error}"
                ) from error
        self.state = _arrays(self._after)
        return Spikes.of_dense(window.first_step, counts[:, 0].T.numpy())

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` returned; on an error nothing has changed.

        Raises:
            ModelError: It is the state of another network.
        """
        check_saved(self, saved, self.state)
        self._after = _restored(self._after, saved)
        self.state = _arrays(self._after)


@functools.lru_cache(maxsize=8)
def _load(
    file: Path, stamp: int, owner: str, dt_ms: float, reset: Reset | None, method: Method | None, ignore_dt: bool
) -> Network:
    """Return the network of a file; the stamp is that of its last change, for the cache."""
    from brainnet.snn.nir import models as nir_models

    try:
        with one_thread():
            network = nir_models.load(file, default_dt=dt_ms / 1000.0, reset=reset, method=method)
    except ModelError as error:
        raise ModelError(f"population {owner}: {error}") from error
    if not ignore_dt and abs(network.dt * 1000.0 - dt_ms) > 1e-6 * dt_ms:
        raise ModelError(
            f"population {owner}: {file} has steps of {network.dt * 1000.0:g} ms, and the clock of {dt_ms:g} ms; set "
            "dt_ms of the clock, or ignore_dt: true for one step of the network in each step of the clock"
        )
    return network


def _start(network: Network) -> NetworkState:
    """Return the state before the first step, with all of its tensors."""
    import torch

    from brainnet.snn.neurons.lif import LIFState
    from brainnet.snn.nir.network import GraphNetwork

    if isinstance(network, GraphNetwork):
        return network.start(1)
    states, width = [], network.inputs
    for layer in network.layers:
        width = width if layer.dense is None else layer.dense.weight.shape[0]
        rest = torch.zeros(width) if layer.rest is None else layer.rest
        states.append(LIFState(rest.expand(1, width).clone()))
    return tuple(states)


def _arrays(state: NetworkState) -> dict[str, NDArray[Any]]:
    from brainnet.snn.nir.network import GraphState

    if isinstance(state, GraphState):
        arrays = {
            f"node.{i}.{k}": array_of(part) for i, parts in enumerate(state.nodes) for k, part in enumerate(parts)
        }
        return arrays | {f"previous.{place}": array_of(values) for place, values in state.previous.items()}
    return {f"layer.{index}": array_of(layer.membrane) for index, layer in enumerate(state)}


def _restored(state: NetworkState, saved: Mapping[str, NDArray[Any]]) -> NetworkState:
    import torch

    from brainnet.snn.neurons.lif import LIFState
    from brainnet.snn.nir.network import GraphState

    def tensor(name: str) -> torch.Tensor:
        # a clone, because torch aligns its own memory, and the last bit of a product depends on the alignment
        return torch.from_numpy(np.ascontiguousarray(saved[name])).clone()

    if isinstance(state, GraphState):
        return GraphState(
            tuple(tuple(tensor(f"node.{i}.{k}") for k in range(len(parts))) for i, parts in enumerate(state.nodes)),
            {place: tensor(f"previous.{place}") for place in state.previous},
        )
    return tuple(LIFState(tensor(f"layer.{index}")) for index in range(len(state)))


def model(file: Path) -> type[NirModel]:
    """Return the model of a file.

    Raises:
        ConfigError: There is no such file.
    """
    if not file.is_file():
        raise ConfigError(f"model nir:{file} does not exist")
    return type("NirModel", (NirModel,), {"__doc__": f"Runs {file.name}.", "file": file.absolute()})
