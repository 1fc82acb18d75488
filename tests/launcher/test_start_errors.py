"""What the system refuses while a brain starts is one sentence, and leaves nothing running."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from brainnet.testing import free_port
from tests.launcher.processes import state_of
from tests.support import PROGRAMS, Brain, MakeBrain, node, write_allocation

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.fixture
def unprivileged(make_brain: MakeBrain) -> Brain:
    """A brain without the rights of root, which the modes of files and the numbers of ports hold for."""
    if os.geteuid() != 0:
        return make_brain()
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv to give up the rights of root")
    return make_brain(prefix=WITHOUT_RIGHTS)


def make_read_only(folder: Path) -> None:
    """Take away the right to write a folder, and all that is in it."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)


def expect(brain: Brain, path: Path, *texts: str) -> str:
    failed = brain.run("launch", str(path), "--detach", check=False)
    assert failed.returncode == 1
    assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
    for text in texts:
        assert text in failed.stderr
    for text in ("Traceback", "internal error", "ExceptionGroup"):
        assert text not in failed.stderr
    assert brain.processes() == {}
    return failed.stderr


class TestState:
    def test_a_folder_that_cannot_be_made(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.env["BRAINNET_DATA_DIR"] = "/proc/nowhere/state"
        said = expect(brain, allocation(node("one")), "/proc/nowhere", "BRAINNET_DATA_DIR")
        assert "brainnet logs" not in said

    def test_a_home_that_is_a_file(self, brain: Brain, allocation: Callable[..., Path], tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.touch()
        del brain.env["XDG_STATE_HOME"]
        brain.env["HOME"] = str(home)
        expect(brain, allocation(node("one")), str(home))

    @pytest.mark.parametrize("name", ["logs", "launcher.lock", "logs/launcher.log"])
    def test_a_part_of_it_that_is_of_the_wrong_kind(
        self, brain: Brain, allocation: Callable[..., Path], name: str
    ) -> None:
        path = state_of(brain) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "logs":
            path.touch()
        else:
            path.mkdir()
        expect(brain, allocation(node("one")), name.rpartition("/")[2])

    def test_a_lock_file_on_a_full_disk(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        state_of(brain).mkdir(parents=True)
        (state_of(brain) / "launcher.lock").symlink_to("/dev/full")
        expect(brain, allocation(node("one")), "launcher.lock")

    def test_a_folder_without_rights(self, unprivileged: Brain, tmp_path: Path) -> None:
        path = write_allocation(tmp_path / "a.yaml", node("one"))
        state_of(unprivileged).mkdir(parents=True)
        make_read_only(unprivileged.home)
        expect(unprivileged, path, str(state_of(unprivileged)))


class TestPreload:
    @pytest.mark.parametrize("module", ["threads_at_import", "zenoh_at_import"])
    def test_a_module_after_which_no_process_can_be_forked(
        self, brain: Brain, allocation: Callable[..., Path], module: str
    ) -> None:
        brain.env["PYTHONPATH"] = str(PROGRAMS)
        expect(brain, allocation(node("one"), preload=[module]), "preload", module, "threads")

    def test_a_module_whose_import_never_ends(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.env |= {"PYTHONPATH": str(PROGRAMS), "BRAINNET_READY_TIMEOUT_S": "3"}
        expect(brain, allocation(node("one"), preload=["hangs_at_import"]), "preload", "hangs_at_import", "3 s")


class TestLimits:
    @pytest.mark.parametrize("files", [8, 12, 20, 40])
    def test_too_few_open_files(self, brain: Brain, allocation: Callable[..., Path], files: int) -> None:
        brain.prefix = ["prlimit", f"--nofile={files}:{files}"]
        path = allocation(node("one"), node("two"))
        failed = brain.run("launch", str(path), "--detach", check=False)
        assert failed.returncode == 1
        assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
        assert "open files" in failed.stderr
        assert brain.processes() == {}

    def test_a_soft_limit_is_raised(self, brain: Brain, allocation: Callable[..., Path]) -> None:
        brain.prefix = ["prlimit", "--nofile=40:4096"]
        brain.launch(allocation(node("one"), node("two")))

    def test_a_port_that_needs_rights(self, unprivileged: Brain, tmp_path: Path) -> None:
        first = int(FIRST_FREE_PORT.read_text())
        if first <= 1:
            pytest.skip("every user may listen at every port here")
        path = write_allocation(tmp_path / "a.yaml", node("one"))
        port = first - 1
        unprivileged.env["BRAINNET_PORT"] = str(port)
        expect(unprivileged, path, str(port), "rights", "--port")

    def test_a_listen_endpoint_that_needs_rights(self, unprivileged: Brain, tmp_path: Path) -> None:
        first = int(FIRST_FREE_PORT.read_text())
        if first <= 1:
            pytest.skip("every user may listen at every port here")
        endpoint = f"tcp/127.0.0.1:{first - 1}"
        path = write_allocation(tmp_path / "a.yaml", node("one", host="desk"), hosts={"desk": {"listen": [endpoint]}})
        expect(unprivileged, path, endpoint, "rights", "listen")

    def test_a_port_that_another_program_has_is_named_with_rights_or_without(
        self, unprivileged: Brain, tmp_path: Path
    ) -> None:
        path = write_allocation(tmp_path / "a.yaml", node("one"))
        unprivileged.env["BRAINNET_PORT"] = str(free_port())
        with socket.create_server(("127.0.0.1", int(unprivileged.env["BRAINNET_PORT"]))):
            expect(unprivileged, path, "in use")


class TestCompileCache:
    def test_a_home_and_an_installation_that_cannot_be_written(self, unprivileged: Brain, tmp_path: Path) -> None:
        """Regions with compiled kernels start, and their code is kept in the state of the brain."""
        installed = tmp_path / "installed"
        for name in ("brainnet", "topics", "config"):
            shutil.copytree(ROOT / name, installed / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROGRAMS / "compiles.py", installed)
        make_read_only(installed)
        unprivileged.env |= {"PYTHONPATH": str(installed), "HOME": str(installed), "XDG_CACHE_HOME": str(installed)}
        program = str(installed / "compiles.py")
        unprivileged.launch(write_allocation(tmp_path / "a.yaml", node("one", program), preload=["numba"]))
        unprivileged.run("stop")
        assert list((state_of(unprivileged) / "cache").rglob("*.nbi"))
