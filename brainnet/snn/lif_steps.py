r"""Leaky integrate-and-fire neurons in plain numpy, for models that run outside torch.

The same equations as `brainnet.snn.lif` with reset by subtraction, starting from rest:
:math:`u_t = \beta u_{t-1} + x_t - \theta s_{t-1}`, :math:`s_t = 1` if :math:`u_t > \theta` else 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lif_spikes(currents: NDArray[np.float32], beta: float, threshold: float) -> NDArray[np.float32]:
    """Spikes (0.0 or 1.0) of the shape of ``currents`` [..., neurons, steps]; time is the last axis."""
    decay, theta = np.float32(beta), np.float32(threshold)
    spikes = np.empty(currents.shape, np.float32)
    membrane = np.zeros(currents.shape[:-1], np.float32)
    for step in range(currents.shape[-1]):
        membrane *= decay
        membrane += currents[..., step]
        if step:
            membrane -= theta * spikes[..., step - 1]
        spikes[..., step] = membrane > theta
    return spikes
