"""Settings: their sources, their bounds, and the folders that they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet import settings as settings_module
from brainnet.errors import BrainnetError, ConfigError
from brainnet.settings import load
from brainnet.texts import printable
from tests.support import node, write_allocation


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of settings of its own."""
    folder = tmp_path / "config"
    folder.mkdir()
    monkeypatch.setenv("BRAINNET_CONFIG_DIR", str(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("namespace", "a" * 65),
        ("namespace", ".."),
        ("namespace", "a/b"),
        ("namespace", "a\n"),
        ("namespace", ""),
        ("host", "."),
        ("host", "my host"),
        ("port", "0"),
        ("port", "65536"),
        ("port", "http"),
        ("hub", "127.0.0.1:7447"),
        ("hub", "tcp/127.0.0.1:70000"),
        ("hub", "tpc/127.0.0.1:7447"),
        ("hub", "tcp/127.0.0.1:0"),
        ("log_level", "loud"),
        ("ready_timeout_s", "inf"),
        ("ready_timeout_s", "nan"),
        ("ready_timeout_s", "0"),
        ("ready_timeout_s", "1e9"),
        ("stop_grace_s", "inf"),
        ("stop_grace_s", "1e9"),
        ("deadline_ms", "600001"),
        ("deadline_ms", "0"),
    ],
)
def test_a_value_outside_its_bounds_is_one_line_that_names_its_source(name: str, value: str) -> None:
    if value:
        with pytest.raises(ConfigError) as from_variable:
            load(environ={f"BRAINNET_{name.upper()}": value})
        assert f"setting {name} from BRAINNET_{name.upper()}: " in str(from_variable.value)
        assert str(from_variable.value).isprintable()
    with pytest.raises(ConfigError, match=f"setting {name} from option: "):
        load({name: value})


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"port: 7001\nhost: my host\n", "line 2"),
            (b"port: 1e9", "line 1"),
            (b"stop_grace_s: .inf", "not a finite number"),
            (b"port: 1\nport: 2", "port is given twice, first on line 1"),
            (b"port: [", "not YAML"),
            (b"- port", "must hold a map of settings, got list"),
            (b"prot: 1", "known settings are namespace, port"),
            ("host: \xe9".encode("latin-1"), "iconv -f LATIN1"),
            ("port: 1".encode("utf-16"), "iconv -f UTF-16"),
            (b"&a [*a]", "inside what it names"),
        ],
    )
    def test_a_mistake_is_one_line_that_names_the_file(self, folder: Path, content: bytes, says: str) -> None:
        (folder / "settings.yaml").write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load()
        assert says in str(caught.value)
        assert str(folder / "settings.yaml") in str(caught.value)
        assert str(caught.value).isprintable()

    def test_what_people_write(self, folder: Path) -> None:
        (folder / "settings.yaml").write_bytes(
            b"\xef\xbb\xbfnamespace: 007\nstop_grace_s: 5e-1\nport:\nlog_level: error\n"
        )
        (folder / "settings.development.yaml").write_text('{"log_level":\t"debug"}')
        found = load()
        assert found.settings.namespace == "007"
        assert found.settings.stop_grace_s == 0.5
        assert found.settings.port == 7447
        assert found.settings.log_level == "debug"
        assert str(found.origins["log_level"]) == str(folder / "settings.development.yaml")

    def test_a_settings_file_that_is_a_folder(self, folder: Path) -> None:
        (folder / "settings.yaml").mkdir()
        with pytest.raises(ConfigError, match=r"settings\.yaml is a folder"):
            load()

    def test_a_settings_file_that_may_not_be_read(self, folder: Path) -> None:
        (folder / "settings.yaml").symlink_to("settings.yaml")  # a loop: also root cannot read it
        with pytest.raises(ConfigError, match=r"settings\.yaml cannot be read"):
            load()

    @pytest.mark.parametrize("profile", ["../secret", "a/b", "a" * 100])
    def test_a_profile_is_the_part_of_a_file_name(self, folder: Path, profile: str) -> None:
        with pytest.raises(ConfigError, match=r"BRAINNET_ENV is .*settings\.ENV\.yaml"):
            load(environ={"BRAINNET_ENV": profile, "BRAINNET_CONFIG_DIR": str(folder)})

    def test_an_empty_variable_is_none(self, folder: Path) -> None:
        environ = {"BRAINNET_CONFIG_DIR": str(folder), "BRAINNET_DATA_DIR": "", "BRAINNET_PORT": "", "BRAINNET_ENV": ""}
        found = load(environ=environ)
        assert found.settings.data_dir is None
        assert found.settings.port == 7447


