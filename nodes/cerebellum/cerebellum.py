"""Cerebellum: predicts the effect of motor commands on the arm, learns from prediction errors, corrects the commands.

A forward model (spiking granule cells and readouts that learn by recursive least squares) takes the arm's state and a
command and predicts the joint velocities one step later. The initial readout, fitted in training, describes the
nominal arm. At run time a readout is learned for each of the arm's dynamics (contexts). From the efference copies of
the motor cortex's commands, which come as spikes, the region also estimates the delay of the feedback. It sends back,
as spikes too, how far the arm has moved since the state that the feedback shows (Miall et al. 1993, *Is the cerebellum
a Smith predictor?*), and the extra torque with which the arm moves as the nominal arm would.

What decides beside the model: a regular expression, `_ABOUT_PREDICTION`, decides whether a prompt asks about
predictions. If it does not match, the same report is given with a tenth of the confidence.
"""

from __future__ import annotations

import re

import numpy as np
from pydantic import Field

from brainnet import Candidate, NodeParameters, Partial, Query, Region, RegionError, SpikePacket, main
from brainnet.bus import Bus
from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import MOTOR_STEPS, JointState, command_code, tick_of
from brainnet.effectors.planar_arm import JOINTS
from brainnet.errors import WireError
from brainnet.node import NodeSpec
from brainnet.wire.keys import key
from cerebellum_model import DT, AdaptiveForwardModel, ForwardModel

SURELY_MEANT = 0.6
"""Probability of the router from which on a prompt is about movements whatever its words."""
_ABOUT_PREDICTION = re.compile(r"predict|forward model|cerebell|efference|correction|adapt", re.IGNORECASE)
"""Decides whether a prompt is about this region; only the confidence of the answer depends on it."""


WARM_UP_STEPS = 10
"""Steps of each half of the warm-up; more than half a window of the estimates of delay and context."""


