"""The parts of a chaos run that need no brain: seeded garbage, the workload, trouble with disks."""

from __future__ import annotations

import itertools
import os
import random
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from brainnet.errors import ConfigError, LaunchError
from brainnet.testing import wait_until
from brainnet.testing.chaos import FAULTS, disk, garbage, parse_faults
from brainnet.testing.chaos.client import mark
from brainnet.testing.tied import tied
from brainnet.testing.workload import kinds_for
from brainnet.wire.messages import Prompt, read_prompt
from brainnet.wire.topics import contract


def test_garbage_follows_from_the_seed_and_every_sort_comes() -> None:
    draws = [list(itertools.islice(garbage.payloads(random.Random(seed)), 60)) for seed in (1, 1, 2)]
    names = {name for name, _, _ in draws[0]}
    assert names == set(garbage.PAYLOADS)
    without_packets = [[draw for draw in drawn if "packet" not in draw[0]] for drawn in draws]
    assert without_packets[0] == without_packets[1] != without_packets[2]


def test_garbage_goes_to_every_topic_and_to_keys_without_one() -> None:
    keys = list(itertools.islice(garbage.keys(random.Random(1), ["one"], contract()), 2000))
    assert keys == list(itertools.islice(garbage.keys(random.Random(1), ["one"], contract()), 2000))
    names = {t.name for t in contract().topics for key, _ in keys if t.matches(key)}
    assert names == {t.name for t in contract().topics if t.payload != "none"}
    assert any(len(key) > 30_000 for key, _ in keys)


def test_every_kind_of_the_workload_is_a_prompt() -> None:
    everything = ["vision", "hippocampus", "language", "motor_cortex", "cerebellum", "arm_body", "mine"]
    kinds = kinds_for(everything, ["vision", "mine"])
    assert {kind.name for kind in kinds} >= {"picture", "recall", "text", "arm", "mine"}
    for kind in kinds:
        prompt = Prompt.model_validate(kind.fields(7))
        assert "{" not in prompt.text
    assert next(kind for kind in kinds if kind.name == "mine").regions == ("mine",)
    assert [kind.name for kind in kinds_for(["mine"], ["mine"])] == ["mine"]


def test_faults_are_read_in_order_and_a_wrong_one_is_named() -> None:
    assert parse_faults(" flood, kill") == ("flood", "kill")
    assert parse_faults(",".join(FAULTS)) == FAULTS
    for text in ("kill,earthquake", "", " , "):
        with pytest.raises(ConfigError, match="there are kill, stop") as raised:
            parse_faults(text)
        assert text in str(raised.value)


async def test_a_locked_journal_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a" / "journal.sqlite"
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    assert disk.journals(tmp_path) == [path]
    writer = sqlite3.connect(path, isolation_level=None, timeout=0)
    async with disk.locked(path):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(LaunchError, match="cannot be locked"):
            async with disk.locked(path):
                pass
    writer.execute("INSERT INTO t VALUES (1)")
    writer.close()


def test_a_limit_on_the_size_of_files_holds_until_it_is_lifted(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "for line in sys.stdin:\n"
        "    try: open(sys.argv[1], 'wb', buffering=0).write(bytes(5000)) == 5000 or 1 / 0\n"
        "    except Exception: print('full', flush=True)\n"
        "    else: print('written', flush=True)\n"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None

        def write() -> str:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
            line: str = writer.stdout.readline()
            return line.strip()

        before = resource.prlimit(writer.pid, resource.RLIMIT_FSIZE)
        assert write() == "written"
        with disk.limited(lambda: [writer.pid]):
            assert write() == "full"
        assert write() == "written"
        assert resource.prlimit(writer.pid, resource.RLIMIT_FSIZE) == before
        writer.stdin.close()


def test_a_small_disk_is_full_for_this_process_only(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from brainnet.testing.chaos import disk\n"
        "folder = Path(sys.argv[1])\n"
        "reason = disk.mount_small_disk(folder)\n"
        "if reason: sys.exit(reason)\n"
        "with disk.filled(folder):\n"
        "    try: (folder / 'more').write_bytes(bytes(1 << 20))\n"
        "    except OSError as error: print(error.strerror)\n"
        "(folder / 'after').write_bytes(bytes(1 << 20))\n"
        "disk.unmount(folder)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    if done.returncode:
        assert "limits the size of files instead" in done.stderr
    else:
        assert done.stdout.strip() == os.strerror(28)
    assert list(tmp_path.iterdir()) == []


def test_a_tied_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import subprocess, sys\n"
        "from brainnet.testing.tied import tied\n"
        "child = subprocess.Popen(tied(sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'))\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        lines = [parent.stdout.readline() for _ in range(2)]
        child = max(int(line) for line in lines)
        parent.kill()

    def gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    wait_until("the end of the child", gone)


def test_a_garbage_prompt_is_read_or_refused_with_one_error() -> None:
    """What the wire says of garbage: a prompt, or an error of brainnet. Never anything else."""
    from brainnet.errors import WireError

    refused = 0
    for _, payload, encoding in itertools.islice(garbage.payloads(random.Random(3)), 600):
        try:
            read_prompt(payload, encoding)
        except WireError:
            refused += 1
    assert refused > 300


def test_marks_differ_and_are_no_words() -> None:
    marks = {mark(number) for number in range(1, 1000)}
    assert len(marks) == 999
    assert not any(character.isalnum() for found in marks for character in found)


def test_tied_runs_the_command() -> None:
    done = subprocess.run(tied(sys.executable, "-c", "print('ran')"), capture_output=True, text=True, check=True)
    assert done.stdout == "ran\n"
