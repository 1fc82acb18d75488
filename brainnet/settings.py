"""Effective settings of this process, and the origin of each.

In increasing priority: the defaults here, `config/settings.yaml`, `config/settings.ENV.yaml` (ENV from `BRAINNET_ENV`,
`development` by default), `BRAINNET_*` environment variables, command line options.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainnet.errors import ConfigError
from brainnet.paths import share_dir, state_dir

ENV_PREFIX = "BRAINNET_"


def _hostname() -> str:
    # A host name is a chunk of keys, so every character that Zenoh reserves is replaced.
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()) or "localhost"


class Settings(BaseModel):
    """Settings of a launcher, a node or a client."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field("evospikenet", pattern=r"^[A-Za-z0-9_.-]+$", description="first chunk of every key")
    port: int = Field(7447, ge=1, le=65535, description="TCP port of this host's hub")
    hub: str | None = Field(None, description="Zenoh endpoint of the hub, when it is not tcp/127.0.0.1:PORT")
    host: str = Field(default_factory=_hostname, pattern=r"^[A-Za-z0-9_.-]+$", description="name of this host")
    allocation: Path | None = Field(None, description="node_allocation file that `brainnet launch` starts")
    data_dir: Path | None = Field(None, description="durable state; by default a folder per brain")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level that is logged"
    )
    ready_timeout_s: float = Field(60.0, gt=0, description="how long `brainnet launch --detach` waits for all nodes")
    stop_grace_s: float = Field(2.0, gt=0, description="between SIGINT, SIGTERM and SIGKILL at stop")
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="of a prompt that names none")

    @property
    def endpoint(self) -> str:
        """Zenoh endpoint at which clients and nodes of this host find the hub."""
        return self.hub or f"tcp/127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        """Folder of the durable state of this brain; created when it is missing."""
        if self.data_dir is not None:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            return self.data_dir
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


def config_dir() -> Path:
    """Return `BRAINNET_CONFIG_DIR`, or the config folder of this installation."""
    named = os.environ.get(ENV_PREFIX + "CONFIG_DIR")
    return Path(named) if named else share_dir() / "config"


def load(options: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> LoadedSettings:
    """Merge all sources.

    Args:
        options: Command line options by the name of the setting; None as a value means not given.
        environ: Environment variables; those of this process by default.

    Raises:
        ConfigError: A file cannot be read, or a value is not accepted; names source, field and what is accepted.
    """
    environ = os.environ if environ is None else environ
    folder = config_dir()
    profile = environ.get(ENV_PREFIX + "ENV", "development")
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, Origin(OriginKind.DEFAULT))
    for file in (folder / "settings.yaml", folder / f"settings.{profile}.yaml"):
        for name, value in _read(file).items():
            values[name], origins[name] = value, Origin(OriginKind.FILE, str(file))
    for name in Settings.model_fields:
        variable = ENV_PREFIX + name.upper()
        if variable in environ:
            values[name], origins[name] = environ[variable], Origin(OriginKind.ENVIRONMENT, variable)
    for name, value in (options or {}).items():
        if value is not None:
            values[name], origins[name] = value, Origin(OriginKind.OPTION)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        item = error.errors()[0]
        name = str(item["loc"][0]) if item["loc"] else "?"
        hint = f"; known settings are {', '.join(Settings.model_fields)}" if item["type"] == "extra_forbidden" else ""
        raise ConfigError(f"setting {name} from {origins.get(name, '?')}: {item['msg']}{hint}") from None
    return LoadedSettings(settings, {name: origins[name] for name in Settings.model_fields})


def _read(path: Path) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(k, str) for k in loaded):
        raise ConfigError(f"{path} must hold a map of settings, got {type(loaded).__name__}")
    return loaded
