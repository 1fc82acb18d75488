"""Makes the operation of a node of a NIR graph from the node's parameters, which are checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.nir.conventions import Settings
from brainnet.snn.nir.graph import MAX_VALUES, Shape, as_shape, shown
from brainnet.snn.nir.nodes import SPIKING, Delays, Neurons, Operation, Stateless

MAX_PRODUCTS: Final = 1 << 34
"""The most multiplications of all nodes in one time step: a file of a few bytes can ask for any number."""
_GAIN_TOLERANCE: Final = 1e-6
_LARGEST_DELAY: Final = 1 << 20


def operation(name: str, node: Any, shape: Shape, settings: Settings) -> Operation:
    """Return the operation of a node of a NIR graph.

    Args:
        name: the name of the node, for messages.
        node: the `nir` node.
        shape: the shape of its input, without the batch.
        settings: what NIR does not specify.

    Raises:
        ModelError: parameters that do not fit the input or each other, are not finite numbers, or would need more than
            the limits of this module; names the node and the parameter.
    """
    kind = type(node).__name__
    builder = _Builder(f"node {shown(name)} ({kind})", node, shape, settings)
    return builder.build(kind)


class _Builder:
    """Makes the operation of one node."""

    def __init__(self, name: str, node: Any, shape: Shape, settings: Settings) -> None:
        self.name, self.node, self.shape, self.settings = name, node, shape, settings

    def build(self, kind: str) -> Operation:
        builders: dict[str, Callable[[], Operation]] = {
            "Input": lambda: self.port("input"),
            "Output": lambda: self.port("output"),
            "Linear": self.dense,
            "Affine": self.dense,
            "Conv1d": lambda: self.convolution(1),
            "Conv2d": lambda: self.convolution(2),
            "SumPool2d": lambda: self.pool(summed=True),
            "AvgPool2d": lambda: self.pool(summed=False),
            "Flatten": self.flattened,
            "Scale": self.scale,
            "Threshold": self.threshold,
            "Delay": self.delay,
        }
        return builders.get(kind, lambda: self.neurons(kind))()

    def scale(self) -> Operation:
        scale = self.parameter("scale")
        return Stateless(lambda x: x * scale, self.shape)

    def threshold(self) -> Operation:
        threshold = self.parameter("threshold")
        return Stateless(lambda x: (x > threshold).float(), self.shape)

    def error(self, problem: str) -> ModelError:
        return ModelError(f"{self.name}: {problem}")

    def numbers(self, field: str) -> NDArray[Any]:
        """Return a field as finite numbers that float32 can hold; in double precision, unless it is very large."""
        value = getattr(self.node, field)
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise self.error(f"{field} must be numbers, not {array.dtype}; export the network again")
        if not np.isfinite(array).all() or (array.size and max(array.max(), -array.min()) > np.finfo(np.float32).max):
            raise self.error(f"{field} holds NaN, infinity or a number too large for float32; export the network again")
        return array.astype(np.float64) if array.size <= MAX_VALUES else array.astype(np.float32)

    def values(self, field: str, given: Any = None) -> NDArray[np.float64]:
        """Return a parameter in the shape of the input: it is one number, one for each value, or broadcasts."""
        array = self.numbers(field) if given is None else np.asarray(given, np.float64)
        if array.size == 1:
            return np.full(self.shape, array.reshape(-1)[0])
        if array.size == math.prod(self.shape):
            return array.reshape(self.shape)
        try:
            return np.broadcast_to(array, self.shape).copy()
        except ValueError:
            raise self.error(
                f"{field} is of shape {list(array.shape)}, the input of shape {list(self.shape)}; they must agree"
            ) from None

    def parameter(self, field: str) -> Tensor:
        return _float(self.values(field))

    def fit(self, axes: int) -> tuple[Shape, Any]:
        """Return the input's shape with this number of axes, without leading axes of 1 that some exporters leave."""
        extra = len(self.shape) - axes
        if extra < 0 or any(size != 1 for size in self.shape[: max(extra, 0)]):
            hint = "; put a Flatten before it" if axes == 1 else ""
            raise self.error(f"its input must have {axes} axes, not shape {list(self.shape)}{hint}")
        shape = self.shape[extra:]
        return shape, (lambda x: x.reshape(len(x), *shape)) if extra else (lambda x: x)

    def affordable(self, shape: Shape, products: int) -> Shape:
        if math.prod(shape) > MAX_VALUES:
            raise self.error(f"its output of shape {list(shape)} has too many values; at most {MAX_VALUES} can be run")
        if math.prod(shape) * products > MAX_PRODUCTS:
            raise self.error(f"a step takes {math.prod(shape) * products} products; at most {MAX_PRODUCTS} can be run")
        return shape

    def port(self, kind: str) -> Operation:
        type_ = self.node.input_type if kind == "input" else self.node.output_type
        value = type_.get(kind) if isinstance(type_, dict) else type_
        if value is not None:
            stated = as_shape(f"{self.name}: the shape", value)
            if [each for each in stated if each != 1] != [each for each in self.shape if each != 1]:
                raise self.error(
                    f"its shape is {list(stated)}, but it gets {list(self.shape)}; write it with that shape"
                )
        return Stateless(lambda x: x, self.shape)

    def dense(self) -> Operation:
        weight = _float(self.numbers("weight"))
        if weight.ndim < 2:
            raise self.error(f"weight must have 2 axes or more, not {weight.ndim}")
        expected = (*weight.shape[:-2], weight.shape[-1])
        shape, reshaped = self.fit(len(expected))
        if shape != expected:
            raise self.error(f"it takes an input of shape {list(expected)}, but gets {list(shape)}")
        out = self.affordable(tuple(weight.shape[:-1]), weight.shape[-1])
        bias = _float(self.numbers("bias")) if hasattr(self.node, "bias") else None
        if bias is not None:
            if bias.numel() not in (1, math.prod(out)):
                raise self.error(f"bias is of shape {list(bias.shape)}, the output of {list(out)}; they must agree")
            bias = (bias.expand(out) if bias.numel() == 1 else bias.reshape(out)).contiguous()
        if weight.ndim == 2:
            return Stateless(lambda x: F.linear(reshaped(x), weight, bias), out, weight.numel())
        offset = torch.zeros(out) if bias is None else bias
        return Stateless(lambda x: (weight @ reshaped(x)[..., None])[..., 0] + offset, out)

    def whole(self, field: str, axes: int, least: int) -> tuple[int, ...]:
        """Return a field of whole numbers, one for each spatial axis."""
        array = self.numbers(field).reshape(-1)
        if array.size == 1:
            array = np.repeat(array, axes)
        if array.size != axes or (array != np.rint(array)).any() or (array < least).any() or (array > MAX_VALUES).any():
            raise self.error(f"{field} must be {axes} whole numbers from {least}, not {shown(str(array.tolist()))}")
        return tuple(int(each) for each in array)

    def convolution(self, axes: int) -> Operation:
        weight, bias = _float(self.numbers("weight")), _float(self.numbers("bias"))
        if weight.ndim != axes + 2 or not weight.numel():
            raise self.error(f"weight must have {axes + 2} axes, not shape {list(weight.shape)}")
        shape, reshaped = self.fit(axes + 1)
        stride, dilation = self.whole("stride", axes, 1), self.whole("dilation", axes, 1)
        groups = self.whole("groups", 1, 1)[0]
        kernel = tuple(weight.shape[2:])
        padding: Any = self.node.padding
        if isinstance(padding, bytes):
            padding = padding.decode("ascii", "replace")
        if isinstance(padding, str):
            if padding not in ("same", "valid") or (padding == "same" and max(stride) > 1):
                raise self.error(f"padding {shown(padding)!r} with stride {list(stride)} is not known; give numbers")
            spread = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        else:
            padding = self.whole("padding", axes, 0)
            spread = [2 * each for each in padding]
        if shape[0] != weight.shape[1] * groups or weight.shape[0] % groups:
            raise self.error(
                f"weight {list(weight.shape)} in {groups} groups takes {weight.shape[1] * groups} channels and gives "
                f"{weight.shape[0]}, but the input has {shape[0]}"
            )
        if bias.numel() not in (1, weight.shape[0]):
            raise self.error(f"bias is of shape {list(bias.shape)}, but there are {weight.shape[0]} output channels")
        bias = bias.reshape(-1).expand(weight.shape[0]).contiguous()
        self.check_stated(shape)
        sizes = _windows(shape[1:], kernel, stride, spread, dilation)
        if min(sizes) < 1:
            raise self.error(f"its kernel of {list(kernel)} does not fit an input of shape {list(shape)}")
        out = self.affordable((int(weight.shape[0]), *sizes), int(weight[0].numel()))
        function = F.conv2d if axes == 2 else F.conv1d
        return Stateless(
            lambda x: function(reshaped(x), weight, bias, stride, padding, dilation, groups),
            out,
            math.prod(out) * int(weight[0].numel()),
        )

    def check_stated(self, shape: Shape) -> None:
        """Compare the shape that a convolution states for its input with the one that it gets."""
        stated = self.node.input_shape
        if stated is not None and as_shape(f"{self.name}: input_shape", stated) != shape[1:]:
            raise self.error(f"input_shape is {shown(str(stated))}, but its input is of shape {list(shape)}")

    def pool(self, *, summed: bool) -> Operation:
        shape, reshaped = self.fit(3)
        kernel, stride = self.whole("kernel_size", 2, 1), self.whole("stride", 2, 0)
        stride = tuple(s or k for s, k in zip(stride, kernel, strict=True))
        padding = self.whole("padding", 2, 0)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise self.error(f"padding {list(padding)} is more than half of the kernel {list(kernel)}")
        sizes = _windows(shape[1:], kernel, stride, [2 * each for each in padding], (1, 1))
        if min(sizes) < 1:
            raise self.error(f"its kernel of {list(kernel)} does not fit an input of shape {list(shape)}")
        out = self.affordable((shape[0], *sizes), math.prod(kernel))
        divisor = 1 if summed else None
        return Stateless(
            lambda x: F.avg_pool2d(reshaped(x), kernel, stride, padding, divisor_override=divisor),
            out,
            math.prod(out) * math.prod(kernel),
        )

    def flattened(self) -> Operation:
        start, end = self.axis("start_dim"), self.axis("end_dim")
        shape = self.shape
        stated = self.node.input_type.get("input") if isinstance(self.node.input_type, dict) else None
        if stated is not None:
            expected = as_shape(f"{self.name}: input_type", stated)
            if math.prod(expected) != math.prod(shape):
                raise self.error(f"it takes an input of shape {list(expected)}, but gets {list(shape)}")
            shape = expected
        first, last = (each + len(shape) if each < 0 else each for each in (start, end))
        if not 0 <= first <= last < len(shape):
            raise self.error(f"start_dim {start} and end_dim {end} do not fit an input of shape {list(shape)}")
        out = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
        return Stateless(lambda x: x.reshape(len(x), *out), out)

    def axis(self, field: str) -> int:
        array = self.numbers(field).reshape(-1)
        if array.size != 1 or array[0] != np.rint(array[0]) or abs(array[0]) > 8:
            raise self.error(f"{field} must be one whole number, not {shown(str(array.tolist()))}")
        return int(array[0])

    def delay(self) -> Operation:
        seconds = self.values("delay")
        if (seconds < 0).any():
            raise self.error("delay must not be negative")
        steps = np.rint(seconds / self.settings.dt)
        # compared as a float: the product of the file's numbers may exceed every integer
        if steps.max() > _LARGEST_DELAY or (steps.max() + 1) * steps.size > MAX_VALUES:
            raise self.error(
                f"a delay of {seconds.max():g} s is {steps.max():g} steps of {self.settings.dt:g} s for {steps.size} "
                f"values; at most {MAX_VALUES} values can be kept"
            )
        return Delays(self.shape, torch.from_numpy(steps.reshape(-1).astype(np.int64)))

    def decay(self, field: str, exact: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the decay per step for a time constant, and 1 minus it."""
        dt, tau = self.settings.dt, self.values(field)
        if (tau <= 0).any():
            raise self.error(f"{field} must be above 0, got {tau.min():g} s")
        if self.settings.method == "exponential":
            return np.exp(-dt / tau), -np.expm1(-dt / tau)
        if (tau < dt * (1 - 1e-6)).any():
            raise self.error(
                f"{field} must be at least dt = {dt:g} s, got {tau.min():g} s; give the dt of the program that wrote "
                "the file, or the method exponential"
            )
        share = dt / tau
        beta = (1 - share).clip(0, 1)
        # 1 - dt / tau rounds; the exact decay of the metadata is used if it agrees with tau
        if exact in self.metadata:
            stated = self.values(exact, self.finite(exact))
            if np.abs(stated - beta).max() > 1e-6:
                raise self.error(f"the {exact} in its metadata contradicts its {field}")
            beta = stated.clip(0, 1)
        return beta, share

    @property
    def metadata(self) -> dict[str, Any]:
        return self.node.metadata if isinstance(self.node.metadata, dict) else {}

    def finite(self, key: str) -> NDArray[np.float64]:
        array = np.asarray(self.metadata[key])
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise self.error(f"{key} in its metadata must be finite numbers")
        return array.astype(np.float64)

    def neurons(self, kind: str) -> Operation:
        r, leak = self.values("r"), None
        rest = np.zeros(self.shape)
        beta: NDArray[np.float64] | None
        if kind in ("I", "IF"):
            beta, gain = None, r * self.settings.dt
        else:
            beta, share = self.decay("tau_mem" if kind.startswith("Cuba") else "tau", "beta")
            rest = self.values("v_leak")
            gain, leak = r * share, rest * share
        synapse: dict[str, Any] = {}
        if kind.startswith("Cuba"):
            alpha, share = self.decay("tau_syn", "alpha")
            synapse = {"alpha": _float(alpha), "weight": _unless_one(self.values("w_in") * share)}
        firing = self.firing() if kind in SPIKING else {}
        if kind == "IF" and firing["v_reset"] is not None:
            rest = self.values("v_reset")
        if "rest" in self.metadata:
            rest = self.values("rest", self.finite("rest"))
        return Neurons(
            self.shape,
            _float(rest),
            None if beta is None or (beta == 1).all() else _float(beta),
            _unless_one(gain),
            None if leak is None or not leak.any() else _float(leak),
            **firing,
            **synapse,
        )

    def firing(self) -> dict[str, Any]:
        reset = self.settings.reset
        threshold, v_reset = self.values("v_threshold"), self.values("v_reset")
        if reset == "zero" and v_reset.any():
            raise self.error("v_reset is not 0; give the reset value, which resets to it")
        if reset == "subtract_multiple" and (threshold <= 0).any():
            raise self.error("v_threshold must be above 0 with the reset subtract_multiple")
        keeps = reset == "value" and v_reset.any()
        return {"threshold": _float(threshold), "v_reset": _float(v_reset) if keeps else None, "reset": reset}


def _windows(
    sizes: Shape, kernel: tuple[int, ...], stride: tuple[int, ...], spread: list[int], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    return tuple(
        (n + extra - d * (k - 1) - 1) // s + 1
        for n, k, s, extra, d in zip(sizes, kernel, stride, spread, dilation, strict=True)
    )


def _float(values: NDArray[Any]) -> Tensor:
    # a clone, because torch aligns its own memory, and the last bit of a product depends on the alignment
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).clone()


def _unless_one(gain: NDArray[np.float64]) -> Tensor | None:
    """Return a gain, or None for 1: dt / tau times tau / dt rounds."""
    return None if np.abs(gain - 1).max() <= _GAIN_TOLERANCE else _float(gain)
