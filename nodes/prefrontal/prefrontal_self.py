"""What the brain says about itself, from what its nodes say at this moment."""

from __future__ import annotations

from collections.abc import Sequence

from brainnet import Candidate, Health, Partial, __version__
from brainnet.prompts import descriptions, examples

INTENTS = ("greeting", "farewell", "thanks", "identity", "ability", "regions", "state", "opinion")
"""What a prompt about the brain itself may be, beside `other`; the reason of the answer."""


def partial_about_itself(intent: str, confidence: float, nodes: Sequence[Health], namespace: str) -> Partial:
    """Answer a prompt about the brain itself.

    Args:
        intent: One of INTENTS.
        confidence: How sure it is that this is what was asked.
        nodes: All nodes that replied.
        namespace: The name of the brain.
    """
    regions = [node for node in nodes if node.answers]
    text = _text(intent, nodes, regions, namespace)
    content = {"nodes": {node.node_id: {"state": node.state, "host": node.host, "about": node.about} for node in nodes}}
    return Partial(
        candidates=[Candidate(text=text, probability=1.0)], confidence=confidence, content=content, reason=intent
    )


def _text(intent: str, nodes: Sequence[Health], regions: Sequence[Health], namespace: str) -> str:
    who = f"I am {namespace}, a brain of spiking neural networks that runs on brainnet {__version__}"
    try_this = examples(regions)
    texts = {
        "greeting": f"Hello. {who}. {try_this}",
        "farewell": "Goodbye.",
        "thanks": "You are welcome.",
        "identity": f"{who}: a program, not a person. {_places(nodes, regions)}",
        "ability": f"What my regions say they do:\n{descriptions(regions)}",
        "regions": _regions(nodes, regions),
        "state": _state(nodes),
        "opinion": f"I am a program, and have no feelings or opinions. {try_this}",
    }
    return texts[intent].strip()


def _places(nodes: Sequence[Health], regions: Sequence[Health]) -> str:
    hosts = {node.host for node in nodes}
    names = ", ".join(region.node_id for region in regions) or "none"
    return (
        f"{_count(len(nodes), 'process')} on {_count(len(hosts), 'computer')}, of which these answer prompts: {names}."
    )


def _regions(nodes: Sequence[Health], regions: Sequence[Health]) -> str:
    others = ", ".join(node.node_id for node in nodes if not node.answers) or "none"
    return f"{_count(len(regions), 'region')} answer prompts:\n{descriptions(regions)}\nOther nodes: {others}."


def _state(nodes: Sequence[Health]) -> str:
    ready = [node for node in nodes if node.state == "ready"]
    others = [f"{node.node_id} is {node.state}" for node in nodes if node.state != "ready"]
    up_s = max((node.uptime_s for node in nodes), default=0.0)
    answered = sum(node.counters.get("answers", 0) for node in nodes if node.role == "integrator")
    parts = [
        f"{len(ready)} of {_count(len(nodes), 'node')} are ready",
        *others,
        f"I have run for {_duration(up_s)} and have answered {_count(answered, 'prompt')}",
    ]
    return "; ".join(parts) + "."


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours"
