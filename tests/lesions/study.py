"""What each projection of the default brain is good for: its functions, measured with and without lesions.

`python scripts/lesions.py` makes the page of docs/ from it.
"""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from brainnet.node import Node, load_program
from brainnet.paths import region_file
from brainnet.testing import PATIENCE_S, MemoryBrain
from brainnet.wire.keys import key
from brainnet.wire.messages import Answer, Lesion, LesionQuery, ParamsQuery, Prompt, SensorSample

REGIONS = ("vision", "hippocampus", "motor_cortex", "cerebellum", "language")
FACTS = {
    "Remember that the spanner is in the red toolbox.": ("Where is the spanner?", "red toolbox"),
    "Remember that my bicycle is behind the shed.": ("Where is my bicycle?", "behind the shed"),
    "Remember that Marta drinks green tea.": ("What does Marta drink?", "green tea"),
    "Remember that the meeting is on Tuesday at noon.": ("When is the meeting?", "Tuesday"),
}
OPENINGS = ("Continue the text: The old ship came into the", "Continue the text: It was a cold morning when")
TARGETS = ((0.1, 0.1), (-0.1, 0.1), (0.12, -0.05))
FOLLOW_UPS = ("please carry out the same", "again, please", "play it once more", "do that again", "the same again")
FORCE = (250.0, -250.0)
"""A force on the fingertip that the policy of the motor cortex was not trained with."""
DELAY_STEPS = 2
"""Delay of the arm's feedback, of 20 ms each."""
QUICK_STEPS = 90
"""Commands within which a movement ends that is well controlled; it is given up after 150."""
NEAR_M = 0.02
BID_MS = 1000.0
"""How long the router waits for a bid: what regions say counts here, not how fast they are."""
DEADLINE_MS = 1000 * int(PATIENCE_S)


@dataclass(frozen=True)
class Projection:
    """Spikes from one node of the default brain to another.

    Attributes:
        source: Who fires.
        target: Who receives it.
        carries: What the spikes say.
        function: What is measured, in per cent.
        measure: Measures it.
    """

    source: str
    target: str
    carries: str
    function: str
    measure: Callable[[DefaultBrain], Awaitable[float]]


class DefaultBrain(MemoryBrain):
    """All nodes of the default brain in one process; a camera shows a picture, and memory holds some facts."""

    async def launch(self) -> None:
        """Start all nodes, store the facts, and learn the arm under its force."""
        parameters: dict[str, dict[str, Any]] = {
            "vision": {"watch": "camera", "watch_s": 1e6},
            "language": {"seed": 1, "max_tokens": 12},
            "motor_cortex": {"hold_s": 0.1},
            "prefrontal": {"bid_ms": BID_MS},
        }
        self.nodes: dict[str, Node] = {}
        for name in ("arm_body", *REGIONS, "memory_integrator", "prefrontal"):
            program = load_program(str(region_file(name)))
            self.nodes[name] = await self.start(program, name, parameters=parameters.get(name))
        self.client = self.bus()
        await self._show_a_picture()
        for fact in FACTS:
            assert (await self.ask(fact, "hippocampus")).error is None
        self.texts = [(await self.ask(opening, "language")).text for opening in OPENINGS]
        await self.reaches(TARGETS)

    async def ask(self, text: str, region: str | None = None, session: str = "", image: bytes | None = None) -> Answer:
        """Publish a prompt, and return its answer."""
        regions = None if region is None else [region]
        prompt = Prompt(text=text, regions=regions, session_id=session, image=image, deadline_ms=DEADLINE_MS)
        answer: Answer = await self.client.call(key("prompt"), prompt, timeout=2 * PATIENCE_S)
        return answer

    async def reaches(self, targets: Sequence[tuple[float, float]], steps: int = 1000) -> float:
        """Return the share of targets on which the arm rests after at most so many commands, in per cent."""
        near = []
        for x, y in targets:
            answer = await self.ask(f"Move the arm to ({x}, {y})", "motor_cortex")
            if answer.error is not None:
                near.append(False)
                continue
            moved = answer.content["regions"]["motor_cortex"]
            near.append(moved["target"] == [x, y] and moved["distance_m"] < NEAR_M and moved["steps"] <= steps)
        return share(near)

    async def set_bids(self, wait_ms: float) -> None:
        """Let the router wait so long for bids; 0 for none."""
        await self.client.call("node/prefrontal/params", ParamsQuery(name="bid_ms", set=True, value=wait_ms))

    async def set_arm(self, **dynamics: Any) -> None:
        """Change the dynamics of the arm."""
        for name, value in dynamics.items():
            await self.client.call("node/arm_body/params", ParamsQuery(name=name, set=True, value=value))

    async def lesion(self, projection: Projection, kind: str, portion: float = 1.0) -> None:
        """Make a lesion of a projection, or heal it."""
        made = Lesion.model_validate({"source": projection.source, "kind": kind, "share": portion})
        await self.client.call(key("node_lesion", node_id=projection.target), LesionQuery(lesion=made))

    async def _show_a_picture(self) -> None:
        percepts = self.client.subscribe(key("percept"))
        shade = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(np.stack([shade, shade.T, 255 - shade], axis=-1)).save(file, "PNG")
        self.picture = file.getvalue()
        sample = SensorSample(source="camera", format="png", data=self.picture)
        self.bus("sensor", "camera").publish(key("input", modality="vision", source="camera"), sample)
        async with asyncio.timeout(PATIENCE_S):
            await percepts.get()


