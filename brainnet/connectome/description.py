"""The description of a network, as it is written in a file."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from brainnet.limits import Line, Name
from brainnet.simulation.connectivity import Rule
from brainnet.simulation.plasticity.homeostasis import Homeostasis

MAX_NEURONS: Final = 10_000_000
"""Neurons of one population."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Clock(_Part):
    """How the steps of the network are driven."""

    mode: Literal["lockstep", "realtime"] = Field(
        "lockstep", description="as fast as everybody can, or as fast as the clock on the wall"
    )
    dt_ms: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        1.0, description="duration of one step in milliseconds"
    )
    time_scale: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        1.0, description="realtime: 2 runs twice as slow as the clock on the wall"
    )
    late: Literal["drop", "deliver"] = Field("drop", description="realtime: what becomes of a window that comes late")
    window: int | None = Field(
        None, ge=1, le=10_000, description="steps that are sent together; by default as many as the delays allow"
    )
    save_every_s: Annotated[float, Field(ge=0.05, le=3600, allow_inf_nan=False)] = Field(
        5.0, description="seconds between two saved states of a process; what it sent meanwhile is kept in memory"
    )


class PopulationEntry(_Part):
    """One population."""

    id: Name = Field(description="its name")
    model: Line = Field(
        description="lif, integer_lif, izhikevich, adaptive_lif, biological_lif, poisson, pattern, device, encoder, "
        "nir:FILE, torch:FILE.py:NAME, or a class of your own: FILE.py:Class, package.module:Class, an entry point"
    )
    size: int | None = Field(
        None, ge=1, le=MAX_NEURONS, description="neurons; may be left out where the model says it, as a NIR file does"
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="of the model")
    checkpoint: Line | None = Field(None, description="file of weights, for models that have some")
    process: Name | None = Field(
        None, description="populations with the same one are computed in one process; by default each has its own"
    )
    host: Name | None = Field(None, description="where its process runs, when the brain has several hosts")
    homeostasis: Homeostasis | None = Field(
        None, description="thresholds that drift until each neuron fires at target_hz; for lif and biological_lif"
    )
    dale: bool = Field(True, description="whether all projections that leave it must have weights of one sign")


def _rules(value: Any) -> Any:
    """Return a rule or a list of rules; a union of both would report the mistake of each."""
    if isinstance(value, list | tuple) and all(isinstance(each, dict) for each in value):
        return tuple(value)
    if value is None or isinstance(value, dict):
        return value
    raise ValueError("should be a map of rule and its constants, or a list of such maps")


class ProjectionEntry(_Part):
    """The synapses from one population to another."""

    source: Name = Field(alias="from", description="the population that fires")
    target: Name = Field(alias="to", description="the population that the spikes arrive at")
    name: Line | None = Field(None, description="by default FROM->TO; random numbers depend on it")
    port: Name | None = Field(
        None, description="of the target's model; by default excitatory or inhibitory, by the sign of the weights"
    )
    synapses: Rule = Field(description="which neurons are connected, weights and delays")
    plasticity: Annotated[dict[str, Any] | tuple[dict[str, Any], ...] | None, PlainValidator(_rules)] = Field(
        None,
        description="how the weights change, or the effect of spikes: rule (stdp, dopamine_stdp, short_term, or a "
        "class of your own), and its constants; or a list of one rule that changes weights and one that scales spikes",
    )


class ConnectomeFile(_Part):
    """The fields at the top of a connectome file."""

    version: Literal[1] = Field(description="version of this format: 1")
    seed: int = Field(0, ge=0, lt=1 << 63, description="every random number of the network follows from it")
    clock: Clock = Field(Clock(), description="how the steps are driven")
    populations: tuple[PopulationEntry, ...] = Field(min_length=1, description="the populations")
    projections: tuple[ProjectionEntry, ...] = Field((), description="the synapses between them")
