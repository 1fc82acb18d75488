"""A torch module as a population: `model: torch:my_net.py:Net`.

The module is called once a step with the input [1, inputs] of that step. Its state is found by trying it out:

- `forward(x, state)`, as in Norse, or `forward(x, mem1, mem2)`, as in snnTorch: what it returns after the output is
  passed to the next call, None to the first. Nested tuples, named tuples, lists and dicts of tensors are accepted.
- Attributes of the module and of its parts that a step changes: `mem` and `syn` of snnTorch, the memories of
  spikingjelly, and those of layers of one's own: tensors, numbers, and tuples, lists and dicts of them.

Then two copies are compared: one that runs on, and one to which the state that was found is given. Only if their
outputs are equal in every bit is the module accepted. So a state that is kept anywhere else is an error and no drift.

Equality with one long run holds for one version of torch on one kind of processor: how these add floating-point numbers
is theirs.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.errors import ModelError
from brainnet.imports import find_file
from brainnet.simulation.models.base import Model, ModelParameters, Setting, Window, check_saved
from brainnet.simulation.models.torch_making import drawing_from, find_module, load_checkpoint, make_module
from brainnet.simulation.models.torch_state import (
    ABSENT,
    Slot,
    as_array,
    attributes,
    cloned,
    equal,
    leaves,
    rebuilt,
    structure,
)
from brainnet.simulation.models.torch_steps import input_of, one_thread
from brainnet.simulation.random import draw
from brainnet.simulation.spikes import Spikes

if TYPE_CHECKING:
    from torch import Tensor, nn

_PROBES: Final = 12
"""Steps that a module is tried for."""
_STRENGTHS: Final = (0.3, 3.0, 30.0)
"""Sizes of the random inputs of the trial: one that fires rarely or always does not show all of its state."""
_RETURNED: Final = "(returned)"
"""Name of the states that forward takes and returns, among those of attributes."""


class TorchParameters(ModelParameters):
    """How the module is made and called."""

    arguments: dict[str, Any] = Field({}, description="arguments of the class or function, by name")
    inputs: int | None = Field(None, gt=0, description="number of inputs; that of the first linear layer without it")
    input_shape: list[int] | None = Field(
        None, description="shape of the input of one step, such as [1, 28, 28]; [inputs] without it"
    )
    output: int = Field(0, ge=0, description="which of several returned values are the spikes, counted from 0")
    stateless: bool = Field(False, description="the module has no state, and that is meant so")


class TorchModel(Model):
    """A torch module; its inputs are the targets of projections, its outputs are what fires.

    What arrives at all ports together is the input. An output is a whole number of spikes.
    """

    Parameters: ClassVar[type[ModelParameters]] = TorchParameters
    parameters: TorchParameters
    learns: ClassVar[bool] = False
    source: ClassVar[str]
    """FILE.py:NAME, as in the connectome."""
    make: ClassVar[Any]
    """The class, function or module of the file."""

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        self._who = f"population {setting.name} ({self.source})"
        self._runner = self._made(self.parameters, setting)
        if setting.size != self._runner.outputs:
            raise ModelError(f"{self._who} has {self._runner.outputs} outputs, and the size is {setting.size}")

    @classmethod
    def shape(cls, parameters: ModelParameters, setting: Setting) -> tuple[int, int] | None:
        """Return the inputs and outputs of the module, after a trial.

        Raises:
            ModelError: It cannot be made, its checkpoint does not fit, or its state cannot be found.
        """
        assert isinstance(parameters, TorchParameters)
        runner = cls._made(parameters, setting)
        return runner.inputs, runner.outputs

    @property
    def inputs(self) -> int:
        """The inputs of the module."""
        return self._runner.inputs

    @classmethod
    def _made(cls, parameters: TorchParameters, setting: Setting) -> _Runner:
        who = f"population {setting.name} ({cls.source})"
        with one_thread():
            module = make_module(cls.make, parameters.arguments, setting, who)
            if setting.checkpoint is not None:
                load_checkpoint(module, setting.checkpoint, who)
            return _Runner(module.eval(), parameters, setting, who)

    def advance(self, window: Window) -> Spikes:
        """Compute the steps of one window, and return what fired."""
        with one_thread():
            rows = self._runner.run(window.first_step, input_of(window, self.inputs))
        return Spikes.of_dense(window.first_step, rows.T)

    def save(self) -> dict[str, NDArray[Any]]:
        """Return the state of the module; before the first step it is only the note that there is none."""
        return self._runner.save()

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` returned; on an error nothing has changed.

        Raises:
            ModelError: It is the state of another module.
        """
        with one_thread():
            self._runner.load(self, saved)


