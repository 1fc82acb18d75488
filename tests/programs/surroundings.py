"""A region that logs what its process was given."""

from __future__ import annotations

import os
import random

import numpy as np

from brainnet import Partial, Query, Region


class Surroundings(Region):
    """Logs its environment."""

    def load(self) -> None:
        self.log.info(
            "surroundings",
            variable=os.environ.get("COLOUR"),
            threads=os.environ.get("OMP_NUM_THREADS"),
            draw=[random.random(), float(np.random.rand())],
            cpus=sorted(os.sched_getaffinity(0)),
            checkpoint=str(self.checkpoint),
            leader=os.getsid(0) == os.getpid(),
        )

    def answer(self, query: Query) -> Partial:
        return Partial()
