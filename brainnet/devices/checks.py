"""What all drivers check in the same way: the order of calls, the windows, and the state that is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from brainnet.devices.protocol import Events
from brainnet.errors import DeviceError


class Progress:
    """How far a device has come, in steps of the network: refuses what is not next, and changes nothing then.

    Attributes:
        begun: Whether it was started.
        next: The first step that is not read.
        written_until: The first step whose input is not written.
    """

    def __init__(self) -> None:
        self.begun = False
        self.next = self.written_until = 0

    def begin(self, step: int) -> None:
        """Begin with a step, whatever was before."""
        self.begun = True
        self.next = self.written_until = step

    def end(self) -> None:
        """Be as before the start."""
        self.begun = False

    def check_not_begun(self) -> None:
        """Check that it can be started.

        Raises:
            DeviceError: It has begun.
        """
        if self.begun:
            raise DeviceError(f"the device has begun, and is at step {self.next}; reset it, or load the network again")

    def check_begun(self) -> None:
        """Check that it was started.

        Raises:
            DeviceError: It was not.
        """
        if not self.begun:
            raise DeviceError("the device has not begun; start it")

    def check_window(self, window: Events, inputs: int) -> None:
        """Check a window before it is written; `written_until` is set when it is.

        Raises:
            DeviceError: It has not begun, the window is not the next one, or a step or an address is not there.
        """
        self.check_begun()
        check_window(window, self.written_until, inputs)

    def check_until(self, until: int, *, computes: bool) -> None:
        """Check up to where steps are read; `next` is set when they are.

        Args:
            until: The first step that is not read.
            computes: Whether the device computes those steps now, so that their input must have been written.

        Raises:
            DeviceError: It has not begun, `until` is past, or input is missing.
        """
        self.check_begun()
        if until < self.next:
            raise DeviceError(f"step {until} is past; step {self.next} is next")
        if computes and until > self.written_until:
            raise DeviceError(f"input is written to before step {self.written_until}, so step {until - 1} is unknown")


def check_window(window: Events, following: int, inputs: int) -> None:
    """Check the spikes of a window before they go to a device.

    Raises:
        DeviceError: It does not begin with the step that follows, or a step or an address is not there.
    """
    if window.first_step != following:
        raise DeviceError(f"the window begins with step {window.first_step}, and step {following} is next")
    steps, addresses = window.steps, window.addresses
    if window.end_step < window.first_step or steps.shape != addresses.shape:
        raise DeviceError(f"a window from step {window.first_step} to {window.end_step} is none")
    if not steps.size:
        return
    if (steps[1:] < steps[:-1]).any() or steps[0] < window.first_step or steps[-1] >= window.end_step:
        raise DeviceError(f"the steps of spikes must rise, from {window.first_step} to at most {window.end_step - 1}")
    if addresses.min() < 0 or addresses.max() >= inputs:
        raise DeviceError(f"the device has the inputs 0 to {inputs - 1}, and a spike goes to {int(addresses.max())}")


def check_same_shape(state: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """Check that a state is that of a network.

    Raises:
        DeviceError: An array is missing, unknown, or of another shape or type.
    """
    for name in sorted(state.keys() | expected.keys()):
        one, other = state.get(name), expected.get(name)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            raise DeviceError(f"the state of the device has another {name!r}; it is that of another network")


def check_rest(state: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """Check that a device is in the state before the first step.

    Raises:
        DeviceError: It is not.
    """
    check_same_shape(state, expected)
    for name, array in expected.items():
        wrong = int((state[name] != array).sum())
        if wrong:
            raise DeviceError(
                f"after the reset {wrong} values of {name!r} are not those before the first step; load again"
            )
