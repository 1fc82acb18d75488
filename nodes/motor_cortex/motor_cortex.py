"""Motor cortex: reaches for a point with a two-joint arm, driven by a spiking policy in closed loop over topics.

Every feedback of the arm becomes the policy's features, the policy's firing rates become joint torques, and the torques
go back to the arm: 50 times a second. The cerebellum, when there is one, corrects both ends: it says how far the arm
has moved on since what the feedback shows, and what to add to the policy's command.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet import Candidate, NodeParameters, Partial, Query, Region, RegionError, SpikePacket, main
from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import JointState, command_data
from brainnet.effectors.planar_arm import INNER_RADIUS, JOINTS, OUTER_RADIUS, features, predicted_state, tip_distance
from brainnet.errors import PacketError
from brainnet.snn.models.policy import SpikingPolicy
from brainnet.wire.keys import key
from brainnet.wire.messages import CommandHeader
from motor_cortex_targets import check_reachable, parse_target, point_text

FEEDBACK_TIMEOUT_S = 0.5
CORRECTION_LIFE_S = 0.4
"""Longer than an idle arm takes between two feedbacks, which the cerebellum answers too."""
REST_STEPS = 3
"""Feedbacks in a row that must show the arm on the target and still."""


@dataclass
class Reach:
    """One movement: what it aims at, what it has seen, and whether it is over."""

    target: NDArray[np.float64]
    near_m: float
    slow_rad_s: float
    window: int
    started: float = field(default_factory=time.monotonic)
    seen_at: float = field(default_factory=time.monotonic)
    steps: int = 0
    state: JointState | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    spikes: deque[NDArray[np.uint8]] = field(default_factory=deque)
    corrected: float = 0.0
    _resting: int = 0

    def saw(self, state: JointState) -> None:
        """Take in one feedback; sets `settled` once the arm rests on the target."""
        self.state, self.seen_at = state, time.monotonic()
        on_target = tip_distance(state, self.target) < self.near_m
        still = float(np.abs(state.velocities).max()) < self.slow_rad_s
        self._resting = self._resting + 1 if on_target and still else 0
        if self._resting >= REST_STEPS:
            self.settled.set()

    def did(self, spikes: NDArray[np.uint8], added: NDArray[np.float64]) -> None:
        """Note one step: the policy's spikes, of which the newest `window` steps are kept, and the torque added."""
        self.steps += 1
        self.corrected += float(np.abs(added).mean())
        self.spikes.append(spikes)
        if len(self.spikes) > self.window:
            self.spikes.popleft()