class Cerebellum(Region):
    """Predicts the effect of motor commands on the arm, corrects them, and reports how well it predicts."""

    default_checkpoint = "cerebellum.safetensors"
    examples = ("How well did you predict the last movement?", "Has the arm changed?", "How late is the feedback?")

    class Parameters(NodeParameters):
        """How the forward model learns and corrects."""

        effector: str = Field("arm", pattern=r"^[A-Za-z0-9_-]+$", description="effector whose feedback it predicts")
        motor_cortex: str = Field(
            "motor_cortex", pattern=r"^[A-Za-z0-9_-]+$", description="node whose commands it corrects"
        )
        forgetting: float = Field(
            1e-6, ge=0.0, lt=1.0, description="fraction by which a readout's covariance returns to its prior per step"
        )
        limit: float = Field(
            1.0,
            ge=0.0,
            le=1.0,
            description="largest torque added independently of the command, fraction of full torque",
        )

    params: Parameters
    model: AdaptiveForwardModel

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._correction_key = key("spikes", source=self.id, target=self.params.motor_cortex)

    def load(self) -> None:
        assert self.checkpoint is not None
        model = ForwardModel.load(self.checkpoint)
        self.model = AdaptiveForwardModel(model, self.params.forgetting, self.params.limit)
        # Another one, which is thrown away: the first movement finds all code loaded, and this one has learned nothing.
        warm_up = AdaptiveForwardModel(model)
        for tick in range(2 * WARM_UP_STEPS):
            # the arm moves otherwise than a nominal one, so that a correction is computed
            speed = 0.5 * max(0, tick - WARM_UP_STEPS)
            zero = np.zeros(JOINTS)
            warm_up.observe(JointState(zero, zero + speed, zero, zero, tick))
            warm_up.correct(tick, zero)

    def params_changed(self, name: str) -> None:
        self.model.limit = self.params.limit
        for readout in self.model.contexts.readouts:
            readout.forgetting = self.params.forgetting

    async def setup(self) -> None:
        self.bus.declare(self._correction_key)
        await self.add_subscription(key("motor_feedback", effector=self.params.effector), self.on_feedback)
        copies = key("spikes", source=self.params.motor_cortex, target=self.id)
        await self.add_subscription(copies, self.on_efference_copy)

    # `observe`, `correct` and `answer` all run in the one model thread, so they need no lock.
    async def on_feedback(self, packet: SpikePacket) -> None:
        """Observe a feedback; an idle arm gets a correction at once, for the first command of the next movement."""
        try:
            state = JointState.from_packet(packet)
        except WireError as error:
            self.count("bad_feedback")
            self.log.warning("feedback refused", reason=str(error))
            return
        if state.idle:
            self._publish(await self.in_model_thread(self.model.begin, state), state.tick)
        else:
            await self.in_model_thread(self.model.observe, state)

    async def on_efference_copy(self, packet: SpikePacket) -> None:
        """Answer a command with the correction for the next one."""
        try:
            tick, command = tick_of(packet), command_code(JOINTS).decode(packet)
        except WireError as error:
            self.count("bad_efference_copies")
            self.log.warning("efference copy refused", source=packet.source, reason=str(error))
            return
        self._publish(await self.in_model_thread(self.model.correct, tick, command), tick)

    def _publish(self, correction: MotorCorrection, tick: int) -> None:
        model = self.model
        state = {
            "prediction_error_rad_s": model.errors[-1] if model.errors else None,
            "context": model.contexts.active,
            "delay_ms": model.delay * DT * 1000.0,
        }
        spikes = correction.to_spikes()
        packet = self.packet(spikes, modality="motor", dt_us=round(DT * 1e6 / MOTOR_STEPS), metadata=state)
        packet.first_step = tick * MOTOR_STEPS
        self.publish(self._correction_key, packet)

    def answer(self, query: Query) -> Partial:
        model = self.model
        if not model.errors:
            raise RegionError(
                "the cerebellum has seen no movement yet, so it has no prediction to report; move the arm first"
            )
        error, initial_error, change = (
            float(np.mean(values)) for values in (model.errors, model.initial_errors, model.velocity_changes)
        )
        correction = float(np.mean(model.corrections)) if model.corrections else 0.0
        delay_ms, learned = model.delay * DT * 1000.0, len(model.contexts.readouts) - 1
        text = (
            f"Over the last {len(model.errors)} steps I predicted the joint velocities with a mean error of "
            f"{error:.4f} rad/s (they changed by {change:.3f} rad/s per step). Without online learning the error would "
            f"have been {initial_error:.4f} rad/s. "
        )
        if model.contexts.active:
            text += f"The arm's dynamics have changed; I corrected the torque by {correction:.1%} on average. "
        else:
            text += "The arm has its nominal dynamics; I did not correct the torque. "
        text += f"The feedback is {delay_ms:.0f} ms late. "
        text += f"I have learned {learned} changed dynamics."
        content = {
            "prediction_error_rad_s": error,
            "initial_error_rad_s": initial_error,
            "mean_change_rad_s": change,
            "predictions": len(model.errors),
            "late_commands": model.late_commands,
            "mean_correction": correction,
            "context": model.contexts.active,
            "contexts_learned": learned,
            "delay_ms": delay_ms,
        }
        meant = query.routed and query.route_prob >= SURELY_MEANT
        about_it = meant or bool(_ABOUT_PREDICTION.search(query.prompt.text))
        if query.routed and not about_it:
            raise RegionError("the cerebellum reports how well it predicts movements; that was not clearly asked")
        # Error relative to predicting no change: 1 is perfect, 0 is useless.
        skill = max(0.0, 1.0 - error / change) if change > 0.0 else 0.0
        # On a prompt about something else the report must not win against the region that was meant.
        confidence = skill if about_it else 0.1 * skill
        candidate = Candidate(text=text, probability=skill, content=content)
        return Partial(candidates=[candidate], confidence=confidence, spikes=np.concatenate(model.spikes, axis=1))


if __name__ == "__main__":
    main(Cerebellum)
