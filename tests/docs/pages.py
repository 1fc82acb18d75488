"""A page of the documentation that is read from its beginning to its end: each block is run or checked."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from brainnet.connectome import load as load_connectome
from brainnet.connectome.summary import summary
from brainnet.launcher.describe import allocation
from brainnet.settings import Settings
from brainnet.testing import PATIENCE_S, wait_until
from brainnet.wire import messages
from brainnet.wire.extension import load_extension
from brainnet.wire.topics import load_contract
from tests.docs import command_line
from tests.docs.markdown import ROOT, Block, blocks, commands, spans
from tests.support import Brain

CHECKS = {"console": {"", "output", "syntax", "background"}, "json": {"message"}}
"""By language: what the comment before a fence may say. Any other language has no such comment."""
ASKS = re.compile(r"\bClient\(\)|zenoh\.open")
"""In a Python block: it needs a brain that runs."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Page:
    """A page that is being read: its folder, its brain, and what runs beside the block that is read."""

    def __init__(self, folder: Path, brain: Brain, running: Brain | None) -> None:
        self.folder = folder
        self.brain = brain
        self.running = running
        self.background: subprocess.Popen[str] | None = None

    def run(self, block: Block) -> None:
        """Check one block."""
        handler: dict[str, Callable[[Block], None]] = {
            "console": self.console,
            "python": self.python,
            "yaml": self.yaml,
            "json": self.json,
            "mermaid": lambda block: None,
        }
        assert block.language in handler, f"{block}: no test handles blocks of language {block.language!r}"
        kind = block.check.partition(" ")[0]
        assert kind in CHECKS.get(block.language, {""}), f"{block}: no test knows the check {block.check!r}"
        if block.title is not None:
            file = self.folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        beside, self.background = self.background, None
        handler[block.language](block)
        if beside is not None:
            self.end(beside, block)

    def end(self, beside: subprocess.Popen[str], block: Block) -> None:
        """Run a block again until the command that runs beside it has seen it, and ended."""

        def ended() -> bool:
            if beside.poll() is None:
                self.console(block)
            return beside.poll() is not None

        wait_until("the command in the background to end", ended)
        out, _ = beside.communicate()
        assert beside.returncode == 0, f"before {block}: {out}"

    # -- by language -------------------------------------------------------------------------------------------------

    def console(self, block: Block) -> None:
        for command in commands(block):
            command_line.check(command.text)
            if block.check == "syntax":
                continue
            if block.check.startswith("background"):
                self.background = subprocess.Popen(**self.words(command.text))
                continue
            done = subprocess.run(timeout=3 * PATIENCE_S, check=False, **self.words(command.text))
            assert done.returncode == 0, f"{block}: {command.text}\n{done.stdout}"
            if block.check.startswith("output") and command.output:
                found, shown = comparable(done.stdout), comparable("\n".join(command.output))
                if block.check.endswith("in any order"):
                    found, shown = sorted(found), sorted(shown)
                assert found == shown, f"{block}: {command.text}"

    def python(self, block: Block) -> None:
        compile(block.text, str(block), "exec")
        if block.title is not None:
            later = [b.text for b in blocks(block.page) if b.line > block.line]
            name = Path(block.title).stem
            used = any(name in text for text in later) or f"python {block.title}" in spans(block.page)
            assert used or block.title.startswith("brainnet/"), f"{block} is not used"
            return
        brain = self.running if ASKS.search(block.text) else self.brain
        assert brain is not None, f"{block} needs a brain that runs"
        file = self.folder / f"block_{block.line}.py"
        file.write_text(block.text.replace("7447", str(brain.port)))
        done = subprocess.run(
            [sys.executable, file],
            cwd=self.folder,
            env=brain.env,
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{block}:\n{done.stdout}{done.stderr}"

    def yaml(self, block: Block) -> None:
        loaded = yaml.safe_load(block.text)
        first = loaded[0] if isinstance(loaded, list) else loaded
        file = self.folder / (block.title or f"block_{block.line}.yaml")
        if "key" in first and "payload" in first:
            file.write_text(yaml.safe_dump({"version": 1, "topics": loaded}))
            load_contract(file)
        elif "topics" in first and "nodes" not in first:
            file.write_text(block.text)
            load_extension([file])
        elif "program" in first or "nodes" in first or "connectome" in first:
            if isinstance(loaded, list):
                loaded = {"version": 1, "nodes": loaded}
            file.write_text(yaml.safe_dump(loaded))
            read = allocation.load(file)
            if read.network is not None:
                summary(load_connectome(read.network.file))
        elif {"populations", "model", "from", "clock"} & set(first):
            file.write_text(yaml.safe_dump(connectome_of(loaded)) if block.title is None else block.text)
            summary(load_connectome(file))
        else:
            Settings.model_validate(loaded)

    def json(self, block: Block) -> None:
        kind = getattr(messages, block.check.partition(" ")[2])
        assert set(json.loads(block.text)) <= set(kind.model_fields)
        kind.model_validate_json(block.text)

    # -- processes ---------------------------------------------------------------------------------------------------

    def words(self, command: str) -> dict[str, Any]:
        """How a command is started, as a shell does; one of brainnet alone needs none."""
        plain = command.startswith("brainnet ") and not set("|&;<>()$`\\*?[]{}~#!\n") & set(command)
        return {
            "args": [sys.executable, "-m", *shlex.split(command)] if plain else ["bash", "-c", command],
            "cwd": self.folder,
            "env": self.brain.env,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }


def connectome_of(loaded: Any) -> dict[str, Any]:
    """Make a connectome of a part of one: its populations, its projections, or its clock."""
    whole: dict[str, Any] = {"version": 1}
    if isinstance(loaded, dict):
        whole |= loaded
    else:
        whole["populations" if "model" in loaded[0] else "projections"] = loaded
    if "populations" not in whole:
        ends = {entry[end] for entry in whole.get("projections", []) for end in ("from", "to")} or {"a"}
        rewards = {rule["modulator"] for entry in whole.get("projections", []) for rule in _rules(entry)}
        names = sorted(ends | rewards)
        whole["populations"] = [{"id": name, "model": "lif", "size": 100, "dale": False} for name in names]
    return whole


def _rules(projection: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rules of plasticity of a projection that have a modulator."""
    given = projection.get("plasticity") or []
    return [rule for rule in ([given] if isinstance(given, dict) else given) if "modulator" in rule]


def comparable(text: str) -> list[str]:
    """What a command prints, without the numbers that differ from run to run."""
    text = text.replace(f" on {socket.gethostname()}", " on vm")
    text = re.sub(r"\d+\.\d+", "#.#", text)
    text = re.sub(r"\b\d+ (ms|s|MB)\b", r"# \1", text)
    text = re.sub(r"\b(port|pid) \d+", r"\1 #", text)
    text = re.sub(r"\b[\d,]+ windows sent again", "# windows sent again", text)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def launches(page: Path) -> bool:
    """Whether the page starts a brain of its own."""
    shown = [b for b in blocks(page) if b.language == "console" and b.check != "syntax"]
    return any(command.text.startswith("brainnet launch") for block in shown for command in commands(block))


def asks(page: Path) -> bool:
    """Whether a block of the page needs a brain that runs and that the page does not launch."""
    local = ("brainnet validate", "brainnet train", "brainnet eval", "brainnet config", "brainnet simulate")
    shown = [b for b in blocks(page) if b.language == "console" and b.check != "syntax"]
    texts = [command.text for block in shown for command in commands(block)]
    verbs = any(text.startswith("brainnet") and not text.startswith(local) for text in texts)
    programs = any(ASKS.search(b.text) for b in blocks(page) if b.language == "python" and b.title is None)
    return programs or (verbs and not launches(page))


def read(page: Path, folder: Path, brain: Brain, running: Brain | None = None) -> None:
    """Check the blocks of a page in their order.

    Args:
        page: The page.
        folder: Where its commands run.
        brain: The brain of its commands.
        running: The brain of its Python blocks that ask one; None if there are none.
    """
    reader = Page(folder, brain, running)
    for block in blocks(page):
        reader.run(block)
    assert reader.background is None, "a command waits for a block that does not come"
    if launches(page):
        assert not brain.processes(), "the page leaves a brain behind"
