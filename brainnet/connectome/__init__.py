"""What a network of populations is: the files that describe it, and how it is made.

A description says which populations there are, which projections connect them, and how its steps are driven. Nothing
here computes: `build` makes the `Network` that does.
"""

from brainnet.connectome.building import (
    build,
    check_signs,
    crossing,
    kind_of,
    links,
    rows_of,
    shortest_delay,
    window_of,
)
from brainnet.connectome.description import Clock, ConnectomeFile, PopulationEntry, ProjectionEntry
from brainnet.connectome.files import Connectome, Projection, load, processes_of
from brainnet.connectome.learning import Link

__all__ = [
    "Clock",
    "Connectome",
    "ConnectomeFile",
    "Link",
    "PopulationEntry",
    "Projection",
    "ProjectionEntry",
    "build",
    "check_signs",
    "crossing",
    "kind_of",
    "links",
    "load",
    "processes_of",
    "rows_of",
    "shortest_delay",
    "window_of",
]
