"""The folders of the deployment data (nodes/, topics/, launch/, config/) and of the durable state of a brain."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from functools import cache
from pathlib import Path
from typing import Final

import platformdirs

from brainnet.errors import ConfigError

CACHE_VARIABLE: Final = "_BRAINNET_CACHE"
"""Environment variable by which a launcher names a folder for compiled code, used where no other can be written."""


@cache
def share_dir() -> Path:
    """Return the folder that holds `topics/`, `nodes/`, `launch/` and `config/`.

    In a checkout it is the checkout itself; for an installed wheel it is `share/brainnet` of the environment.

    Raises:
        ConfigError: No such folder holds the wire contract.
    """
    checkout = Path(__file__).resolve().parent.parent
    candidates = [checkout, Path(sysconfig.get_path("data")) / "share" / "brainnet"]
    user_scheme = sysconfig.get_preferred_scheme("user")
    candidates.append(Path(sysconfig.get_path("data", user_scheme)) / "share" / "brainnet")
    for candidate in candidates:
        if (candidate / "topics" / "contract.yaml").is_file():
            return candidate
    looked = ", ".join(str(c) for c in candidates)
    raise ConfigError(f"topics/contract.yaml was not found in {looked}; reinstall brainnet")


def name_of_damaged(path: Path) -> Path:
    """Return the name under which a damaged file is kept beside a new one, which no other file has.

    Example: `memory.sqlite.damaged-1`
    """
    number = 1
    while (name := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return name


def current_folder() -> list[Path]:
    """Return the current folder, as a list that is empty when somebody has removed it."""
    try:
        return [Path.cwd()]
    except FileNotFoundError:
        return []


def region_file(region: str, suffix: str = ".py") -> Path:
    """Return the file of a region that ships, which is named like its folder: its program, or with another suffix.

    Example: `region_file("olfactory", ".safetensors")`
    """
    return share_dir() / "nodes" / region / f"{region}{suffix}"


def state_dir(namespace: str, port: int) -> Path:
    """Return the folder of the durable state of one brain on this host; it is created when it is missing.

    Namespace and port of the hub identify a brain on a host, so two brains never share a folder.

    Raises:
        ConfigError: The folder cannot be made or written to.
    """
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in namespace)
    try:
        base = Path(platformdirs.user_state_dir("brainnet"))
    except RuntimeError:
        base = Path()
    if not base.is_absolute():  # no HOME, and no entry of the user in the password file
        raise ConfigError(
            "there is no folder for the state of a brain, because this user has no home; "
            "set HOME or XDG_STATE_HOME to an absolute path, or BRAINNET_DATA_DIR"
        )
    return make_folder(base / f"{safe}-{port}", "the state of the brain")


def make_folder(path: Path, what: str) -> Path:
    """Return a folder that can be written to, and make it when it is missing.

    Args:
        path: The folder.
        what: What is kept in it, for errors.

    Raises:
        ConfigError: It cannot be made, or cannot be written to; says why and what to do.
    """
    remedy = "name another folder with BRAINNET_DATA_DIR"
    try:
        path = path.absolute()
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"the folder for {what}, {path}, is a file; {remedy}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"the folder for {what}, {path}, cannot be made: {reason}; {remedy}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"the folder for {what}, {path}, cannot be written to; change its owner, or {remedy}")
    return path


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()
