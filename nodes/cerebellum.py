"""Cerebellum: predicts what a motor command does to the arm, learns from every wrong prediction, corrects the command.

A forward model (spiking granule cells and a readout that learns by the delta rule) takes the arm's state and the copy
of the command that the motor cortex sends along with its spikes, and predicts the joint velocities one step later. What
it was born with is the arm as it should be; what it learns is the arm as it is. The correction is the extra command
with which the arm as it is does what the arm as it should be would have done.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from brainnet import Candidate, NodeParameters, Partial, Query, Region, RegionError, SpikePacket, main
from brainnet.errors import ModelError, PacketError
from brainnet.joint_state import JointState
from brainnet.snn.granule import DeltaReadout, GranuleLayer

JOINTS = 2
DT = 0.02
"""Seconds between two feedbacks of the arm."""
_ABOUT_ME = re.compile(r"predict|forward model|cerebell|efference|correction|adapt", re.IGNORECASE)


def mossy_input(angles: NDArray[Any], velocities: NDArray[Any], command: NDArray[Any]) -> NDArray[np.float32]:
    """What the granule cells see, float32 [..., 8], each of order one: velocities, command, sines and cosines."""
    return np.concatenate([velocities / 6.0, command, np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)


def readout_features(mossy: NDArray[np.float32], spikes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the readout sees, float32 [..., 9 + cells]: a constant, the mossy input itself (its collaterals reach the
    deep nuclei directly), and the granule cells' rates, scaled so that neither part dominates the delta rule."""
    rates = spikes.mean(axis=-1)
    constant = np.ones((*mossy.shape[:-1], 1), np.float32)
    return np.concatenate([constant, mossy, rates * np.float32(10.0 / np.sqrt(rates.shape[-1]))], axis=-1)


