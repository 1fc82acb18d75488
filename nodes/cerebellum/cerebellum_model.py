"""The cerebellum's forward model, and its adaptation to changed dynamics of the arm.

A forward model (spiking granule cells and readouts that learn by recursive least squares) takes the arm's state and a
command and predicts the joint velocities one step later. Its initial readout is fitted in training to the nominal arm;
online it learns one readout for each of the arm's dynamics (contexts). From the efference copies of the commands it
also estimates the delay of the feedback.
"""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainnet.effectors.correction import LARGEST_GAIN, MotorCorrection
from brainnet.effectors.joint_state import JointState
from brainnet.effectors.planar_arm import JOINTS
from brainnet.errors import ModelError
from brainnet.snn.models.contexts import Contexts, HypothesisSelector
from brainnet.snn.models.granule import AdaptiveReadout, FloatArray, GranuleLayer

DT = 0.02
"""Seconds between two feedbacks of the arm."""
MAX_DELAY = 5
"""Largest delay of the feedback that is considered, steps."""
DELAY_TOLERANCE = 0.02
"""Prediction error, rad/s, below which one delay is not preferred to another."""
ELBOW_STOP = 2.9
"""Elbow angle, rad, beyond which the arm may have hit its stop; a smooth model must not learn from the impact."""
DIRECT = 1 + JOINTS + 12
"""Number of features that do not come from granule cells: the constant, the command and the mossy input."""
DIRECT_VARIANCE, GRANULE_VARIANCE, NOISE = 0.1, 0.01, 1e-4
"""Prior variance of the weights of the direct features and of the granule cells, and variance of the noise, rad^2/s^2.

The larger prior lets the weights of the direct features learn faster."""
COMMAND = slice(1, 1 + JOINTS)
"""Position of the command in `model_features`."""
LATE_COMMAND = 1e-3
"""Difference between the applied and the sent command above which the sent one was late, fraction of full torque."""


def mossy_input(angles: NDArray[Any], velocities: NDArray[Any]) -> FloatArray:
    """Compute the input of the granule cells, float32 [..., 12], each of order one.

    Velocities, sines and cosines of the joint angles, sine and cosine of the direction of the forearm, and velocities
    times sine and cosine of the elbow. The products are gain fields, as parietal neurons have them (Zipser & Andersen
    1988); forces that depend on the fingertip's velocity act on the joints through such products.
    """
    forearm = angles.sum(axis=-1, keepdims=True)
    rates, elbow = velocities / 6.0, angles[..., 1:]
    parts = [rates, np.sin(angles), np.cos(angles), np.sin(forearm), np.cos(forearm)]
    return np.concatenate([*parts, rates * np.sin(elbow), rates * np.cos(elbow)], axis=-1).astype(np.float32)


def model_features(mossy: FloatArray, command: NDArray[Any], spikes: FloatArray) -> FloatArray:
    """Compute the input of the readouts, float32 [..., 15 + cells].

    A constant, the command, the mossy input itself (whose collaterals reach the deep nuclei directly), and the granule
    cells' firing rates, scaled by the number of cells. The command enters unchanged, because the acceleration of
    jointed bodies is linear in the torque.
    """
    rates = spikes.mean(axis=-1)
    constant = np.ones((*mossy.shape[:-1], 1), np.float32)
    # Keeps the summed variance of the rates, and with it the prior of the readout, independent of the number of cells.
    scaled = rates * np.float32(10.0 / np.sqrt(rates.shape[-1]))
    return np.concatenate([constant, np.asarray(command, np.float32), mossy, scaled], axis=-1)


class ForwardModel:
    """Predicts the velocity change over one step, rad/s, from joint angles, velocities and a command.

    Args:
        granules: Expansion of `mossy_input`.
        readout: Initial readout of `model_features`, float [2, features].
    """

    def __init__(self, granules: GranuleLayer, readout: NDArray[Any]) -> None:
        self.granules, self.readout = granules, readout

    @classmethod
    def load(cls, path: Path) -> ForwardModel:
        """Read weights that `save` wrote.

        Raises:
            ModelError: The file holds no forward model.
        """
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
            "readout": np.ascontiguousarray(self.readout, np.float32),
        }
        save_file(tensors, path)
        path.chmod(0o644)  # safetensors creates files that only the owner can read

    def features(
        self, angles: NDArray[Any], velocities: NDArray[Any], command: NDArray[Any]
    ) -> tuple[FloatArray, FloatArray]:
        """Compute `model_features` of a state and a command, and the granule cells' spikes."""
        mossy = mossy_input(angles, velocities)
        spikes = self.granules.spikes(mossy)
        return model_features(mossy, command, spikes), spikes


