"""Motor cortex: reaches for a point with a two-joint arm, driven by a spiking policy in closed loop over topics.

Each feedback of the arm is turned into the policy's features, the policy's firing rates into joint torques, and these
are sent to the arm: 50 times per second. The cerebellum, if there is one, gets a copy of each command as spikes, and
corrects input and output of the policy: it sends, as spikes too, how far the arm has moved since the state that the
feedback shows, and what to add to the policy's command.

What decides beside the model: regular expressions (`motor_cortex_targets`) read the target point from the prompt; the
policy only gets coordinates. A point outside the arm's reach is refused by its distance from the shoulder. A prompt
that only asks to stop is a message on `motor/stop`, which all effectors follow.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet import Bid, Candidate, NodeParameters, Partial, Prompt, Query, Region, RegionError, SpikePacket, main
from brainnet.bus import Bus
from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import MOTOR_STEPS, JointState, command_code, command_data
from brainnet.effectors.planar_arm import INNER_RADIUS, JOINTS, OUTER_RADIUS, features, predicted_state, tip_distance
from brainnet.effectors.stopping import stop_effectors
from brainnet.errors import CallTimeout, PacketError
from brainnet.node import NodeSpec
from brainnet.snn.models.policy import SpikingPolicy
from brainnet.wire.keys import key
from brainnet.wire.messages import CommandHeader, MotorStop
from motor_cortex_targets import asks_to_stop, check_reachable, parse_target, point_text

FEEDBACK_TIMEOUT_S = 0.5
"""Silence of the arm after which a movement is given up, seconds."""
CORRECTION_LIFE_S = 0.4
"""Age at which a correction is no longer used, seconds.

Longer than the time between two feedbacks of an idle arm (0.2 s), which the cerebellum answers too."""
TICK_US = 20_000
"""Time between two feedbacks of the arm while it moves, microseconds."""
STEP_US = TICK_US // MOTOR_STEPS
"""Duration of one step of the spikes of a command, microseconds."""
REST_STEPS = 3
"""Consecutive feedbacks that must show the arm on the target and at rest."""
STOP_HOLD_S = 1.0
"""How long effectors stay stopped by a prompt; the movements that were under way have ended then, seconds."""
STOP_REPLY_S = 0.5
"""How long the effectors have to say that they are stopped, seconds."""
REPLY_MARGIN_S = 0.1
"""Time before the deadline at which a movement ends, so that the answer arrives in time, seconds."""


@dataclass
class Reach:
    """One movement.

    Attributes:
        target: The point to reach, metres [2].
        near_m: Distance below which the arm is on the target, metres.
        slow_rad_s: Joint velocity below which the arm is at rest, rad/s.
        window: Number of policy steps whose spikes are stored.
        started: When the movement began, on the clock of `time.monotonic`.
        feedback_at: When the newest feedback came, on the same clock.
        steps: Number of commands sent.
        state: The newest feedback.
        settled: Set once the arm rests on the target, or was stopped.
        stopped: Whether the arm was stopped by others.
        spikes: The policy's spikes in the newest steps.
        total_correction: Sum over the steps of the mean torque that the cerebellum added.
    """

    target: NDArray[np.float64]
    near_m: float
    slow_rad_s: float
    window: int
    started: float = field(default_factory=time.monotonic)
    feedback_at: float = field(default_factory=time.monotonic)
    steps: int = 0
    state: JointState | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    spikes: deque[NDArray[np.uint8]] = field(default_factory=deque)
    total_correction: float = 0.0
    stopped: bool = False
    _resting: int = 0

    def add_feedback(self, state: JointState) -> None:
        """Record one feedback, and set `settled` once the arm rests on the target, or was stopped."""
        self.state, self.feedback_at = state, time.monotonic()
        if state.stopped:
            self.stopped = True
            self.settled.set()
        on_target = tip_distance(state, self.target) < self.near_m
        still = float(np.abs(state.velocities).max()) < self.slow_rad_s
        self._resting = self._resting + 1 if on_target and still else 0
        if self._resting >= REST_STEPS:
            self.settled.set()

    def add_step(self, spikes: NDArray[np.uint8], added: NDArray[np.float64]) -> None:
        """Record one command: the policy's spikes, and the torque that the cerebellum added."""
        self.steps += 1
        self.total_correction += float(np.abs(added).mean())
        self.spikes.append(spikes)
        if len(self.spikes) > self.window:
            self.spikes.popleft()


