"""How strongly an episode is remembered: what decides which episodes are dropped first when there are too many.

The strength is the base-level activation of ACT-R, which follows from how often, and how long ago, something was
needed. Anderson and Schooler 1991, *Reflections of the environment in memory*, show that the odds that something is
needed again are the sum of powers of the times since it was needed before; forgetting by a power of the time is what
Wixted and Ebbesen 1991, *On the form of forgetting*, measure in people:

    B = ln(t_1^-d + ... + t_n^-d),  d = 0.5

Only the first and the last of the times are stored. The others are taken to lie evenly between them (Petrov 2006,
*Computationally efficient approximation of the base-level learning equation in ACT-R*, with k = 1):

    B = ln(t_n^-d + (n - 1) (L^(1-d) - t_n^(1-d)) / ((1 - d) (L - t_n)))

Times are counted in episodes that were stored since then, and not in seconds: the clock may be set back, and a memory
that nothing is told needs no room.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DECAY", "IMPORTANCE_WEIGHT", "activation"]

DECAY = 0.5
"""The exponent d, which ACT-R uses for nearly everything."""
IMPORTANCE_WEIGHT = 2.0
"""What importance adds to the activation, between -1 for 0 and +1 for 1. With the decay of 0.5, one is the difference
between an age and another one that is e^2 = 7.4 times as large."""


def activation(
    age: NDArray[np.float64],
    since_access: NDArray[np.float64],
    accesses: NDArray[np.float64],
    importance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return how strongly episodes are remembered, [N]; only the order means something.

    Args:
        age: Episodes that were stored since each was stored, at least 1, [N].
        since_access: Episodes that were stored since it was last accessed, between 1 and `age`; read where there is
            an access, [N].
        accesses: How often it was accessed since it was stored, [N].
        importance: In [0, 1]; 0.5 changes nothing, [N].
    """
    last = np.where(accesses > 0, since_access, age)
    # With d = 0.5, (L^0.5 - t^0.5) / (0.5 (L - t)) is 2 / (L^0.5 + t^0.5), which has no 0 / 0 where L = t.
    total = last**-DECAY + accesses * 2 / (np.sqrt(age) + np.sqrt(last))
    return np.asarray(np.log(total) + IMPORTANCE_WEIGHT * (importance - 0.5))
