"""A body that says where it is, on a topic of the user's own."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from brainnet import Node, NodeParameters, main, serve


class Robot(Node):
    """Drives along a line, and says where it is."""

    role: ClassVar[str] = "body"

    class Parameters(NodeParameters):
        period_s: float = Field(0.02, gt=0.0, description="between two messages")

    params: Parameters

    async def run(self) -> None:
        x = 0.0
        while True:
            covariance = np.eye(3, dtype=np.float32).ravel()
            self.publish(self.bus.key("odometry"), {"x_m": x, "heading_rad": 0, "covariance": covariance})
            x += 0.5
            await asyncio.sleep(self.params.period_s)

    @serve("pose")
    async def pose(self, request: Any) -> dict[str, Any]:
        return {"text": f"pose in {request.frame}"}


if __name__ == "__main__":
    main(Robot)
