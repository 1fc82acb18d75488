"""A region that counts what comes on a topic of the user's own."""

from __future__ import annotations

from typing import Any

from brainnet import Candidate, Partial, Query, Region, main, subscribe


class Odometer(Region):
    """Counts messages, and knows the last place."""

    last = 0.0

    @subscribe("odometry")
    async def on_odometry(self, message: Any) -> None:
        self.count("seen")
        self.last = message.x_m
        if message.x_m < 0:
            self.count("negative")

    def answer(self, query: Query) -> Partial:
        return Partial(candidates=[Candidate(text=f"{self.last:g}", probability=1.0)], confidence=1.0)


if __name__ == "__main__":
    main(Odometer)
