"""Every error that brainnet raises on purpose.

    BrainnetError
    ├── ConfigError         settings, allocation or parameters that cannot be used
    │   ├── AllocationError     a node_allocation file: names file, line and field
    │   ├── ContractError       a file with topics: names file, line and field
    │   └── TextError           text that is neither YAML nor JSON: names line and column
    ├── WireError           data that does not follow the wire contract
    │   ├── PacketError         bytes that are not a SpikePacket, or a packet that cannot be built
    │   ├── MessageError        a typed message that does not validate
    │   └── TopicError          a key expression that the contract does not list, or not for this role
    ├── BusError            the bus itself
    │   ├── ConnectError        no hub at the endpoint
    │   ├── AddressInUseError   another program listens at the hub's endpoint
    │   ├── CallError           the other side of a query refused it or failed
    │   └── CallTimeout         no server replied to a query in time
    ├── RegionError         a region cannot answer this query; the text is shown to the client
    ├── StoreError          a durable store cannot be read or written
    ├── ModelError          weights or model input that do not fit
    ├── SensorError         a sensor's file, payload or encoder that cannot be used
    ├── DocumentError       a document that cannot be read; names the file
    ├── DeviceError         a neuromorphic device that does not answer, or cannot do what is asked of it
    ├── TrainingError       a training or evaluation that cannot run: its data, settings or checkpoint
    └── LaunchError         a brain that cannot be started, found or stopped

Each has a message of one sentence, which names what is wrong, where, and what to do, and a code from `ERROR_CODES` for
programs. The wording may change, the codes do not. The command line prints the message and exits with a non-zero
status; `--debug` adds the traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

ErrorCode = Literal[
    "internal",
    "config",
    "allocation",
    "connectome",
    "bad_packet",
    "bad_message",
    "bad_topic",
    "bus",
    "no_hub",
    "address_in_use",
    "refused",
    "timeout",
    "stopping",
    "busy",
    "cannot_answer",
    "unknown",
    "forgotten",
    "no_region",
    "no_decision",
    "no_answer",
    "deadline",
    "poison",
    "unavailable",
    "store",
    "model",
    "sensor",
    "document",
    "device",
    "training",
    "launch",
]
"""The kind of an error, for programs. `docs/reference/errors.md` lists cause and remedy of each."""

ERROR_CODES: Final[tuple[ErrorCode, ...]] = get_args(ErrorCode)
_WIRE_TEXT: Final = 1000
"""Characters of the text of a `WireError`."""
RETRYABLE: Final[frozenset[str]] = frozenset({"timeout", "stopping"})
"""Codes of temporary conditions: no server was there, or it was stopping; both are also seen while a node restarts."""


class BrainnetError(Exception):
    """Base class of the errors of brainnet.

    Args:
        message: One sentence: what is wrong, where, and what to do.
        code: The kind of the error, for programs; by default the code of the class.

    Attributes:
        code: One of `ERROR_CODES`, or a code of a newer version that came over the wire.
    """

    code: str = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.code in RETRYABLE


class ConfigError(BrainnetError):
    """Settings, an allocation or parameters that cannot be used."""

    code = "config"


class PlacedError(ConfigError):
    """A mistake in a file that somebody has written.

    Attributes:
        path: The file.
        line: The line, counted from 1; None where the mistake has no single line.
        field: The field, as `nodes[2].program`; empty where the mistake has no single field.
    """

    def __init__(self, message: str, *, path: Path | None = None, line: int | None = None, field: str = "") -> None:
        super().__init__(message)
        self.path, self.line, self.field = path, line, field


class AllocationError(PlacedError):
    """A node_allocation file that cannot be used; names file, line, field and what is accepted."""

    code = "allocation"


class ContractError(PlacedError):
    """A file with topics of the user's own that cannot be used; names file, line, field and what is accepted."""


class ConnectomeError(PlacedError):
    """A connectome file that cannot be used; names file, line, field and what is accepted."""

    code = "connectome"


class TextError(ConfigError):
    """Text of a person that is neither YAML nor JSON, or that holds what may not be there.

    Attributes:
        line: The line, counted from 1; None where the text as a whole cannot be read.
        column: The column, counted from 1; None where the text as a whole cannot be read.
        where: The field, as `nodes[2].program`; empty where the mistake is in no field.
        problem: What is wrong, without the place.
    """

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, where: str = "", problem: str = ""
    ) -> None:
        super().__init__(message)
        self.line, self.column, self.where, self.problem = line, column, where, problem or message


class WireError(BrainnetError):
    """Data that does not follow the wire contract. Its text is cut at a length, because the data may be in it."""

    code = "bad_message"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message if len(message) <= _WIRE_TEXT else message[: _WIRE_TEXT - 3] + "...", code=code)


class PacketError(WireError):
    """Bytes that are not a SpikePacket, or values that do not make one."""

    code = "bad_packet"


class MessageError(WireError):
    """A typed message that does not validate."""

    code = "bad_message"


class TopicError(WireError):
    """A key expression that the contract does not list, or not for this role."""

    code = "bad_topic"


class BusError(BrainnetError):
    """The bus failed."""

    code = "bus"


class ConnectError(BusError):
    """No hub answered at the endpoint."""

    code = "no_hub"


class AddressInUseError(BusError):
    """Another program listens at the hub's endpoint.

    Attributes:
        endpoint: The endpoint that is taken.
    """

    code = "address_in_use"

    def __init__(self, message: str, *, endpoint: str) -> None:
        super().__init__(message)
        self.endpoint = endpoint


class CallError(BusError):
    """The other side of a query refused it or failed; `code` is the server's."""

    code = "refused"


class CallTimeout(BusError):
    """No server replied to a query in time."""

    code = "timeout"


class RegionError(BrainnetError):
    """A region cannot answer this query; the text is for the client."""

    code = "cannot_answer"


class StoreError(BrainnetError):
    """A durable store cannot be read or written."""

    code = "store"


class ModelError(BrainnetError):
    """Weights or model input that do not fit.

    Attributes:
        field: The field of the description that is wrong, as `noise.rate_hz`; empty where there is none.
    """

    code = "model"

    def __init__(self, message: str, *, code: str | None = None, field: str = "") -> None:
        super().__init__(message, code=code)
        self.field = field


class SensorError(BrainnetError):
    """A file or payload of a sensor, or an encoder for it, that cannot be used; names the file or the payload."""

    code = "sensor"


class DocumentError(BrainnetError):
    """A document that cannot be read; names the file."""

    code = "document"


class DeviceError(BrainnetError):
    """A neuromorphic device that does not answer, that lost spikes it needed, or that cannot do what is asked of it."""

    code = "device"


class TrainingError(BrainnetError):
    """A training or evaluation that cannot run: its data, settings or checkpoint."""

    code = "training"


class LaunchError(BrainnetError):
    """A brain that cannot be started, found or stopped."""

    code = "launch"
