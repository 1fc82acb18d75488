"""Every error that brainnet raises on purpose.

    BrainnetError
    ├── ConfigError         settings, allocation or parameters that cannot be used
    │   └── AllocationError     a node_allocation file: names file, line and field
    ├── WireError           what came or would go over the wire is not what the contract says
    │   ├── PacketError         bytes that are not a SpikePacket, or a packet that cannot be built
    │   ├── MessageError        a typed message that does not validate
    │   └── TopicError          a key expression that the contract does not list, or not for this role
    ├── BusError            the bus itself
    │   ├── ConnectError        no hub at the endpoint
    │   ├── CallError           the other side of a query refused it or failed
    │   └── CallTimeout         nobody answered a query in time
    ├── RegionError         a region cannot answer this query; the text is shown to whoever asked
    ├── StoreError          a durable store cannot be read or written
    ├── ModelError          weights or model input that do not fit
    ├── TrainingError       a training or evaluation that cannot run: its data, settings or checkpoint
    └── LaunchError         a brain that cannot be started, found or stopped

Each carries one sentence that says what is wrong, where, and what to do. The command line prints that sentence
and exits with a non-zero status; ``--debug`` adds the traceback.
"""


class BrainnetError(Exception):
    """Base of the tree."""


class ConfigError(BrainnetError):
    """Settings, an allocation or parameters that cannot be used."""


class AllocationError(ConfigError):
    """A node_allocation file that cannot be used; names file, line, field and what is accepted."""


class WireError(BrainnetError):
    """Data that does not follow the wire contract."""


class PacketError(WireError):
    """Bytes that are not a SpikePacket, or values that do not make one."""


class MessageError(WireError):
    """A typed message that does not validate."""


class TopicError(WireError):
    """A key expression that the contract does not list, or not for this role."""


class BusError(BrainnetError):
    """The bus failed."""


class ConnectError(BusError):
    """No hub answered at the endpoint."""


class CallError(BusError):
    """The other side of a query refused it or failed."""


class CallTimeout(BusError):
    """Nobody answered a query in time."""


class RegionError(BrainnetError):
    """A region cannot answer this query; the text reaches whoever asked."""


class StoreError(BrainnetError):
    """A durable store cannot be read or written."""


class ModelError(BrainnetError):
    """Weights or model input that do not fit."""


class TrainingError(BrainnetError):
    """A training or evaluation that cannot run: its data, settings or checkpoint."""


class LaunchError(BrainnetError):
    """A brain that cannot be started, found or stopped."""
