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
    policy: Literal["always", "on-failure", "never"] = "always"
    backoff_s: float = Field(0.5, ge=0, description="before the second restart; doubles with each further one")
    max_backoff_s: float = Field(30.0, ge=0)
    max_restarts: int = Field(5, ge=0, description="within window_s; one more and the node is failed")
    window_s: float = Field(60.0, gt=0)


class NodeEntry(BaseModel):
    """One node in an allocation.

    Attributes:
        id: Its name on the bus; the region name that prompts are routed to.
        program: A path (`nodes/olfactory.py`), a module (`my_lab.nodes:Olfactory`), an entry point of
            `brainnet.nodes`, or `scheme:FILE`.
        host: Where it runs; None for the host that launches it.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: Compute threads of numerical libraries.
        cpu_affinity: CPU numbers it may run on; None for all.
        checkpoint: Weights; None for the program's own.
        parameters: Initial values of the program's parameters.
        restart: What happens after an unexpected exit.
        environment: Variables of its process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=NAME_PATTERN)
    program: str = Field(min_length=1)
    host: str | None = None
    device: str = Field("cpu", pattern=DEVICE_PATTERN)
    threads: int = Field(1, ge=1, description="compute threads of numerical libraries")
    cpu_affinity: tuple[int, ...] | None = Field(None, min_length=1)
    checkpoint: Path | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    restart: Restart = Restart()
    environment: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, values: Any) -> Any:
        """Ignore fields without a value: `threads:` in a YAML file is null, and means the default."""
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


class NodeSpec(NodeEntry):
    """An entry that the launcher has completed with everything that the process of the node needs.

    Attributes:
        host: Name of this host.
        namespace: Of the brain.
        hub: Zenoh endpoint of this host's hub.
        data_dir: Durable state of the whole brain on this host.
        log_level: Least level of what is logged: debug, info, warning or error.
    """

    host: str = "localhost"
    namespace: str = "evospikenet"
    hub: str = "tcp/127.0.0.1:7447"
    data_dir: Path = Path()
    log_level: str = "info"
