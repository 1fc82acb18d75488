"""The command itself, and the verbs of a brain's life: launch, status, stop, validate, node, logs, config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from brainnet.cli.app import VERBS, load_verb
from tests.support import Brain, node, write_allocation

HEAVY = {"torch", "numba", "zenoh", "numpy", "pydantic", "yaml", "asyncio"}
LEAVES = [
    ["launch"],
    ["status"],
    ["stop"],
    ["validate"],
    ["logs"],
    ["config", "show"],
    ["node", "list"],
    ["node", "info"],
    ["node", "restart"],
    ["node", "stop"],
    ["node", "param", "list"],
    ["node", "param", "get"],
    ["node", "param", "set"],
]


def brainnet(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brainnet", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


class TestCommand:
    def test_help_lists_every_verb_and_imports_nothing_heavy(self) -> None:
        code = (
            "import sys\n"
            "sys.argv = ['brainnet', '--help']\n"
            "from brainnet.cli import main\n"
            "try: main()\n"
            "finally: print('IMPORTED', *sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        shown, _, imported = done.stdout.partition("IMPORTED")
        for verb in VERBS:
            assert f" {verb} " in shown
        assert not HEAVY & set(imported.split())
        assert not {verb.module for verb in VERBS.values()} & set(imported.split())

    @pytest.mark.parametrize("verb", ["launch", "status", "stop", "validate", "node", "logs", "config"])
    def test_a_verb_imports_nothing_heavy_before_it_runs(self, verb: str) -> None:
        code = f"import sys; from brainnet.cli.app import load_verb; load_verb({verb!r}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not {"torch", "numba", "zenoh", "numpy", "pydantic", "yaml"} & set(done.stdout.split())

    @pytest.mark.parametrize("words", LEAVES, ids=" ".join)
    def test_every_verb_has_an_example(self, words: list[str]) -> None:
        command = load_verb(words[0])
        for word in words[1:]:
            command = command.commands[word]
        assert "Example: " in (command.help or "")
        assert f"brainnet {' '.join(words)}" in command.help

    def test_a_mistyped_verb_is_corrected(self) -> None:
        done = brainnet("statsu")
        assert done.returncode != 0
        assert "status" in done.stderr

    def test_an_error_is_one_line_on_stderr(self) -> None:
        done = brainnet("status", "--port", "1")
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1
        assert "tcp/127.0.0.1:1" in done.stderr

    def test_debug_shows_where_an_error_comes_from(self) -> None:
        done = brainnet("--debug", "status", "--port", "1")
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "ConnectError" in done.stderr


class TestConfigShow:
    def origins(self, *arguments: str, **env: str) -> dict[str, tuple[object, str]]:
        done = brainnet("config", "show", "--json", *arguments, **env)
        assert done.returncode == 0, done.stderr
        return {r["name"]: (r["value"], r["origin"]) for r in map(json.loads, done.stdout.splitlines())}

    def test_later_sources_win_and_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "settings.yaml").write_text("port: 7001\nnamespace: file\nlog_level: error\n")
        (tmp_path / "settings.staging.yaml").write_text("log_level: debug\n")
        shown = self.origins(
            "--port",
            "7003",
            BRAINNET_CONFIG_DIR=str(tmp_path),
            BRAINNET_ENV="staging",
            BRAINNET_PORT="7002",
            BRAINNET_NAMESPACE="variable",
        )
        assert shown["port"] == (7003, "option")
        assert shown["namespace"] == ("variable", "BRAINNET_NAMESPACE")
        assert shown["log_level"] == ("debug", str(tmp_path / "settings.staging.yaml"))
        assert shown["data_dir"] == (None, "default")

    @pytest.mark.parametrize("profile", ["development", "staging", "production"])
    def test_the_profiles_that_come_along_are_valid(self, profile: str) -> None:
        assert self.origins(BRAINNET_ENV=profile)["ready_timeout_s"][1].endswith(f"settings.{profile}.yaml")

    def test_an_unknown_setting_is_one_error(self, tmp_path: Path) -> None:
        (tmp_path / "settings.yaml").write_text("prot: 7001\n")
        done = brainnet("config", "show", BRAINNET_CONFIG_DIR=str(tmp_path))
        assert done.returncode == 1
        assert "prot" in done.stderr
        assert "port" in done.stderr


class TestValidate:
    def test_a_valid_allocation(self, tmp_path: Path) -> None:
        path = write_allocation(tmp_path / "a.yaml", node("one", parameters={"gain": 0.5}))
        done = brainnet("validate", str(path), "--json")
        assert done.returncode == 0
        (found,) = map(json.loads, done.stdout.splitlines())
        assert found["id"] == "one"
        assert found["parameters"] == {"prefix": "", "gain": 0.5}

    def test_the_first_mistake(self, tmp_path: Path) -> None:
        path = write_allocation(tmp_path / "a.yaml", node("one", parameters={"gain": "loud"}))
        done = brainnet("validate", str(path))
        assert done.returncode == 1
        assert f"{path}, line" in done.stderr
        assert "Traceback" not in done.stderr


class TestRunningBrain:
    @pytest.fixture
    def running(self, brain: Brain, tmp_path: Path) -> Brain:
        brain.launch(write_allocation(tmp_path / "a.yaml", node("one"), node("two", parameters={"gain": 0.5})))
        return brain

    def test_what_can_be_seen(self, running: Brain) -> None:
        lines = running.rows("status")
        assert {line["id"] for line in lines} == {"one", "two"}
        for line in lines:
            assert line["state"] == "ready"
            assert line["pid"] in running.processes()
            assert line["memory_bytes"] > 0
            assert line["host"]
        shown = running.run("status").stdout
        assert "one" in shown
        assert "ready" in shown

        listed = running.rows("node", "list")
        assert [(h["node_id"], h["answers"], h["role"]) for h in listed] == [
            ("one", True, "region"),
            ("two", True, "region"),
        ]
        (info,) = running.rows("node", "info", "two")
        assert info["about"] == "Says what it was asked."
        assert {p["name"]: p["value"] for p in info["params"]} == {"prefix": "", "gain": 0.5}

        records = running.rows("logs", "one")
        assert any(r["event"] == "state" and r["state"] == "ready" for r in records)
        assert "zygote ready" in running.run("logs", "launcher").stdout

    def test_parameters(self, running: Brain) -> None:
        running.run("node", "param", "set", "one", "gain", "0.25")
        running.run("node", "param", "set", "one", "prefix", "'7'")
        values = running.rows("node", "param", "list", "one")
        assert {v["name"]: v["value"] for v in values} == {"prefix": "7", "gain": 0.25}
        assert running.run("node", "param", "get", "one", "gain").stdout.strip() == "0.25"
        assert running.run("node", "param", "get", "two", "gain").stdout.strip() == "0.5"

    def test_a_mistake_is_one_line_and_hurts_nobody(self, running: Brain) -> None:
        for words, said in {
            "node param set one gain loud": ["gain", "one", "valid number", "'loud'"],
            "node param set one gain -1": ["gain", "greater than 0", "-1"],
            "node param set one gian 1": ["'gian'", "prefix, gain"],
            "node param get three gain": ["'three'", "one, two"],
            "node info three": ["'three'", "one, two"],
            "node info o*": ["'o*'"],
            "node restart three": ["'three'", "one, two"],
            "status --namespace elsewhere": ["'elsewhere'"],
            "logs three": ["'three'", "launcher, one, two"],
        }.items():
            failed = running.run(*words.split(), check=False)
            assert failed.returncode == 1, words
            assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
            for text in said:
                assert text in failed.stderr, words
        assert {r.state for r in running.nodes().values()} == {"ready"}

    def test_logs_follow_what_comes(self, running: Brain) -> None:
        following = running.start("logs", "--follow", "--lines", "1", "--json", "one")
        assert following.stdout is not None
        assert following.stdout.readline()
        running.run("node", "param", "set", "one", "gain", "0.125")
        record = json.loads(following.stdout.readline())
        assert (record["event"], record["value"]) == ("parameter set", 0.125)
