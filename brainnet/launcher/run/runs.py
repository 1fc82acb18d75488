"""The last run of a network on this host, so that a later launch can go on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brainnet.errors import LaunchError

if TYPE_CHECKING:
    from brainnet.launcher.describe.networks import NetworkPlan
    from brainnet.launcher.run.supervisor import Plan

_FOLDER: Final = "streams"
"""Where the processes save their states, in the state folder of the brain."""
_FILE: Final = "run.json"


def note_run(plan: Plan) -> None:
    """Write down the run that is launched; does nothing without a network, or when another host names the run.

    Raises:
        LaunchError: It cannot be written.
    """
    part = next((spec.network for spec in plan.nodes if spec.network is not None), None)
    if part is None or not part.run:
        return
    path = plan.state / _FOLDER / _FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"run": part.run, "digest": part.digest, "seed": part.seed}), encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"the run of the network cannot be written down: {path}: {error.strerror}") from None


def last_run(state: Path, network: NetworkPlan, seed: int | None) -> str:
    """Return the run that the last launch of the same network had.

    Raises:
        LaunchError: There is none, or it was that of another network.
    """
    path = state / _FOLDER / _FILE
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
        run, digest, last_seed = str(last["run"]), last["digest"], last["seed"]
    except FileNotFoundError:
        raise LaunchError("no network was launched here yet; leave out --resume to begin one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"{path} cannot be read: {error}; leave out --resume to begin anew") from None
    if (digest, last_seed) != (network.digest, seed):
        raise LaunchError(
            f"the last network that was launched here is not that of {network.file}, or had another seed; leave out "
            "--resume to begin anew"
        )
    return run