class _BodyAwayError(RegionError):
    """The body sends no feedback any more."""


class MotorCortex(Region):
    """Moves the arm: reaches for a point named in the prompt ("Move the arm to (0.10, 0.10)") with a spiking policy."""

    default_checkpoint = "motor_cortex.safetensors"
    examples = ("Move the arm to (0.10, 0.10)", "Reach for x = 0.05, y = 0.15", "Stop")

    class Parameters(NodeParameters):
        """What is moved, and when a movement is over."""

        effector: str = Field("arm", pattern=r"^[A-Za-z0-9_-]+$", description="effector that this region moves")
        cerebellum: str = Field(
            "cerebellum", pattern=r"^[A-Za-z0-9_-]+$", description="node that gets its commands, and corrects them"
        )
        use_correction: bool = Field(True, description="add the cerebellum's correction to the command")
        timeout_s: float = Field(3.0, gt=0.0, le=60.0, description="longest movement")
        tolerance_m: float = Field(0.02, gt=0.0, description="final distance up to which a target counts as reached")
        near_m: float = Field(0.008, gt=0.0, description="distance below which a still arm has settled")
        slow_rad_s: float = Field(0.15, gt=0.0, description="joint velocity below which the arm is still")
        hold_s: float = Field(1.0, ge=0.0, description="how long the target is held after the movement")
        body_return_s: float = Field(
            4.0, ge=0.0, description="how long a body that was there and went away is waited for: it is started again"
        )
        report_s: float = Field(0.25, gt=0.0, description="time between interim reports")
        window: int = Field(16, ge=1, le=200, description="policy steps whose spikes go into the answer")

    params: Parameters
    policy: SpikingPolicy

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._movement_lock = asyncio.Lock()
        self._reach: Reach | None = None
        self._body_seen = False
        self._release_timer: asyncio.TimerHandle | None = None
        self._correction = MotorCorrection.zero(JOINTS)
        self._corrected_at = float("-inf")
        effector = self.params.effector
        self._command_key = key("motor_command", effector=effector)
        self._feedback_key = key("motor_feedback", effector=effector)
        self._copy_key = key("spikes", source=self.id, target=self.params.cerebellum)

    def load(self) -> None:
        assert self.checkpoint is not None
        self.policy = SpikingPolicy.load(self.checkpoint)
        # The first movement finds all code loaded; neither the policy nor the parser keeps anything.
        at_rest = JointState(np.zeros(JOINTS), np.zeros(JOINTS), np.zeros(2), np.zeros(JOINTS), 0)
        point = parse_target("(0.1, 0.1)") or (0.0, 0.0)
        zero = MotorCorrection.zero(JOINTS)
        self.policy.act(features(predicted_state(at_rest, zero), np.array(point)))

    async def setup(self) -> None:
        for declared in (self._command_key, self._copy_key):
            self.bus.declare(declared)
        await self.add_subscription(self._feedback_key, self.on_feedback)
        corrections = key("spikes", source=self.params.cerebellum, target=self.id)
        await self.add_subscription(corrections, self.on_correction)

    async def teardown(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
        self._release()

    async def on_correction(self, packet: SpikePacket) -> None:
        """Store the newest correction of the cerebellum."""
        try:
            self._correction = MotorCorrection.from_packet(packet, JOINTS)
            self._corrected_at = time.monotonic()
        except PacketError as error:
            self.count("bad_corrections")
            self.log.warning("correction refused", reason=str(error))

    async def on_feedback(self, packet: SpikePacket) -> None:
        """Answer a feedback of the arm with the next command, while a movement is under way."""
        reach = self._reach
        if reach is None:
            return
        try:
            state = JointState.from_packet(packet)
        except PacketError as error:
            self.count("bad_feedback")
            self.log.warning("feedback refused", reason=str(error))
            return
        reach.add_feedback(state)
        if reach.stopped:
            return
        correction = self._fresh_correction()
        predicted = predicted_state(state, correction)
        action = await self.in_model_thread(self.policy.act, features(predicted, reach.target))
        # The movement may have ended, or another begun, while the policy ran.
        if self._reach is not reach:
            return
        torque = action.values.astype(np.float64)
        added = correction.torque(torque)
        reach.add_step(action.spikes, added)
        # The command is what its spikes say, so that the copy is exact.
        code = command_code(JOINTS)
        command = code.rounded(torque + added)
        self._send(command, reach.target, state.tick)
        copy = self.packet(code.encode(command), modality="motor", dt_us=STEP_US)
        copy.first_step = state.tick * MOTOR_STEPS
        self.publish(self._copy_key, copy)

    def _fresh_correction(self) -> MotorCorrection:
        fresh = self.params.use_correction and time.monotonic() - self._corrected_at < CORRECTION_LIFE_S
        return self._correction if fresh else MotorCorrection.zero(JOINTS)

    def _send(self, command: NDArray[np.float64], target: NDArray[np.float64], tick: int) -> None:
        header = CommandHeader(tick=tick, target=target.tolist())
        self.publish(
            self._command_key, self.packet(command_data(command), modality="motor", dt_us=TICK_US, header=header)
        )

    async def bid(self, prompt: Prompt) -> Bid:
        """Bid on a point to reach, and on a request to stop."""
        if asks_to_stop(prompt.text):
            return Bid(0.97, "asked to stop")
        try:
            target = parse_target(prompt.text)
        except RegionError as error:
            return Bid(0.5, str(error))
        if target is None:
            return Bid(0.0, "no point to reach")
        try:
            check_reachable(target)
        except RegionError:  # often numbers that are no point at all
            return Bid(0.3, "a point that the arm does not reach")
        return Bid(0.8, f"a point to reach: ({target[0]:.2f}, {target[1]:.2f})")

    async def answer(self, query: Query) -> Partial:
        if asks_to_stop(query.prompt.text):
            return await self._stop_all()
        target = parse_target(query.prompt.text)
        if target is None:
            raise RegionError(
                'the prompt names no point to reach; say for example "move the arm to (0.10, 0.10)", in metres or cm, '
                f"between {INNER_RADIUS} m and {OUTER_RADIUS} m from the shoulder at (0, 0)"
            )
        check_reachable(target)
        async with self._movement_lock:
            if query.expired:
                raise RegionError("the deadline passed while another movement was under way")
            return await self._move(query, np.array(target))

    async def _stop_all(self) -> Partial:
        """Stop all effectors, and say which of them say that they are stopped."""
        moving = self._reach is not None
        stop = MotorStop(hold_s=STOP_HOLD_S, reason="a prompt asked to stop")
        try:
            states = await stop_effectors(self.bus, stop, reply_s=STOP_REPLY_S)
        except CallTimeout as error:
            raise RegionError(str(error)) from None
        stopped = sorted(state.effector for state in states if state.stopped)
        silent = sorted(state.effector for state in states if not state.stopped)
        if not stopped:
            raise RegionError("no effector says that it stopped; `brainnet stop-motors` asks again")
        text = f"Stopped: {', '.join(stopped)}."
        if silent:
            text += f" Not stopped: {', '.join(silent)}."
        content = {"stopped": stopped, "not_stopped": silent, "was_moving": moving}
        return Partial(candidates=[Candidate(text=text, probability=1.0, content=content)], confidence=1.0)

    async def _move(self, query: Query, target: NDArray[np.float64]) -> Partial:
        """Reach for a target; a movement during which the body is started again begins again."""
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        started = time.monotonic()
        # Half of the time is for the movement.
        give_up = started + min(self.params.body_return_s, max(0.0, (query.deadline - started) / 2))
        while True:
            patience = max(FEEDBACK_TIMEOUT_S, give_up - time.monotonic() if self._body_seen else 0.0)
            if not await self.bus.wait_matching(self._command_key, patience):
                raise RegionError(
                    f"no feedback on {self._feedback_key}: nobody listens on {self._command_key}; "
                    "is the arm's node running?"
                )
            self._body_seen = True
            try:
                return await self._reach_for(query, target)
            except _BodyAwayError:
                if time.monotonic() >= give_up:
                    raise

    async def _reach_for(self, query: Query, target: NDArray[np.float64]) -> Partial:
        parameters = self.params
        reach = Reach(target, parameters.near_m, parameters.slow_rad_s, parameters.window)
        self._reach = reach
        self._send(np.zeros(2), target, 0)  # wakes an idle arm
        end = min(reach.started + parameters.timeout_s, query.deadline - REPLY_MARGIN_S)
        try:
            await self._wait_for_end(query, reach, end)
            partial = self._result(reach)
        except BaseException:
            self._release()
            raise
        if reach.stopped:
            self._release()
            return partial
        # The arm holds the target for a while after the answer.
        self._release_timer = asyncio.get_running_loop().call_later(parameters.hold_s, self._release)
        return partial

    async def _wait_for_end(self, query: Query, reach: Reach, end: float) -> None:
        """Wait until the arm has settled or the time `end` has come, with interim reports.

        Raises:
            _BodyAwayError: The arm has stopped sending feedback.
        """
        while not reach.settled.is_set():
            now = time.monotonic()
            silent = now - reach.feedback_at
            if silent >= FEEDBACK_TIMEOUT_S:
                raise _BodyAwayError(
                    f"no feedback on {self._feedback_key} for {silent:.1f} s; is the arm's node running?"
                )
            if now >= end:
                return
            try:
                async with asyncio.timeout(min(self.params.report_s, end - now, FEEDBACK_TIMEOUT_S - silent)):
                    await reach.settled.wait()
            except TimeoutError:
                if reach.state is not None:
                    query.emit(self._progress(reach, reach.state))

    def _release(self) -> None:
        """Stop controlling: send a last command without torque, after which the arm brakes by itself."""
        if self._reach is not None:
            self._send(np.zeros(2), self._reach.target, 0)
        self._reach = None
        self._release_timer = None

    def _progress(self, reach: Reach, state: JointState) -> Partial:
        distance = tip_distance(state, reach.target)
        text = f"Reaching for {point_text(reach.target)}: {distance * 100:.1f} cm to go."
        content = {"target": reach.target.tolist(), "position": state.tip.tolist(), "distance_m": distance}
        confidence = self._confidence(distance)
        return Partial(candidates=[Candidate(text=text, probability=1.0, content=content)], confidence=confidence)

    def _result(self, reach: Reach) -> Partial:
        if reach.state is None:
            raise RegionError(f"no feedback on {self._feedback_key} before the deadline")
        if reach.stopped and not reach.steps:
            raise RegionError(
                f"the effector {self.params.effector} is stopped and follows no command; "
                "`brainnet stop-motors --release` lets it move again"
            )
        distance = tip_distance(reach.state, reach.target)
        duration = reach.feedback_at - reach.started
        verb = "Reached" if distance <= self.params.tolerance_m else "Did not reach"
        if reach.stopped:
            verb = "Was stopped on the way to"
        text = f"{verb} {point_text(reach.target)}: final distance {distance * 100:.2f} cm after {duration:.2f} s."
        correction = reach.total_correction / max(1, reach.steps)
        if correction > 0.0005:
            text += f" The cerebellum corrected the torque by {correction:.1%} on average."
        content = {
            "target": reach.target.tolist(),
            "final_position": reach.state.tip.tolist(),
            "distance_m": distance,
            "duration_s": duration,
            "steps": reach.steps,
            "mean_correction": correction,
            "stopped": reach.stopped,
        }
        confidence = self._confidence(distance)
        spikes = np.concatenate(reach.spikes, axis=1) if reach.spikes else None
        candidate = Candidate(text=text, probability=1.0, content=content)
        return Partial(candidates=[candidate], confidence=confidence, spikes=spikes)

    def _confidence(self, distance: float) -> float:
        """Compute the confidence: 1 on the target, 1/2 at the tolerance, towards 0 far from it."""
        return 1.0 / (1.0 + (distance / self.params.tolerance_m) ** 2)


if __name__ == "__main__":
    main(MotorCortex)
