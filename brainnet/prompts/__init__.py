"""The protocol of a prompt: which are open, what each region answered, how the answers become one. It knows no bus."""

from __future__ import annotations

from brainnet.prompts.abilities import descriptions, examples, honest_text
from brainnet.prompts.admission import Admission, Limits, PriorityQueue, Refused, RegionLoad
from brainnet.prompts.answers import REASONS, conclude, error_answer
from brainnet.prompts.claims import claim
from brainnet.prompts.fusion import Fused, Scored, fuse
from brainnet.prompts.journal import Journal
from brainnet.prompts.open_prompts import OpenPrompt, OpenPromptTable
from brainnet.prompts.parts import PART_MODALITY, join_answers, part_id, part_of
from brainnet.prompts.presence import RegionPresence
from brainnet.prompts.queries import bid_packet, query_packet, read_query
from brainnet.prompts.requests import split_requests
from brainnet.prompts.trust import Reliability, Trust, load_trust
from brainnet.prompts.warm_up import warm_up

__all__ = [
    "PART_MODALITY",
    "REASONS",
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
    "bid_packet",
    "claim",
    "conclude",
    "descriptions",
    "error_answer",
    "examples",
    "fuse",
    "honest_text",
    "join_answers",
    "load_trust",
    "part_id",
    "part_of",
    "query_packet",
    "read_query",
    "split_requests",
    "warm_up",
]
