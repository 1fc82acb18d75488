"""The protocol of a prompt: which are open, what each region answered, how the answers become one. It knows no bus."""

from __future__ import annotations

from brainnet.prompts.admission import Admission, Limits, PriorityQueue, Refused, RegionLoad
from brainnet.prompts.answers import conclude, error_answer
from brainnet.prompts.claims import claim
from brainnet.prompts.fusion import Fused, Scored, fuse
from brainnet.prompts.journal import Journal
from brainnet.prompts.open_prompts import OpenPrompt, OpenPromptTable
from brainnet.prompts.presence import RegionPresence
from brainnet.prompts.queries import query_packet, read_query
from brainnet.prompts.trust import Reliability, Trust, load_trust
from brainnet.prompts.warm_up import warm_up

__all__ = [
    "Admission",
    "Fused",
    "Journal",
    "Limits",
    "OpenPrompt",
    "OpenPromptTable",
    "PriorityQueue",
    "Refused",
    "RegionLoad",
    "RegionPresence",
    "Reliability",
    "Scored",
    "Trust",
    "claim",
    "conclude",
    "error_answer",
    "fuse",
    "load_trust",
    "query_packet",
    "read_query",
    "warm_up",
]
