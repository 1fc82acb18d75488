"""Messages about a prompt: the prompt, the routing decision, the partial answer of each region, and the answer."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final, Literal, NamedTuple, Self

import msgpack
from pydantic import ConfigDict, Field, model_validator

from brainnet.errors import MessageError
from brainnet.wire import bounded
from brainnet.wire.messages.codec import (
    JSON_ENCODING,
    MAX_ANSWER,
    MAX_ID,
    MAX_TEXT,
    ErrorText,
    Header,
    Id,
    Message,
    Probability,
    decode,
    decode_json,
    validate,
)
from brainnet.wire.packet import SpikePacket

MAX_PROMPT_BYTES: Final = 8 << 20
"""Bytes of one prompt on the wire, attachments included."""

MAX_PARTS: Final = 8
"""Requests of one prompt that are answered one after the other."""
_MSGPACK_ENCODING: Final = "application/msgpack"
_OUTLINED_BYTES: Final = 1 << 16
_OUTLINED_TEXT: Final = 1000
"""Bytes and characters of a text up to which a prompt is read by `outline`."""


def new_id() -> str:
    """Return a new random id of a prompt."""
    return str(uuid.uuid4())


class Prompt(Message):
    """A question or command of a client. Pictures and sound are inline, because a path is of no use on another host."""

    prompt_id: str = Field(default_factory=new_id, min_length=1, max_length=MAX_ID)
    text: str = Field("", max_length=MAX_TEXT)
    image: bytes | None = Field(None, description="an encoded picture: PNG, JPEG, ...")
    audio: bytes | None = Field(None, description="an encoded sound: WAV, ...")
    arrays: dict[str, bytes] = Field(default_factory=dict, description="named SpikePackets, in wire form")
    priority: int = Field(5, ge=0, le=9, description="0 background ... 9 urgent: who is refused first when busy")
    session_id: str = Field("", max_length=MAX_ID, description="prompts of one session share working memory")
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="answer by then with what there is")
    timestamp_ns: int = Field(default_factory=time.time_ns, ge=0)
    regions: list[str] | None = Field(None, description="ask these regions instead of routing")
    reply_as: Literal["msgpack", "json"] = "msgpack"
    remember: bool = Field(True, description="false: no memory keeps this prompt or its answer")

    @property
    def named(self) -> bool:
        """Whether the sender set an id. Without one, every receiver reads the prompt with a different random id."""
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

    text: str = Field(max_length=MAX_ANSWER)
    probability: Probability = Field(description="among the candidates of this region")
    content: dict[str, Any] = Field(default_factory=dict, description="what the answer rests on")


class Partial(Message):
    """A region's answer to one query; on the wire it is in the header of a SpikePacket.

    `spikes` is the [neurons, steps] array that becomes the packet's data; it is not part of the header.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    candidates: list[Candidate] = Field(default_factory=list)
    confidence: Probability = 0.0
    content: dict[str, Any] = Field(default_factory=dict)
    prompt_id: Id = ""
    region: Id = ""
    final: bool = True
    error: ErrorText | None = None
    code: Id | None = Field(None, description="with an error: what went wrong, for programs (brainnet.errors)")
    threshold: Probability = Field(0.0, description="confidence below which the region asserts nothing by itself")
    reason: Id = Field("", description="for programs: what sort of answer it is; empty for an ordinary one")
    latency_ms: float = Field(0.0, ge=0.0, description="from the query's arrival to this partial")
    spikes: Any = Field(None, exclude=True, repr=False)

    @property
    def best(self) -> Candidate | None:
        """The candidate with the highest probability."""
        return max(self.candidates, key=lambda c: c.probability, default=None)


class Decision(Message):
    """The routing decision for one prompt, with the values that it follows from."""

    prompt_id: Id
    route_probs: dict[str, float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict, description="by region, of text and bids")
    text_scores: dict[str, float] = Field(default_factory=dict, description="by region, of the text alone")
    bids: dict[str, float] = Field(default_factory=dict, description="how well regions said they could answer, 0 to 1")
    bid_reasons: dict[str, ErrorText] = Field(default_factory=dict, description="why, in their words")
    parts: list[str] = Field(
        default_factory=list,
        max_length=MAX_PARTS,
        description="the requests of a prompt that asks for several; each is decided and answered by itself, in order",
    )
    router: Id = Field("", description="the node that decided")
    entropy: float = Field(0.0, ge=0.0, description="nats, of the unmodulated probabilities")
    alpha: float = Field(1.0, ge=0.0, le=1.0)
    temperature: float = Field(1.0, gt=0.0)
    threshold: float = Field(1.0, gt=0.0)
    chosen: list[str] = Field(default_factory=list)
    routed_by: Literal["router", "client"] = "router"
    error: ErrorText | None = Field(None, description="why no region could be asked")
    code: Id | None = Field(None, description="with an error: what went wrong, for programs (brainnet.errors)")
    retry_after_ms: int | None = Field(None, ge=0, description="with some errors: when to try again")
    latency_ms: float = Field(0.0, ge=0.0)


