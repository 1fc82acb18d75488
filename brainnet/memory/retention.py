"""How well an episode is remembered: what decides which episodes are dropped first when there are too many.

Retention falls exponentially with the time since the episode was last needed, after Ebbinghaus 1885, *Ueber das
Gedaechtnis*, and each time that it answers makes it more lasting, as repetition does:

    R = exp(-t / S),  S = s sqrt(1 + n) 4^(2 importance - 1)

with the time t since it was last accessed, or else stored, the number n of its accesses, and any unit s. Only the order
of R is used, so s needs no value.

Times are counted in episodes that were stored since then, and not in seconds: the clock may be set back, and a memory
that nothing is told needs no room.

Why not the base-level activation of ACT-R (Anderson and Schooler 1991, *Reflections of the environment in memory*): it
adds up all past needs, and so keeps for long what was needed often and is not any more. In simulated logs in which the
need for an episode ends, it kept less of what was needed again than dropping the oldest first; this rule kept most of
all that were tried, and nearly as much as the best one where needs do not end. The square root was chosen on such logs.
`brainnet eval` of the memory's region measures it on others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["IMPORTANCE_FACTOR", "log_retention"]

IMPORTANCE_FACTOR = 4.0
"""How many times longer than others the most important episodes are remembered; the least important as much shorter."""


def log_retention(
    since_access: NDArray[np.float64], accesses: NDArray[np.float64], importance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the logarithm of the retention R of episodes, [N], with s = 1; only its order means something.

    Args:
        since_access: Episodes that were stored since it was last accessed, or else since it was stored itself, [N].
        accesses: How often it was accessed, [N].
        importance: In [0, 1]; 0.5 changes nothing, [N].
    """
    strength = np.sqrt(1 + accesses) * IMPORTANCE_FACTOR ** (2 * importance - 1)
    return np.asarray(-since_access / strength)
