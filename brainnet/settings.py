"""Effective settings of this process, and where each comes from.

Later sources win: the defaults here, `config/settings.yaml`, `config/settings.ENV.yaml` (ENV from `BRAINNET_ENV`,
default `development`), `BRAINNET_*` environment variables, command line options.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainnet.errors import ConfigError
from brainnet.paths import share_dir, state_dir

ENV_PREFIX = "BRAINNET_"


def _hostname() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()) or "localhost"


class Settings(BaseModel):
    """What a launcher, a node or a client needs to know about its brain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field("evospikenet", pattern=r"^[A-Za-z0-9_.-]+$", description="first chunk of every key")
    port: int = Field(7447, ge=1, le=65535, description="TCP port of this host's hub")
    hub: str | None = Field(None, description="Zenoh endpoint of the hub, when it is not tcp/127.0.0.1:PORT")
    host: str = Field(default_factory=_hostname, pattern=r"^[A-Za-z0-9_.-]+$", description="name of this host")
    allocation: Path | None = Field(None, description="node_allocation file that `brainnet launch` starts")
    data_dir: Path | None = Field(None, description="durable state; by default a folder per brain")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    ready_timeout_s: float = Field(60.0, gt=0, description="how long `brainnet launch --detach` waits for all nodes")
    stop_grace_s: float = Field(2.0, gt=0, description="between SIGINT, SIGTERM and SIGKILL at stop")
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="of a prompt that names none")

    @property
    def endpoint(self) -> str:
        """Where clients and nodes of this host find the hub."""
        return self.hub or f"tcp/127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        """Where this brain keeps what survives a restart."""
        if self.data_dir is not None:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            return self.data_dir
        return state_dir(self.namespace, self.port)


@dataclass(frozen=True)
class Loaded:
    """Settings and the origin of each field."""

    settings: Settings
    origins: dict[str, str]


def config_dir() -> Path:
    """`BRAINNET_CONFIG_DIR`, or the config folder of this installation."""
    named = os.environ.get(ENV_PREFIX + "CONFIG_DIR")
    return Path(named) if named else share_dir() / "config"


def load(options: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Merge all sources; `options` with value None count as not given.

    Raises:
        ConfigError: naming the source, the field and what it accepts.
    """
    environ = os.environ if environ is None else environ
    folder = config_dir()
    profile = environ.get(ENV_PREFIX + "ENV", "development")
    sources: list[tuple[str, Mapping[str, Any]]] = [
        (str(folder / "settings.yaml"), _read(folder / "settings.yaml")),
        (str(folder / f"settings.{profile}.yaml"), _read(folder / f"settings.{profile}.yaml")),
        ("environment", _environment(environ)),
        ("option", {k: v for k, v in (options or {}).items() if v is not None}),
    ]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for origin, found in sources:
        for name, value in found.items():
            values[name] = value
            origins[name] = f"{ENV_PREFIX}{name.upper()}" if origin == "environment" else origin
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        item = error.errors()[0]
        name = str(item["loc"][0]) if item["loc"] else "?"
        hint = f"; known settings are {', '.join(Settings.model_fields)}" if item["type"] == "extra_forbidden" else ""
        raise ConfigError(f"setting {name} from {origins.get(name, '?')}: {item['msg']}{hint}") from None
    return Loaded(settings, {name: origins[name] for name in Settings.model_fields})


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


def _environment(environ: Mapping[str, str]) -> Mapping[str, Any]:
    named = {name: ENV_PREFIX + name.upper() for name in Settings.model_fields}
    return {name: environ[variable] for name, variable in named.items() if variable in environ}
