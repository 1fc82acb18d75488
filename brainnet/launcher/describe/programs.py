"""Checks that programs can be imported and accept their parameters.

It runs in a process of its own, because a program may import, print and change anything.
"""

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
class CheckedProgram:
    """A program that can run as a node.

    Attributes:
        id: Of the node.
        role: Its role in the contract.
        about: First line of its docstring.
        parameters: All of them, with their initial values.
    """

    id: str
    role: str
    about: str
    parameters: dict[str, object]


def check_programs(allocation: Allocation) -> list[CheckedProgram]:
    """Import every program of the allocation and build its parameters, as its node would.

    Raises:
        AllocationError: A program cannot be imported, is no node, or refuses a parameter; names file and line of the
            first.
        LaunchError: A program ended the process that imported it.
    """
    request = {
        "preload": allocation.preload,
        "nodes": [{"id": n.id, "program": n.program, "parameters": n.parameters} for n in allocation.nodes],
    }
    run = subprocess.run(
        [sys.executable, "-m", "brainnet.launcher.describe.programs"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    if run.returncode:
        raise LaunchError(f"the programs cannot be checked: {run.stderr.strip().rpartition(chr(10))[2]}")
    checked = []
    for node, line in zip(allocation.nodes, run.stdout.splitlines(), strict=True):
        result = json.loads(line)
        if "error" in result:
            at = allocation.lines[node.id]
            text = f"{allocation.path}, line {at}: node {node.id}: {result['error']}"
            raise AllocationError(text, path=allocation.path, line=at)
        checked.append(CheckedProgram(**result))
    return checked


def _main() -> None:
    # Results go to the original standard output; what a program prints while it is imported goes to standard error.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    for module in request["preload"]:  # before the forks below, so that it is imported once
        importlib.import_module(module)
    for node in request["nodes"]:
        # Each in a process of its own, as when it runs: two programs may have modules of the same name beside them.
        child = os.fork()
        if child == 0:
            results.write(json.dumps(_check(**node), default=str) + "\n")
            results.flush()
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(f"program {node['program']} ended the process that imported it")
    results.close()


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
