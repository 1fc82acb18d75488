"""A NIR file on a neuromorphic device as a population: `model: device`, or `program: device` in an allocation.

What arrives at the population are spikes into the inputs of the device: the sum of weights in a step is how many. On
the twin, and on a device that is run in steps, the spikes depend on the input alone, as those of every other model. A
device with a clock of its own can only take part in a network in real time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet.errors import BrainnetError, DeviceError, ModelError
from brainnet.limits import Line
from brainnet.simulation.fixed_point import UNIT
from brainnet.simulation.models.base import EXCITATORY, Model, ModelParameters, Setting, Window, described
from brainnet.simulation.spikes import Spikes
from brainnet.snn.nir.conventions import Method, Reset

if TYPE_CHECKING:
    from brainnet.devices import Device, LoadOptions, Start
    from brainnet.devices.making import Description

_SHIFT: Final = UNIT.bit_length() - 1
_WIDEST: Final = 16
_NOT_BEGUN: Final = -1
Key = Annotated[int, Field(ge=0, lt=1 << 32)]


class DeviceParameters(ModelParameters):
    """The network, the device, and what the file does not say."""

    network: Line = Field(description="the NIR file; relative to the folder of the description")
    driver: Literal["twin", "eieio", "aer"] = Field(
        "twin", description="the twin in software, or a device that sends spikes over UDP as eieio or aer"
    )
    address: Line | None = Field(None, description="HOST:PORT of a device with a clock of its own: where spikes go")
    control: Line | None = Field(None, description="HOST:PORT of the control connection of a device in steps")
    listen: Line | None = Field(None, description="HOST:PORT where the spikes of the device are received")
    weight_bits: int = Field(_WIDEST, ge=2, le=_WIDEST, description="bits of a weight; a device in steps says its own")
    key_bits: Literal[16, 32] = Field(32, description="width of a key, for eieio")
    numbered: bool = Field(True, description="whether datagrams have sequence numbers, for aer")
    input_key: Key = Field(0, description="the key of input 0")
    output_key: Key = Field(0, description="the key of output 0")
    latency_ms: float = Field(
        0.0, ge=0, le=10_000, allow_inf_nan=False, description="after which spikes of a device with its own clock come"
    )
    timeout_s: float = Field(
        5.0, gt=0, le=600, allow_inf_nan=False, description="seconds to wait for a reply of a device in steps"
    )
    silent_s: float = Field(
        5.0, ge=0, le=3600, allow_inf_nan=False, description="seconds after which a silent device is degraded; 0: never"
    )
    reset: Reset | None = Field(None, description="what a spike does, for a file that does not say")
    method: Method | None = Field(None, description="how the equations become steps, for a file that does not say")
    ignore_dt: bool = Field(False, description="take one step in each step of the clock, whatever dt the file says")
    scale: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="units of the device in one unit of the file's potential; by default the finest that weights allow",
    )


class DeviceModel(Model):
    """The network of a NIR file on a device; its inputs are the targets of projections, its outputs are what fires."""

    Parameters: ClassVar[type[ModelParameters]] = DeviceParameters
    parameters: DeviceParameters
    ports: ClassVar[tuple[str, ...]] = (EXCITATORY,)
    learns: ClassVar[bool] = False

    def __init__(self, setting: Setting, parameters: ModelParameters) -> None:
        super().__init__(setting, parameters)
        self._description = _description(self.parameters, setting)
        self._inputs, outputs = _shape(self.parameters, setting)
        if setting.size != outputs:
            raise ModelError(
                f"{described(self)}: {self.parameters.network} has {outputs} outputs, and the size is {setting.size}"
            )
        self._device: Device | None = None
        self._start: Start | None = None
        self._next = _NOT_BEGUN

    @classmethod
    def shape(cls, parameters: ModelParameters, setting: Setting) -> tuple[int, int] | None:
        """Return the inputs and outputs of the file.

        Raises:
            ModelError: It cannot be read, or the parameters do not fit each other or the clock.
        """
        assert isinstance(parameters, DeviceParameters)
        _description(parameters, setting)
        return _shape(parameters, setting)

    @property
    def inputs(self) -> int:
        """The inputs of the network."""
        return self._inputs

    @property
    def acts_outside(self) -> bool:
        """Whether a step cannot be taken back: the device has a clock of its own."""
        return not self._description.stepped

    def prepare(self) -> list[str]:
        """Connect to the device and put the network on it; return what rounding changed.

        Raises:
            ModelError: The device does not answer, or cannot run the network.
        """
        from brainnet.devices.making import make_device

        device = make_device(self._description, self.setting.dt_ms * 1000)
        try:
            info = device.open()
            report = device.load(self.setting.folder / self.parameters.network, _options(self.parameters, self.setting))
        except BrainnetError as error:
            device.close()
            raise ModelError(f"{described(self)}: {error}", code=error.code) from error
        self._device = device
        return [f"{info.name}: {sentence}" for sentence in report.sentences()]

    def advance(self, window: Window) -> Spikes:
        """Let the device take the steps of one window, and return what fired."""
        from brainnet.devices import Events

        device, end = self._ready(), window.first_step + window.steps
        try:
            self._keep_time(device, window)
            device.write(Events.of_counts(window.first_step, self._counts(window)))
            fired = device.read(end)
        except DeviceError as error:
            raise ModelError(
                f"{described(self)}: steps {window.first_step} to {end - 1}: {error}", code=error.code
            ) from error
        self._next = end
        offsets = np.searchsorted(fired.steps, np.arange(window.first_step, end + 1)).astype(np.int32)
        return Spikes(window.first_step, offsets, fired.addresses)

    def trouble(self) -> str:
        """Return what is wrong with the device now, or an empty text."""
        return "" if self._device is None else self._device.trouble()

    def counts(self) -> dict[str, int]:
        """Return the counters of the device; what cannot be known is not among them."""
        device = self._device  # another thread may close it meanwhile
        found = {} if device is None else device.counters().as_dict()
        return {name: value for name, value in found.items() if value is not None}

    def close(self) -> None:
        """Release the device."""
        if self._device is not None:
            self._device.close()
        self._device = None

    def save(self) -> dict[str, NDArray[Any]]:
        """Return the state of the device, where that can be read."""
        saved: dict[str, NDArray[Any]] = {"next": np.array([self._next])}
        if self.acts_outside:
            return saved
        return saved | self._asked(lambda device: device.state())

    def load(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `save` returned; a device that cannot be written goes on as it is.

        Raises:
            ModelError: It is the state of another network.
        """
        from brainnet.devices import Start

        if "next" not in saved:
            raise ModelError(f"{described(self)}: the saved state has no 'next'; it is of another model")
        following = int(saved["next"][0])
        if not self.acts_outside:
            state = {name: array for name, array in saved.items() if name != "next"}
            if following == _NOT_BEGUN:
                self._asked(lambda device: device.reset())
            else:
                self._asked(lambda device: device.restore(state, Start(following)))
        self._next, self._start = following, None

    # -- parts -------------------------------------------------------------------------------------------------------

    def _ready(self) -> Device:
        if self._device is None:
            self.prepare()
        assert self._device is not None
        return self._device

    def _asked(self, ask: Any) -> Any:
        device = self._ready()
        try:
            return ask(device)
        except DeviceError as error:
            raise ModelError(f"{described(self)}: {error}", code=error.code) from error

    def _keep_time(self, device: Device, window: Window) -> None:
        """Start the device, and tell one with a clock of its own when its first step was."""
        from brainnet.devices import Start

        step_ns = self.setting.dt_ms * self.setting.time_scale * 1e6
        # A window is computed when its last step is over, or later: the earliest time that follows from any is right.
        at_ns = time.time_ns() - round(window.steps * step_ns)
        if self._start is None:
            self._start = Start(window.first_step, at_ns, step_ns)
            if self.acts_outside or self._next == _NOT_BEGUN:
                device.start(self._start)
        elif self.acts_outside:
            device.align(at_ns - round((window.first_step - self._start.step) * step_ns))

    def _counts(self, window: Window) -> NDArray[np.int64]:
        from brainnet.devices.protocol import MAX_COUNT

        sums = window.sums[EXCITATORY]
        counts = sums >> _SHIFT
        if (counts << _SHIFT != sums).any():
            raise ModelError(
                f"{described(self)}: what arrives at a device are spikes, and the weights that arrive in a step are no "
                "whole number; give the projections to it a whole weight, such as 1"
            )
        if counts.size and int(counts.max()) > MAX_COUNT:
            raise ModelError(
                f"{described(self)}: {int(counts.max())} spikes arrive at an input in one step; at most {MAX_COUNT}"
            )
        return counts


