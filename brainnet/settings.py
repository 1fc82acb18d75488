"""Effective settings of this process, and the origin of each.

In increasing priority: the defaults here, `config/settings.yaml`, `config/settings.ENV.yaml` (ENV from `BRAINNET_ENV`,
`development` by default), `BRAINNET_*` environment variables, command line options.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainnet import yaml_text
from brainnet.endpoints import ConnectEndpoint, loopback
from brainnet.errors import ConfigError, TextError
from brainnet.limits import MAX_DEADLINE_MS, MAX_GRACE_S, MAX_NAME, MAX_WAIT_S, FilePath, Name, mistake
from brainnet.paths import make_folder, share_dir, state_dir
from brainnet.texts import printable

ENV_PREFIX = "BRAINNET_"
_TEXTS: Final = ("namespace", "host", "allocation", "data_dir")


def _hostname() -> str:
    # A host name is a chunk of keys, so every character that Zenoh reserves is replaced.
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:MAX_NAME]
    return name if name.strip(".") else "localhost"


class Settings(BaseModel):
    """Settings of a launcher, a node or a client."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    namespace: Name = Field("evospikenet", description="first chunk of every key")
    port: int = Field(7447, ge=1, le=65535, description="TCP port of this host's hub")
    hub: ConnectEndpoint | None = Field(
        None, description="Zenoh endpoint of the hub, when it is not tcp/127.0.0.1:PORT"
    )
    host: Name = Field(default_factory=_hostname, description="name of this host")
    allocation: Path | None = Field(None, description="node_allocation file that `brainnet launch` starts")
    data_dir: FilePath | None = Field(None, description="durable state; by default a folder per brain")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level that is logged"
    )
    ready_timeout_s: float = Field(
        60.0, gt=0, le=MAX_WAIT_S, description="how long `brainnet launch --detach` waits for all nodes"
    )
    stop_grace_s: float = Field(2.0, gt=0, le=MAX_GRACE_S, description="between SIGINT, SIGTERM and SIGKILL at stop")
    log_max_mb: float = Field(10.0, gt=0, le=100_000, description="megabytes that the log of one process may take")
    max_open_prompts: int = Field(
        1000, ge=1, le=100_000, description="prompts of priority 5 open at once; priority 0 may fill half of it, 9 1.4x"
    )
    journal_keep_s: float = Field(
        3600.0, ge=0, le=31_536_000, description="how long an answer is kept for a client that asks again"
    )
    journal_max_mb: float = Field(64.0, gt=0, le=100_000, description="megabytes of prompts and answers in the journal")
    deadline_ms: int = Field(10_000, ge=1, le=MAX_DEADLINE_MS, description="of a prompt that names none")

    @property
    def endpoint(self) -> str:
        """Zenoh endpoint at which clients and nodes of this host find the hub."""
        return self.hub or loopback(self.port)

    @property
    def state(self) -> Path:
        """Folder of the durable state of this brain; created when it is missing.

        Raises:
            ConfigError: It cannot be made or written to.
        """
        if self.data_dir is not None:
            return make_folder(self.data_dir, "the state of the brain")
        return state_dir(self.namespace, self.port)


class OriginKind(Enum):
    """The kinds of sources of a setting, in increasing priority."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of one setting.

    Attributes:
        kind: The kind of source.
        detail: The file or the environment variable; empty for defaults and options.
    """

    kind: OriginKind
    detail: str = ""

    @property
    def is_explicit(self) -> bool:
        """Whether it was set for this process, by an option or the environment, and not by a file or default."""
        return self.kind in (OriginKind.OPTION, OriginKind.ENVIRONMENT)

    def __str__(self) -> str:
        return self.detail or self.kind.value


@dataclass(frozen=True)
class LoadedSettings:
    """Settings and the origin of each field."""

    settings: Settings
    origins: dict[str, Origin]


def config_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return `BRAINNET_CONFIG_DIR`, or the config folder of this installation.

    Args:
        environ: Environment variables; those of this process by default.

    Raises:
        ConfigError: `BRAINNET_CONFIG_DIR` does not name a folder.
    """
    variable = ENV_PREFIX + "CONFIG_DIR"
    named = (os.environ if environ is None else environ).get(variable)
    if not named:
        return share_dir() / "config"
    folder = Path(named)
    if not os.path.isdir(folder):  # noqa: PTH112  # is_dir raises where a folder above may not be searched
        there = "is not a folder" if os.path.exists(folder) else "does not exist"  # noqa: PTH110
        raise ConfigError(f"{variable} names {folder}, which {there}; name the folder that holds settings.yaml")
    return folder


def load(options: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> LoadedSettings:
    """Merge all sources.

    Args:
        options: Command line options by the name of the setting; None as a value means not given.
        environ: Environment variables; those of this process by default.

    Raises:
        ConfigError: A file cannot be read, or a value is not accepted; names source, field and what is accepted.
    """
    environ = os.environ if environ is None else environ
    folder = config_dir(environ)
    profile = environ.get(ENV_PREFIX + "ENV") or "development"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", profile):
        raise ConfigError(f"{ENV_PREFIX}ENV is {profile!r}; it should be the ENV of a file settings.ENV.yaml")
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, Origin(OriginKind.DEFAULT))
    places: dict[str, str] = {}  # the line of a setting in its file
    for file in (folder / "settings.yaml", folder / f"settings.{profile}.yaml"):
        for name, value, line in _read(file):
            values[name], origins[name] = value, Origin(OriginKind.FILE, str(file))
            places[name] = f"{file}, line {line}"
    for name in Settings.model_fields:
        variable = ENV_PREFIX + name.upper()
        if environ.get(variable):  # an empty variable counts as none
            values[name], origins[name] = environ[variable], Origin(OriginKind.ENVIRONMENT, variable)
            places.pop(name, None)
    for name, value in (options or {}).items():
        if value is not None:
            values[name], origins[name] = value, Origin(OriginKind.OPTION)
            places.pop(name, None)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        item = error.errors()[0]
        name = str(item["loc"][0]) if item["loc"] else "?"
        hint = f"; known settings are {', '.join(Settings.model_fields)}" if item["type"] == "extra_forbidden" else ""
        source = places.get(name) or origins.get(name, "?")
        raise ConfigError(f"setting {printable(name)} from {source}: {mistake(item)}{hint}") from None
    return LoadedSettings(settings, {name: origins[name] for name in Settings.model_fields})


def _read(path: Path) -> Iterator[tuple[str, Any, int]]:
    """Yield name, value and line of each setting of a file; none where there is no file."""
    try:
        document = yaml_text.read(path)
    except FileNotFoundError:
        return
    except TextError as error:
        raise ConfigError(str(error)) from None
    if document.value is None:
        return
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path} must hold a map of settings, got {type(document.value).__name__}")
    for name, value in document.value.items():
        if value is None:  # `port:` without a value means the default, as it does in an allocation
            continue
        is_text = name in _TEXTS and isinstance(value, int | float)  # `namespace: 007`
        written = document.written((name,)) if is_text else None
        yield name, written or value, document.position((name,)).line
