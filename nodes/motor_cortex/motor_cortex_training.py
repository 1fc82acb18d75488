# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the motor cortex's spiking policy on Reacher-v5's physics. Needs no data; about 15 minutes on one core.

First behaviour cloning of `reaching.expert_command`, to which the states that the policy itself visits are added round
by round (DAgger, Ross et al. 2011). Then proximal policy optimisation of Reacher-v5's own reward with gradients through
the spikes (`brainnet.snn.models.ppo`). Half of the arms start as Reacher-v5 starts them, half at random postures; near
the target an additional loss keeps the policy close to the demonstrator. At the end the policy is cloned once more near
its targets, so that it settles there. The same program with the same settings trains the non-spiking baseline, a
network of rectified units of the same size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from brainnet.effectors import reaching
from brainnet.effectors.joint_state import JointState
from brainnet.effectors.planar_arm import FEATURES, JOINTS, features
from brainnet.effectors.reaching import Controller, FloatArray
from brainnet.errors import ModelError
from brainnet.snn.models.policy import PolicyShape, SpikingPolicy
from brainnet.snn.models.policy_training import ReLUPolicy, TrainableSpikingPolicy
from brainnet.snn.models.ppo import GaussianPolicy, PPOParams, Rollout, log_density, ppo_update
from brainnet.training import Row, Run, TrainingSettings, compare, save_weights
from motor_cortex_arms import (
    EPISODE,
    Arms,
    Policy,
    States,
    near_states,
    network_controller,
    random_states,
    reward,
    visited_states,
)
from motor_cortex_measures import episodes_over_topics, final_distances, reacher_episodes

HIDDEN = [192, 192]
SHAPE = PolicyShape(beta=0.8, threshold=1.0, steps=8)
NONSPIKING = Path("baselines") / "motor_cortex_nonspiking.safetensors"
"""Weights of the baseline, relative to those of the policy."""
HELD_OUT = 1000
"""Added to the seed of the evaluation, so that its targets and postures differ from those of training."""


class Settings(TrainingSettings):
    """Hyper-parameters; the defaults are those of the shipped weights."""

    cloning_steps: int = Field(3000, ge=1, description="batches of behaviour cloning")
    settling_steps: int = Field(
        3000, ge=1, description="batches of the last cloning phase, which trains settling on the target"
    )
    batch: int = Field(512, ge=1, description="states in a batch of behaviour cloning and settling")
    rounds: int = Field(8, ge=1, description="rounds of each; all but the first add states that the policy visits")
    states: int = Field(40_000, ge=2, description="random states with which behaviour cloning starts")
    arms: int = Field(64, ge=2, description="arms that move at the same time")
    iterations: int = Field(600, ge=0, description="updates of proximal policy optimisation")
    value_warmup: int = Field(8, ge=0, description="first updates, which train the value network only")
    epochs: int = Field(4, ge=1, description="passes over the steps of one update")
    minibatch: int = Field(640, ge=2, description="steps in one gradient step")
    learning_rate: float = Field(2e-4, gt=0.0, description="initial rate of policy optimisation; falls to zero")
    exploration_std: float = Field(0.06, gt=0.0, description="initial standard deviation of the exploration noise")
    imitation_weight: float = Field(0.1, ge=0.0, description="weight of the imitation loss near the target")
    reaches: int = Field(300, ge=1, description="evaluation: reaches from random postures")
    episodes: int = Field(100, ge=1, description="evaluation: episodes of Reacher-v5")
    over_topics: bool = Field(True, description="evaluation: run the episodes over topics too, in real time")


