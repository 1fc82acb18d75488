"""The cerebellum's forward model, and how it adapts to the arm as it is.

A forward model (spiking granule cells and readouts that learn by recursive least squares) takes the arm's state and a
command and predicts the joint velocities one step later. Its innate readout is fitted in training to the nominal arm;
online it learns a readout of its own for each way that the arm has been. From the efference copies of the commands it
also estimates how late the feedback is.
"""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.effectors.correction import MotorCorrection
from brainnet.effectors.joint_state import JointState
from brainnet.effectors.planar_arm import JOINTS
from brainnet.errors import ModelError
from brainnet.snn.models.contexts import Choice, Contexts
from brainnet.snn.models.granule import AdaptiveReadout, FloatArray, GranuleLayer

DT = 0.02
"""Seconds between two feedbacks of the arm."""
LATEST = 5
"""Most steps by which the feedback may be late."""
DELAY_TOLERANCE = 0.02
"""rad/s; smaller errors do not tell one delay from another."""
ELBOW_STOP = 2.9
"""Elbow angle, rad, beyond which the arm may have hit its stop: nothing that a smooth model should chase."""
DIRECT = 1 + JOINTS + 12
"""Features that do not come from granule cells."""
DIRECT_VARIANCE, GRANULE_VARIANCE, NOISE = 0.1, 0.01, 1e-4
"""Of what may be learned about each weight of the direct features and of the granule cells, and of what stays
unexplained; rad^2/s^2."""
LARGEST_GAIN = 4.0
"""Most that is added for each unit of command."""
COMMAND = slice(1, 1 + JOINTS)
"""Where the command stands in `model_features`."""


def mossy_input(angles: NDArray[Any], velocities: NDArray[Any]) -> FloatArray:
    """What the granule cells see, float32 [..., 12], each of order one: velocities, sines and cosines of the joint
    angles, sine and cosine of the direction in which the forearm points, and velocities times sine and cosine of the
    elbow (gain fields, as parietal neurons have them: Zipser & Andersen 1988; forces that depend on the fingertip's
    velocity come to the joints that way).
    """
    forearm = angles.sum(axis=-1, keepdims=True)
    rates, elbow = velocities / 6.0, angles[..., 1:]
    parts = [rates, np.sin(angles), np.cos(angles), np.sin(forearm), np.cos(forearm)]
    return np.concatenate([*parts, rates * np.sin(elbow), rates * np.cos(elbow)], axis=-1).astype(np.float32)


def model_features(mossy: FloatArray, command: NDArray[Any], spikes: FloatArray) -> FloatArray:
    """What the readouts see, float32 [..., 15 + cells]: a constant, the command, the mossy input itself (whose
    collaterals reach the deep nuclei directly), and the granule cells' rates, scaled by their number.

    The command goes in as it is: what a torque adds to the acceleration of jointed bodies is linear in it.
    """
    rates = spikes.mean(axis=-1)
    constant = np.ones((*mossy.shape[:-1], 1), np.float32)
    scaled = rates * np.float32(10.0 / np.sqrt(rates.shape[-1]))
    return np.concatenate([constant, np.asarray(command, np.float32), mossy, scaled], axis=-1)


class ForwardModel:
    """Predicts the velocity change over one step, rad/s, from joint angles, velocities and a command.

    Args:
        granules: the expansion of `mossy_input`.
        innate: float [2, features], the readout of `model_features` to be born with.
    """

    def __init__(self, granules: GranuleLayer, innate: NDArray[Any]) -> None:
        self.granules, self.innate = granules, innate

    @classmethod
    def load(cls, path: Path) -> ForwardModel:
        """Read weights that `save` wrote. Raises ModelError when the file holds none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
            granules = GranuleLayer(tensors["sources"], tensors["weights"], tensors["bias"])
            return cls(granules, tensors["readout"])
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"{path} holds no forward model: {error!r}") from None

    def save(self, path: Path) -> None:
        """Write the model, float32."""
        from safetensors.numpy import save_file

        tensors = {
            "sources": self.granules.sources.astype(np.uint8),
            "weights": self.granules.weights,
            "bias": self.granules.bias,
            "readout": np.ascontiguousarray(self.innate, np.float32),
        }
        save_file(tensors, path)
        path.chmod(0o644)  # safetensors writes files for the owner alone

    def features(
        self, angles: NDArray[Any], velocities: NDArray[Any], command: NDArray[Any]
    ) -> tuple[FloatArray, FloatArray]:
        """`model_features` of a state and a command, and the granule cells' spikes."""
        mossy = mossy_input(angles, velocities)
        spikes = self.granules.spikes(mossy)
        return model_features(mossy, command, spikes), spikes