class _Runner:
    """Calls a module step by step, and knows where its state is."""

    def __init__(self, module: nn.Module, parameters: TorchParameters, setting: Setting, who: str) -> None:
        import torch

        self._module = module
        self._who = who
        self._output = parameters.output
        self._key = setting.key("torch")
        first = next((each for each in module.parameters() if each.is_floating_point()), None)
        self._dtype = torch.float32 if first is None else first.dtype
        self._shape = _input_shape(module, parameters, who)
        self.inputs = math.prod(self._shape)
        # spikingjelly's multi-step mode takes a time axis first
        self._time_axis = any(getattr(part, "step_mode", "s") == "m" for part in module.modules())
        self._passed = _passed_states(module, who)
        self._passed_state: Any = None
        self._started = False
        self._random = False
        self._slots: list[Slot] = []
        self._fresh: dict[str, Any] = {}
        self.outputs = 0
        self._template: dict[str, Any] = {}
        self._try_out(parameters.stateless)

    # -- steps

    def run(self, first_step: int, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the numbers of spikes [steps, outputs] for inputs [steps, inputs]."""
        import torch

        result = np.empty((len(rows), self.outputs))
        random = torch.get_rng_state() if self._random else None
        for at, row in enumerate(rows):
            if self._random:  # each step draws numbers of its own, whatever was drawn before
                torch.manual_seed(int(draw(self._key, first_step + at, 0) >> np.uint64(1)))
            result[at] = self._step(self._module, row)
        if random is not None:
            torch.set_rng_state(random)
        wrong = ~((result >= 0) & (result == np.floor(result)))
        if wrong.any():
            at, neuron = np.argwhere(wrong)[0]
            raise ModelError(
                f"{self._who} gave {result[at, neuron]:g} for output {neuron} in step {first_step + at}; spikes are "
                "whole numbers of at least 0, so it must end with neurons; `output` says which returned value they are"
            )
        return result

    def _step(self, module: nn.Module, row: NDArray[np.float32]) -> NDArray[Any]:
        """Run one step of a module, carry on what is passed, and return the outputs."""
        import torch

        # a tensor that torch allocated, because the last bit of a product depends on how memory is aligned
        x = torch.empty((1, *self._shape), dtype=self._dtype)
        x.copy_(torch.from_numpy(row.reshape(1, *self._shape)))
        states = () if not self._passed else self._passed_state or (None,) * self._passed
        try:
            returned = module(x[None] if self._time_axis else x, *states)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ModelError(f"{self._who} fails with an input of shape {list(x.shape)}: {reason}") from error
        outputs, passed = self._parted(returned)
        if self._passed:
            self._passed_state = passed
        self._started = True
        values: NDArray[Any] = outputs.detach().reshape(-1).to(torch.float64).numpy()
        return values

    def _parted(self, returned: Any) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the spikes and the states of what a module returned."""
        import torch

        parts = returned if isinstance(returned, tuple | list) else (returned,)
        if self._passed and len(parts) != self._passed + 1:
            raise ModelError(
                f"{self._who} returns {len(parts)} values, but forward takes {self._passed} states besides the input; "
                "it must return the output, then the states in the order in which it takes them"
            )
        if self._output >= len(parts) or not isinstance(parts[self._output], torch.Tensor):
            raise ModelError(f"{self._who}: value {self._output} of what forward returns is no tensor; set `output`")
        return parts[self._output], tuple(part for index, part in enumerate(parts) if index != self._output)

    # -- state

    def save(self) -> dict[str, NDArray[Any]]:
        if not self._started:
            return {"started": np.zeros(1, np.uint8)}
        return {"started": np.ones(1, np.uint8)} | {
            name: as_array(leaf) for name, leaf in leaves(self._values(self._module)).items()
        }

    def load(self, model: TorchModel, saved: Mapping[str, NDArray[Any]]) -> None:
        if "started" in saved and not saved["started"].any():
            check_saved(model, saved, {"started": np.zeros(1, np.uint8)})
            self._restore(self._module, self._fresh, None)
            self._started = False
            return
        expected = {name: as_array(leaf) for name, leaf in leaves(self._template).items()}
        check_saved(model, saved, {"started": np.zeros(1, np.uint8)} | expected)
        self._inject(self._module, saved)

    def _inject(self, module: nn.Module, saved: Mapping[str, NDArray[Any]]) -> None:
        values = rebuilt(self._template, saved, "")
        self._restore(module, {slot.name: values[slot.name] for slot in self._slots}, values.get(_RETURNED))
        self._started = True

    def _restore(self, module: nn.Module, values: Mapping[str, Any], passed: Any) -> None:
        parts = dict(module.named_modules())
        for slot in self._slots:
            slot.write(parts[slot.part], cloned(values[slot.name]))
        self._passed_state = passed

    def _values(self, module: nn.Module) -> dict[str, Any]:
        parts = dict(module.named_modules())
        values = {slot.name: slot.read(parts[slot.part]) for slot in self._slots}
        return values | ({_RETURNED: self._passed_state} if self._passed else {})

    # -- the trial

    def _try_out(self, stateless: bool) -> None:
        """Find the state, and prove that it is all of it.

        Raises:
            ModelError: It is not.
        """
        import torch

        before = torch.get_rng_state()
        try:
            matters = False
            for strength in _STRENGTHS:
                generator = np.random.default_rng(0)
                rows = (strength * generator.standard_normal((2 * _PROBES, self.inputs))).astype(np.float32)
                self._find(rows)
                matters |= self._proved(rows)
            if not (stateless or self._slots or self._passed):
                raise ModelError(self._not_found("a step changes no tensor of it"))
            if not (stateless or matters):
                raise ModelError(
                    self._not_found(
                        "it is the same after a step from the beginning as after many, so forward sets it back in each "
                        "call; move that (init_leaky(), reset_mem(), a loop over time) out of forward, which is called "
                        "once a step"
                    )
                )
        finally:
            torch.set_rng_state(before)
        self._passed_state, self._started = None, False

    def _find(self, rows: NDArray[np.float32]) -> None:
        """Note the attributes that steps change, and how the state looks afterwards."""
        import torch

        module = self._copied()
        self._passed_state = None
        known = {slot.name for slot in self._slots}
        earlier = {slot.name: (slot, cloned(value)) for slot, value in attributes(module)}
        after_first: dict[str, Any] = {}
        for at, row in enumerate(rows[:_PROBES]):
            random = torch.get_rng_state()
            outputs = self._step(module, row)
            self._random |= not torch.equal(random, torch.get_rng_state())
            if at == 0:
                self.outputs = outputs.size
                after_first = {slot.name: structure(value) for slot, value in attributes(module)}
        for slot, value in attributes(module):
            if slot.name in known or structure(value) != after_first.get(slot.name):
                continue  # what grows with every step is a record, and not a state
            before = earlier.get(slot.name)
            if before is None or not equal(before[1], value):
                self._slots.append(slot)
        # attributes that are not there at the beginning have no first value
        self._slots = [slot for slot in self._slots if slot.name in earlier or slot.adds]
        self._fresh = {slot.name: earlier[slot.name][1] if slot.name in earlier else ABSENT for slot in self._slots}
        self._template = {name: cloned(value) for name, value in self._values(module).items()}

    def _proved(self, rows: NDArray[np.float32]) -> bool:
        """Compare a module that runs on with one that gets its state, and return whether the state has any influence.

        Raises:
            ModelError: The two differ.
        """
        on, resumed, anew = self._copied(), self._copied(), self._copied()
        self._passed_state = None
        self._seeded(on, rows[:_PROBES], 0)
        state = {name: as_array(leaf) for name, leaf in leaves(self._values(on)).items()}
        if state.keys() != leaves(self._template).keys():
            raise ModelError(self._not_found("what its attributes hold changes its form from step to step"))
        first = self._seeded(on, rows[_PROBES:], _PROBES)
        last = {name: as_array(leaf) for name, leaf in leaves(self._values(on)).items()}
        self._inject(resumed, state)
        second = self._seeded(resumed, rows[_PROBES:], _PROBES)
        if not np.array_equal(first, second):
            found = ", ".join(sorted(state)) or "nothing"
            raise ModelError(self._not_found(f"with {found} given to another copy the spikes differ"))
        # The last step once more, from the beginning.
        self._passed_state = None
        self._seeded(anew, rows[-1:], 2 * _PROBES - 1)
        again = {name: as_array(leaf) for name, leaf in leaves(self._values(anew)).items()}
        return last.keys() != again.keys() or not all(np.array_equal(last[k], again[k], equal_nan=True) for k in last)

    def _seeded(self, module: nn.Module, rows: NDArray[np.float32], first: int) -> NDArray[Any]:
        import torch

        outputs = []
        for at, row in enumerate(rows):
            if self._random:
                torch.manual_seed(first + at)
            outputs.append(self._step(module, row))
            if outputs[-1].size != self.outputs:
                raise ModelError(
                    f"{self._who} gives {self.outputs} outputs in one step and {outputs[-1].size} in another"
                )
        return np.array(outputs)

    def _copied(self) -> nn.Module:
        try:
            return copy.deepcopy(self._module)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ModelError(f"{self._who} cannot be copied, which is needed to find its state: {reason}") from error

    def _not_found(self, reason: str) -> str:
        names = ", ".join(slot.name for slot in self._slots) or "none"
        return (
            f"{self._who}: its state cannot be found: {reason} (tried: states that forward takes and returns: "
            f"{self._passed or 'none'}; attributes that change, among them mem and syn of snnTorch and memories of "
            f"spikingjelly: {names}); take the state as argument and return it after the output, keep it in attributes "
            "or set stateless: true"
        )


def _passed_states(module: nn.Module, who: str) -> int:
    """Return how many states `forward` takes besides the input."""
    import torch

    if type(module).forward is torch.nn.Sequential.forward:
        return 0
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return 0
    accepted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [each for each in signature.parameters.values() if each.kind in accepted]
    if not names and any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in signature.parameters.values()):
        return 0
    if not names:
        raise ModelError(f"{who}: forward must take the input of a step")
    # an argument with another default is an option, and not a state
    states = [each for each in names[1:] if each.default in (None, inspect.Parameter.empty)]
    if getattr(module, "init_hidden", False):  # snnTorch's own layers then keep what they otherwise take
        return 0
    return len(states)


