"""Cerebellum: predicts what a motor command does to the arm, learns from every wrong prediction, corrects the command.

A forward model (spiking granule cells and readouts that learn by recursive least squares) takes the arm's state and a
command and predicts the joint velocities one step later. What it was born with is the arm as it should be; what it
learns is the arm as it is, in a readout of its own for each way that the arm has been. From the copies of the commands
that the motor cortex sends along with its spikes it also finds out how late the feedback is. What it sends back is how
far the arm has moved on since what the feedback shows (Miall et al. 1993, *Is the cerebellum a Smith predictor?*), and
the extra torque with which the arm as it is does what the arm as it should be would have done.
"""

from __future__ import annotations

import re

import numpy as np
from pydantic import Field

from brainnet import Candidate, NodeParameters, Partial, Query, Region, RegionError, SpikePacket, main
from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import JointState, read_command
from brainnet.effectors.planar_arm import JOINTS
from brainnet.errors import WireError
from brainnet.wire.keys import key
from brainnet.wire.messages import CommandHeader, CorrectionHeader, FeedbackHeader
from cerebellum_model import DT, Adaptation, ForwardModel

_ABOUT_ME = re.compile(r"predict|forward model|cerebell|efference|correction|adapt", re.IGNORECASE)


class Cerebellum(Region):
    """Predicts what motor commands will do to the arm, corrects them, and says how well it predicts."""

    default_checkpoint = "cerebellum.safetensors"

    class Parameters(NodeParameters):
        effector: str = Field("arm", pattern=r"^[A-Za-z0-9_-]+$", description="effector whose feedback it predicts")
        forgetting: float = Field(1e-6, ge=0.0, lt=1.0, description="share of its certainty a readout loses per step")
        limit: float = Field(
            1.0, ge=0.0, le=1.0, description="largest torque added whatever the command, fraction of full torque"
        )

    params: Parameters

    def load(self) -> None:
        assert self.checkpoint is not None
        self.model = Adaptation(ForwardModel.load(self.checkpoint), self.params.forgetting, self.params.limit)

    def params_changed(self, name: str) -> None:
        self.model.limit = self.params.limit
        for readout in self.model.contexts.readouts:
            readout.forgetting = self.params.forgetting

    async def setup(self) -> None:
        effector = self.params.effector
        self._correction_key = key("motor_correction", effector=effector)
        self.bus.declare(self._correction_key)
        await self.add_subscription(key("motor_feedback", effector=effector), self.on_feedback)
        await self.add_subscription(key("motor_efference", effector=effector), self.on_efference_copy)

    # `feel`, `correct` and `answer` all run in the model thread, one after the other
    async def on_feedback(self, packet: SpikePacket) -> None:
        try:
            state = JointState.from_packet(packet)
            idle = FeedbackHeader.of(packet).idle
        except WireError as error:
            self.count("bad_feedback")
            self.log.warning("feedback refused", reason=str(error))
            return
        if idle:
            self._publish(await self.in_model_thread(self.model.rest, state), state.tick)
        else:
            await self.in_model_thread(self.model.observe, state)

    async def on_efference_copy(self, packet: SpikePacket) -> None:
        try:
            tick = CommandHeader.of(packet).tick
            command = read_command(packet, JOINTS)
        except WireError as error:
            self.count("bad_efference_copies")
            self.log.warning("efference copy refused", source=packet.source, reason=str(error))
            return
        self._publish(await self.in_model_thread(self.model.correct, tick, command), tick)

    def _publish(self, correction: MotorCorrection, tick: int) -> None:
        model = self.model
        header = CorrectionHeader(
            tick=tick,
            prediction_error_rad_s=model.errors[-1] if model.errors else None,
            context=model.contexts.active,
            delay_ms=model.delay * DT * 1000.0,
        )
        packet = self.packet(correction.to_data(), modality="motor", dt_us=int(DT * 1e6), header=header)
        self.publish(self._correction_key, packet)

    def answer(self, query: Query) -> Partial:
        model = self.model
        if not model.errors:
            raise RegionError(
                "the cerebellum has seen no movement yet, so it has no prediction to judge; move the arm first"
            )
        error, innate, change = (float(np.mean(x)) for x in (model.errors, model.innate_errors, model.changes))
        correction = float(np.mean(model.corrections)) if model.corrections else 0.0
        delay_ms, known = model.delay * DT * 1000.0, len(model.contexts.readouts) - 1
        text = (
            f"Over the last {len(model.errors)} steps of the arm I predicted the joint velocities to {error:.4f} rad/s "
            f"on average (they changed by {change:.3f} rad/s a step); without what I have learned the error would be "
            f"{innate:.4f} rad/s. "
        )
        if model.contexts.active:
            text += f"The arm is not as it should be, and I corrected the torque by {correction:.1%} on average. "
        else:
            text += "The arm is as it should be, and I let the torque be. "
        text += f"The feedback is {delay_ms:.0f} ms late. "
        text += f"I know {known} other {'way' if known == 1 else 'ways'} that the arm has been."
        content = {
            "prediction_error_rad_s": error,
            "innate_error_rad_s": innate,
            "mean_change_rad_s": change,
            "predictions": len(model.errors),
            "unmatched": model.unmatched,
            "mean_correction": correction,
            "context": model.contexts.active,
            "contexts_learned": known,
            "delay_ms": delay_ms,
        }
        skill = max(0.0, 1.0 - error / change) if change > 0.0 else 0.0
        # asked about something else, the report is only a remark
        confidence = skill if _ABOUT_ME.search(query.prompt.text) else 0.1 * skill
        candidate = Candidate(text=text, probability=skill, content=content)
        return Partial(candidates=[candidate], confidence=confidence, spikes=np.concatenate(model.spikes, axis=1))


if __name__ == "__main__":
    main(Cerebellum)
