"""Trains the cerebellum's forward model on the arm as it should be. Needs no data but the weights of the motor cortex;
a few seconds.

The arm moves under the motor cortex's policy with random torques mixed in; the readout of the granule cells is fitted
to the velocity change of each step (ridge regression). Evaluation changes the arm under the policy and asks how much of
the accuracy lost thereby the cerebellum wins back while it learns, and whether it still knows how when the change has
gone away and comes again.
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
from brainnet.paths import share_dir
from brainnet.snn.models.granule import FloatArray as Array32
from brainnet.snn.models.granule import GranuleLayer
from brainnet.snn.models.policy import SpikingPolicy
from brainnet.training import Row, Run, TrainingSettings, compare
from cerebellum_model import ELBOW_STOP, Adaptation, ForwardModel, model_features, mossy_input

HELD_OUT = 1000
"""Added to the seed for the movements of the evaluation; training never draws from there."""
Change = Literal["mass_x2", "curl_field", "constant_force", "delay_40ms"]
"""Those of `reaching.CHANGES` that are measured."""


class Settings(TrainingSettings):
    cells: int = Field(300, ge=1, description="granule cells")
    movements: int = Field(200, ge=1, description="movements to learn from")
    movement: int = Field(60, ge=1, description="steps of a movement")
    ridge: float = Field(1e-7, gt=0.0, description="weight of the ridge, beside the mean square of the features")
    reaches: int = Field(100, ge=5, description="reaches of the evaluation in which a change is learned")
    between: int = Field(50, ge=1, description="reaches with the arm as it should be before the change comes again")
    again: int = Field(20, ge=1, description="reaches after the change has come again")
    policy: Path | None = Field(None, description="weights of the policy that moves the arm; default: those that ship")
    changes: tuple[Change, ...] = Field(get_args(Change), description="changes of the arm to evaluate")


def babble(
    rng: np.random.Generator, policy: Controller, movements: int, steps: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Angles, velocities, commands and the velocity changes they led to, all [n, 2]: reaches with random torques."""
    arm = Plant()
    seen: list[tuple[FloatArray, ...]] = []
    for target in reaching.random_targets(rng, movements):
        reaching.random_posture(rng, arm)
        noise, share = np.zeros(2), rng.uniform(0.0, 1.0)
        state = arm.state()
        for _ in range(steps):
            noise = 0.8 * noise + rng.normal(0.0, 0.3, 2)
            command = np.clip((1.0 - share) * policy(state, target) + share * noise, -1.0, 1.0)
            following = arm.step(command)
            if max(abs(state.angles[1]), abs(following.angles[1])) < ELBOW_STOP:
                seen.append((state.angles, state.velocities, command, following.velocities - state.velocities))
            state = following
    angles, velocities, commands, changes = (np.array(column) for column in zip(*seen, strict=True))
    return angles, velocities, commands, changes


def fit(options: Settings, rng: np.random.Generator, policy: Controller) -> ForwardModel:
    """Draw the granule cells and fit the innate readout."""
    angles, velocities, commands, changes = babble(rng, policy, options.movements, options.movement)
    mossy = mossy_input(angles, velocities)
    granules = GranuleLayer.random(mossy, options.cells, rng)
    phi = _features(granules, mossy, commands)
    moment = phi.T @ phi / len(phi)
    innate = np.linalg.solve(moment + options.ridge * np.eye(len(moment)), phi.T @ changes / len(phi)).T
    return ForwardModel(granules, innate)


def _features(granules: GranuleLayer, mossy: Array32, commands: FloatArray) -> FloatArray:
    batches = [slice(start, start + 1000) for start in range(0, len(mossy), 1000)]
    return np.concatenate(
        [model_features(mossy[part], commands[part], granules.spikes(mossy[part])) for part in batches]
    ).astype(np.float64)


def policy_of(run: Run[Settings]) -> Controller:
    """The policy that moves the arm; by default the one that ships with brainnet."""
    shipped = share_dir() / "nodes" / "motor_cortex" / "motor_cortex.safetensors"
    return reaching.policy_controller(SpikingPolicy.load(run.settings.policy or shipped))


def train(run: Run[Settings]) -> None:
    """Make the forward model."""
    run.weights.parent.mkdir(parents=True, exist_ok=True)
    fit(run.settings, np.random.default_rng(run.seed), policy_of(run)).save(run.weights)


@dataclass
class Accuracy:
    """How reaches went, in centimetres.

    `path` is the mean distance over a reach of two seconds from where the unchanged arm, under the same controller
    alone and from the same start, would be at the same time; `end` the mean distance from the target over its last
    half second.
    """

    path: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Movements:
    """Starting postures and targets, and where the unchanged arm goes from them under a controller alone."""

    postures: FloatArray
    targets: FloatArray
    tips: list[FloatArray]

    @classmethod
    def draw(cls, rng: np.random.Generator, controller: Controller, count: int) -> Movements:
        """`count` movements from anywhere to anywhere."""
        targets = reaching.random_targets(rng, count)
        postures = np.stack([rng.uniform(-np.pi, np.pi, count), rng.uniform(-2.9, 2.9, count)], axis=-1)
        return cls(postures, targets, []).under(controller)

    def under(self, controller: Controller) -> Movements:
        """The same movements under another controller, whose own paths they are then compared with."""
        traces = self._traces(range(len(self.targets)), Dynamics(), controller, None)
        return Movements(self.postures, self.targets, [trace.tips for trace in traces])

    def follow(
        self, numbers: range, dynamics: Dynamics, controller: Controller, cerebellum: Adaptation | None = None
    ) -> Accuracy:
        """Make these movements with a changed arm."""
        accuracy = Accuracy()
        for number, trace in zip(numbers, self._traces(numbers, dynamics, controller, cerebellum), strict=True):
            accuracy.path.append(float(np.hypot(*(trace.tips - self.tips[number]).T).mean()) * 100)
            accuracy.end.append(float(trace.distances[-25:].mean()) * 100)
        return accuracy

    def _traces(
        self, numbers: range, dynamics: Dynamics, controller: Controller, cerebellum: Adaptation | None
    ) -> Iterator[Trajectory]:
        arm = Plant()
        arm.set_dynamics(dynamics)
        for number in numbers:
            arm.set_state(self.postures[number], np.zeros(2))
            if isinstance(controller, PID):
                controller.reset()
            yield reaching.reach(arm, controller, self.targets[number], corrector=cerebellum)