class ForwardModel:
    """The model without its topics: `feel` each feedback, `correct` each command.

    Args:
        granules: the expansion of `mossy_input`.
        readout: velocity change over one step, rad/s [2], from `readout_features`.
        gain: rad/s that a full command adds to a joint's velocity in one step, as born.
        limit: largest correction, fraction of full torque.
        window: predictions over which errors are averaged.
    """

    def __init__(
        self, granules: GranuleLayer, readout: DeltaReadout, gain: float, limit: float = 0.6, window: int = 100
    ) -> None:
        self.granules, self.readout, self.gain, self.limit = granules, readout, gain, limit
        self.errors: deque[float] = deque(maxlen=window)
        self.innate_errors: deque[float] = deque(maxlen=window)
        self.changes: deque[float] = deque(maxlen=window)
        self.spikes: deque[NDArray[np.uint8]] = deque(maxlen=16)
        self.correction: NDArray[np.float64] = np.zeros(JOINTS)
        self.unmatched = 0
        self._state: JointState | None = None
        self._pending: tuple[int, NDArray[np.float64], NDArray[np.float32]] | None = None

    @classmethod
    def load(cls, path: Path, rate: float = 0.3, forgetting: float = 1e-4, limit: float = 0.6) -> ForwardModel:
        """Read weights that `save` wrote. Raises ModelError when the file holds none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
            granules = GranuleLayer(
                tensors["sources"], tensors["weights"].astype(np.float32), tensors["bias"].astype(np.float32)
            )
            readout = DeltaReadout(tensors["readout"], rate, forgetting)
            return cls(granules, readout, float(tensors["gain"][0]), limit)
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"{path} holds no forward model: {error!r}") from None

    def save(self, path: Path) -> None:
        """Write what the model was born with."""
        from safetensors.numpy import save_file

        tensors = {
            "sources": self.granules.sources.astype(np.uint8),
            "weights": self.granules.weights,
            "bias": self.granules.bias,
            "readout": np.ascontiguousarray(self.readout.innate),
            "gain": np.array([self.gain], np.float32),
        }
        save_file(tensors, path)

    def feel(self, state: JointState) -> None:
        """Take in the newest feedback and learn from it, if it shows the outcome of the command last predicted."""
        previous, pending = self._state, self._pending
        self._state = state
        if previous is None or pending is None or state.tick <= previous.tick:
            return
        tick, command, features = pending
        self._pending = None
        # a command that came too late for its step was not what moved the arm: nothing to learn from
        if state.tick != tick + 1 or previous.tick != tick or np.abs(state.applied - command).max() > 1e-3:
            self.unmatched += 1
            return
        change = state.velocities - previous.velocities
        error = change - self.readout.predict(features)
        self.errors.append(float(np.abs(error).mean()))
        self.innate_errors.append(float(np.abs(change - self.readout.predict_innate(features)).mean()))
        self.changes.append(float(np.abs(change).mean()))
        self.readout.learn(features, error)

    def correct(self, tick: int, wanted: NDArray[Any], command: NDArray[Any]) -> NDArray[np.float64]:
        """The correction, float64 [2], to add to the next command.

        Args:
            tick: the feedback that the motor cortex answered; without that feedback the correction stays as it is.
            wanted: what the motor cortex itself asked for. ``command``: what it sent, corrections included.
        """
        state = self._state
        if state is None or state.tick != tick:
            return self.correction
        features, spikes = self._features(state.angles, state.velocities, command)
        self.spikes.append(spikes.astype(np.uint8))
        self._pending = (tick, np.asarray(command, np.float64), features)
        # the correction comes into force one step from now: foresee that step
        velocities = state.velocities + self.readout.predict(features)
        angles = state.angles + DT * velocities
        intended = self.readout.predict_innate(self._features(angles, velocities, wanted)[0])
        correction = self.correction
        for _ in range(3):
            outcome = self.readout.predict(self._features(angles, velocities, wanted + correction)[0])
            # half a Newton step: converges for motors from nearly dead to four times as strong as born
            correction = np.clip(correction + 0.5 * (intended - outcome) / self.gain, -self.limit, self.limit)
        self.correction = correction
        return correction

    def _features(
        self, angles: NDArray[Any], velocities: NDArray[Any], command: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mossy = mossy_input(angles, velocities, command)
        spikes = self.granules.spikes(mossy)
        return readout_features(mossy, spikes), spikes


class Cerebellum(Region):
    """Predicts what motor commands will do to the arm, corrects them, and says how well it predicts."""

    default_checkpoint = "weights/cerebellum.safetensors"

    class Parameters(NodeParameters):
        effector: str = Field("arm", pattern=r"^[A-Za-z0-9_-]+$", description="effector whose feedback it predicts")
        motor_cortex: str = Field("motor_cortex", pattern=r"^[A-Za-z0-9_-]+$", description="node that it corrects")
        rate: float = Field(0.3, gt=0.0, lt=2.0, description="step size of the delta rule")
        forgetting: float = Field(1e-4, ge=0.0, lt=1.0, description="fraction of what was learned lost per step")
        limit: float = Field(0.6, ge=0.0, le=1.0, description="largest correction, fraction of full torque")

    params: Parameters

    def load(self) -> None:
        assert self.checkpoint is not None
        p = self.params
        self.model = ForwardModel.load(self.checkpoint, p.rate, p.forgetting, p.limit)

    def params_changed(self, name: str) -> None:
        self.model.readout.rate, self.model.readout.forgetting = self.params.rate, self.params.forgetting
        self.model.limit = self.params.limit

    async def setup(self) -> None:
        self._correction_key = f"spikes/{self.id}/{self.params.motor_cortex}"
        self.bus.declare(self._correction_key)
        await self.add_subscription(f"motor/feedback/{self.params.effector}", self.on_feedback)
        await self.add_subscription(f"spikes/{self.params.motor_cortex}/{self.id}", self.on_efference_copy)

    # `feel`, `correct` and `answer` all run in the model thread, one after the other
    async def on_feedback(self, packet: SpikePacket) -> None:
        try:
            state = JointState.from_packet(packet)
        except PacketError as error:
            self.count("bad_feedback")
            self.log.warning("feedback refused", reason=str(error))
            return
        await self.in_model_thread(self.model.feel, state)

    async def on_efference_copy(self, packet: SpikePacket) -> None:
        copy = packet.metadata
        try:
            tick = int(copy["tick"])
            policy, command = np.array(copy["policy"], np.float64), np.array(copy["command"], np.float64)
            if policy.shape != (JOINTS,) or command.shape != (JOINTS,) or not np.isfinite([policy, command]).all():
                raise ValueError(f"policy {policy.shape} and command {command.shape} must be {JOINTS} numbers each")
        except (KeyError, TypeError, ValueError) as error:
            self.count("bad_efference_copies")
            self.log.warning("efference copy refused", source=packet.source, reason=repr(error))
            return
        correction = await self.in_model_thread(self.model.correct, tick, policy, command)
        newest = self.model.errors[-1] if self.model.errors else None
        metadata = {"tick": tick, "prediction_error_rad_s": newest}
        data = correction.astype(np.float32)[:, None]
        self.publish(self._correction_key, self.packet(data, modality="motor", dt_us=20_000, metadata=metadata))

    def answer(self, query: Query) -> Partial:
        model = self.model
        if not model.errors:
            raise RegionError(
                "the cerebellum has seen no movement yet, so it has no prediction to judge; move the arm first"
            )
        error, innate, change = (float(np.mean(x)) for x in (model.errors, model.innate_errors, model.changes))
        text = (
            f"Over the last {len(model.errors)} steps of the arm I predicted the joint velocities to {error:.4f} rad/s "
            f"on average (they changed by {change:.3f} rad/s a step); without what I have learned the error would be "
            f"{innate:.4f} rad/s."
        )
        content = {
            "prediction_error_rad_s": error,
            "innate_error_rad_s": innate,
            "mean_change_rad_s": change,
            "predictions": len(model.errors),
            "unmatched": model.unmatched,
            "correction": model.correction.tolist(),
        }
        skill = max(0.0, 1.0 - error / change) if change > 0.0 else 0.0
        # asked about something else, the report is only a remark
        confidence = skill if _ABOUT_ME.search(query.prompt.text) else 0.1 * skill
        candidate = Candidate(text=text, probability=skill, content=content)
        return Partial(candidates=[candidate], confidence=confidence, spikes=np.concatenate(model.spikes, axis=1))


if __name__ == "__main__":
    main(Cerebellum)
