"""The description of one node, the same from the allocation file to the process of the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME_PATTERN = r"^[A-Za-z0-9_.-]+$"
DEVICE_PATTERN = r"^(cpu|cuda(:\d+)?)$"


class Restart(BaseModel):
    """Restart policy for unexpected exits: the first restart is immediate, later ones have exponential back-off."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    policy: Literal["always", "on-failure", "never"] = Field(
        "always", description="which exits are followed by a new start"
    )
    backoff_s: float = Field(0.5, ge=0, description="before the second restart; doubles with each further one")
    max_backoff_s: float = Field(30.0, ge=0, description="the longest wait before a restart")
    max_restarts: int = Field(5, ge=0, description="within window_s; one more and the node is failed")
    window_s: float = Field(60.0, gt=0, description="the time in which restarts are counted")


class NodeEntry(BaseModel):
    """One node in an allocation; the description of each field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(
        pattern=NAME_PATTERN, description="name on the bus; for a region, the name that prompts are sent to"
    )
    program: str = Field(
        min_length=1,
        description="FILE.py[:Class], package.module[:Class], an entry point of brainnet.nodes, or nir:FILE",
    )
    host: str | None = Field(None, description="where it runs, a name from hosts; needed when there are several")
    device: str = Field("cpu", pattern=DEVICE_PATTERN, description="cpu, cuda or cuda:N")
    threads: int = Field(1, ge=1, description="compute threads of numerical libraries")
    cpu_affinity: tuple[int, ...] | None = Field(
        None, min_length=1, description="numbers of the CPUs that the process may use; by default all"
    )
    checkpoint: Path | None = Field(None, description="file of weights; by default the program's own")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="initial values of the program's parameters; `brainnet node param list ID` shows them",
    )
    restart: Restart = Field(Restart(), description="what happens after an unexpected exit, see restart")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of the process")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, values: Any) -> Any:
        """Ignore fields without a value: `threads:` in a YAML file is null, and means the default."""
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


class NodeSpec(NodeEntry):
    """An entry that the launcher has completed with everything that the process of the node needs."""

    host: str = Field("localhost", description="name of this host")
    namespace: str = Field("evospikenet", description="namespace of the brain")
    hub: str = Field("tcp/127.0.0.1:7447", description="Zenoh endpoint of this host's hub")
    data_dir: Path = Field(Path(), description="durable state of the whole brain on this host")
    log_level: str = Field("info", description="least level of what is logged: debug, info, warning or error")
