"""What NIR does not specify: the time step, what a spike does, and how the differential equations become steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from brainnet.errors import ModelError

Method = Literal["euler", "exponential"]
"""How the differential equations become steps."""
Reset = Literal["subtract", "zero", "none", "value", "subtract_immediate", "subtract_multiple"]
"""What a spike does to the membrane potential $v$ with threshold $\\theta$.

- `value`: $v \\leftarrow v_{reset}$, the definition of NIR.
- `zero`: the same, in files whose $v_{reset}$ is 0; others are refused.
- `subtract`: $\\theta$ is subtracted in the next step, after its decay: the default of snnTorch.
- `subtract_immediate`: $v \\leftarrow v - \\theta$, before the next decay: snnTorch with `reset_delay=False`, Norse
  with `reset_subtract`.
- `subtract_multiple`: $\\lfloor v / \\theta \\rfloor$ spikes in one step, each subtracts $\\theta$, and a neuron also
  fires at $v = \\theta$: the default of sinabs.
- `none`: nothing.
"""
RESETS: Final[tuple[Reset, ...]] = get_args(Reset)
METHODS: Final[tuple[Method, ...]] = get_args(Method)


@dataclass(frozen=True, slots=True)
class Settings:
    """What NIR does not specify.

    Attributes:
        dt: the time step in seconds.
        reset: what a spike does.
        method: how the differential equations become steps.
    """

    dt: float
    reset: Reset
    method: Method = "euler"


def check_settings(settings: Settings) -> None:
    """Check what was given or stated for the whole graph.

    Raises:
        ModelError: a time step that is no positive number, or an unknown reset or method.
    """
    if not (math.isfinite(settings.dt) and settings.dt > 0):
        raise ModelError(f"dt must be a positive number of seconds, got {settings.dt}")
    for name, value, accepted in (("reset", settings.reset, RESETS), ("method", settings.method, METHODS)):
        if value not in accepted:
            raise ModelError(f"{name} must be one of {', '.join(accepted)}, got {value!r}")
