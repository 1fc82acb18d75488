"""Trains the cerebellum's forward model on the nominal arm. Needs only the weights of the motor cortex; a few seconds.

The arm moves under the motor cortex's policy with random torques mixed in; the readout of the granule cells is fitted
to the velocity change of each step (ridge regression). Evaluation changes the arm's dynamics and measures how much of
the lost accuracy the cerebellum recovers while it learns, and how much it recovers at once when the same change returns
after a period with the nominal arm (washout).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from brainnet.effectors import reaching
from brainnet.effectors.reaching import PID, Controller, FloatArray, Trajectory
from brainnet.effectors.simulation import Dynamics, Plant
from brainnet.paths import region_file
from brainnet.snn.models.granule import FloatArray as Array32
from brainnet.snn.models.granule import GranuleLayer
from brainnet.snn.models.policy import SpikingPolicy
from brainnet.training import Row, Run, TrainingSettings, compare
from cerebellum_model import ELBOW_STOP, AdaptiveForwardModel, ForwardModel, model_features, mossy_input

HELD_OUT = 1000
"""Added to the seed of the evaluation, so that its movements differ from those of training."""
Change = Literal["mass_x2", "curl_field", "constant_force", "delay_40ms"]
"""Those of `reaching.CHANGES` that are measured."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults are those of the shipped weights."""

    cells: int = Field(300, ge=1, description="granule cells")
    movements: int = Field(200, ge=1, description="movements to learn from")
    movement_steps: int = Field(60, ge=1, description="steps of a movement")
    ridge: float = Field(1e-7, gt=0.0, description="ridge penalty, relative to the mean square of the features")
    reaches: int = Field(100, ge=5, description="evaluation: reaches in which a change is learned")
    washout_reaches: int = Field(
        50, ge=1, description="evaluation: reaches with the nominal arm before the change returns"
    )
    readaptation_reaches: int = Field(20, ge=1, description="evaluation: reaches after the change has returned")
    policy: Path | None = Field(None, description="weights of the policy that moves the arm; default: the shipped ones")
    changes: tuple[Change, ...] = Field(get_args(Change), description="evaluation: changes of the arm")