class TestFolders:
    def test_a_folder_of_settings_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for named, says in (("nowhere", "does not exist"), ("file", "is not a folder"), ("file/x", "does not exist")):
            with pytest.raises(ConfigError, match=f"BRAINNET_CONFIG_DIR names .*{named}, which {says}"):
                load(environ={"BRAINNET_CONFIG_DIR": str(tmp_path / named)})

    @pytest.mark.parametrize("variable", ["BRAINNET_DATA_DIR", "XDG_STATE_HOME", "HOME"])
    def test_a_folder_of_state_that_cannot_be_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        for place in (tmp_path / "file", tmp_path / "file" / "inside", Path("/proc/brainnet")):
            monkeypatch.setenv(variable, str(place))
            with pytest.raises(ConfigError, match=rf"{re.escape(str(place))}.*BRAINNET_DATA_DIR") as caught:
                _ = load().settings.state
            assert str(caught.value).isprintable()

    def test_a_person_without_a_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("HOME", "XDG_STATE_HOME"):
            monkeypatch.delenv(name, raising=False)

        def unknown(uid: int) -> None:
            raise KeyError(uid)

        monkeypatch.setattr("pwd.getpwuid", unknown)  # as in a container that runs with the number of a user
        before = sorted(tmp_path.iterdir())
        with pytest.raises(ConfigError, match=r"HOME.*BRAINNET_DATA_DIR"):
            _ = load().settings.state
        assert sorted(tmp_path.iterdir()) == before

    def test_a_relative_folder_of_state_is_that_of_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert load({"data_dir": "state"}).settings.state == tmp_path / "state"

    @pytest.mark.parametrize("verb", [("config", "show"), ("validate",), ("status",), ("launch", "--detach")])
    def test_a_command_says_it_in_one_line(self, tmp_path: Path, verb: tuple[str, ...]) -> None:
        done = brainnet(*verb, BRAINNET_CONFIG_DIR=str(tmp_path / "nowhere"))
        assert done.returncode == 1
        assert re.fullmatch(r"brainnet: BRAINNET_CONFIG_DIR names .*, which does not exist; .*\n", done.stderr)

    def test_launch_says_in_one_line_that_its_state_cannot_be_kept(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        done = brainnet("launch", "--detach", BRAINNET_DATA_DIR=str(tmp_path / "file"))
        assert done.returncode == 1
        assert re.fullmatch(r"brainnet: .*/file, is a file; .*BRAINNET_DATA_DIR\n", done.stderr)


def test_proxies_are_for_others(tmp_path: Path) -> None:
    proxies = dict.fromkeys(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"], "http://127.0.0.1:1")
    path = write_allocation(tmp_path / "allocation.yaml", node("one"))
    done = brainnet("validate", str(path), **proxies)
    assert done.returncode == 0, done.stderr


def brainnet(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brainnet", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(settings_module.Settings.model_fields)), st.text() | st.floats()))
def test_any_value_is_taken_or_refused_in_one_line(options: dict[str, Any]) -> None:
    refusal = ""
    try:
        found = load(options)
    except BrainnetError as error:
        refusal = str(error)
    else:
        assert len(found.settings.namespace) <= 64
        assert 0 < found.settings.stop_grace_s < 1000
    assert refusal == printable(refusal)