class AdaptiveForwardModel:
    """The cerebellum without its topics: call `observe` with each feedback and `correct` with each command.

    Args:
        model: The forward model to start from.
        forgetting: See `AdaptiveReadout`.
        limit: Largest torque added independently of the command, fraction of full torque.
        window: Number of predictions over which errors are averaged for the report.

    Attributes:
        contexts: The readouts learned so far, and which of them holds.
        errors: Newest prediction errors of the joint velocities, rad/s.
        initial_errors: The same for the initial readout, which does not learn.
        velocity_changes: Newest changes of the joint velocities per step, rad/s.
        corrections: Newest mean torques added, fractions of full torque.
        spikes: Newest spikes of the granule cells.
        correction: The newest correction.
        late_commands: Number of commands that the arm did not apply in their step.
    """

    def __init__(self, model: ForwardModel, forgetting: float = 1e-6, limit: float = 1.0, window: int = 100) -> None:
        self.model, self.limit = model, limit
        prior = np.full(model.readout.shape[1], GRANULE_VARIANCE)
        prior[:DIRECT] = DIRECT_VARIANCE
        self.contexts = Contexts(AdaptiveReadout(model.readout, prior, NOISE, forgetting))
        self.errors: deque[float] = deque(maxlen=window)
        self.initial_errors: deque[float] = deque(maxlen=window)
        self.velocity_changes: deque[float] = deque(maxlen=window)
        self.corrections: deque[float] = deque(maxlen=window)
        self.spikes: deque[NDArray[np.uint8]] = deque(maxlen=16)
        self.correction = MotorCorrection.zero(JOINTS)
        self.late_commands = 0
        # The medians over 15 steps decide, and only a mean square error smaller by a factor of four changes the
        # estimate: hysteresis against switching on noise.
        self._delays = HypothesisSelector(MAX_DELAY + 1, window=15, margin=math.log(4.0))
        self._state: JointState | None = None
        self._features: FloatArray | None = None
        self._sent: dict[int, NDArray[np.float64]] = {}

    @property
    def delay(self) -> int:
        """Estimated delay of the feedback, steps."""
        return self._delays.best

    def observe(self, state: JointState) -> None:
        """Observe the newest feedback, and learn from the change since the one before."""
        previous, features = self._state, self._features
        if previous is not None and state.tick < previous.tick:
            self._sent.clear()  # the arm was restarted, so its ticks begin at zero again
        self._state = state
        self._features, spikes = self.model.features(state.angles, state.velocities, np.zeros(JOINTS))
        self.spikes.append(spikes.astype(np.uint8))
        # Only two consecutive states show the effect of one command; a gap in the ticks is a lost feedback.
        if previous is None or features is None or state.tick != previous.tick + 1:
            return
        if max(abs(previous.angles[1]), abs(state.angles[1])) > ELBOW_STOP:
            return
        change = state.velocities - previous.velocities
        self._estimate_delay(previous.tick, features, change)
        sent = self._sent.get(previous.tick - self.delay)
        if sent is not None and np.abs(state.applied - sent).max() > LATE_COMMAND:
            self.late_commands += 1
        # Learn from the command that the arm reports as applied; the one sent may have come too late for its step.
        features[COMMAND] = state.applied
        initial_error = change - self.contexts.initial.predict(features)
        error = self.contexts.observe(features, change)
        self.errors.append(float(np.abs(error).mean()))
        self.initial_errors.append(float(np.abs(initial_error).mean()))
        self.velocity_changes.append(float(np.abs(change).mean()))

    def _estimate_delay(self, tick: int, features: FloatArray, change: NDArray[np.float64]) -> None:
        """Update the estimated delay: which of the commands sent explains the step that begins at `tick` best."""
        if tick not in self._sent:
            return
        commands = np.stack([self._sent.get(tick - delay, np.zeros(JOINTS)) for delay in range(MAX_DELAY + 1)])
        weights = self.contexts.current.weights
        # Only the command's own entries of `features` depend on the command, so one prediction serves all delays.
        predicted = weights @ features + (commands - features[COMMAND]) @ weights[:, COMMAND].T
        # The logarithm compares errors by their ratio, which is independent of how well the model fits.
        self._delays.update(np.log(((change - predicted) ** 2).mean(axis=1) + DELAY_TOLERANCE**2))

    def begin(self, state: JointState) -> MotorCorrection:
        """Observe an arm that rests without commands, and return the correction for the first command."""
        self.observe(state)
        return self.correct(state.tick, np.zeros(JOINTS))

    def correct(self, tick: int, command: NDArray[Any]) -> MotorCorrection:
        """Compute the correction for the next command.

        Args:
            tick: Tick of the feedback that the motor cortex answered. If that is not the newest feedback here, the
                last correction is returned.
            command: The command sent, corrections included.
        """
        state = self._state
        if state is None or state.tick != tick:
            return self.correction
        self._sent[tick] = np.asarray(command, np.float64)
        for old in [t for t in self._sent if t < tick - MAX_DELAY]:
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
        # Simulates the steps of all commands under way, up to the state in which the next command acts. The state
        # after the first of them is the one that the next feedback will show; the lead is counted from there.
        for age in range(delay, -1, -1):
            sent = self._sent.get(state.tick - age, np.zeros(JOINTS))
            features, _ = self.model.features(angles, velocities, sent)
            change = contexts.current.predict(features)
            angles, velocities = angles + DT * (velocities + 0.5 * change), velocities + change
            if age == delay:
                shown = (angles, velocities)
        offset, gain = np.zeros(JOINTS), np.zeros((JOINTS, JOINTS))
        if contexts.active:
            passive, _ = self.model.features(angles, velocities, np.zeros(JOINTS))
            initial, learned = contexts.initial, contexts.current
            effect = learned.weights[:, COMMAND].astype(np.float64)
            # The changed arm is to accelerate as the nominal arm would: `gain` makes up for a changed effect of the
            # command, `offset` for forces that act without it; both in units of command.
            gain = np.clip(_solve(effect, initial.weights[:, COMMAND] - effect), -LARGEST_GAIN, LARGEST_GAIN)
            offset = np.clip(
                _solve(effect, initial.predict(passive) - learned.predict(passive)), -self.limit, self.limit
            )
        return MotorCorrection(angles - shown[0], velocities - shown[1], offset, gain)


def _solve(effect: NDArray[np.float64], desired: NDArray[Any]) -> NDArray[np.float64]:
    """Solve `effect` x = `desired` by damped least squares, which stays bounded for motors of little effect."""
    damping = (0.02 * np.abs(effect).max()) ** 2 * np.eye(JOINTS)
    return np.linalg.solve(effect.T @ effect + damping, effect.T @ desired.astype(np.float64))
