"""The rules by name, and what is done with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from brainnet.errors import ModelError
from brainnet.simulation.connectivity.all_to_all import AllToAll
from brainnet.simulation.connectivity.base import Delays, Estimate, SynapseRule, checked_ends
from brainnet.simulation.connectivity.distance_dependent import DistanceDependent
from brainnet.simulation.connectivity.explicit import Explicit
from brainnet.simulation.connectivity.fixed_in_degree import FixedInDegree
from brainnet.simulation.connectivity.fixed_probability import FixedProbability
from brainnet.simulation.connectivity.fixed_total_number import FixedTotalNumber
from brainnet.simulation.connectivity.one_to_one import OneToOne
from brainnet.simulation.connectivity.procedural import Procedural
from brainnet.simulation.connectivity.small_world import SmallWorld
from brainnet.simulation.rows import Rows

if TYPE_CHECKING:
    from brainnet.simulation.connectivity.procedural_synapses import ProceduralSynapses

Rule = Annotated[
    OneToOne
    | AllToAll
    | FixedProbability
    | FixedInDegree
    | FixedTotalNumber
    | DistanceDependent
    | SmallWorld
    | Explicit
    | Procedural,
    Field(discriminator="connect"),
]
"""One of the rules of this package, told apart by `connect`."""

_ADAPTER: Final[TypeAdapter[SynapseRule]] = TypeAdapter(Rule)


def rule_of(description: Mapping[str, Any], name: str) -> SynapseRule:
    """Return the rule that a description in a file gives.

    Args:
        description: The fields of the rule, with `connect`, its name.
        name: Of the projection, for errors.

    Raises:
        ModelError: A field is unknown, missing or not possible; names projection and field, and says what is accepted.
    """
    try:
        return _ADAPTER.validate_python(dict(description))
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            # the first place is the name of the rule, which is no field
            place = [str(part) for part in problem["loc"]][1:] or ["connect"]
            value = "" if problem["type"] == "missing" else f", got {problem['input']!r:.80}"
            problems.append(f"{'.'.join(place)}: {problem['msg']}{value}")
        raise ModelError(f"projection {name!r}, {'; '.join(problems)}") from None


def build(
    rule: SynapseRule,
    source_size: int,
    target_size: int,
    seed: int,
    name: str,
    dt_ms: float,
    part: tuple[int, int] | None = None,
) -> Rows | ProceduralSynapses:
    """Return the synapses of a projection.

    Args:
        rule: How they are made.
        source_size: Neurons of the source.
        target_size: Neurons of the target.
        seed: Of the network.
        name: Of the projection; another name gives other random numbers.
        dt_ms: One step in milliseconds.
        part: Only the synapses of the targets from the first number up to, and without, the second one; their targets
            are counted from the first.

    Raises:
        ModelError: The rule does not fit the populations, or a weight, a delay or a file is not possible.
    """
    return rule.synapses(checked_ends(name, source_size, target_size, seed, dt_ms, part))


def check(
    rule: SynapseRule, source_size: int, target_size: int, name: str, dt_ms: float
) -> tuple[Delays, Rows | ProceduralSynapses]:
    """Check everything that can be checked of a projection without making its synapses.

    Args:
        rule: How they would be made.
        source_size: Neurons of the source.
        target_size: Neurons of the target.
        name: Of the projection, for errors.
        dt_ms: One step in milliseconds.

    Returns:
        Between what the delays lie, and one synapse as a sample.

    Raises:
        ModelError: As for `build`.
    """
    ends = checked_ends(name, source_size, target_size, 0, dt_ms, None)
    return rule.check(ends), rule.sample(ends)


def estimate(rule: SynapseRule, source_size: int, target_size: int, name: str = "") -> Estimate:
    """Return how many synapses a rule makes, the mean where it is random, and the bytes of their arrays.

    It does not make them. Building may need as much memory again for a moment.

    Args:
        rule: How they are made.
        source_size: Neurons of the source.
        target_size: Neurons of the target.
        name: Of the projection, for errors.

    Raises:
        ModelError: The rule does not fit the populations, or a file cannot be used.
    """
    return rule.estimate(checked_ends(name, source_size, target_size, 0, 1.0, None))