def babble(
    rng: np.random.Generator, policy: Controller, movements: int, steps: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Collect training data by motor babbling: reaches with random torques mixed in.

    Args:
        rng: Source of all random draws.
        policy: The policy whose commands are mixed with random torques.
        movements: Number of movements.
        steps: Steps per movement.

    Returns:
        Angles, velocities, commands and the velocity changes that followed, each [n, 2].
    """
    arm = Plant()
    samples: list[tuple[FloatArray, ...]] = []
    for target in reaching.random_targets(rng, movements):
        reaching.random_posture(rng, arm)
        noise, share = np.zeros(2), rng.uniform(0.0, 1.0)
        state = arm.state()
        for _ in range(steps):
            # First-order autoregressive noise, correlated over about five steps.
            noise = 0.8 * noise + rng.normal(0.0, 0.3, 2)
            command = np.clip((1.0 - share) * policy(state, target) + share * noise, -1.0, 1.0)
            following = arm.step(command)
            if max(abs(state.angles[1]), abs(following.angles[1])) < ELBOW_STOP:
                samples.append((state.angles, state.velocities, command, following.velocities - state.velocities))
            state = following
    angles, velocities, commands, changes = (np.array(column) for column in zip(*samples, strict=True))
    return angles, velocities, commands, changes


def fit(options: Settings, rng: np.random.Generator, policy: Controller) -> ForwardModel:
    """Draw the granule cells at random and fit the initial readout."""
    angles, velocities, commands, changes = babble(rng, policy, options.movements, options.movement_steps)
    mossy = mossy_input(angles, velocities)
    granules = GranuleLayer.random(mossy, options.cells, rng)
    phi = _features(granules, mossy, commands)
    moment = phi.T @ phi / len(phi)
    readout = np.linalg.solve(moment + options.ridge * np.eye(len(moment)), phi.T @ changes / len(phi)).T
    return ForwardModel(granules, readout)


def _features(granules: GranuleLayer, mossy: Array32, commands: FloatArray) -> FloatArray:
    # In batches, because the spikes of all samples at once would take much memory.
    batches = [slice(start, start + 1000) for start in range(0, len(mossy), 1000)]
    return np.concatenate(
        [model_features(mossy[part], commands[part], granules.spikes(mossy[part])) for part in batches]
    ).astype(np.float64)


def load_policy(run: Run[Settings]) -> Controller:
    """Load the policy that moves the arm; by default the one that ships with brainnet."""
    shipped = region_file("motor_cortex", ".safetensors")
    return reaching.policy_controller(SpikingPolicy.load(run.settings.policy or shipped))


def train(run: Run[Settings]) -> None:
    """Fit the forward model and write it."""
    run.weights.parent.mkdir(parents=True, exist_ok=True)
    fit(run.settings, np.random.default_rng(run.seed), load_policy(run)).save(run.weights)


@dataclass
class Accuracy:
    """Errors of reaches, in centimetres.

    Attributes:
        path: Mean distance, over a reach of two seconds, from where the nominal arm would be at the same time under
            the same controller alone and from the same start.
        end: Mean distance from the target over the last half second.
    """

    path: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Movements:
    """A set of movements, and the paths that the nominal arm takes under a controller alone.

    Attributes:
        postures: Starting joint angles, [movements, 2].
        targets: Points to reach, [movements, 2].
        nominal: Each movement of the nominal arm; the first of them is enough where only that many are measured.
    """

    postures: FloatArray
    targets: FloatArray
    nominal: list[Trajectory]

    @classmethod
    def draw(cls, rng: np.random.Generator, controller: Controller, count: int) -> Movements:
        """Draw `count` movements with random starts and targets."""
        targets = reaching.random_targets(rng, count)
        postures = np.stack([rng.uniform(-np.pi, np.pi, count), rng.uniform(-2.9, 2.9, count)], axis=-1)
        return cls(postures, targets, []).under(controller, count)

    def under(self, controller: Controller, count: int) -> Movements:
        """Return the same movements with the nominal arm's paths under another controller, for the first `count`."""
        nominal = list(self._trajectories(range(count), Dynamics(), controller, None))
        return Movements(self.postures, self.targets, nominal)

    def undisturbed(self, numbers: range) -> Accuracy:
        """Return the errors of the movements `numbers` of the nominal arm under the controller alone."""
        return self._accuracy(numbers, (self.nominal[number] for number in numbers))

    def measure(
        self,
        numbers: range,
        dynamics: Dynamics,
        controller: Controller,
        cerebellum: AdaptiveForwardModel | None = None,
    ) -> Accuracy:
        """Make the movements `numbers` with a changed arm and measure their errors.

        Args:
            numbers: Which of the movements, in order.
            dynamics: Dynamics of the arm.
            controller: The controller.
            cerebellum: Corrects the controller, and goes on learning; None for the controller alone.

        Returns:
            The errors, in the order of `numbers`.
        """
        return self._accuracy(numbers, self._trajectories(numbers, dynamics, controller, cerebellum))

    def _accuracy(self, numbers: range, trajectories: Iterator[Trajectory]) -> Accuracy:
        accuracy = Accuracy()
        for number, trajectory in zip(numbers, trajectories, strict=True):
            accuracy.path.append(float(np.hypot(*(trajectory.tips - self.nominal[number].tips).T).mean()) * 100)
            accuracy.end.append(float(trajectory.distances[-25:].mean()) * 100)
        return accuracy

    def _trajectories(
        self, numbers: range, dynamics: Dynamics, controller: Controller, cerebellum: AdaptiveForwardModel | None
    ) -> Iterator[Trajectory]:
        arm = Plant()
        arm.set_dynamics(dynamics)
        for number in numbers:
            arm.set_state(self.postures[number], np.zeros(2))
            if isinstance(controller, PID):
                controller.reset()
            yield reaching.reach(arm, controller, self.targets[number], corrector=cerebellum)


def tuned_pid(seed: int) -> PID:
    """Choose, from a grid of gains, the PID controller with the smallest mean distance from the target.

    The nominal arm is used, on movements that neither training nor evaluation draws.
    """
    rng = np.random.default_rng([seed, 3])
    targets, postures = reaching.random_targets(rng, 12), rng.uniform(-2.8, 2.8, (12, 2))
    arm = Plant()

    def mean_distances(pid: PID) -> float:
        total = 0.0
        for target, posture in zip(targets, postures, strict=True):
            arm.set_state(posture, np.zeros(2))
            pid.reset()
            total += float(reaching.reach(arm, pid, target, 60).distances.mean())
        return total

    gains = product((0.2, 0.4, 0.7, 1.1), (0.5, 1.5, 3.0), (0.04, 0.07, 0.1, 0.14))
    return min((PID(gain) for gain in gains), key=mean_distances)


def recovered(without: list[float], with_model: list[float]) -> float:
    """Compute by how many per cent the mean error is smaller with the model than without."""
    return 100.0 * (1.0 - float(np.mean(with_model)) / float(np.mean(without)))


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure the prediction, the nominal arm, then each change: learned, removed, and applied again."""
    options, policy = run.settings, load_policy(run)
    model = ForwardModel.load(run.weights)
    rng = np.random.default_rng(run.seed + HELD_OUT)
    angles, velocities, commands, changes = babble(rng, policy, 40, options.movement_steps)
    predicted = _features(model.granules, mossy_input(angles, velocities), commands) @ model.readout.T
    yield compare(
        "prediction_error",
        float(np.abs(predicted - changes).mean()),
        "rad/s per step",
        rival="predicting no change",
        rival_value=float(np.abs(changes).mean()),
        limit=("ratio", "<=", 0.01),
    )
    count = options.reaches + options.washout_reaches + options.readaptation_reaches
    movements, pid = Movements.draw(rng, policy, count), tuned_pid(run.seed)
    pid_movements = movements.under(pid, options.reaches)
    nominal = movements.measure(range(options.reaches), Dynamics(), policy, AdaptiveForwardModel(model))
    yield compare("nominal_off_path", float(np.mean(nominal.path)), "cm", limit=("value", "<=", 0.05))
    yield compare(
        "nominal_end",
        float(np.mean(nominal.end)),
        "cm",
        rival="the policy alone",
        rival_value=float(np.mean(movements.undisturbed(range(options.reaches)).end)),
        limit=("ratio", "<=", 1.1),
    )
    for name in run.track(options.changes, "changes", len(options.changes)):
        yield from _adaptation_rows(name, options, movements, pid_movements, policy, pid, model)
    links = movements.measure(range(min(20, options.reaches)), reaching.changed_dynamics("link_mass_x2"), policy)
    yield compare("link_mass_x2_off_path_of_the_policy_alone", float(np.mean(links.path)), "cm")


def _adaptation_rows(
    name: str,
    options: Settings,
    movements: Movements,
    pid_movements: Movements,
    policy: Controller,
    pid: PID,
    model: ForwardModel,
) -> Iterator[Row]:
    """Measure one change: learned, removed (washout), and applied again (readaptation)."""
    dynamics, learner = reaching.changed_dynamics(name), AdaptiveForwardModel(model)
    first, second = options.reaches, options.reaches + options.washout_reaches
    adaptation, washout = range(first), range(first, second)
    readaptation = range(second, second + options.readaptation_reaches)
    learned = movements.measure(adaptation, dynamics, policy, learner)
    washed_out = movements.measure(washout, Dynamics(), policy, learner)
    returned = movements.measure(readaptation, dynamics, policy, learner)
    untrained = movements.measure(readaptation, dynamics, policy, AdaptiveForwardModel(model))
    alone, alone_returned = (movements.measure(part, dynamics, policy) for part in (adaptation, readaptation))
    baseline = pid_movements.measure(adaptation, dynamics, pid)
    newest = slice(-20, None)
    yield compare(
        f"{name}_won_back",
        recovered(alone.path[newest], learned.path[newest]),
        "%",
        rival="PID",
        rival_value=recovered(alone.path[newest], baseline.path[newest]),
        limit=("value", ">=", 70.0),
    )
    yield compare(
        f"{name}_kept",
        recovered(alone_returned.path, returned.path),
        "%",
        rival="a model that meets the change for the first time",
        rival_value=recovered(alone_returned.path, untrained.path),
        limit=("value", ">=", 70.0),
    )
    shares = [recovered(alone.path[at : at + 5], learned.path[at : at + 5]) for at in range(first - 4)]
    reached = next((at + 1 for at, share in enumerate(shares) if share >= 70.0), first + 1)
    yield compare(f"{name}_reaches_needed", reached, "reaches", limit=("value", "<=", options.reaches))
    for figure, ours, theirs, other in (
        ("off_path", learned.path, alone.path, "the policy alone"),
        ("end", learned.end, alone.end, "the policy alone"),
        ("end_beside_pid", learned.end, baseline.end, "PID"),
    ):
        value, rival_value = float(np.mean(ours[newest])), float(np.mean(theirs[newest]))
        yield compare(f"{name}_{figure}", value, "cm", rival=other, rival_value=rival_value)
    yield compare(f"{name}_gone_off_path", float(np.mean(washed_out.path)), "cm", limit=("value", "<=", 0.1))
