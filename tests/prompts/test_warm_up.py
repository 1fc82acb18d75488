"""The warm-up leaves nothing to load for the first prompt, and no trace."""

from __future__ import annotations

import subprocess
import sys


def test_after_it_a_prompt_imports_and_builds_nothing() -> None:
    code = (
        "import sys\n"
        "from brainnet.prompts import warm_up\n"
        "warm_up()\n"
        "before = set(sys.modules)\n"
        "warm_up()\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