def tuned_pid(seed: int) -> PID:
    """The PID that on the unchanged arm comes closest to its targets over a reach, of a grid of gains.

    Tuned on movements that neither training nor evaluation draws.
    """
    rng = np.random.default_rng([seed, 3])
    targets, postures = reaching.random_targets(rng, 12), rng.uniform(-2.8, 2.8, (12, 2))
    arm = Plant()

    def cost(pid: PID) -> float:
        total = 0.0
        for target, posture in zip(targets, postures, strict=True):
            arm.set_state(posture, np.zeros(2))
            pid.reset()
            total += float(reaching.reach(arm, pid, target, 60).distances.mean())
        return total

    gains = product((0.2, 0.4, 0.7, 1.1), (0.5, 1.5, 3.0), (0.04, 0.07, 0.1, 0.14))
    return min((PID(gain) for gain in gains), key=cost)


def won_back(lost: list[float], left: list[float]) -> float:
    """Percent of the loss that is no longer there."""
    return 100.0 * (1.0 - float(np.mean(left)) / float(np.mean(lost)))


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Prediction; the unchanged arm; then each change: learned, gone, and come again."""
    options, policy = run.settings, policy_of(run)
    model = ForwardModel.load(run.weights)
    rng = np.random.default_rng(run.seed + HELD_OUT)
    angles, velocities, commands, changes = babble(rng, policy, 40, options.movement)
    predicted = _features(model.granules, mossy_input(angles, velocities), commands) @ model.innate.T
    yield compare(
        "prediction_error",
        float(np.abs(predicted - changes).mean()),
        "rad/s a step",
        rival="predicting no change",
        rival_value=float(np.abs(changes).mean()),
        limit=("ratio", "<=", 0.01),
    )
    count = options.reaches + options.between + options.again
    movements, pid = Movements.draw(rng, policy, count), tuned_pid(run.seed)
    of_pid = movements.under(pid)
    unharmed = movements.follow(range(options.reaches), Dynamics(), policy, Adaptation(model))
    yield compare("nominal_off_path", float(np.mean(unharmed.path)), "cm", limit=("value", "<=", 0.05))
    yield compare(
        "nominal_end",
        float(np.mean(unharmed.end)),
        "cm",
        rival="the policy alone",
        rival_value=float(np.mean(movements.follow(range(options.reaches), Dynamics(), policy).end)),
        limit=("ratio", "<=", 1.1),
    )
    for name in run.track(options.changes, "changes", len(options.changes)):
        yield from _adapted(name, options, movements, of_pid, policy, pid, model)
    links = movements.follow(range(min(20, options.reaches)), reaching.changed_dynamics("link_mass_x2"), policy)
    yield compare("link_mass_x2_off_path_of_the_policy_alone", float(np.mean(links.path)), "cm")


def _adapted(
    name: str,
    options: Settings,
    movements: Movements,
    of_pid: Movements,
    policy: Controller,
    pid: PID,
    model: ForwardModel,
) -> Iterator[Row]:
    """One change: learned, gone, and come again."""
    dynamics, learner = reaching.changed_dynamics(name), Adaptation(model)
    first, second = options.reaches, options.reaches + options.between
    learning, between, again = range(first), range(first, second), range(second, second + options.again)
    learned = movements.follow(learning, dynamics, policy, learner)
    as_before = movements.follow(between, Dynamics(), policy, learner)
    returned = movements.follow(again, dynamics, policy, learner)
    anew = movements.follow(again, dynamics, policy, Adaptation(model))
    alone, alone_again = (movements.follow(part, dynamics, policy) for part in (learning, again))
    rival = of_pid.follow(learning, dynamics, pid)
    newest = slice(-20, None)
    yield compare(
        f"{name}_won_back",
        won_back(alone.path[newest], learned.path[newest]),
        "%",
        rival="PID",
        rival_value=won_back(alone.path[newest], rival.path[newest]),
        limit=("value", ">=", 70.0),
    )
    yield compare(
        f"{name}_kept",
        won_back(alone_again.path, returned.path),
        "%",
        rival="learning anew",
        rival_value=won_back(alone_again.path, anew.path),
        limit=("value", ">=", 70.0),
    )
    shares = [won_back(alone.path[at : at + 5], learned.path[at : at + 5]) for at in range(first - 4)]
    reached = next((at + 1 for at, share in enumerate(shares) if share >= 70.0), first + 1)
    yield compare(f"{name}_reaches_needed", reached, "reaches", limit=("value", "<=", options.reaches))
    for figure, ours, theirs, other in (
        ("off_path", learned.path, alone.path, "the policy alone"),
        ("end", learned.end, alone.end, "the policy alone"),
        ("end_beside_pid", learned.end, rival.end, "PID"),
    ):
        value, rival_value = float(np.mean(ours[newest])), float(np.mean(theirs[newest]))
        yield compare(f"{name}_{figure}", value, "cm", rival=other, rival_value=rival_value)
    yield compare(f"{name}_gone_off_path", float(np.mean(as_before.path)), "cm", limit=("value", "<=", 0.1))