class MotorCortex(Region):
    """Moves the arm: reaches for a point named in the prompt ("Move the arm to (0.10, 0.10)") with a spiking policy."""

    default_checkpoint = "motor_cortex.safetensors"

    class Parameters(NodeParameters):
        effector: str = Field("arm", pattern=r"^[A-Za-z0-9_-]+$", description="effector that this region moves")
        cerebellum: str = Field("cerebellum", pattern=r"^[A-Za-z0-9_-]+$", description="node that gets its spikes")
        use_correction: bool = Field(True, description="add the cerebellum's correction to the command")
        timeout_s: float = Field(3.0, gt=0.0, le=60.0, description="longest movement")
        tolerance_m: float = Field(0.02, gt=0.0, description="final distance up to which a target counts as reached")
        near_m: float = Field(0.008, gt=0.0, description="distance below which a still arm has settled")
        slow_rad_s: float = Field(0.15, gt=0.0, description="joint velocity below which the arm is still")
        hold_s: float = Field(1.0, ge=0.0, description="how long the target is held after the movement")
        report_s: float = Field(0.25, gt=0.0, description="time between interim reports")
        window: int = Field(16, ge=1, le=200, description="policy steps whose spikes go into the answer")

    params: Parameters

    def load(self) -> None:
        assert self.checkpoint is not None
        self.policy = SpikingPolicy.load(self.checkpoint)

    async def setup(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._reach: Reach | None = None
        self._release: asyncio.TimerHandle | None = None
        self._correction: tuple[float, MotorCorrection] = (float("-inf"), MotorCorrection.zero(JOINTS))
        effector = self.params.effector
        self._command_key = key("motor_command", effector=effector)
        self._efference_key = key("motor_efference", effector=effector)
        self._feedback_key = key("motor_feedback", effector=effector)
        self._spikes_key = key("spikes", source=self.id, target=self.params.cerebellum)
        for declared in (self._command_key, self._efference_key, self._spikes_key):
            self.bus.declare(declared)
        await self.add_subscription(self._feedback_key, self.on_feedback)
        await self.add_subscription(key("motor_correction", effector=effector), self.on_correction)

    async def teardown(self) -> None:
        if self._release is not None:
            self._release.cancel()
        self._let_go()

    async def on_correction(self, packet: SpikePacket) -> None:
        try:
            self._correction = (time.monotonic(), MotorCorrection.from_packet(packet, JOINTS))
        except PacketError as error:
            self.count("bad_corrections")
            self.log.warning("correction refused", reason=str(error))

    async def on_feedback(self, packet: SpikePacket) -> None:
        reach = self._reach
        if reach is None:
            return
        try:
            state = JointState.from_packet(packet)
        except PacketError as error:
            self.count("bad_feedback")
            self.log.warning("feedback refused", reason=str(error))
            return
        reach.saw(state)
        correction = self._fresh_correction()
        seen = predicted_state(state, correction)
        action = await self.in_model_thread(self.policy.act, features(seen, reach.target))
        if self._reach is not reach:
            return
        policy = action.values.astype(np.float64)
        added = correction.torque(policy)
        reach.did(action.spikes, added)
        command = np.clip(policy + added, -1.0, 1.0)
        self._send(command, reach.target, state.tick)
        self.publish(self._efference_key, self._command(command, reach.target, state.tick))
        self.publish(self._spikes_key, self.packet(action.spikes, modality="motor", dt_us=2500))

    def _fresh_correction(self) -> MotorCorrection:
        came, correction = self._correction
        fresh = self.params.use_correction and time.monotonic() - came < CORRECTION_LIFE_S
        return correction if fresh else MotorCorrection.zero(JOINTS)

    def _send(self, command: NDArray[np.float64], target: NDArray[np.float64], tick: int) -> None:
        self.publish(self._command_key, self._command(command, target, tick))

    def _command(self, command: NDArray[np.float64], target: NDArray[np.float64], tick: int) -> SpikePacket:
        header = CommandHeader(tick=tick, target=target.tolist())
        return self.packet(command_data(command), modality="motor", dt_us=20000, header=header)

    async def answer(self, query: Query) -> Partial:
        target = parse_target(query.prompt.text)
        if target is None:
            raise RegionError(
                'the prompt names no point to reach; say for example "move the arm to (0.10, 0.10)", in metres or cm, '
                f"between {INNER_RADIUS} m and {OUTER_RADIUS} m from the shoulder at (0, 0)"
            )
        check_reachable(target)
        async with self._one_at_a_time:
            if query.expired:
                raise RegionError("the deadline passed while another movement was under way")
            return await self._move(query, np.array(target))

    async def _move(self, query: Query, target: NDArray[np.float64]) -> Partial:
        parameters = self.params
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if not await self.bus.wait_matching(self._command_key, FEEDBACK_TIMEOUT_S):
            raise RegionError(
                f"no feedback on {self._feedback_key}: nobody listens on {self._command_key}; "
                "is the arm's node running?"
            )
        reach = Reach(target, parameters.near_m, parameters.slow_rad_s, parameters.window)
        self._reach = reach
        self._send(np.zeros(2), target, 0)  # wakes an idle arm
        # the answer has to get back before the deadline
        ends = min(reach.started + parameters.timeout_s, query.deadline - 0.1)
        try:
            await self._follow(query, reach, ends)
            partial = self._result(reach)
        except BaseException:
            self._let_go()
            raise
        self._release = asyncio.get_running_loop().call_later(parameters.hold_s, self._let_go)
        return partial

    async def _follow(self, query: Query, reach: Reach, ends: float) -> None:
        """Wait until the reach has settled or `ends` has come, reporting on the way."""
        while not reach.settled.is_set():
            now = time.monotonic()
            silent = now - reach.seen_at
            if silent >= FEEDBACK_TIMEOUT_S:
                raise RegionError(f"no feedback on {self._feedback_key} for {silent:.1f} s; is the arm's node running?")
            if now >= ends:
                return
            try:
                async with asyncio.timeout(min(self.params.report_s, ends - now, FEEDBACK_TIMEOUT_S - silent)):
                    await reach.settled.wait()
            except TimeoutError:
                if reach.state is not None:
                    query.emit(self._progress(reach, reach.state))

    def _let_go(self) -> None:
        """Stop controlling: the arm gets a last command of no torque and brakes by itself."""
        if self._reach is not None:
            self._send(np.zeros(2), self._reach.target, 0)
        self._reach = None
        self._release = None

    def _progress(self, reach: Reach, state: JointState) -> Partial:
        distance = tip_distance(state, reach.target)
        text = f"Reaching for {point_text(reach.target)}: {distance * 100:.1f} cm to go."
        content = {"target": reach.target.tolist(), "position": state.tip.tolist(), "distance_m": distance}
        confidence = self._confidence(distance)
        return Partial(candidates=[Candidate(text=text, probability=1.0, content=content)], confidence=confidence)

    def _result(self, reach: Reach) -> Partial:
        if reach.state is None:
            raise RegionError(f"no feedback on {self._feedback_key} before the deadline")
        distance = tip_distance(reach.state, reach.target)
        duration = reach.seen_at - reach.started
        verb = "Reached" if distance <= self.params.tolerance_m else "Did not reach"
        text = f"{verb} {point_text(reach.target)}: final distance {distance * 100:.2f} cm after {duration:.2f} s."
        correction = reach.corrected / max(1, reach.steps)
        if correction > 0.0005:
            text += f" The cerebellum corrected the torque by {correction:.1%} on average."
        content = {
            "target": reach.target.tolist(),
            "final_position": reach.state.tip.tolist(),
            "distance_m": distance,
            "duration_s": duration,
            "steps": reach.steps,
            "mean_correction": correction,
        }
        confidence = self._confidence(distance)
        spikes = np.concatenate(reach.spikes, axis=1) if reach.spikes else None
        candidate = Candidate(text=text, probability=1.0, content=content)
        return Partial(candidates=[candidate], confidence=confidence, spikes=spikes)

    def _confidence(self, distance: float) -> float:
        """1 on the target, 1/2 at the tolerance, towards 0 far from it."""
        return 1.0 / (1.0 + (distance / self.params.tolerance_m) ** 2)


if __name__ == "__main__":
    main(MotorCortex)
