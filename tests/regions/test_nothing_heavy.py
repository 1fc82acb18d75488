"""The nodes that every brain has load no library for training or compiling: they start fast, and fit a small board."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from brainnet.testing import PATIENCE_S

PROMPT = """
import asyncio, json, sys
from pathlib import Path

from brainnet import Prompt
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import PATIENCE_S, MemoryBrain
from brainnet.testing.faults import Answers


async def run():
    async with MemoryBrain(Path(sys.argv[1])) as brain:
        await brain.start(Answers, "language")
        for name in ("memory_integrator", "prefrontal"):
            await brain.start(load_program(str(region_file(name))), name)
        client = brain.bus()
        answers = client.subscribe("api/result")
        client.publish("api/prompt", Prompt(text="Once upon a time"))
        async with asyncio.timeout(PATIENCE_S):
            return (await answers.get()).message


answer = asyncio.run(run())
# the last line, after all that the nodes log
print(json.dumps([answer.text, answer.error, sorted({"torch", "numba", "snntorch"} & set(sys.modules))]))
"""


def test_the_router_and_the_integrator_load_nothing_heavy(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROMPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["Once upon a time", None, []]
