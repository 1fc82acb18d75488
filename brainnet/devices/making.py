"""Makes the device that a description asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from brainnet.devices.free_running import FreeRunningDevice
from brainnet.devices.link import Wire, parse_address
from brainnet.devices.protocol import Device
from brainnet.devices.stepped import SteppedDevice
from brainnet.devices.twin import Twin
from brainnet.errors import DeviceError

Driver = Literal["twin", "eieio", "aer"]
_ANYWHERE: Final = "0.0.0.0:0"


@dataclass(frozen=True, slots=True)
class Description:
    """A device as somebody writes it down.

    Attributes:
        driver: The twin, or the format of the datagrams.
        address: `HOST:PORT` where a device that runs by itself receives spikes.
        control: `HOST:PORT` of the control connection of a device that is run in steps.
        listen: `HOST:PORT` where spikes of the device are received.
        weight_bits: Bits of a weight, for the twin and for a device that runs by itself.
        key_bits: Width of a key, for EIEIO.
        numbered: Whether datagrams have sequence numbers, for AER.
        input_key: Key of input 0.
        output_key: Key of output 0.
        timeout_s: Seconds to wait for a reply of a device that is run in steps.
        latency_steps: Steps after which the spikes of a device that runs by itself have come.
        silent_s: Seconds after which a device that runs by itself is silent; 0 for never.
    """

    driver: Driver = "twin"
    address: str | None = None
    control: str | None = None
    listen: str | None = None
    weight_bits: int = 16
    key_bits: Literal[16, 32] = 32
    numbered: bool = True
    input_key: int = 0
    output_key: int = 0
    timeout_s: float = 5.0
    latency_steps: int = 0
    silent_s: float = 5.0

    @property
    def stepped(self) -> bool:
        """Whether the device waits for its input."""
        return self.driver == "twin" or self.control is not None

    def check(self) -> None:
        """Check what belongs together, without connecting to anything.

        Raises:
            DeviceError: An address is missing, is written wrongly or is not used.
        """
        given = {name: getattr(self, name) for name in ("address", "control", "listen")}
        if self.driver == "twin":
            extra = [name for name, value in given.items() if value is not None]
            if extra:
                raise DeviceError(f"driver twin computes in this process and has no {extra[0]}; leave it out")
            return
        if (self.address is None) == (self.control is None):
            raise DeviceError(
                f"driver {self.driver} needs either address: HOST:PORT, of a device that runs by itself, or "
                "control: HOST:PORT, of one that is run in steps"
            )
        if self.address is not None and self.listen is None:
            raise DeviceError("a device with an address needs listen: HOST:PORT, where it sends its spikes")
        for value in given.values():
            if value is not None:
                parse_address(value)


def make_device(description: Description, tick_us: float) -> Device:
    """Return the device, not opened.

    Args:
        description: What is asked for.
        tick_us: One step in microseconds.

    Raises:
        DeviceError: The description cannot be used.
    """
    each = description
    each.check()
    if each.driver == "twin":
        return Twin(each.weight_bits, tick_us)
    wire = Wire(each.driver, each.key_bits, each.numbered, each.input_key, each.output_key, tick_us)
    listen = parse_address(each.listen or _ANYWHERE)
    if each.control is not None:
        return SteppedDevice(parse_address(each.control), wire, listen, each.timeout_s)
    assert each.address is not None
    address = parse_address(each.address)
    return FreeRunningDevice(address, wire, listen, each.weight_bits, each.latency_steps, each.silent_s)
