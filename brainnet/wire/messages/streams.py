"""Messages of networks that run divided among processes: how far each is, and windows that came to nobody."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from brainnet.wire.messages.codec import MAX_ID, ErrorText, Id, Message

ClockPhase = Literal["starting", "running", "waiting", "paused", "finished", "failed"]
MAX_STEP: Final = 1 << 62
ProjectionName = Annotated[str, Field(max_length=2 * MAX_ID)]
Step = Annotated[int, Field(ge=0, le=MAX_STEP)]


class SourceLateness(Message):
    """How long after their end the windows of a source came, in real time."""

    source: Id
    windows: int = Field(0, ge=0, description="that came")
    late: int = Field(0, ge=0, description="of them, after they were needed")
    missed: int = Field(0, ge=0, description="that had not come when they were needed")
    p50_ms: float = Field(0.0, ge=0)
    p99_ms: float = Field(0.0, ge=0)
    longest_ms: float = 0.0
    allowed_ms: float = Field(0.0, description="time after which they are late")


class ClockAnchor(Message):
    """When the steps of a network are due in real time."""

    step: Step = Field(description="a step")
    at_ns: int = Field(ge=0, description="wall clock at which all steps before it are over, nanoseconds since 1970")
    scale: float = Field(gt=0, le=1000, allow_inf_nan=False, description="time on the wall by simulated time")


class ClockState(Message):
    """How far one process of a network is."""

    process: Id
    run: Id = Field(description="name of this run of the network")
    phase: ClockPhase = "starting"
    next_step: Step = Field(0, description="the first step that is not computed")
    needed_step: Step = Field(
        0, description="the first step of its sources that it would ask for after a restart: it is saved up to there"
    )
    last_step: Step | None = Field(None, description="steps after which the network stops; null to go on")
    until: Step | None = Field(None, description="step at which it was told to stop; null to go on")
    control: int = Field(0, ge=0, description="number of the last order to stop or go on; the highest one holds")
    mode: Literal["lockstep", "realtime"] = "lockstep"
    anchor: ClockAnchor | None = Field(None, description="realtime: when the steps are due; null before the start")
    dt_ms: float = Field(1.0, gt=0)
    waits_for: list[Id] = Field(default_factory=list, description="processes that it waits for now")
    real_time_factor: float = Field(0.0, ge=0, description="simulated time by time on the wall, lately")
    lateness: list[SourceLateness] = Field(default_factory=list, description="realtime: by source")
    overruns: int = Field(0, ge=0, description="realtime: windows that it computed more than one window late")
    resent: int = Field(0, ge=0, description="windows that it had to ask for again")
    processes: list[Id] = Field(default_factory=list, description="all processes of the network; in replies")
    digests: dict[Id, str] = Field(
        default_factory=dict, description="SHA-256 of what each population has fired; in replies, and when finished"
    )
    reason: ErrorText = Field("", description="why it does not go on")


class ClockControl(Message):
    """Asks a process how far it is; with an order it stops at a step, or goes on."""

    action: Literal["status", "stop_at", "go_on"] = "status"
    until: Step = Field(0, description="stop_at: the step before which it stops; one that is past stops it now")
    control: int = Field(0, ge=0, description="number of the order, higher than that of all before it")
    anchor: ClockAnchor | None = Field(None, description="realtime: when the steps are due from now on")


class Modulation(Message):
    """Raises a modulator of a network by an amount, in all processes whose synapses name it."""

    amount: float = Field(allow_inf_nan=False, description="what is added to it")
    step: Step | None = Field(
        None,
        description="the step in which it is added; without one, each process takes its next step, so that the spikes "
        "depend on when the message comes",
    )


class WindowsQuery(Message):
    """Asks for the windows of a stream from a step on."""

    run: Id
    step: Step


class WeightsQuery(Message):
    """Asks for the projections to a population; with values, it sets the weights of one."""

    projection: ProjectionName = Field("", description="one of them; all without a name")
    with_synapses: bool = Field(False, description="also what the synapses are, for one of them")
    values: bytes | None = Field(
        None, description="new weights: int32 little-endian, in units of 1/65536, one of each synapse or one for all"
    )


class ProjectionWeights(Message):
    """The weights of one projection as they are now; of synapses of which nothing is stored, nothing is known."""

    projection: ProjectionName
    source: Id
    learns: bool = Field(False, description="whether a rule of plasticity changes them")
    synapses: int | None = Field(None, ge=0)
    mean: float | None = None
    deviation: float | None = Field(None, description="standard deviation")
    smallest: float | None = None
    largest: float | None = None
    start: bytes = Field(b"", description="int64 little-endian, where the synapses of each source neuron begin")
    targets: bytes = Field(b"", description="int32 little-endian, the target neuron of each synapse")
    delays: bytes = Field(b"", description="int32 little-endian, steps, of each synapse or one for all")
    values: bytes = Field(b"", description="int32 little-endian, weights in units of 1/65536, of each synapse")


class Weights(Message):
    """The projections to a population, with their weights before a step."""

    population: Id
    step: Step = Field(description="the first step that is not computed")
    dt_ms: float = Field(gt=0)
    projections: list[ProjectionWeights] = Field(default_factory=list)


class Windows(Message):
    """Windows of a stream, each as a packet; empty when there is nothing from the step on yet."""

    windows: list[bytes] = Field(default_factory=list)
