# mypy: allow-untyped-calls, no-warn-return-any
"""Trains the motor cortex: a spiking policy that learns to reach on Reacher-v5's physics, first from demonstrations,
then from reward. Needs no data; about 15 minutes on one core.

Behaviour cloning of `reaching.expert_command`, with the states that the policy itself visits added round by round
(DAgger, Ross et al. 2011), then proximal policy optimisation of Reacher-v5's own reward with gradients through the
spikes (`brainnet.snn.models.ppo`). Half of the arms start as Reacher-v5 starts them, half anywhere; near the target the
policy is held to the demonstrator, and at the end it learns once more to settle there as the demonstrator does. The
same program, told nothing else, trains the non-spiking twin that evaluation compares with.
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
from brainnet.snn.models.policy_training import RectifiedPolicy, TrainableSpikingPolicy
from brainnet.snn.models.ppo import GaussianPolicy, PPOParams, Rollout, improve, log_density
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
TWIN = Path("baselines") / "motor_cortex_nonspiking.safetensors"
HELD_OUT = 1000
"""Added to the seed for targets and postures of the evaluation; training never draws from there."""


class Settings(TrainingSettings):
    cloning_steps: int = Field(3000, ge=1, description="batches of behaviour cloning")
    settling_steps: int = Field(
        3000, ge=1, description="batches in which the policy learns to settle again, at the end"
    )
    batch: int = Field(512, ge=1, description="states in a batch of behaviour cloning and settling")
    rounds: int = Field(8, ge=1, description="rounds of each; all but the first add states that the policy visits")
    states: int = Field(40_000, ge=2, description="random states to start behaviour cloning with")
    arms: int = Field(64, ge=2, description="arms that move at the same time")
    iterations: int = Field(600, ge=0, description="updates of proximal policy optimisation")
    warm_up: int = Field(8, ge=0, description="first updates, which teach the value network alone")
    epochs: int = Field(4, ge=1, description="passes over the steps of one update")
    minibatch: int = Field(640, ge=2, description="steps in one gradient step")
    learning_rate: float = Field(2e-4, gt=0.0, description="of proximal policy optimisation at first; falls to zero")
    spread: float = Field(0.06, gt=0.0, description="standard deviation of exploring commands at first")
    anchor: float = Field(0.1, ge=0.0, description="weight of the demonstrator near the target")
    reaches: int = Field(300, ge=1, description="reaches from anywhere in the evaluation")
    episodes: int = Field(100, ge=1, description="episodes of Reacher-v5 in the evaluation")
    over_topics: bool = Field(True, description="evaluate the episodes over topics too, in real time")


def imitation_loss(net: nn.Module, inputs: Tensor, wanted: Tensor) -> Tensor:
    """Relative error, so that the small torques near the target are learned as well as the large ones."""
    return ((net(inputs) - wanted) ** 2 / (wanted.abs() + 0.03)).mean()


def taught(states: States, teacher: Controller) -> tuple[Tensor, Tensor]:
    """Features [N, 14] and what the teacher does there [N, 2]."""
    return torch.from_numpy(features(*states)), torch.from_numpy(teacher(*states).astype(np.float32))


def settling(net: Policy) -> Controller:
    """What `net` does now, turning into what the expert does as the arm comes to rest on its target."""
    frozen = network_controller(copy.deepcopy(net))

    def act(state: JointState, target: FloatArray) -> FloatArray:
        error, velocity = reaching.joint_error(state, target), state.velocities
        # 0.1 rad is 1 to 2 cm; with the expert's gains an error decays at 7 per second
        near = np.exp(-(np.square(error) + np.square(velocity / 7.0)).sum(-1, keepdims=True) / 0.1**2)
        blended: FloatArray = near * reaching.expert_command(state, target) + (1.0 - near) * frozen(state, target)
        return blended

    return act


def _one_cycle(progress: float) -> float:
    """Learning rate over training as a share of the largest: up for three tenths, down for the rest, along cosines."""
    if progress < 0.3:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / 0.3)) / 2
    return (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2


def imitate(
    run: Run[Settings], net: Policy, teacher: Controller, part: str, steps: int, rate: float, *, standard: bool
) -> None:
    """Learn what the teacher does, with rounds of the states that `net` itself visits; a checkpoint a round."""
    options = run.settings
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    inputs, commands = taught(random_states(np.random.default_rng([run.seed, 0]), options.states), teacher)
    first = 0
    if (kept := run.load_checkpoint(part)) is not None:
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        inputs, commands, first = kept["inputs"], kept["commands"], kept["round"]
    arms = Arms(options.arms)
    per_round = max(1, steps // options.rounds)
    loss = torch.zeros(())
    with run.progress() as bar:
        task = bar.add_task(part, total=options.rounds * per_round, completed=first * per_round)
        for number in range(first, options.rounds):
            rng = np.random.default_rng([run.seed, 1, number])
            if number:
                more_inputs, more_commands = taught(visited_states(rng, arms, net, standard=standard), teacher)
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
    """One episode of every arm under the policy with its spread."""
    targets = arms.start(rng)
    seen, drawn, densities, rewards = [], [], [], []
    seen.append(torch.from_numpy(features(arms.states(), targets)))
    for _ in range(EPISODE):
        distribution = policy(seen[-1])
        noise = torch.from_numpy(rng.standard_normal(distribution.mean.shape).astype(np.float32))
        actions = distribution.mean + noise * distribution.stddev
        commands = actions.clamp(-1.0, 1.0).numpy().astype(np.float64)
        arms.step(commands)
        state = arms.states()
        drawn.append(actions)
        densities.append(log_density(distribution, actions))
        rewards.append(torch.from_numpy(reward(state, targets, commands).astype(np.float32)))
        seen.append(torch.from_numpy(features(state, targets)))
    values = value(torch.stack(seen))[..., 0]
    return Rollout(torch.stack(seen[:-1]), torch.stack(drawn), torch.stack(densities), torch.stack(rewards), values)


def reinforce(run: Run[Settings], net: Policy, part: str) -> None:
    """Proximal policy optimisation from the cloned policy on; a checkpoint every ten updates."""
    options = run.settings
    policy = GaussianPolicy(net, JOINTS, options.spread)
    value = nn.Sequential(nn.Linear(FEATURES, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    modules = nn.ModuleDict({"policy": policy, "value": value})
    optimiser = torch.optim.Adam(
        [{"params": policy.parameters(), "scale": 1.0}, {"params": value.parameters(), "scale": 5.0}]
    )
    params = PPOParams(epochs=options.epochs, minibatch=options.minibatch)
    arms = Arms(options.arms)
    first = 0
    if (kept := run.load_checkpoint(part)) is not None:
        modules.load_state_dict(kept["modules"])
        optimiser.load_state_dict(kept["optimiser"])
        first = kept["iteration"]
    with run.progress() as bar:
        task = bar.add_task(f"{part}", total=options.iterations, completed=first)
        for iteration in range(first, options.iterations):
            rng = np.random.default_rng([run.seed, 2, iteration])
            rate = options.learning_rate * (1.0 - iteration / options.iterations)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["scale"]

            def near_target(rng: np.random.Generator = rng) -> Tensor:
                return options.anchor * imitation_loss(net, *taught(near_states(rng, 128), reaching.expert_command))

            rollout = explore(rng, arms, policy, value)
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            done = improve(
                policy,
                value,
                optimiser,
                rollout,
                params,
                generator,
                near_target,
                only_value=iteration < options.warm_up,
            )
            bar.advance(task)
            if (iteration + 1) % 10 == 0:
                spread = policy.log_spread.detach().exp().mean().item()
                run.log(
                    f"{part}: update {iteration + 1}, return {rollout.rewards[:, ::2].sum(0).mean():.3f} from "
                    f"Reacher-v5's starts while exploring by {spread:.3f}, KL {done.kl:.4f}, {done.steps} steps"
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
    """Clone, reinforce, settle: first the spiking policy, then its twin."""
    for kind, build in (
        ("spiking", lambda: TrainableSpikingPolicy(FEATURES, HIDDEN, JOINTS, SHAPE)),
        ("twin", lambda: RectifiedPolicy(FEATURES, HIDDEN, JOINTS)),
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
            save_weights(run.weights.parent / TWIN, net.state_dict(), {"rectified_policy": "1"})
    run.delete_checkpoints()


def twin_controller(path: Path) -> Controller:
    """The non-spiking twin. Raises ModelError for a file that holds none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    net = RectifiedPolicy(FEATURES, HIDDEN, JOINTS)
    try:
        net.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} holds no non-spiking policy: {error}") from None

    return network_controller(net)


def evaluate(run: Run[Settings]) -> Iterator[Row]:
    """Reacher-v5 as it comes and over topics, and how precisely a target is held after two seconds."""
    options, seed = run.settings, run.seed + HELD_OUT
    ours = reaching.policy_controller(SpikingPolicy.load(run.weights))
    rivals = {"expert": reaching.expert_command, "non-spiking policy": twin_controller(run.weights.parent / TWIN)}
    episodes = reacher_episodes(ours, seed, options.episodes)
    other = {name: reacher_episodes(rival, seed, options.episodes) for name, rival in rivals.items()}
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
    for suffix, (name, rival) in zip(("", "_beside_twin"), rivals.items(), strict=True):
        theirs_held = final_distances(rival, seed, options.reaches) * 100
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
