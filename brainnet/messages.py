"""The typed messages of the wire contract, and how they are written and read.

A message travels as a msgpack map of its fields (or as JSON with base64 bytes, for clients that prefer it). Unknown
fields are ignored, so a newer minor version passes; missing or wrong ones are one `MessageError` that names them.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainnet.errors import MessageError

MAX_TEXT: Final = 100_000
"""Characters of a prompt's text."""
MAX_PROMPT_BYTES: Final = 8 << 20
"""Bytes of one prompt on the wire, attachments included."""

NodeState = Literal["starting", "ready", "degraded", "stopping", "stopped", "failed", "backoff", "lost"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Message(BaseModel):
    """Base of everything on the wire that is not a SpikePacket."""

    model_config = ConfigDict(extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", frozen=False)
    version: ClassVar[int] = 1

    @classmethod
    def wire_encoding(cls) -> str:
        """The Zenoh encoding that marks this message as msgpack."""
        return f"application/msgpack;brainnet.{cls.__name__}/{cls.version}"


M = TypeVar("M", bound=Message)


def new_id() -> str:
    """A fresh prompt id."""
    return str(uuid.uuid4())


class Prompt(Message):
    """What a client asks the brain. Pictures and sound travel inline: a path would mean nothing on another host."""

    prompt_id: str = Field(default_factory=new_id, min_length=1, max_length=128)
    text: str = Field("", max_length=MAX_TEXT)
    image: bytes | None = Field(None, description="an encoded picture: PNG, JPEG, ...")
    audio: bytes | None = Field(None, description="an encoded sound: WAV, ...")
    arrays: dict[str, bytes] = Field(default_factory=dict, description="named SpikePackets, in wire form")
    priority: int = Field(5, ge=0, le=9, description="0 background ... 9 urgent")
    session_id: str = Field("", max_length=128, description="prompts of one session share working memory")
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="answer by then with what there is")
    timestamp_ns: int = Field(default_factory=time.time_ns, ge=0)
    regions: list[str] | None = Field(None, description="ask these regions instead of routing")
    reply_as: Literal["msgpack", "json"] = "msgpack"

    @property
    def named(self) -> bool:
        """Whether the sender gave it an id. One that came without is read with a different id by every reader."""
        return "prompt_id" in self.model_fields_set

    @model_validator(mode="after")
    def _asks_something(self) -> Prompt:
        if not self.text.strip() and self.image is None and self.audio is None and not self.arrays:
            raise ValueError("the prompt is empty: give it a text, an image, audio or arrays")
        if self.regions is not None and not self.regions:
            raise ValueError("regions is empty: name at least one region, or leave it out to let the brain route")
        return self


class Candidate(Message):
    """One possible answer of a region."""

    text: str
    probability: Probability = Field(description="among the candidates of this region")
    content: dict[str, Any] = Field(default_factory=dict, description="what the answer rests on")


class Partial(Message):
    """A region's answer to one query; on the wire it is the metadata of a SpikePacket.

    ``spikes`` is the [neurons, steps] array that becomes the packet's data; it is not part of the map.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    candidates: list[Candidate] = Field(default_factory=list)
    confidence: Probability = 0.0
    content: dict[str, Any] = Field(default_factory=dict)
    prompt_id: str = ""
    region: str = ""
    final: bool = True
    error: str | None = None
    latency_ms: float = Field(0.0, ge=0.0, description="from the query's arrival to this partial")
    spikes: Any = Field(None, exclude=True, repr=False)

    @property
    def best(self) -> Candidate | None:
        """The candidate with the highest probability."""
        return max(self.candidates, key=lambda c: c.probability, default=None)


class Decision(Message):
    """What the prefrontal cortex decided about one prompt, with everything that made it decide so."""

    prompt_id: str
    route_probs: dict[str, float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)
    entropy: float = Field(0.0, ge=0.0, description="nats, of the unmodulated probabilities")
    alpha: float = Field(1.0, ge=0.0, le=1.0)
    temperature: float = Field(1.0, gt=0.0)
    threshold: float = Field(1.0, gt=0.0)
    chosen: list[str] = Field(default_factory=list)
    routed_by: Literal["router", "client"] = "router"
    error: str | None = Field(None, description="why no region could be asked")
    latency_ms: float = Field(0.0, ge=0.0)


StoppedBy = Literal["all", "settled", "deadline", "error"]


class Answer(Message):
    """The one result of a prompt."""

    prompt_id: str
    text: str = ""
    content: dict[str, Any] = Field(default_factory=dict)
    confidence: Probability = 0.0
    contributing: list[str] = Field(default_factory=list, description="regions whose partial was fused")
    late: list[str] = Field(default_factory=list, description="regions asked that had not answered")
    stopped_by: StoppedBy = "all"
    latency_ms: float = Field(0.0, ge=0.0, description="from the prompt's arrival at the integrator to this answer")
    latency: dict[str, float] = Field(default_factory=dict, description="ms, by part")
    decision: Decision | None = None
    prompt: str = Field("", description="the text that was asked")
    session_id: str = ""
    error: str | None = None


class TopicCount(Message):
    """What one node sent or received on one key since it started."""

    key: str
    direction: Literal["out", "in"]
    count: int = 0
    bytes: int = 0
    rate_hz: float = 0.0
    bytes_per_s: float = 0.0
    dropped: int = Field(0, description="refused by a full mailbox or outbox here")
    lost: int = Field(0, description="gaps in the sender's sequence numbers")
    malformed: int = 0


class Health(Message):
    """How one node is, once a second and on request."""

    node_id: str
    host: str
    pid: int
    state: NodeState
    role: str
    program: str = ""
    about: str = ""
    answers: bool = Field(False, description="whether it answers prompts as a region")
    uptime_s: float = 0.0
    memory_bytes: int = Field(0, description="proportional set size")
    cpu_percent: float = 0.0
    loop_lag_ms: float = 0.0
    queued: int = 0
    counters: dict[str, int] = Field(default_factory=dict)
    topics: list[TopicCount] = Field(default_factory=list)
    last_error: str | None = None
    timestamp_ns: int = Field(default_factory=time.time_ns)


class LogRecord(Message):
    """One structured log line."""

    node_id: str
    level: str
    event: str
    timestamp_ns: int
    fields: dict[str, Any] = Field(default_factory=dict)


class StatusQuery(Message):
    """Asks a node or a host how it is."""


class ParamsQuery(Message):
    """Reads (no ``name``), reads one, or sets one parameter of a node."""

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
    """The parameters asked for."""

    params: list[ParamInfo]


class ControlQuery(Message):
    """Tells a node or a supervisor to do something. ``node`` names the node for a supervisor."""

    action: Literal["stop", "restart", "start"]
    node: str | None = None


class ControlReply(Message):
    """What a control query did."""

    done: str


class NodeRecord(Message):
    """One node as its supervisor sees it."""

    id: str
    program: str
    host: str
    state: NodeState
    pid: int | None = None
    restarts: int = 0
    exit_code: int | None = None
    memory_bytes: int = Field(0, description="proportional set size")
    uptime_s: float = 0.0
    ready_s: float | None = Field(None, description="from start to ready")
    reason: str = ""


class HostStatus(Message):
    """One host's part of the brain, from its supervisor."""

    host: str
    namespace: str
    pid: int
    hub: list[str]
    allocation: str
    uptime_s: float = 0.0
    nodes: list[NodeRecord] = Field(default_factory=list)


class OpenPromptsQuery(Message):
    """Asks the integrator's journal for the prompts that have no answer yet."""


class OpenPrompts(Message):
    """Prompts without an answer, oldest first."""

    prompts: list[Prompt] = Field(default_factory=list)


class MemoryStore(Message):
    """Something to keep."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    kind: str = "statement"
    metadata: dict[str, Any] = Field(default_factory=dict)
    importance: float = Field(0.5, ge=0.0, le=1.0)


class MemoryStored(Message):
    """The acknowledgement: what is acknowledged survives a kill."""

    episode_id: int
    created_ns: int


class MemoryQuery(Message):
    """Something to find."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    k: int = Field(5, ge=1, le=1000)
    kinds: list[str] | None = None


class MemoryHit(Message):
    """One episode found."""

    episode_id: int
    text: str
    kind: str
    score: float
    created_ns: int
    metadata: dict[str, Any] = Field(default_factory=dict)


class MemoryReply(Message):
    """What was found, best first."""

    hits: list[MemoryHit] = Field(default_factory=list)


def encode(message: Message, *, as_json: bool = False) -> bytes:
    """Write a message as msgpack, or as JSON.

    Raises:
        MessageError: a free-form field holds something that cannot be written.
    """
    try:
        if as_json:
            return message.model_dump_json().encode()
        packed: bytes = msgpack.packb(message.model_dump())
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"{type(message).__name__} cannot be written: {error}") from None
    return packed


