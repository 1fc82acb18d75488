r"""The nodes of NIR as steps of one time step `dt`.

NIR (Pedersen et al. 2024, *Neuromorphic intermediate representation*, Nature Communications 15, 8122) defines its
neurons by differential equations:

$$
\tau \dot v = (v_{leak} - v) + R I, \qquad \tau_{syn} \dot I_{syn} = -I_{syn} + w_{in} S, \qquad \dot v = R I
$$

for LIF and LI, for the synapse of CubaLIF and CubaLI (whose $I$ is $I_{syn}$), and for IF and I. It does not say how
they are integrated. Two methods are here:

$$
\begin{aligned}
\text{euler:}\quad       & \beta = 1 - dt/\tau   && \text{forward Euler, as snnTorch, Norse and spikingjelly} \\
\text{exponential:}\quad & \beta = e^{-dt/\tau}  && \text{exact for an input that is constant in a step, as sinabs}
\end{aligned}
$$

$$
I_t = \alpha I_{t-1} + (1 - \alpha) w_{in} S_t, \qquad v_t = \beta v_{t-1} + (1 - \beta) (v_{leak} + R I_t)
$$

with $\alpha$ from $\tau_{syn}$ as $\beta$ from $\tau$, and $v_t = v_{t-1} + dt \, R I_t$ for IF and I. The membrane
gets the synaptic current of the same step, as in snnTorch, Norse and spikingjelly. (With the current of the step
before, as in a numpy implementation among the material of the paper, everything comes one step later.) A neuron with a
threshold fires when $v_t > v_{threshold}$; then `Reset` says what follows.

Before the first step $v$ is $v_{leak}$ (LIF, LI), $v_{reset}$ (IF, with the reset `value`) or 0 (other IF, I),
$I_{syn}$ is 0, and nothing has fired. NIR does not specify this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from brainnet.snn.nir.conventions import Reset
from brainnet.snn.nir.graph import Shape

State = tuple[Tensor, ...]
NEURONS: Final = ("LIF", "IF", "LI", "I", "CubaLIF", "CubaLI")
"""The types of nodes whose output may be delayed by one step to close a cycle."""
SPIKING: Final = ("LIF", "IF", "CubaLIF")


class Operation(Protocol):
    """One node in one time step.

    Attributes:
        shape: the shape of its output, without the batch.
    """

    @property
    def shape(self) -> Shape:
        """The shape of its output, without the batch."""

    def start(self, batch: int) -> State:
        """Return the state before the first step."""

    def step(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Return the output [batch, *shape] of the inputs of one step, which add up, and the state after it."""


@dataclass(frozen=True, slots=True, eq=False)
class Stateless:
    """A function of the input of the same step.

    Attributes:
        function: of the sum of the inputs.
        shape: of one step.
        products: how many multiplications it takes.
    """

    function: Any
    shape: Shape
    products: int = 0

    def start(self, batch: int) -> State:
        """Return no state."""
        return ()

    def step(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Return the function of the sum of the inputs."""
        return self.function(total(inputs)), ()


@dataclass(frozen=True, slots=True, eq=False)
class Neurons:
    """LIF, IF, LI, I, CubaLIF and CubaLI; see the equations of this module.

    Attributes:
        shape: of one step.
        rest: the potential before the first step.
        beta: decay of the potential; None for 1.
        gain: of the input current; None for 1.
        leak: what the leak adds per step; None for 0.
        threshold: None if the output is the potential.
        v_reset: the potential after a spike; None for 0.
        reset: what a spike does.
        alpha: decay of the synaptic current; None without synapse.
        weight: of the input of the synapse; None for 1.
    """

    shape: Shape
    rest: Tensor
    beta: Tensor | None
    gain: Tensor | None
    leak: Tensor | None = None
    threshold: Tensor | None = None
    v_reset: Tensor | None = None
    reset: Reset = "none"
    alpha: Tensor | None = None
    weight: Tensor | None = None

    def start(self, batch: int) -> State:
        """Return the potential, then the synaptic current and the spikes, if the next step needs them."""
        zeros = torch.zeros(batch, *self.shape)
        return (
            self.rest.expand(batch, *self.shape),
            *(() if self.alpha is None else (zeros,)),
            *((zeros,) if self._keeps_spikes else ()),
        )

    @property
    def _keeps_spikes(self) -> bool:
        return self.threshold is not None and self.reset == "subtract"

    def step(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Return the spikes, or the potential without a threshold."""
        v, kept = state[0], state[1:]
        synapse: State = ()
        # the inputs are added one after the other, as in recurrent layers of snnTorch: float addition depends on it
        if self.alpha is not None:
            current = _decayed(kept[0], self.alpha, inputs, self.weight)
            synapse, kept, inputs = (current,), kept[1:], [current]
        v = _decayed(v, self.beta, inputs, self.gain)
        if self.leak is not None:
            v = v + self.leak
        if self.threshold is None:
            return v, (v, *synapse)
        if self._keeps_spikes:
            v = v - kept[0] * self.threshold
            spikes = (v > self.threshold).float()
            return spikes, (v, *synapse, spikes)
        if self.reset == "subtract_multiple":
            spikes = torch.floor(v / self.threshold).clamp_(min=0)
            return spikes, (v - spikes * self.threshold, *synapse)
        fired = v > self.threshold
        spikes = fired.float()
        if self.reset == "subtract_immediate":
            v = v - spikes * self.threshold
        elif self.reset != "none":
            v = v.masked_fill(fired, 0.0) if self.v_reset is None else torch.where(fired, self.v_reset, v)
        return spikes, (v, *synapse)


@dataclass(frozen=True, slots=True, eq=False)
class Delays:
    r"""A Delay, $y(t) = x(t - \tau)$ with $\tau$ rounded to whole steps; zeros before.

    Attributes:
        shape: of one step.
        steps: the delays [values], in steps; flattened.
    """

    shape: Shape
    steps: Tensor

    @property
    def late(self) -> bool:
        """Whether no output depends on the input of the same step."""
        return int(self.steps.min()) > 0

    def start(self, batch: int) -> State:
        """Return the ring of the last inputs, and the index of the next."""
        return torch.zeros(batch, int(self.steps.max()) + 1, self.steps.numel()), torch.tensor(0)

    def read(self, state: State) -> Tensor:
        """Return the output of the step before its input is known; for `late` delays only."""
        ring, now = state
        rows = (now - self.steps) % ring.shape[1]
        return ring[:, rows, torch.arange(self.steps.numel())].view(-1, *self.shape)

    def write(self, inputs: list[Tensor], state: State) -> State:
        """Return the state after a step with these inputs; the ring of `state` is overwritten."""
        ring, now = state
        ring[:, int(now)] = total(inputs).reshape(len(ring), -1)
        return ring, (now + 1) % ring.shape[1]

    def step(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Return the delayed input; the ring of `state` is overwritten."""
        after = self.write(inputs, state)
        return self.read(state), after


def total(inputs: list[Tensor]) -> Tensor:
    """Return the sum of the inputs of a node."""
    result = inputs[0]
    for each in inputs[1:]:
        result = result + each
    return result


def _decayed(value: Tensor, decay: Tensor | None, inputs: list[Tensor], gain: Tensor | None) -> Tensor:
    result = value if decay is None else decay * value
    for each in inputs:
        result = result + (each if gain is None else each * gain)
    return result
