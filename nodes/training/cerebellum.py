"""Trains the cerebellum's forward model on the arm as it should be, and measures what it buys when the arm changes.

    python nodes/training/cerebellum.py [--data DIR] [--out FILE] [--device cpu] [--seed N] [--evaluate]

The arm moves under the motor cortex's policy with random torques mixed in; the readout of the granule cells is fitted
to the velocity change of each step (ridge regression). The data are made here; `--data` is accepted like everywhere and
not read. Needs the weights of the motor cortex. `--evaluate` only measures the weights at `--out`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from brainnet.snn.granule import DeltaReadout, GranuleLayer
from brainnet.snn.policy import SpikingPolicy
from nodes.arm_body import Plant
from nodes.cerebellum import ForwardModel, mossy_input, readout_features
from nodes.motor_cortex import features
from nodes.training import arm_loop
from nodes.training.arm_loop import FloatArray
from nodes.training.common import WEIGHTS, arguments, progress, seeded

CELLS = 600
MOVEMENTS = 200
MOVEMENT = 60
RIDGE = 1e-7


def babble(rng: np.random.Generator, policy: SpikingPolicy, movements: int) -> tuple[NDArray[np.float32], FloatArray]:
    """Mossy input [n, 8] and the velocity change it led to [n, 2], from reaches with random torques mixed in."""
    arm = Plant()
    inputs, changes = [], []
    for target in arm_loop.random_targets(rng, movements):
        arm_loop.random_posture(rng, arm)
        noise, share = np.zeros(2), rng.uniform(0.0, 1.0)
        state = arm.state()
        for _ in range(MOVEMENT):
            noise = 0.8 * noise + rng.normal(0.0, 0.3, 2)
            wanted = policy.act(features(state, target)).values
            command = np.clip((1.0 - share) * wanted + share * noise, -1.0, 1.0)
            following = arm.step(command)
            # at the elbow's stop the change is that of a collision, which a smooth model should not chase
            if abs(following.angles[1]) < 2.95:
                inputs.append(mossy_input(state.angles, state.velocities, command))
                changes.append(following.velocities - state.velocities)
            state = following
    return np.array(inputs), np.array(changes)


def train(seed: int) -> ForwardModel:
    """Draw the granule cells and fit the innate readout."""
    rng = np.random.default_rng(seed)
    policy = SpikingPolicy.load(WEIGHTS / "motor_cortex.safetensors")
    inputs, changes = babble(rng, policy, MOVEMENTS)
    granules = GranuleLayer.random(inputs, CELLS, rng)
    width = 1 + inputs.shape[1] + CELLS
    gram, moment = RIDGE * len(inputs) * np.eye(width), np.zeros((width, changes.shape[1]))
    with progress() as bar:
        task = bar.add_task("cerebellum", total=len(inputs))
        for start in range(0, len(inputs), 1000):
            batch = inputs[start : start + 1000]
            phi = readout_features(batch, granules.spikes(batch)).astype(np.float64)
            gram += phi.T @ phi
            moment += phi.T @ changes[start : start + 1000]
            bar.advance(task, len(batch))
    readout = np.ascontiguousarray(np.linalg.solve(gram, moment).T)
    cerebellum = ForwardModel(granules, DeltaReadout(readout), gain=1.0)
    cerebellum.gain = measured_gain(cerebellum, inputs)
    return cerebellum


def measured_gain(cerebellum: ForwardModel, inputs: NDArray[np.float32]) -> float:
    """Velocity change per unit of command according to the model itself, averaged over ``inputs`` and both joints."""
    gains = []
    for mossy in inputs[:: max(1, len(inputs) // 500)]:
        for joint in (0, 1):
            low, high = mossy.copy(), mossy.copy()
            low[2 + joint], high[2 + joint] = -0.5, 0.5
            outputs = [
                cerebellum.readout.predict_innate(readout_features(m, cerebellum.granules.spikes(m)))
                for m in (low, high)
            ]
            gains.append(outputs[1][joint] - outputs[0][joint])
    return float(np.mean(gains))


def prediction_error(cerebellum: ForwardModel, inputs: NDArray[np.float32], changes: FloatArray) -> float:
    """Mean absolute error of the innate model, rad/s."""
    phi = readout_features(inputs, cerebellum.granules.spikes(inputs))
    return float(np.abs(phi @ cerebellum.readout.innate.T - changes).mean())


def evaluate(path: Path, seed: int) -> None:
    """Print held-out prediction error, and reaching with and without the cerebellum on changed arms."""
    policy = SpikingPolicy.load(WEIGHTS / "motor_cortex.safetensors")
    inputs, changes = babble(np.random.default_rng(seed), policy, 40)
    cerebellum = ForwardModel.load(path)
    error = prediction_error(cerebellum, inputs, changes)
    print(f"held-out prediction: error {error:.4f} rad/s a step, mean change {np.abs(changes).mean():.3f} rad/s\n")
    print(
        "| arm | cerebellum | final cm, median | 95 % | worst | settled (1 cm) | after s, median "
        "| off the path cm | prediction error rad/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arm_loop.CHANGES:
        for used in (False, True):
            report(name, policy, ForwardModel.load(path) if used else None, seed)


def report(name: str, policy: SpikingPolicy, cerebellum: ForwardModel | None, seed: int, warm_up: int = 15) -> None:
    """Reach 75 random targets with the changed arm; the first ``warm_up`` are practice and not counted."""
    arm, reference = Plant(), Plant()
    arm.change(arm_loop.changed(name))
    rng = np.random.default_rng(seed)
    final, settled, off = [], [], []
    for index, target in enumerate(arm_loop.random_targets(rng, 75)):
        arm_loop.random_posture(rng, arm)
        reference.place(arm.state().angles, np.zeros(2))
        trace = arm_loop.reach(arm, policy, target, cerebellum=cerebellum)
        if index >= warm_up:
            undisturbed = arm_loop.reach(reference, policy, target)
            final.append(trace.distances[-1] * 100)
            settled.append(trace.settling_time(arm.dt))
            off.append(np.hypot(*(trace.tips - undisturbed.tips).T).mean() * 100)
    share = np.isfinite(settled).mean()
    predicted = (
        f"{np.mean(cerebellum.errors):.3f} (innate {np.mean(cerebellum.innate_errors):.3f})" if cerebellum else ""
    )
    print(
        f"| {name} | {'on' if cerebellum else 'off'} | {np.median(final):.2f} | {np.quantile(final, 0.95):.2f} "
        f"| {max(final):.2f} | {share:.0%} | {np.median(settled):.2f} | {np.mean(off):.2f} | {predicted} |",
        flush=True,
    )


def main() -> None:
    parser = arguments("Train the cerebellum's forward model.", "cerebellum.safetensors", data=False)
    parser.add_argument("--evaluate", action="store_true", help="only measure the weights at --out")
    options = parser.parse_args()
    seeded(options.seed, options.threads)
    if not options.evaluate:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        train(options.seed).save(options.out)
        print(f"wrote {options.out}")
    evaluate(options.out, options.seed + 1000)


if __name__ == "__main__":
    main()