def decode(kind: type[M], payload: bytes, encoding: str = "") -> M:
    """Read a message of the given kind; ``encoding`` is the Zenoh encoding it came with.

    Raises:
        MessageError: naming the fields that are wrong.
    """
    if encoding.startswith(("application/json", "text/json")):
        try:
            return kind.model_validate_json(payload)
        except ValidationError as error:
            raise MessageError(f"{kind.__name__}: {explain(error)}") from None
    try:
        fields = msgpack.unpackb(payload, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises many kinds, ValueError and its own among them
        raise MessageError(f"{kind.__name__}: {len(payload)} bytes are not msgpack: {error}") from None
    return validate(kind, fields)


def validate(kind: type[M], fields: object) -> M:
    """Build a message from a map; raises `MessageError` naming the fields that are wrong."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise MessageError(f"{kind.__name__}: {explain(error)}") from None


def read_prompt(payload: bytes, encoding: str = "") -> Prompt:
    """Read a prompt from anybody: msgpack, JSON or plain UTF-8 text, told apart by the Zenoh encoding.

    A client that names no encoding (``zenoh/bytes``) is understood by looking: a msgpack map, else a JSON object, else
    text. Prompts that came as text or JSON are answered in JSON.

    Raises:
        MessageError: too large, empty, or not a prompt.
    """
    if len(payload) > MAX_PROMPT_BYTES:
        raise MessageError(
            f"the prompt has {len(payload)} bytes, at most {MAX_PROMPT_BYTES} are accepted; "
            "send less, or a smaller picture"
        )
    kind = encoding.split(";", maxsplit=1)[0]
    if kind == "application/msgpack" or (kind in ("", "zenoh/bytes") and _is_msgpack_map(payload)):
        return decode(Prompt, payload)
    text = _utf8(payload)
    stripped = text.strip()
    if kind in ("application/json", "text/json") or (kind != "text/plain" and stripped.startswith("{")):
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise MessageError(f"Prompt: not JSON: {error}") from None
        if isinstance(fields, str):
            fields = {"text": fields}
        try:
            prompt = Prompt.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise MessageError(f"Prompt: {explain(error)}") from None
    else:
        prompt = validate(Prompt, {"text": stripped})
    prompt.reply_as = "json"
    return prompt


def _is_msgpack_map(payload: bytes) -> bool:
    if payload[:1] < b"\x80":  # a map starts above ASCII; most text does not
        return False
    try:
        return isinstance(msgpack.unpackb(payload, max_ext_len=0), dict)
    except Exception:
        return False


def _utf8(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise MessageError(
            f"Prompt: {len(payload)} bytes are neither msgpack, JSON nor UTF-8 text; "
            'set the Zenoh encoding, or send {"text": ..., "image": base64} as JSON'
        ) from None


def explain(error: ValidationError) -> str:
    """A pydantic error as one readable line."""
    parts = []
    for item in error.errors()[:4]:
        where = ".".join(str(p) for p in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        shown = "" if where == "" or isinstance(given, dict | list) else f" (got {_short(given)})"
        parts.append(f"{where}: {message}{shown}" if where else message)
    return "; ".join(parts)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
