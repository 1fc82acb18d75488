"""Checks that programs import and accept their parameters, in a process of its own: programs may import anything."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from brainnet.errors import AllocationError, BrainnetError, LaunchError
from brainnet.launcher.describe.allocation import Allocation


@dataclass(frozen=True, slots=True)
class Checked:
    """A program that can run as a node."""

    id: str
    role: str
    about: str
    parameters: dict[str, object]
    """All of them, with the values they start with."""


def check_programs(allocation: Allocation) -> list[Checked]:
    """Import every program of the allocation and build its parameters, as its node would.

    Raises:
        AllocationError: the first that does not import, is no node, or refuses a parameter; names file and line.
    """
    asked = {
        "preload": allocation.preload,
        "nodes": [{"id": n.id, "program": n.program, "parameters": n.parameters} for n in allocation.nodes],
    }
    run = subprocess.run(
        [sys.executable, "-m", "brainnet.launcher.describe.programs"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    if run.returncode:
        raise LaunchError(f"the programs cannot be checked: {run.stderr.strip().rpartition(chr(10))[2]}")
    checked = []
    for node, line in zip(allocation.nodes, run.stdout.splitlines(), strict=True):
        found = json.loads(line)
        if "error" in found:
            at = allocation.lines[node.id]
            text = f"{allocation.path}, line {at}: node {node.id}: {found['error']}"
            raise AllocationError(text, path=allocation.path, line=at)
        checked.append(Checked(**found))
    return checked


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a program prints while it is imported is no answer
    request = json.load(sys.stdin)
    for module in request["preload"]:  # once for all; the programs would each import it
        importlib.import_module(module)
    for asked in request["nodes"]:
        # each in a process of its own, as when it runs: two programs may have helper modules of the same name
        child = os.fork()
        if child == 0:
            answers.write(json.dumps(_check(**asked), default=str) + "\n")
            answers.flush()
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(f"program {asked['program']} ended the process that imported it")
    answers.close()


def _check(id: str, program: str, parameters: dict[str, object]) -> dict[str, object]:
    from brainnet.node import load_program
    from brainnet.node.params import build

    try:
        kind = load_program(program)
        built = build(kind.Parameters, parameters, id)
    except BrainnetError as error:
        return {"error": str(error)}
    about = (kind.__doc__ or "").strip().partition("\n")[0]
    return {"id": id, "role": kind.role, "about": about, "parameters": built.model_dump(mode="json")}


if __name__ == "__main__":
    _main()