def imitation_loss(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Compute a relative squared error, so that small torques near the target count as much as large ones."""
    # 0.03 of full torque is added so that torques near zero do not dominate.
    return ((net(inputs) - targets) ** 2 / (targets.abs() + 0.03)).mean()


def demonstrations(states: States, teacher: Controller) -> tuple[Tensor, Tensor]:
    """Compute the features [N, 14] of states and the teacher's commands in them [N, 2]."""
    return torch.from_numpy(features(*states)), torch.from_numpy(teacher(*states).astype(np.float32))


def settling(net: Policy) -> Controller:
    """Blend the present policy `net` with the expert: the expert near a resting target, the policy elsewhere."""
    # A copy, because `net` is trained towards this controller.
    frozen = network_controller(copy.deepcopy(net))

    def act(state: JointState, target: FloatArray) -> FloatArray:
        error, velocity = reaching.joint_error(state, target), state.velocities
        # 0.1 rad is 1 to 2 cm; velocities are divided by the expert's gain, 7 per second, to be comparable.
        near = np.exp(-(np.square(error) + np.square(velocity / 7.0)).sum(-1, keepdims=True) / 0.1**2)
        blended: FloatArray = near * reaching.expert_command(state, target) + (1.0 - near) * frozen(state, target)
        return blended

    return act


def _one_cycle(progress: float) -> float:
    """Compute the one-cycle learning rate as a share of its peak: up for 30 % of training, then down, along cosines."""
    if progress < 0.3:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / 0.3)) / 2
    return (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2


def imitate(
    run: Run[Settings], net: Policy, teacher: Controller, part: str, steps: int, rate: float, *, standard: bool
) -> None:
    """Clone the teacher, adding states that `net` itself visits in each round (DAgger); one checkpoint per round.

    Args:
        run: The training run.
        net: The policy to train.
        teacher: The controller to imitate.
        part: Name of this phase, for checkpoints and messages.
        steps: Number of batches.
        rate: Peak learning rate.
        standard: Whether every second arm starts as Reacher-v5 starts.
    """
    options = run.settings
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    inputs, commands = demonstrations(random_states(np.random.default_rng([run.seed, 0]), options.states), teacher)
    first = 0
    if (checkpoint := run.load_checkpoint(part)) is not None:
        net.load_state_dict(checkpoint["net"])
        optimiser.load_state_dict(checkpoint["optimiser"])
        inputs, commands, first = checkpoint["inputs"], checkpoint["commands"], checkpoint["round"]
    arms = Arms(options.arms)
    per_round = max(1, steps // options.rounds)
    loss = torch.zeros(())
    with run.progress() as bar:
        task = bar.add_task(part, total=options.rounds * per_round, completed=first * per_round)
        for number in range(first, options.rounds):
            # A generator per round, so that a resumed training draws the same numbers.
            rng = np.random.default_rng([run.seed, 1, number])
            if number:
                visited = visited_states(rng, arms, net, standard=standard)
                more_inputs, more_commands = demonstrations(visited, teacher)
                inputs, commands = torch.cat([inputs, more_inputs]), torch.cat([commands, more_commands])
            for step in range(per_round):
                progress = (number * per_round + step) / (options.rounds * per_round)
                optimiser.param_groups[0]["lr"] = rate * _one_cycle(progress)
                chosen = torch.from_numpy(rng.integers(0, len(inputs), options.batch))
                loss = imitation_loss(net, inputs[chosen], commands[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                bar.advance(task)
            run.log(f"{part}: round {number + 1}, loss {loss.item():.4f}, {len(inputs)} states")
            run.save_checkpoint(
                {
                    "net": net.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "inputs": inputs,
                    "commands": commands,
                    "round": number + 1,
                },
                part,
            )


@torch.no_grad()
def explore(rng: np.random.Generator, arms: Arms, policy: GaussianPolicy, value: nn.Module) -> Rollout:
    """Run one episode of every arm under the stochastic policy.

    Args:
        rng: Source of all random draws.
        arms: The arms.
        policy: The policy with its exploration noise.
        value: The value network.

    Returns:
        Observations, actions, log densities, rewards and values of all steps.
    """
    targets = arms.start(rng)
    observations, taken, densities, rewards = [], [], [], []
    observations.append(torch.from_numpy(features(arms.states(), targets)))
    for _ in range(EPISODE):
        distribution = policy(observations[-1])
        noise = torch.from_numpy(rng.standard_normal(distribution.mean.shape).astype(np.float32))
        actions = distribution.mean + noise * distribution.stddev
        commands = actions.clamp(-1.0, 1.0).numpy().astype(np.float64)
        arms.step(commands)
        state = arms.states()
        taken.append(actions)
        densities.append(log_density(distribution, actions))
        rewards.append(torch.from_numpy(reward(state, targets, commands).astype(np.float32)))
        observations.append(torch.from_numpy(features(state, targets)))
    # One more observation than steps: the last value is needed to bootstrap the return.
    values = value(torch.stack(observations))[..., 0]
    return Rollout(
        torch.stack(observations[:-1]), torch.stack(taken), torch.stack(densities), torch.stack(rewards), values
    )


def reinforce(run: Run[Settings], net: Policy, part: str) -> None:
    """Improve the cloned policy by proximal policy optimisation; one checkpoint every ten updates."""
    options = run.settings
    policy = GaussianPolicy(net, JOINTS, options.exploration_std)
    value = nn.Sequential(nn.Linear(FEATURES, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    modules = nn.ModuleDict({"policy": policy, "value": value})
    # The value network starts untrained and therefore learns at five times the policy's rate.
    optimiser = torch.optim.Adam(
        [{"params": policy.parameters(), "scale": 1.0}, {"params": value.parameters(), "scale": 5.0}]
    )
    params = PPOParams(epochs=options.epochs, minibatch=options.minibatch)
    arms = Arms(options.arms)
    first = 0
    if (checkpoint := run.load_checkpoint(part)) is not None:
        modules.load_state_dict(checkpoint["modules"])
        optimiser.load_state_dict(checkpoint["optimiser"])
        first = checkpoint["iteration"]
    with run.progress() as bar:
        task = bar.add_task(f"{part}", total=options.iterations, completed=first)
        for iteration in range(first, options.iterations):
            rng = np.random.default_rng([run.seed, 2, iteration])
            rate = options.learning_rate * (1.0 - iteration / options.iterations)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["scale"]

            # The default argument binds this iteration's generator.
            def near_target_loss(rng: np.random.Generator = rng) -> Tensor:
                inputs, commands = demonstrations(near_states(rng, 128), reaching.expert_command)
                return options.imitation_weight * imitation_loss(net, inputs, commands)

            rollout = explore(rng, arms, policy, value)
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            done = ppo_update(
                policy,
                value,
                optimiser,
                rollout,
                params,
                generator,
                near_target_loss,
                value_only=iteration < options.value_warmup,
            )
            bar.advance(task)
            if (iteration + 1) % 10 == 0:
                spread = policy.log_spread.detach().exp().mean().item()
                run.log(
                    f"{part}: update {iteration + 1}, return {rollout.rewards[:, ::2].sum(0).mean():.3f} from "
                    f"Reacher-v5's starts with exploration noise {spread:.3f}, KL {done.kl:.4f}, {done.steps} steps"
                )
                run.save_checkpoint(
                    {
                        "modules": modules.state_dict(),
                        "optimiser": optimiser.state_dict(),
                        "iteration": iteration + 1,
                    },
                    part,
                )


def train(run: Run[Settings]) -> None:
    """Train the spiking policy, then the non-spiking baseline: cloning, policy optimisation, settling."""
    for kind, build in (
        ("spiking", lambda: TrainableSpikingPolicy(FEATURES, HIDDEN, JOINTS, SHAPE)),
        ("nonspiking", lambda: ReLUPolicy(FEATURES, HIDDEN, JOINTS)),
    ):
        torch.manual_seed(run.seed)
        net: Policy = build()
        options = run.settings
        imitate(run, net, reaching.expert_command, f"{kind}-cloning", options.cloning_steps, 3e-3, standard=False)
        reinforce(run, net, f"{kind}-ppo")
        imitate(run, net, settling(net), f"{kind}-settling", options.settling_steps, 1e-3, standard=True)
        if isinstance(net, TrainableSpikingPolicy):
            net.to_policy().save(run.weights)
            run.weights.chmod(0o644)
        else:
            save_weights(run.weights.parent / NONSPIKING, net.state_dict(), {"rectified_policy": "1"})
    run.delete_checkpoints()


def nonspiking_controller(path: Path) -> Controller:
    """Load the non-spiking baseline as a controller.

    Raises:
        ModelError: The file holds no such policy.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    net = ReLUPolicy(FEATURES, HIDDEN, JOINTS)
    try:
        net.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} holds no non-spiking policy: {error}") from None

    return network_controller(net)


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Measure Reacher-v5 in Gymnasium and over topics, and the distance from the target after two seconds."""
    options, seed = run.settings, run.seed + HELD_OUT
    ours = reaching.policy_controller(SpikingPolicy.load(run.weights))
    baselines = {
        "expert": reaching.expert_command,
        "non-spiking policy": nonspiking_controller(run.weights.parent / NONSPIKING),
    }
    episodes = reacher_episodes(ours, seed, options.episodes)
    other = {name: reacher_episodes(baseline, seed, options.episodes) for name, baseline in baselines.items()}
    for suffix, (name, theirs) in zip(("", "_beside_twin"), other.items(), strict=True):
        yield compare(
            f"reacher_return{suffix}",
            episodes.mean_return,
            "",
            rival=name,
            rival_value=theirs.mean_return,
            limit=("value", ">=", -4.5),
        )
        yield compare(
            f"reacher_final_distance{suffix}",
            episodes.median_cm,
            "cm",
            rival=name,
            rival_value=theirs.median_cm,
            limit=("value", "<=", 1.5),
        )
    if options.over_topics:

        def show(items: range) -> Iterator[int]:
            return run.track(items, "over topics", len(items))

        topics = episodes_over_topics(run.weights, seed, options.episodes, show)
        yield compare(
            "topics_return",
            topics.mean_return,
            "",
            rival="the same policy in Reacher-v5 itself",
            rival_value=episodes.mean_return,
            limit=("value", ">=", -4.5),
        )
        yield compare(
            "topics_final_distance",
            topics.median_cm,
            "cm",
            rival="the same policy in Reacher-v5 itself",
            rival_value=episodes.median_cm,
            limit=("value", "<=", 1.5),
        )
    held = final_distances(ours, seed, options.reaches) * 100
    for suffix, (name, baseline) in zip(("", "_beside_twin"), baselines.items(), strict=True):
        theirs_held = final_distances(baseline, seed, options.reaches) * 100
        yield compare(
            f"held_distance{suffix}",
            float(np.median(held)),
            "cm",
            rival=name,
            rival_value=float(np.median(theirs_held)),
            limit=("value", "<=", 0.1),
        )
        yield compare(
            f"held_distance_worst{suffix}", float(held.max()), "cm", rival=name, rival_value=float(theirs_held.max())
        )
