"""Trains the motor cortex: a spiking policy that learns to reach from demonstrations on Reacher-v5's physics.

    python nodes/training/motor_cortex.py [--data DIR] [--out FILE] [--device cpu] [--seed N] [--steps N] [--evaluate]

Behaviour cloning of `arm_loop.expert_command`, with the states that the policy itself visits added round by round
(DAgger, Ross et al. 2011). The demonstrations are made here; `--data` is accepted like everywhere and not read.
`--evaluate` only measures the weights at `--out`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from brainnet.joint_state import JointState
from brainnet.snn.policy import PolicyShape, SpikingPolicy
from brainnet.snn.policy_training import TrainableSpikingPolicy
from nodes.arm_body import Plant
from nodes.motor_cortex import FEATURES, features
from nodes.training import arm_loop
from nodes.training.arm_loop import FloatArray
from nodes.training.common import arguments, progress, seeded

HIDDEN = [192, 192]
SHAPE = PolicyShape(beta=0.8, threshold=1.0, steps=8)
BATCH = 512
ROUNDS = 8
ARMS = 100
MOVEMENT = 100


def random_states(rng: np.random.Generator, count: int) -> tuple[JointState, FloatArray]:
    """States and targets without a policy: one half anywhere, one half at all distances around their target."""
    targets = arm_loop.random_targets(rng, count)
    half = count // 2
    angles = np.stack([rng.uniform(-np.pi, np.pi, count), rng.uniform(-3.0, 3.0, count)], axis=-1)
    velocities = rng.normal(0.0, 3.0, (count, 2))
    spread = 10.0 ** rng.uniform(-2.5, 0.0, (half, 1))
    angles[:half] = arm_loop.inverse_kinematics(targets[:half]) + rng.normal(size=(half, 2)) * spread
    velocities[:half] = rng.normal(size=(half, 2)) * spread * 8.0
    angles[:, 1] = np.clip(angles[:, 1], -3.0, 3.0)
    tips = arm_loop.forward_kinematics(angles)
    return JointState(angles, velocities, tips, np.zeros_like(angles)), targets


def visited_states(
    rng: np.random.Generator, arms: list[Plant], net: TrainableSpikingPolicy
) -> tuple[JointState, FloatArray]:
    """States that the policy itself visits on its way from random postures to random targets."""
    targets = arm_loop.random_targets(rng, len(arms))
    for arm in arms:
        arm_loop.random_posture(rng, arm)
    states = [_joined([arm.state() for arm in arms], np.stack)]
    for _ in range(MOVEMENT):
        with torch.no_grad():
            commands = net(torch.from_numpy(features(states[-1], targets))).numpy().astype(np.float64)
        moved = [arm.step(command) for arm, command in zip(arms, commands, strict=True)]
        states.append(_joined(moved, np.stack))
    return _joined(states, np.concatenate), np.tile(targets, (len(states), 1))


def _joined(states: list[JointState], join: Callable[[list[FloatArray]], FloatArray]) -> JointState:
    """One state of arrays from many: ``join`` is np.stack or np.concatenate."""
    angles, velocities, tip, applied = (
        join([getattr(state, name) for state in states]) for name in ("angles", "velocities", "tip", "applied")
    )
    return JointState(angles, velocities, tip, applied)


def train(seed: int, steps: int) -> SpikingPolicy:
    """Behaviour cloning over ``steps`` batches with `ROUNDS` - 1 rounds of the policy's own states."""
    rng = np.random.default_rng(seed)
    net = TrainableSpikingPolicy(FEATURES, HIDDEN, outputs=2, shape=SHAPE)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    arms = [Plant() for _ in range(ARMS)]

    def labelled(state: JointState, targets: FloatArray) -> tuple[torch.Tensor, torch.Tensor]:
        commands = arm_loop.expert_command(state, targets).astype(np.float32)
        return torch.from_numpy(features(state, targets)), torch.from_numpy(commands)

    inputs, commands = labelled(*random_states(rng, 40_000))
    loss = torch.zeros(())
    with progress() as bar:
        task = bar.add_task("motor cortex", total=steps)
        for step in range(steps):
            if step and step % (steps // ROUNDS) == 0:
                more_inputs, more_commands = labelled(*visited_states(rng, arms, net))
                inputs, commands = torch.cat([inputs, more_inputs]), torch.cat([commands, more_commands])
                bar.console.print(f"step {step}: loss {loss.item():.4f}, {len(inputs)} states")
            chosen = torch.from_numpy(rng.integers(0, len(inputs), BATCH))
            wanted = commands[chosen]
            # relative error, so that the small torques near the target are learned as well as the large ones
            loss = ((net(inputs[chosen]) - wanted) ** 2 / (wanted.abs() + 0.03)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.advance(task)
    return net.to_policy()


def evaluate(policy: SpikingPolicy, seed: int) -> None:
    """Print the distances reached from random postures: random targets, the grid, and with commands that come late."""
    arm = Plant()
    rng = np.random.default_rng(seed)
    sets = {
        "300 random targets": (arm_loop.random_targets(rng, 300), 0.0),
        "112 grid targets": (arm_loop.grid_targets(), 0.0),
        "grid, every fifth command late": (arm_loop.grid_targets(), 0.2),
    }
    print("| targets | median cm | 95 % cm | worst cm | settled (1 cm), median s | worst s | worst final rad/s |")
    print("|---|---|---|---|---|---|---|")
    for name, (targets, late) in sets.items():
        traces = []
        for target in targets:
            arm_loop.random_posture(rng, arm)
            lateness = (bool(rng.random() < late) for _ in range(MOVEMENT))
            traces.append(arm_loop.reach(arm, policy, target, MOVEMENT, late=lateness))
        final = np.array([trace.distances[-1] for trace in traces]) * 100
        settled = np.array([trace.settling_time(arm.dt) for trace in traces])
        speed = max(trace.final_speed for trace in traces)
        print(
            f"| {name} | {np.median(final):.2f} | {np.quantile(final, 0.95):.2f} | {final.max():.2f} "
            f"| {np.median(settled):.2f} | {settled.max():.2f} | {speed:.2f} |"
        )


def main() -> None:
    parser = arguments("Train the motor cortex's spiking policy.", "motor_cortex.safetensors", data=False)
    parser.add_argument("--steps", type=int, default=3000, help="batches")
    parser.add_argument("--evaluate", action="store_true", help="only measure the weights at --out")
    options = parser.parse_args()
    seeded(options.seed, options.threads)
    if not options.evaluate:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        train(options.seed, options.steps).save(options.out)
        print(f"wrote {options.out}")
    evaluate(SpikingPolicy.load(options.out), options.seed + 1000)


if __name__ == "__main__":
    main()
