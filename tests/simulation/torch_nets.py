"""Torch modules as users write them, with the state in every place where it may be."""

from __future__ import annotations

from typing import Any, NamedTuple

import snntorch
import torch
from torch import Tensor, nn


class Hidden(nn.Module):
    """snnTorch with `init_hidden`; the last layer also returns its membrane."""

    def __init__(self, kind: str = "leaky") -> None:
        super().__init__()
        hidden: dict[str, Any] = {"init_hidden": True}
        self.fc1, self.fc2 = nn.Linear(9, 12), nn.Linear(12, 5)
        self.first = {
            "leaky": lambda: snntorch.Leaky(0.9, **hidden),
            "synaptic": lambda: snntorch.Synaptic(0.8, 0.9, **hidden),
            "alpha": lambda: snntorch.Alpha(0.8, 0.7, **hidden),
            "recurrent": lambda: snntorch.RLeaky(0.9, linear_features=12, **hidden),
            "recurrent synaptic": lambda: snntorch.RSynaptic(0.8, 0.9, linear_features=12, **hidden),
        }[kind]()
        self.second = snntorch.Leaky(0.8, threshold=0.3, init_hidden=True, output=True)

    def forward(self, x: Tensor) -> Any:
        return self.second(self.fc2(self.first(self.fc1(x))))


class Explicit(nn.Module):
    """snnTorch with the states as arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(9, 12), nn.Linear(12, 5)
        self.first, self.second = snntorch.Leaky(0.9), snntorch.Synaptic(0.7, 0.8, threshold=0.3)

    def forward(self, x: Tensor, mem1: Any, syn2: Any, mem2: Any) -> Any:
        spikes, mem1 = self.first(self.fc1(x), mem1)
        spikes, syn2, mem2 = self.second(self.fc2(spikes), syn2, mem2)
        return spikes, mem1, syn2, mem2


def sequence() -> nn.Module:
    """A chain, made by a function."""
    return nn.Sequential(
        nn.Linear(9, 12),
        snntorch.Leaky(0.9, init_hidden=True),
        nn.Linear(12, 5),
        snntorch.Leaky(0.9, threshold=0.3, init_hidden=True),
    )


class Picture(nn.Module):
    """A convolution, whose input has axes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 3, 2), snntorch.Leaky(0.9, init_hidden=True), nn.Flatten(), nn.Identity())

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class OwnAttributes(nn.Module):
    """A tuple that is None at first, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(9, 12)
        self.calls = 0
        self.held: tuple[Tensor] | None = None
        self.record: list[Tensor] = []

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        v = 0.9 * (torch.zeros(1, 12) if self.held is None else self.held[0]) + (1 + self.calls % 3) * self.fc1(x)
        spikes = (v > 1).float()
        self.held = (v - spikes,)
        self.record.append(spikes)
        return spikes


class Noisy(OwnAttributes):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x + torch.randn_like(x))


class LIFState(NamedTuple):
    v: Tensor
    i: Tensor


class Cell(nn.Module):
    """The interface of `norse.torch.LIFCell`."""

    def forward(self, x: Tensor, state: LIFState | None = None) -> Any:
        v, i = state or LIFState(torch.zeros_like(x), torch.zeros_like(x))
        i = 0.8 * i + x
        v = 0.9 * v + 0.1 * i
        spikes = (v > 0.2).float()
        return spikes, LIFState(v * (1 - spikes), i)


class States(nn.Sequential):
    """The interface of `norse.torch.SequentialState`, which writes into the list that it is given."""

    def forward(self, x: Tensor, state: list[Any] | None = None) -> Any:
        state = [None] * len(self) if state is None else state
        for index, part in enumerate(self):
            if isinstance(part, Cell):
                x, state[index] = part(x, state[index])
            else:
                x = part(x)
        return x, state


def norse_like() -> nn.Module:
    return States(nn.Linear(9, 12), Cell(), nn.Linear(12, 5), Cell())


class Dropped(nn.Module):
    """Drops the state, a mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.cell = nn.Linear(9, 12), Cell()

    def forward(self, x: Tensor) -> Any:
        spikes, _ = self.cell(self.fc1(x))
        return spikes


class Memories(nn.Module):
    """The interface of spikingjelly's MemoryModule: `v` is 0.0 at first, and is kept outside of the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self._memories: dict[str, Any] = {"v": 0.0}

    def __getattr__(self, name: str) -> Any:
        memories = self.__dict__.get("_memories", {})
        return memories[name] if name in memories else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_memories", {}):
            self._memories[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Any:
        v = self.v + (x - self.v) / 2
        spikes = (v > 0.5).float()
        self.v: Any = v * (1 - spikes)
        return spikes


def spikingjelly_like() -> nn.Module:
    return nn.Sequential(nn.Linear(9, 12), Memories())


class WithMemoryLast(nn.Module):
    """Returns the potential before the spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif = nn.Linear(9, 12), snntorch.Leaky(0.9, init_hidden=True, output=True)

    def forward(self, x: Tensor) -> Any:
        spikes, membrane = self.lif(self.fc1(x))
        return membrane, spikes


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(9, 12)

    def forward(self, x: Tensor) -> Any:
        return (self.fc1(x) > 0).float()


class Double(nn.Module):
    """Computes in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif = nn.Linear(9, 12).double(), snntorch.Leaky(0.9, init_hidden=True)

    def forward(self, x: Tensor) -> Any:
        return self.lif(self.fc1(x))


class Loop(nn.Module):
    """Has its loop over time inside, as in most tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif = nn.Linear(9, 12), snntorch.Leaky(0.9)

    def forward(self, x: Tensor) -> Any:
        membrane = self.lif.init_leaky()
        total = torch.zeros(1, 12)
        for _ in range(4):
            spikes, membrane = self.lif(self.fc1(x), membrane)
            total = total + spikes
        return total


class Box:
    """Holds a state where nobody looks."""

    v: Any = 0.0


class Elsewhere(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.box = nn.Linear(9, 12), Box()

    def forward(self, x: Tensor) -> Any:
        v = 0.9 * self.box.v + self.fc1(x)
        spikes = (v > 1).float()
        self.box.v = v - spikes
        return spikes


NUMBER = 3
MADE = sequence()


def text() -> str:
    return "no module"
