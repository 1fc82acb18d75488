"""Where a torch module keeps its state: attributes of its parts, and nests of tensors and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from brainnet.simulation.models.torch_steps import array_of

if TYPE_CHECKING:
    from torch import nn

_PARTS_OF_MODULES: Final = frozenset({"training", "_modules", "_parameters", "_buffers", "_memories", "_memories_rv"})


class Slot:
    """One attribute of a module or of one of its parts."""

    def __init__(self, part: str, kind: str, key: str) -> None:
        self.part, self._kind, self._key = part, kind, key
        self.name = f"{part}.{key}" if part else key
        self.adds = kind == "attribute"

    def read(self, part: nn.Module) -> Any:
        """Return its value in a part of a module, or `ABSENT`."""
        return self._place(part).get(self._key, ABSENT)

    def write(self, part: nn.Module, value: Any) -> None:
        """Set its value in a part of a module; `ABSENT` removes it."""
        if value is ABSENT:
            self._place(part).pop(self._key, None)
        else:
            self._place(part)[self._key] = value

    def _place(self, part: nn.Module) -> dict[str, Any]:
        place: dict[str, Any] = vars(part) if self._kind == "attribute" else vars(part)[self._kind]
        return place


class _Absent:
    """The value of an attribute that is not there before the first step."""

    def __copy__(self) -> _Absent:
        return self

    def __deepcopy__(self, memo: Any) -> _Absent:
        return self


ABSENT: Final = _Absent()


def attributes(module: nn.Module) -> list[tuple[Slot, Any]]:
    """Return the attributes of a module and its parts that may be state: values made of tensors and numbers."""
    import torch

    found = []
    for path, part in module.named_modules():
        for kind in ("_buffers", "_memories"):
            held = vars(part).get(kind)
            if isinstance(held, dict):
                found += [(Slot(path, kind, key), value) for key, value in held.items()]
        for key, value in vars(part).items():
            if key not in _PARTS_OF_MODULES and not isinstance(value, torch.nn.Parameter):
                found.append((Slot(path, "attribute", key), value))
    return [(slot, value) for slot, value in found if _is_state(value)]


def _is_state(value: Any) -> bool:
    import torch

    if value is None or isinstance(value, torch.Tensor | bool | int | float):
        return True
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and _is_state(each) for key, each in value.items())
    return isinstance(value, tuple | list) and all(_is_state(each) for each in value)


def _items(value: Any) -> list[tuple[str, Any]] | None:
    """Return the parts of a container, or None for a leaf."""
    if isinstance(value, dict):
        return [(str(key), each) for key, each in value.items()]
    if isinstance(value, tuple | list):
        return [(str(index), each) for index, each in enumerate(value)]
    return None


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return the tensors and numbers of a nest by their place; None and what is absent hold nothing."""
    items = _items(value)
    if items is None:
        return {} if value is None or value is ABSENT else {path: value}
    found: dict[str, Any] = {}
    for key, each in items:
        found |= leaves(each, f"{path}/{key}" if path else key)
    return found


def rebuilt(template: Any, saved: Mapping[str, NDArray[Any]], path: str) -> Any:
    """Return a nest of the form of another one, with the values of arrays."""
    import torch

    items = _items(template)
    if items is None:
        if template is None or template is ABSENT:
            return template
        if isinstance(template, torch.Tensor):
            return (
                torch.from_numpy(np.ascontiguousarray(saved[path]).reshape(template.shape)).to(template.dtype).clone()
            )
        return type(template)(saved[path].item())
    parts = [rebuilt(each, saved, f"{path}/{key}" if path else key) for key, each in items]
    return _like(template, parts)


def _like(template: Any, parts: list[Any]) -> Any:
    """Return a container of the type of another one."""
    if isinstance(template, dict):
        return type(template)(zip(template, parts, strict=True))
    if isinstance(template, tuple) and hasattr(template, "_fields"):
        return type(template)(*parts)
    return type(template)(parts)


def cloned(value: Any) -> Any:
    """Return a nest with copies of its tensors."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    items = _items(value)
    return value if items is None else _like(value, [cloned(each) for _, each in items])


def structure(value: Any) -> Any:
    """Return the form of a nest: the types of its containers and leaves, and the shapes of its tensors."""
    items = _items(value)
    if items is None:
        return type(value).__name__, tuple(getattr(value, "shape", ()))
    return type(value).__name__, tuple((key, structure(each)) for key, each in items)


def equal(one: Any, other: Any) -> bool:
    """Return whether two nests have the same form and the same values, bit by bit."""
    import torch

    if structure(one) != structure(other):
        return False
    pairs = zip(leaves(one).values(), leaves(other).values(), strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def as_array(leaf: Any) -> NDArray[Any]:
    """Return a tensor or a number as an array."""
    import torch

    return array_of(leaf) if isinstance(leaf, torch.Tensor) else np.array(leaf)
