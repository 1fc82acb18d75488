"""Checks that programs can be imported and accept their parameters.

It runs in a process of its own, because a program may import, print and change anything.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainnet.errors import BrainnetError, LaunchError
from brainnet.launcher.describe.allocation import Allocation
from brainnet.launcher.describe.weights import check_weights
from brainnet.paths import current_folder


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
    """Import every program of the allocation, build its parameters and look for its weights, as its node would.

    Raises:
        AllocationError: A module or program cannot be imported, is no node, refuses a parameter or lacks its weights;
            names file and line of the first.
        LaunchError: The programs cannot be checked at all.
    """
    request = {
        "preload": allocation.preload,
        "nodes": [
            {"id": n.id, "program": n.program, "parameters": n.parameters, "has_checkpoint": n.checkpoint is not None}
            for n in allocation.nodes
        ],
    }
    here = [str(folder) for folder in current_folder()]  # the processes of nodes have it at the end of their path
    path = [part for entry in sys.path for part in ([entry] if entry else here)]
    run = subprocess.run(
        [sys.executable, "-P", "-m", "brainnet.launcher.describe.programs"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*path, *here]))},
    )
    results = [json.loads(line) for line in run.stdout.splitlines()]
    if results and "preload" in results[0]:
        raise allocation.error(("preload", results[0]["preload"]), results[0]["error"])
    if run.returncode or len(results) != len(allocation.nodes):
        last = run.stderr.strip().rpartition("\n")[2]
        raise LaunchError(f"the programs cannot be checked: {last or _ending(run.returncode)}")
    for node, result in zip(allocation.nodes, results, strict=True):
        if "error" in result:
            at = (*allocation.location_of(node.id), result["field"])
            raise allocation.error(at, f"node {node.id}: {result['error']}")
    return [CheckedProgram(**result) for result in results]


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _main() -> None:
    # Results go to the original standard output; what a program prints while it is imported goes to standard error.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def report(**result: Any) -> None:
        results.write(json.dumps(result, default=str) + "\n")
        results.flush()

    request = json.load(sys.stdin)
    gc.disable()  # until all is imported that the forks share
    for index, module in enumerate(request["preload"]):  # before the forks below, so that it is imported once
        try:
            importlib.import_module(module)
        except BaseException as error:  # a module may also call sys.exit
            report(preload=index, error=f"cannot import {module}: {type(error).__name__}: {error}")
            return
    gc.freeze()
    for node in request["nodes"]:
        # Each in a process of its own, as when it runs: two programs may have modules of the same name beside them.
        child = os.fork()
        if child == 0:
            try:
                report(**_check(**node))
            except BaseException as error:
                report(field="program", error=f"program {node['program']} ends with {type(error).__name__}: {error}")
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            problem = f"program {node['program']} ended the process that imported it: {_ending(code)}"
            report(field="program", error=problem)


def _check(id: str, program: str, parameters: dict[str, object], has_checkpoint: bool) -> dict[str, object]:
    from brainnet.node import load_program
    from brainnet.node.params import build

    field = "program"
    try:
        kind = load_program(program)
        if kind.default_checkpoint is not None and not has_checkpoint:
            check_weights(Path(inspect.getfile(kind)).parent / kind.default_checkpoint)
        field = "parameters"
        built = build(kind.Parameters, parameters, id)
    except BrainnetError as error:
        return {"field": field, "error": str(error)}
    about = (kind.__doc__ or "").strip().partition("\n")[0]
    return {"id": id, "role": kind.role, "about": about, "parameters": built.model_dump(mode="json", fallback=str)}


if __name__ == "__main__":
    _main()
    sys.stderr.flush()
    os._exit(0)  # to take apart all that was imported takes time, and what a program does at exit is no concern here
