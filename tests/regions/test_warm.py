"""Ready means warm: the first prompt of a region finds everything loaded, and the warm-up leaves no trace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from brainnet.memory import EpisodicStore, NewEpisode
from brainnet.paths import share_dir
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.testing import PATIENCE_S

FIRST_PROMPT = """
import asyncio, io, json, sys
from pathlib import Path

from PIL import Image

from brainnet import Prompt
from brainnet.node import load_program
from brainnet.paths import region_file, share_dir
from brainnet.testing import MemoryBrain

name, folder, texts = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
pictures = [None]
if name == "vision":
    picture = Image.open(share_dir() / "scripts" / "samples" / "digit_7.png")
    pictures = []
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        picture.convert("RGB").resize((90, 120)).save(buffer, kind)
        pictures.append(buffer.getvalue())


async def first(brain):
    loaded = set(sys.modules)
    said = []
    for text in texts:
        for picture in pictures:
            partial = await brain.query(name, Prompt(text=text, image=picture))
            assert partial.code != "internal", partial.error
            said.append(partial.error or partial.best.text)
    return sorted(set(sys.modules) - loaded), said


async def run():
    async with MemoryBrain(folder) as brain:
        if name == "motor_cortex":
            await brain.start(load_program(str(region_file("arm_body"))), "arm_body")
        await brain.start(load_program(str(region_file(name))), name)
        found = await first(brain)
    # the last line, after all that the nodes log
    print(json.dumps(found))


asyncio.run(run())
"""


def loaded_late(region: str, folder: Path, *texts: str) -> tuple[list[str], list[str]]:
    """Ask a region, in a process of its own, for the first time.

    Returns:
        The modules that were loaded while it answered, and the answers.
    """
    command = [sys.executable, "-c", FIRST_PROMPT, region, str(folder), json.dumps(texts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    modules, said = json.loads(done.stdout.splitlines()[-1])
    return modules, said


@pytest.mark.parametrize(
    ("region", "texts"),
    [
        ("hippocampus", ["Where is the blue toolbox?", "Remember that the tea is cold.", "What about the tea?"]),
        ("vision", ["Which digit is this?"]),
        ("language", ["Once upon a time there was"]),
        ("cerebellum", ["How well do you predict?"]),
        ("motor_cortex", ["Move the arm to (0.1, 0.1)"]),
    ],
)
def test_the_first_prompt_loads_nothing(tmp_path: Path, region: str, texts: list[str]) -> None:
    modules, said = loaded_late(region, tmp_path, *texts)
    assert modules == []
    assert said


def test_a_memory_of_many_texts_is_warm_too(tmp_path: Path) -> None:
    embedder = SpikingTextEmbedder.load(share_dir() / "nodes" / "hippocampus" / "hippocampus.safetensors")
    contents = ("nails", "screws", "bolts", "pins")
    texts = [f"box {n} holds the {contents[n % 4]} of case {n % 7}" for n in range(5000)]
    vectors = embedder.counts(texts)
    with EpisodicStore(tmp_path / "memory.sqlite", vector_model=embedder.fingerprint) as store:
        store.store_many([NewEpisode(text, vector=vector) for text, vector in zip(texts, vectors, strict=True)])
    modules, said = loaded_late("hippocampus", tmp_path, "What does box 17 hold?", "What did I tell you?")
    assert modules == []
    assert said[0] == texts[17]
    assert texts[-1] in said[1]
    with EpisodicStore(tmp_path / "memory.sqlite") as store:
        assert store.count() == len(texts)  # the warm-up left no trace