def _description(parameters: DeviceParameters, setting: Setting) -> Description:
    """Return the device that the parameters ask for, checked, without connecting to it."""
    from brainnet.devices.making import Description

    p = parameters
    description = Description(
        driver=p.driver,
        address=p.address,
        control=p.control,
        listen=p.listen,
        weight_bits=p.weight_bits,
        key_bits=p.key_bits,
        numbered=p.numbered,
        input_key=p.input_key,
        output_key=p.output_key,
        timeout_s=p.timeout_s,
        latency_steps=setting.steps(p.latency_ms),
        silent_s=p.silent_s,
    )
    try:
        description.check()
    except DeviceError as error:
        raise ModelError(f"population {setting.name}: {error}", field="driver") from None
    if not description.stepped and not setting.realtime:
        raise ModelError(
            f"population {setting.name}: a device with a clock of its own cannot run in lock-step; write `mode: "
            "realtime` in the clock, or give the control connection of a device in steps: `control: HOST:PORT`",
            field="driver",
        )
    return description


def _options(parameters: DeviceParameters, setting: Setting) -> LoadOptions:
    from brainnet.devices import LoadOptions

    return LoadOptions(setting.dt_ms, parameters.reset, parameters.method, parameters.ignore_dt, parameters.scale)


def _shape(parameters: DeviceParameters, setting: Setting) -> tuple[int, int]:
    from brainnet.devices.integer_network import integer_network

    path = setting.folder / parameters.network
    if not path.is_file():
        raise ModelError(f"population {setting.name}: network {path} does not exist", field="network")
    try:
        network = integer_network(path, parameters.weight_bits, _options(parameters, setting))
    except BrainnetError as error:
        raise ModelError(f"population {setting.name}: {error}", field="network") from error
    return network.inputs, network.outputs