class Adaptation:
    """The cerebellum without its topics: `feel` each feedback, `correct` each command.

    Args:
        model: the forward model to start from.
        forgetting: see `AdaptiveReadout`.
        limit: largest torque to be added whatever the command, fraction of full torque.
        window: predictions over which errors are averaged for the report.
    """

    def __init__(self, model: ForwardModel, forgetting: float = 1e-6, limit: float = 1.0, window: int = 100) -> None:
        self.model, self.limit = model, limit
        prior = np.full(model.innate.shape[1], GRANULE_VARIANCE)
        prior[:DIRECT] = DIRECT_VARIANCE
        self.contexts = Contexts(AdaptiveReadout(model.innate, prior, NOISE, forgetting))
        self.errors: deque[float] = deque(maxlen=window)
        self.innate_errors: deque[float] = deque(maxlen=window)
        self.changes: deque[float] = deque(maxlen=window)
        self.corrections: deque[float] = deque(maxlen=window)
        self.spikes: deque[NDArray[np.uint8]] = deque(maxlen=16)
        self.correction = MotorCorrection.zero(JOINTS)
        self.unmatched = 0
        self._delays = Choice(LATEST + 1, window=15, margin=math.log(4.0))
        self._state: JointState | None = None
        self._features: FloatArray | None = None
        self._sent: dict[int, NDArray[np.float64]] = {}

    @property
    def delay(self) -> int:
        """Steps by which the feedback seems to be late."""
        return self._delays.best

    def observe(self, state: JointState) -> None:
        """Take in the newest feedback and learn from what it shows to have happened since the one before."""
        previous, features = self._state, self._features
        if previous is not None and state.tick < previous.tick:
            self._sent.clear()  # the arm was started anew
        self._state = state
        self._features, spikes = self.model.features(state.angles, state.velocities, np.zeros(JOINTS))
        self.spikes.append(spikes.astype(np.uint8))
        if previous is None or features is None or state.tick != previous.tick + 1:
            return
        if max(abs(previous.angles[1]), abs(state.angles[1])) > ELBOW_STOP:
            return
        change = state.velocities - previous.velocities
        self._find_delay(previous.tick, features, change)
        sent = self._sent.get(previous.tick - self.delay)
        if sent is not None and np.abs(state.applied - sent).max() > 1e-3:
            self.unmatched += 1  # that command came too late for its step
        # what moved the arm is what the arm says it applied, whichever command that was
        features[COMMAND] = state.applied
        innate = change - self.contexts.innate.predict(features)
        error = self.contexts.observe(features, change)
        self.errors.append(float(np.abs(error).mean()))
        self.innate_errors.append(float(np.abs(innate).mean()))
        self.changes.append(float(np.abs(change).mean()))

    def _find_delay(self, tick: int, features: FloatArray, change: NDArray[np.float64]) -> None:
        """Judge how late the feedback is by which of the commands sent explains the step from `tick` on."""
        if tick not in self._sent:
            return
        commands = np.stack([self._sent.get(tick - late, np.zeros(JOINTS)) for late in range(LATEST + 1)])
        weights = self.contexts.current.weights
        # nothing of `features` depends on the command but the command itself
        predicted = weights @ features + (commands - features[COMMAND]) @ weights[:, COMMAND].T
        # by the logarithm, so that what counts is how many times likelier, however badly the model fits
        self._delays.judge(np.log(((change - predicted) ** 2).mean(axis=1) + DELAY_TOLERANCE**2))

    def begin(self, state: JointState) -> MotorCorrection:
        """Take in the feedback of an arm that rests and nobody commands: the correction for a first command."""
        self.observe(state)
        return self.correct(state.tick, np.zeros(JOINTS))

    def correct(self, tick: int, command: NDArray[Any]) -> MotorCorrection:
        """The correction for the next command.

        Args:
            tick: the feedback that the motor cortex answered; without that feedback the correction stays as it is.
            command: what it sent, corrections included.
        """
        state = self._state
        if state is None or state.tick != tick:
            return self.correction
        self._sent[tick] = np.asarray(command, np.float64)
        for old in [t for t in self._sent if t < tick - LATEST]:
            del self._sent[old]
        self.correction = self._correction(state)
        added = np.abs(self.correction.torque(np.asarray(command))).mean() if self.contexts.active else 0.0
        self.corrections.append(float(added))
        return self.correction

    def _correction(self, state: JointState) -> MotorCorrection:
        delay, contexts = self.delay, self.contexts
        if not delay and not contexts.active:
            return MotorCorrection.zero(JOINTS)
        angles, velocities = state.angles, state.velocities
        shown = (angles, velocities)
        # through the commands under way to the next feedback, and on to the arm on which the next command will act
        for late in range(delay, -1, -1):
            sent = self._sent.get(state.tick - late, np.zeros(JOINTS))
            features, _ = self.model.features(angles, velocities, sent)
            change = contexts.current.predict(features)
            angles, velocities = angles + DT * (velocities + 0.5 * change), velocities + change
            if late == delay:
                shown = (angles, velocities)
        offset, gain = np.zeros(JOINTS), np.zeros((JOINTS, JOINTS))
        if contexts.active:
            still, _ = self.model.features(angles, velocities, np.zeros(JOINTS))
            born, learned = contexts.innate, contexts.current
            effect = learned.weights[:, COMMAND].astype(np.float64)
            # what the command lacks, and what acts beside it, in units of command
            gain = np.clip(_solve(effect, born.weights[:, COMMAND] - effect), -LARGEST_GAIN, LARGEST_GAIN)
            offset = np.clip(_solve(effect, born.predict(still) - learned.predict(still)), -self.limit, self.limit)
        return MotorCorrection(angles - shown[0], velocities - shown[1], offset, gain)


def _solve(effect: NDArray[np.float64], wanted: NDArray[Any]) -> NDArray[np.float64]:
    """X with `effect` x = `wanted` by damped least squares, for motors that hardly do anything any more."""
    damping = (0.02 * np.abs(effect).max()) ** 2 * np.eye(JOINTS)
    return np.linalg.solve(effect.T @ effect + damping, effect.T @ wanted.astype(np.float64))