def _input_shape(module: nn.Module, parameters: TorchParameters, who: str) -> tuple[int, ...]:
    import torch

    if parameters.input_shape is not None:
        shape = tuple(parameters.input_shape)
        if not shape or min(shape) < 1:
            raise ModelError(f"{who}: input_shape must be a list of sizes of at least 1, not {list(shape)}")
        if parameters.inputs not in (None, math.prod(shape)):
            raise ModelError(f"{who}: inputs {parameters.inputs} contradict input_shape {list(shape)}")
        return shape
    if parameters.inputs is not None:
        return (parameters.inputs,)
    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            return (part.in_features,)
        if isinstance(part, torch.nn.modules.conv._ConvNd):
            break
    raise ModelError(f"{who}: the number of inputs cannot be told from its first layer; set inputs or input_shape")


def model(name: str, folder: Path | None) -> type[TorchModel]:
    """Return the model of FILE.py:NAME; NAME is a module class, a function that makes a module, or a module.

    Raises:
        ConfigError: The file does not exist, cannot be imported, or does not hold the name.
    """
    location, _, wanted = name.partition(":")
    # a module that the file makes while it is imported has the same weights in every process
    with drawing_from(0):
        made: Callable[..., Any] | Any = find_module(find_file(location, "model", folder), wanted, name)
    title = getattr(made, "__name__", "") or wanted
    return type(
        title,
        (TorchModel,),
        {"__doc__": f"Runs {name}.", "source": name, "make": staticmethod(made) if inspect.isfunction(made) else made},
    )