class QueryHeader(Header):
    """Header of a packet on `query`, whose data are the text of a prompt as spikes (`brainnet.wire.codes.texts`).

    It addresses the prompt and brings what comes with it; the text is in the spikes alone.
    """

    prompt_id: str = Field(min_length=1, max_length=MAX_ID)
    session_id: Id = ""
    image: bytes | None = Field(None, description="an encoded picture: PNG, JPEG, ...")
    audio: bytes | None = Field(None, description="an encoded sound: WAV, ...")
    arrays: dict[str, bytes] = Field(default_factory=dict, description="named SpikePackets, in wire form")
    priority: int = Field(5, ge=0, le=9, description="of the prompt")
    remember: bool = Field(True, description="false: nothing of this prompt is kept in memory")
    route_prob: Probability = Field(1.0, description="the probability with which this region was chosen")
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="of the prompt")
    left_ms: float | None = Field(None, ge=0.0, description="until nobody waits any more; None: the prompt's deadline")
    routed: bool = Field(False, description="the router chose the region; false: it was asked for by name")
    timestamp_ns: int = Field(0, ge=0, description="of the prompt; 0: unknown")


class PartialHeader(Header):
    """Header of a packet on `partial`, whose data are the spikes of the answer."""

    partial: Partial
    prompt_id: Id = ""

    @classmethod
    def of(cls, packet: SpikePacket) -> Self:
        """Read the header of a packet; the packet's data become `partial.spikes`.

        Raises:
            MessageError: Fields are missing or wrong; names them.
        """
        header = super().of(packet)
        header.partial.spikes = packet.data
        return header


StoppedBy = Literal["all", "settled", "deadline", "error"]


class Answer(Message):
    """The answer to a prompt; every accepted prompt gets exactly one."""

    prompt_id: Id
    text: str = Field("", max_length=MAX_ANSWER)
    content: dict[str, Any] = Field(default_factory=dict)
    confidence: Probability = 0.0
    contributing: list[str] = Field(default_factory=list, description="regions whose partial was fused")
    late: list[str] = Field(default_factory=list, description="regions asked that had not answered")
    stopped_by: StoppedBy = "all"
    unsure: bool = Field(False, description="the answer asserts nothing: it says what the brain does not know")
    reason: Id = Field("", description="for programs: what sort of answer it is (brainnet.prompts.REASONS)")
    latency_ms: float = Field(0.0, ge=0.0, description="from the prompt's arrival to this answer")
    latency: dict[str, float] = Field(default_factory=dict, description="ms, by part")
    decision: Decision | None = None
    prompt: str = Field("", max_length=MAX_TEXT, description="the text that was asked")
    session_id: Id = ""
    error: ErrorText | None = None
    code: Id | None = Field(None, description="with an error: what went wrong, for programs (brainnet.errors)")
    retry_after_ms: int | None = Field(None, ge=0, description="with some errors: when to try again")


class Accepted(Message):
    """A prompt that the broker has accepted, as it hands it to the brain."""

    prompt: Prompt
    left_ms: float = Field(ge=0.0, description="until its deadline; the deadline counts from its arrival at the broker")


class Exchange(Message):
    """A prompt and what the brain said to it, in short."""

    prompt_id: Id
    prompt: str = Field("", max_length=MAX_TEXT, description="the text that was asked; empty if nobody may keep it")
    text: str = Field("", max_length=MAX_ANSWER, description="the text of the answer; empty for an error, as above")
    session_id: Id = ""
    contributing: list[str] = Field(default_factory=list, description="regions whose partial was fused")
    confidence: Probability = 0.0
    failed: bool = Field(False, description="the answer was an error")


class Answered(Message):
    """Prompts that have been answered, in the order of their answers."""

    exchanges: list[Exchange]


class ResumeQuery(Message):
    """Query of a router or an integrator that has just started: hand out again what has no answer yet."""


class Resumed(Message):
    """How many prompts are handed out again on topic `accepted`; what the node knows already, it ignores."""

    prompts: int = Field(ge=0)


