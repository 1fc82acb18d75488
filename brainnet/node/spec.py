"""The description of one node, the same from the allocation file to the process of the node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainnet.errors import ConfigError
from brainnet.limits import (
    DEVICE_PATTERN,
    MAX_CPU,
    MAX_EXAMPLES,
    MAX_NODE_BYTES,
    MAX_THREADS,
    RESERVED_IDS,
    Environment,
    FilePath,
    Line,
    Name,
    Seconds,
    mistake,
)


def _check_id(id: str) -> str:
    if id in RESERVED_IDS:
        raise ValueError(f"{id!r} is no id for a node: the launcher has this name; choose another one")
    return id


class Restart(BaseModel):
    """Restart policy for unexpected exits: the first restart is immediate, later ones have exponential back-off."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    policy: Literal["always", "on-failure", "never"] = Field(
        "always", description="which exits are followed by a new start"
    )
    backoff_s: Seconds = Field(0.5, description="before the second restart; doubles with each further one")
    max_backoff_s: Seconds = Field(30.0, description="the longest wait before a restart")
    max_restarts: int = Field(5, ge=0, le=1_000_000, description="within window_s; one more and the node is failed")
    window_s: float = Field(
        60.0, gt=0, le=86_400.0, allow_inf_nan=False, description="the time in which restarts are counted"
    )
    retry_failed_s: Seconds | None = Field(
        5.0,
        description="before a failed node is tried again; doubles up to 60 s until it has run for window_s; 0 or null: "
        "it stays failed",
    )


class NodeEntry(BaseModel):
    """One node in an allocation; the description of each field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: Annotated[Name, AfterValidator(_check_id)] = Field(
        description="name on the bus; for a region, the name that prompts are sent to"
    )
    program: Line = Field(
        description="FILE.py[:Class], package.module[:Class], an entry point of brainnet.nodes, or nir:FILE, "
        "torch:FILE, sensor:FILE",
    )
    host: Name | None = Field(None, description="where it runs, a name from hosts; needed when there are several")
    device: str = Field("cpu", pattern=DEVICE_PATTERN, description="cpu, cuda or cuda:N")
    threads: int = Field(1, ge=1, le=MAX_THREADS, description="compute threads of numerical libraries")
    cpu_affinity: tuple[Annotated[int, Field(ge=0, le=MAX_CPU)], ...] | None = Field(
        None, min_length=1, description="numbers of the CPUs that the process may use; by default all"
    )
    checkpoint: FilePath | None = Field(None, description="file of weights; by default the program's own")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="initial values of the program's parameters; `brainnet node param list ID` shows them",
    )
    about: Line | None = Field(
        None, description="what it does, in one line; by default the first line of the class's docstring"
    )
    examples: tuple[Line, ...] = Field(
        (),
        max_length=MAX_EXAMPLES,
        description="prompts for this region, in the words of users; the router asks it for prompts like these",
    )
    restart: Restart = Field(Restart(), description="what happens after an unexpected exit, see restart")
    environment: Environment = Field(default_factory=dict, description="variables of the process")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, values: Any) -> Any:
        """Ignore fields without a value: `threads:` in a YAML file is null, and means the default."""
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _fits_into_one_packet(self) -> Self:
        if self.parameters or self.environment:
            size = len(json.dumps([self.parameters, self.environment], default=str))
            if size > MAX_NODE_BYTES:
                raise ValueError(
                    f"parameters and environment take {size} bytes as JSON, at most {MAX_NODE_BYTES} can be handed to "
                    "a process; put large values into a file, and name the file in a parameter"
                )
        return self


class NetworkPart(BaseModel):
    """The part of a network of populations that one node computes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: FilePath = Field(description="the connectome, or the allocation that holds it")
    digest: str = Field(max_length=64, description="SHA-256 of that file")
    processes: dict[Name, tuple[Name, ...]] = Field(description="the populations of each process; a process is a node")
    run: str = Field("", max_length=64, description="name of this run; empty where the first process says it")
    seed: int | None = Field(None, ge=0, lt=1 << 63, description="in place of that of the file")
    last_step: int | None = Field(None, ge=1, description="steps after which the network stops")
    paused: bool = Field(False, description="whether it begins only when it is told to, by `brainnet clock`")


class NodeSpec(NodeEntry):
    """An entry that the launcher has completed with everything that the process of the node needs."""

    host: Name = Field("localhost", description="name of this host")
    namespace: Name = Field("evospikenet", description="namespace of the brain")
    hub: Line = Field("tcp/127.0.0.1:7447", description="Zenoh endpoint of this host's hub")
    data_dir: FilePath = Field(Path(), description="durable state of the whole brain on this host")
    topics: FilePath | None = Field(None, description="file with the topics that the brain has of its own")
    network: NetworkPart | None = Field(None, description="the part of a network of populations that it computes")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level that is logged"
    )

    @classmethod
    def of(cls, **fields: Any) -> NodeSpec:
        """Make a spec of fields that a person has given.

        Raises:
            ConfigError: A field is wrong; names it and what is accepted.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            item = error.errors()[0]
            where = ".".join(str(part) for part in item["loc"])
            raise ConfigError(f"{where or 'the node'}: {mistake(item)}") from None
