"""Measures a policy: episodes of Reacher-v5 in Gymnasium and over topics, and the final distance of reaches."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from brainnet import Prompt, SpikePacket
from brainnet.bus import Mailbox, Received
from brainnet.effectors import reaching
from brainnet.effectors.joint_state import JointState
from brainnet.effectors.planar_arm import JOINTS, tip_distance
from brainnet.effectors.reaching import Controller, FloatArray
from brainnet.effectors.simulation import Plant
from brainnet.wire.keys import key
from motor_cortex_arms import EPISODE, reward


class Episodes:
    """Results of episodes.

    Attributes:
        returns: Sum of the rewards of each episode.
        distances: Final distance of each episode, metres.
    """

    def __init__(self) -> None:
        self.returns: list[float] = []
        self.distances: list[float] = []

    @property
    def mean_return(self) -> float:
        """Mean of the returns."""
        return float(np.mean(self.returns))

    @property
    def median_cm(self) -> float:
        """Median of the final distances, centimetres."""
        return float(np.median(self.distances)) * 100.0


def reacher_episodes(controller: Controller, seed: int, count: int) -> Episodes:
    """Run episodes of Gymnasium's unmodified Reacher-v5; episode n is reset with seed + n."""
    import gymnasium

    env: Any = gymnasium.make("Reacher-v5")
    data, done = env.unwrapped.data, Episodes()
    for number in range(count):
        env.reset(seed=seed + number)
        target = data.body("target").xpos[:JOINTS].copy()
        total, over = 0.0, False
        while not over:
            _, gained, terminated, truncated, _ = env.step(controller(state_of(data), target))
            total, over = total + float(gained), terminated or truncated
        done.returns.append(total)
        done.distances.append(tip_distance(state_of(data), target))
    env.close()
    return done


def state_of(data: Any) -> JointState:
    """Read the state of a Reacher-v5 environment in the form in which the arm's node reports it."""
    angles = data.qpos[:JOINTS].copy()
    angles[0] = (angles[0] + np.pi) % (2.0 * np.pi) - np.pi
    return JointState(angles, data.qvel[:JOINTS].copy(), data.body("fingertip").xpos[:JOINTS].copy(), np.zeros(JOINTS))


def episodes_over_topics(
    weights: Path, seed: int, count: int, show: Callable[[range], Iterator[int]], speed: float = 1.0
) -> Episodes:
    """Run the same episodes with the nodes: prompts give the targets, feedback gives the states.

    Arm, motor cortex and cerebellum exchange their packets in real time, in one process. An episode is the first 50
    steps after a prompt started a movement, with the commands that the arm applied; a target that the region refuses
    counts as 50 steps without movement.

    Args:
        weights: Weights of the policy.
        seed: Seed of the first episode.
        count: Number of episodes.
        show: Wraps the episode numbers in a progress display.
        speed: Time of the arm per time on the wall: below 1, a busy machine has more time for each step.
    """
    # The nodes log to stdout, which is for the evaluation's rows.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        return asyncio.run(_over_topics(Path(folder), weights, seed, count, show, speed))


async def _over_topics(
    folder: Path, weights: Path, seed: int, count: int, show: Callable[[range], Iterator[int]], speed: float
) -> Episodes:
    import gymnasium

    from brainnet.node import load_program
    from brainnet.paths import region_file
    from brainnet.testing import MemoryBrain

    env: Any = gymnasium.make("Reacher-v5")
    done = Episodes()
    async with MemoryBrain(folder) as brain:

        async def started(name: str, checkpoint: Path | None = None, **parameters: float) -> Any:
            program = load_program(str(region_file(name)))
            return await brain.start(program, name, checkpoint=checkpoint, parameters=parameters)

        # An episode takes one second, so the target need not be held for longer.
        body = await started("arm_body", idle_after_s=0.3, speed=speed)
        await started("cerebellum")
        await started("motor_cortex", weights, hold_s=0.6 / speed, timeout_s=3.0 / speed)
        feedback = brain.bus("region", "watcher").subscribe(key("motor_feedback", effector="arm"))
        for number in show(range(count)):
            env.reset(seed=seed + number)
            data = env.unwrapped.data
            target = data.body("target").xpos[:JOINTS].copy()
            body.plant.set_state(data.qpos[:JOINTS], data.qvel[:JOINTS])
            moving = asyncio.create_task(_movement(feedback, body.plant.tick))
            prompt = Prompt(text=f"Move the arm to ({float(target[0])!r}, {float(target[1])!r})")
            partial = await brain.query("motor_cortex", prompt)
            states = await moving if partial.error is None else []
            moving.cancel()
            # A movement that ended early, or was refused: the arm stands still for the rest of the episode.
            rest = [body.plant.state()] * (EPISODE - len(states))
            done.returns.append(sum(float(reward(state, target, state.applied)) for state in [*states, *rest]))
            done.distances.append(tip_distance([*states, *rest][-1], target))
    env.close()
    return done


async def _movement(feedback: Mailbox[Received], begin: int) -> list[JointState]:
    """Read the first steps of a movement that begins after tick `begin`; fewer if the arm is idle before."""
    states: list[JointState] = []
    while len(states) < EPISODE:
        packet = (await feedback.get()).message
        assert isinstance(packet, SpikePacket)
        if packet.metadata["idle"] and states:
            break
        if not packet.metadata["idle"] and packet.metadata["tick"] > begin:
            states.append(JointState.from_packet(packet))
    return states


def final_distances(controller: Controller, seed: int, count: int) -> FloatArray:
    """Measure the distances in metres from random targets after 2 s, starting from random postures."""
    arm, rng = Plant(), np.random.default_rng(seed)
    final = []
    for target in reaching.random_targets(rng, count):
        reaching.random_posture(rng, arm)
        final.append(reaching.reach(arm, controller, target).distances[-1])
    return np.array(final)
