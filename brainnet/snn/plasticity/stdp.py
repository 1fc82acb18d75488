r"""Spike-timing-dependent plasticity of pairs and of triplets of spikes, all-to-all, with exponential traces.

Each neuron has traces that increase by one at its spikes and decay in between. With r of the presynaptic neuron
($\tau_+$, $\tau_x$) and o of the postsynaptic one ($\tau_-$, $\tau_y$):

$$
\begin{aligned}
\text{post fires:}\quad & \Delta w = +r_1 (A_2^+ + A_3^+ o_2) \\
\text{pre fires:}\quad  & \Delta w = -o_1 (A_2^- + A_3^- r_2)
\end{aligned}
$$

All traces are taken just before the spikes of the step, so that two spikes in the same step do not see each other.
The pair rule has no triplet terms ($A_3 = 0$): two spikes $\Delta t = t_\text{post} - t_\text{pre}$
apart change the weight by $A^+ e^{-\Delta t / \tau_+}$ or $-A^- e^{\Delta t / \tau_-}$.

Sources: Song, Miller and Abbott 2000, *Competitive Hebbian learning through spike-timing-dependent synaptic
plasticity*, Nature Neuroscience 3; Pfister and Gerstner 2006, *Triplets of Spikes in a Model of Spike
Timing-Dependent Plasticity*, Journal of Neuroscience 26(38), equations 3 and 4.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.checks import check_positive, check_sequence, check_step


class PairSTDPParams(NamedTuple):
    """Constants of the pair rule; the defaults are those of Song et al. 2000, in units of the largest weight.

    Attributes:
        potentiation: A+, in units of the weight.
        depression: A-, in units of the weight.
        tau_plus: time constant of the presynaptic trace in ms.
        tau_minus: time constant of the postsynaptic trace in ms.
        dt: one step in ms.
    """

    potentiation: float = 0.005
    depression: float = 0.00525
    tau_plus: float = 20.0
    tau_minus: float = 20.0
    dt: float = 1.0


class PairSTDPState(NamedTuple):
    """Traces after the last step: `pre` r1 [..., pre] and `post` o1 [..., post]."""

    pre: Tensor
    post: Tensor


class TripletSTDPParams(NamedTuple):
    """Amplitudes A2 and A3 (in units of the weight), time constants and the step `dt` in ms.

    The defaults were fitted to pairings in the visual cortex, all-to-all, full model (table 3 of Pfister and Gerstner
    2006).
    """

    pair_potentiation: float = 5e-10
    pair_depression: float = 7e-3
    triplet_potentiation: float = 6.2e-3
    triplet_depression: float = 2.3e-4
    tau_plus: float = 16.8
    tau_minus: float = 33.7
    tau_x: float = 101.0
    tau_y: float = 125.0
    dt: float = 1.0


class TripletSTDPState(NamedTuple):
    """Traces after the last step: r1 and r2 [..., pre], o1 and o2 [..., post]."""

    pre: Tensor
    pre_slow: Tensor
    post: Tensor
    post_slow: Tensor


def pair_stdp(
    pre: Tensor, post: Tensor, state: PairSTDPState | None, params: PairSTDPParams | None = None
) -> tuple[Tensor, PairSTDPState]:
    """Return the change of the weights [..., post, pre], and the traces after the last step.

    T may be 1, to learn step by step. The changes of two halves with the state carried over add up to that of the
    whole. The change does not depend on the weights: the caller adds it and bounds them.

    Args:
        pre: presynaptic spikes [T, ..., pre].
        post: postsynaptic spikes [T, ..., post].
        state: the traces before the first step; None without past spikes.
        params: the constants.

    Raises:
        ModelError: arguments that do not fit, times that are not positive, or amplitudes that are not finite.
    """
    params = params or PairSTDPParams()
    _check_spikes(pre, post, params)
    tau_plus, tau_minus = (_decay(params, name) for name in ("tau_plus", "tau_minus"))
    r1, pre_after = _traces("pre", pre, None if state is None else state.pre, tau_plus)
    o1, post_after = _traces("post", post, None if state is None else state.post, tau_minus)
    change = _outer(params.potentiation * post, r1) - _outer(o1, params.depression * pre)
    return change, PairSTDPState(pre_after, post_after)


def triplet_stdp(
    pre: Tensor, post: Tensor, state: TripletSTDPState | None, params: TripletSTDPParams | None = None
) -> tuple[Tensor, TripletSTDPState]:
    """Return the change of the weights as `pair_stdp`, with the triplet terms.

    Raises:
        ModelError: as `pair_stdp`.
    """
    params = params or TripletSTDPParams()
    _check_spikes(pre, post, params)
    plus, minus, x, y = (_decay(params, name) for name in ("tau_plus", "tau_minus", "tau_x", "tau_y"))
    r1, pre_after = _traces("pre", pre, None if state is None else state.pre, plus)
    r2, pre_slow_after = _traces("pre_slow", pre, None if state is None else state.pre_slow, x)
    o1, post_after = _traces("post", post, None if state is None else state.post, minus)
    o2, post_slow_after = _traces("post_slow", post, None if state is None else state.post_slow, y)
    change = _outer((params.pair_potentiation + params.triplet_potentiation * o2) * post, r1) - _outer(
        o1, (params.pair_depression + params.triplet_depression * r2) * pre
    )
    return change, TripletSTDPState(pre_after, pre_slow_after, post_after, post_slow_after)


def _traces(name: str, spikes: Tensor, start: Tensor | None, decay: float) -> tuple[Tensor, Tensor]:
    """Return the trace [T, ...] just before the spikes of each step, and the trace after those of the last."""
    trace = torch.zeros_like(spikes[0]) if start is None else check_step(f"state.{name}", start, "spikes", spikes)
    before = []
    for fired in spikes.unbind(0):
        decayed = decay * trace
        before.append(decayed)
        trace = decayed + fired
    return torch.stack(before), trace


def _outer(post: Tensor, pre: Tensor) -> Tensor:
    """Return the outer product summed over time: [T, ..., post] and [T, ..., pre] to [..., post, pre]."""
    return torch.einsum("t...i,t...j->...ij", post, pre)


def _decay(params: PairSTDPParams | TripletSTDPParams, name: str) -> float:
    return math.exp(-check_positive("dt", params.dt) / check_positive(name, getattr(params, name)))


def _check_spikes(pre: Tensor, post: Tensor, params: PairSTDPParams | TripletSTDPParams) -> None:
    for name, value in params._asdict().items():
        if not math.isfinite(value):
            raise ModelError(f"{name} must be finite, not {value}")
    check_sequence("pre", pre)
    check_sequence("post", post)
    if pre.ndim < 2 or post.ndim < 2 or pre.shape[:-1] != post.shape[:-1]:
        raise ModelError(
            f"pre {tuple(pre.shape)} and post {tuple(post.shape)} must be [steps, ..., neurons] and agree but for "
            "the number of neurons"
        )
    if pre.dtype != post.dtype or pre.device != post.device:
        raise ModelError(f"pre is {pre.dtype} on {pre.device}, post {post.dtype} on {post.device}; they must agree")
