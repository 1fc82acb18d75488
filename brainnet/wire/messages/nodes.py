"""Messages about nodes and hosts: health, logs, parameters, control."""

from __future__ import annotations

import time
from typing import Any, Final, Literal

from pydantic import Field

from brainnet.limits import MAX_EXAMPLES
from brainnet.wire.messages.codec import ErrorText, Id, Message

NodeState = Literal["starting", "ready", "degraded", "stopping", "stopped", "failed", "backoff", "lost"]


MAX_TOPICS: Final = 256
"""Topics that one brain may have beside the contract of its installation."""


class TopicCount(Message):
    """Counters of one node on one key since it started."""

    key: str
    direction: Literal["out", "in"]
    count: int = 0
    bytes: int = 0
    rate_hz: float = 0.0
    bytes_per_s: float = 0.0
    dropped: int = Field(0, description="refused by a full mailbox or outbox here")
    lost: int = Field(0, description="gaps in the sender's sequence numbers")
    malformed: int = 0


class TimerState(Message):
    """Figures of one timer of a node since it started; percentiles are over its last 1,024 calls."""

    name: Id
    hz: float
    calls: int = 0
    missed: int = Field(0, description="ticks during which the last call still ran")
    late_p50_ms: float = Field(0.0, description="how long after its tick a call began")
    late_p99_ms: float = 0.0
    took_p50_ms: float = Field(0.0, description="how long a call took")
    took_p99_ms: float = 0.0


class Lesion(Message):
    """What is done to the spikes that a node receives from one source."""

    source: Id = Field(min_length=1, description="node, or population, whose spikes are meant")
    kind: Literal["silence", "shuffle", "drop", "heal"] = Field(
        description="silence: no spike arrives; shuffle: each packet's neurons change places at random; drop: a spike "
        "is lost with a probability; heal: none of these any more"
    )
    share: float = Field(1.0, ge=0.0, le=1.0, description="of the spikes that are dropped")


class Health(Message):
    """Health of one node: its heartbeat once a second, and the reply to a status query."""

    node_id: Id
    host: Id
    pid: int
    state: NodeState
    role: str
    program: str = ""
    about: str = ""
    answers: bool = Field(False, description="whether it answers prompts as a region")
    examples: list[ErrorText] = Field(
        default_factory=list, max_length=MAX_EXAMPLES, description="prompts for it; only in a reply to a status query"
    )
    uptime_s: float = 0.0
    memory_bytes: int = Field(0, description="proportional set size")
    cpu_percent: float = 0.0
    loop_lag_ms: float = 0.0
    queued: int = 0
    counters: dict[str, int] = Field(default_factory=dict)
    topics: list[TopicCount] = Field(default_factory=list)
    timers: list[TimerState] = Field(default_factory=list)
    lesions: list[Lesion] = Field(default_factory=list, description="experiments on the spikes that it receives")
    last_error: ErrorText | None = None
    timestamp_ns: int = Field(default_factory=time.time_ns)


class LogRecord(Message):
    """One structured log line."""

    node_id: Id
    level: Id
    event: ErrorText
    timestamp_ns: int
    fields: dict[str, Any] = Field(default_factory=dict)


class StatusQuery(Message):
    """Query for the state of a node or a host."""


class TopicsQuery(Message):
    """Query for the topics that a brain has beside the contract of its installation."""


class AddedTopics(Message):
    """The topics that one host has beside the contract of its installation; `brainnet.wire.extension` reads them."""

    host: Id
    uptime_s: float = Field(0.0, description="of the launcher: of two that disagree, the later one stops")
    digest: Id = Field("", description="SHA-256 of the topics; empty without any")
    topics: list[dict[str, Any]] = Field(default_factory=list, max_length=MAX_TOPICS)


class LesionQuery(Message):
    """Query that reads the lesions of a node, or makes one."""

    lesion: Lesion | None = Field(None, description="what to do; null: only read")


class LesionReply(Message):
    """The lesions that a node has."""

    lesions: list[Lesion] = Field(default_factory=list)


class ParamsQuery(Message):
    """Query that reads all parameters of a node (no `name`), reads one, or sets one."""

    name: str | None = None
    value: Any = None
    set: bool = False


class ParamInfo(Message):
    """One parameter of a node."""

    name: str
    value: Any
    type: str
    default: Any = None
    description: str = ""


class ParamsReply(Message):
    """The requested parameters."""

    params: list[ParamInfo]


class ControlQuery(Message):
    """Query that makes a node or a supervisor act; `node` names the node for a supervisor."""

    action: Literal["stop", "restart", "start"]
    node: Id | None = None


class ControlReply(Message):
    """The effect of a control query, as text for people."""

    done: ErrorText


class NodeRecord(Message):
    """State of one node in its supervisor."""

    id: Id
    program: str
    host: Id
    state: NodeState
    pid: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    memory_bytes: int = Field(0, description="proportional set size")
    uptime_s: float = 0.0
    ready_s: float | None = Field(None, description="from start to ready")
    reason: ErrorText = Field("", description="why it is in this state, or why it was started again")
    starts: int = Field(0, description="processes that were started for it")
    next_start_s: float | None = Field(None, description="seconds until it is started again; null when it is not due")
    advice: ErrorText = Field("", description="what to do about a node that is down")

    @property
    def ended_before_ready(self) -> bool:
        """Whether its process has ended, or is being started again, and none of it is ready."""
        return self.ready_s is None and (self.state in ("failed", "backoff", "lost") or self.restarts > 0)


class PromptStatus(Message):
    """What the broker of a host has to do, and has done since it started."""

    open: int = Field(0, ge=0, description="accepted and without an answer")
    accepted: int = 0
    answers: int = 0
    error_answers: int = 0
    refused: int = 0
    malformed: int = 0
    journal_problem: ErrorText | None = Field(None, description="why the journal cannot be written now")


class HostStatus(Message):
    """State of one host's part of the brain, from its supervisor."""

    host: Id
    namespace: Id
    pid: int
    hub: list[str]
    allocation: str
    uptime_s: float = 0.0
    nodes: list[NodeRecord] = Field(default_factory=list)
    prompts: PromptStatus | None = Field(None, description="on the host of the broker")
    topics: list[TopicCount] = Field(default_factory=list, description="what the launcher sent and received")