def read_prompt(payload: bytes, encoding: str = "") -> Prompt:
    """Read a prompt from any client: msgpack, JSON or plain UTF-8 text, by its Zenoh encoding.

    Without an encoding (`zenoh/bytes`) the format follows from the payload: a msgpack map, else a JSON object, else
    text. A prompt in text or JSON gets its answer in JSON.

    Raises:
        MessageError: The payload is too large, empty, or not a prompt.
    """
    if len(payload) > MAX_PROMPT_BYTES:
        raise MessageError(
            f"the prompt has {len(payload)} bytes, at most {MAX_PROMPT_BYTES} are accepted; "
            "send less, or a smaller picture"
        )
    kind = encoding.split(";", maxsplit=1)[0]
    if kind == _MSGPACK_ENCODING or (kind in ("", "zenoh/bytes") and _is_msgpack_map(payload)):
        return decode(Prompt, payload)
    text = _utf8(payload).removeprefix("\ufeff").strip()  # some editors begin a file with a byte order mark
    if kind in (JSON_ENCODING, "text/json") or (kind != "text/plain" and text.startswith("{")):
        prompt = decode_json(Prompt, payload, text_field="text")
    else:
        prompt = validate(Prompt, {"text": text})
    prompt.reply_as = "json"
    return prompt


def _is_msgpack_map(payload: bytes) -> bool:
    # A msgpack map starts with a byte that is not ASCII, and that begins no UTF-8 text: 0x80 to 0x8f, 0xde, 0xdf. The
    # last two begin letters of a few scripts, and are read as msgpack only if all of the bytes are a map.
    first = payload[:1]
    if not (b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf")):
        return False
    try:
        return isinstance(bounded.unpack(payload), dict)
    except ValueError:
        return False


def _utf8(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise MessageError(
            f"Prompt: {len(payload)} bytes are neither msgpack, JSON nor UTF-8 text; "
            'set the Zenoh encoding, or send {"text": ..., "image": base64} as JSON'
        ) from None


class Outline(NamedTuple):
    """What the refusal of a prompt needs to know of it.

    Attributes:
        prompt_id: Its id; empty when it names none.
        text: What is asked.
        priority: 0 background ... 9 urgent.
        deadline_ms: Milliseconds in which it wants its answer.
        session_id: Its session.
        as_json: Whether its answer is JSON.
    """

    prompt_id: str
    text: str
    priority: int
    deadline_ms: int
    session_id: str
    as_json: bool


def outline(payload: bytes, encoding: str) -> Outline | None:
    """Read of a prompt what its refusal needs, in a fraction of the time of `read_prompt`; None to read it in full.

    It does not check the rest of the prompt, so it is for a prompt that is refused whatever else it says.
    """
    if len(payload) > _OUTLINED_BYTES:
        return None
    as_json = encoding.startswith(JSON_ENCODING)
    if not as_json and not encoding.startswith(_MSGPACK_ENCODING):
        return None
    try:
        fields = json.loads(payload) if as_json else msgpack.unpackb(payload)
        found = Outline(
            fields.get("prompt_id", ""),
            fields.get("text", ""),
            fields.get("priority", 5),
            fields.get("deadline_ms", 10_000),
            fields.get("session_id", ""),
            as_json or fields.get("reply_as") == "json",
        )
    except (ValueError, AttributeError, RecursionError, msgpack.UnpackException):
        return None
    for text, longest in ((found.prompt_id, MAX_ID), (found.text, _OUTLINED_TEXT), (found.session_id, MAX_ID)):
        if not (isinstance(text, str) and len(text) <= longest and text.isprintable()):
            return None  # a long text, or one that needs the care of `read_prompt`
    if type(found.priority) is not int or not 0 <= found.priority <= 9:
        return None
    return found if type(found.deadline_ms) is int and 1 <= found.deadline_ms <= 600_000 else None


def prompt_id_of(payload: bytes, encoding: str = "") -> str | None:
    """Return the id that a malformed prompt names, so that its sender learns what became of it; None without one."""
    if len(payload) > MAX_PROMPT_BYTES:
        return None
    try:
        is_text = encoding.startswith((JSON_ENCODING, "text/")) or payload[:1] < b"\x80"
        fields = bounded.read_json(payload) if is_text else bounded.unpack(payload)
        found = fields.get("prompt_id")
    except (ValueError, AttributeError):
        return None
    usable = isinstance(found, str) and 0 < len(found) <= MAX_ID and found.isprintable()
    return found if usable else None