def share(right: Sequence[bool]) -> float:
    """Return how many of these are true, in per cent."""
    return 100.0 * sum(right) / len(right)


async def recall(brain: DefaultBrain) -> float:
    """Ask for the facts."""
    answers = [(await brain.ask(question, "hippocampus"), fact) for question, fact in FACTS.values()]
    return share([answer.error is None and fact in answer.text for answer, fact in answers])


async def continuation(brain: DefaultBrain) -> float:
    """Continue texts, which gives the same words for the same text."""
    answers = [await brain.ask(opening, "language") for opening in OPENINGS]
    return share([answer.text == text for answer, text in zip(answers, brain.texts, strict=True)])


async def percept(brain: DefaultBrain) -> float:
    """Ask what the camera shows."""
    return share(["seen on camera" in (await brain.ask("What do you see?", "vision")).text for _ in range(2)])


async def movement(brain: DefaultBrain) -> float:
    """Reach for points."""
    return await brain.reaches(TARGETS[:2])


async def report(brain: DefaultBrain) -> float:
    """Ask how well the arm is predicted; a prompt about something else gets a report of little confidence."""
    return share([(await brain.ask("How well do you predict the arm?", "cerebellum")).confidence > 0.3])


async def movement_under_force(brain: DefaultBrain) -> float:
    """Reach for points while a force acts on the arm, which only the cerebellum learns."""
    await brain.set_arm(force=FORCE)
    try:
        await brain.reaches(TARGETS[:1])
        return await brain.reaches(TARGETS)
    finally:
        await brain.set_arm(force=(0.0, 0.0))


async def movement_with_late_feedback(brain: DefaultBrain) -> float:
    """Reach for points while the feedback is late, which the cerebellum makes up for from the commands under way."""
    await brain.set_arm(sensor_delay=DELAY_STEPS)
    try:
        await brain.reaches(TARGETS[:1])
        return await brain.reaches(TARGETS, QUICK_STEPS)
    finally:
        await brain.set_arm(sensor_delay=0)


def follow_up(region: str) -> Callable[[DefaultBrain], Awaitable[float]]:
    """Return what measures whether "once more" goes to a region that the client has named and that has answered."""
    firsts = {
        "vision": "What do you see?",
        "hippocampus": "Where is the spanner?",
        "motor_cortex": "Move the arm to (0.1, 0.1)",
        "cerebellum": "How well do you predict the arm?",
        "language": OPENINGS[0],
    }

    async def measure(brain: DefaultBrain) -> float:
        # Without bids, which go the same way and speak for a region too.
        await brain.set_bids(0.0)
        try:
            return await sent_to(brain)
        finally:
            await brain.set_bids(BID_MS)

    async def sent_to(brain: DefaultBrain) -> float:
        right: list[bool] = []
        for text in FOLLOW_UPS:
            session = f"session {next(_NUMBERS)}"
            assert (await brain.ask(firsts[region], region, session)).error is None
            image = brain.picture if region == "vision" else None  # "once more" of a picture comes with the next one
            decision = (await brain.ask(text, session=session, image=image)).decision
            assert decision is not None
            right.append(max(decision.route_probs, key=lambda name: decision.route_probs[name]) == region)
        return share(right)

    return measure


_NUMBERS = itertools.count()

PROJECTIONS = (
    Projection("prefrontal", "hippocampus", "text of a prompt", "facts recalled", recall),
    Projection("prefrontal", "language", "text of a prompt", "texts continued as before", continuation),
    Projection("prefrontal", "vision", "text of a prompt", "percepts told when asked", percept),
    Projection("prefrontal", "motor_cortex", "text of a prompt", "points reached", movement),
    Projection("prefrontal", "cerebellum", "text of a prompt", "reports given", report),
    Projection(
        "motor_cortex",
        "cerebellum",
        "copy of each command",
        "points reached in time with late feedback",
        movement_with_late_feedback,
    ),
    Projection(
        "cerebellum",
        "motor_cortex",
        "correction of the next command",
        "points reached under a force",
        movement_under_force,
    ),
    *(
        Projection(
            region, "prefrontal", "that it answered, how sure", '"once more" sent to who answered', follow_up(region)
        )
        for region in REGIONS
    ),
)
