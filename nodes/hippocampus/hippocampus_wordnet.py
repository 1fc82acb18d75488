"""Makes the tables of the lexicon of WordNet's files (Debian's wordnet-base)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainnet.errors import TrainingError
from brainnet.snn.models.text_features import hash32
from hippocampus_senses import PERSON, PLACE

PARTS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
_LETTERS = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
MAX_SENSES = 5
"""Senses of a word for each part of speech, the most frequent ones."""
MAX_DEPTH = 7
"""Steps up from a sense."""
MAX_BELOW = 4500
"""Concepts that one may have below it; more is too general to say anything ("thing")."""
DECAY = 0.96
"""Factor on the weight of a concept for each step up."""
DERIVED = 0.8
"""Factor for the meaning of a word derived from it: "allergic", "allergy"."""

_PLACES = frozenset(("location", "structure", "geographical_area", "area", "room", "region", "furniture"))

Synset = tuple[str, int]


@dataclass(slots=True)
class _Node:
    words: list[str]
    above: list[Synset] = field(default_factory=list)
    derived: list[tuple[int, Synset]] = field(default_factory=list)
    """Number of the word (0: all) that is derived from a word of that synset."""


def lexicon_tables(folder: Path, known: Container[int]) -> dict[str, NDArray[np.generic]]:
    """Make the tables of `Lexicon` for the words of WordNet whose 32-bit hashes are in `known`.

    Raises:
        TrainingError: The folder does not hold WordNet.
    """
    nodes = dict(_synsets(folder))
    below = _below(nodes)
    entries: dict[str, dict[Synset, tuple[float, int]]] = defaultdict(dict)
    counts = _tag_counts(folder)
    parts: dict[str, dict[int, float]] = defaultdict(dict)
    flags: dict[str, int] = defaultdict(int)
    for name, part in PARTS.items():
        for word, offsets in _index(folder / f"index.{name}"):
            if hash32(word) not in known:
                continue
            tagged = [counts.get((word, part, rank), 0) for rank in range(1, len(offsets) + 1)]
            parts[word][part] = sum(tagged) + 1 / (1 + part)
            for rank, offset in enumerate(offsets[:MAX_SENSES]):
                share = (tagged[rank] + 1) / (max(tagged) + 1)
                weight = (0.55 if rank < 3 else 0.35) + 0.45 * math.sqrt(share) if rank else 1.0
                if name == "noun" and rank < 2:
                    above = _words_above(nodes, (name, offset))
                    flags[word] |= (PERSON if "person" in above else 0) | (PLACE if above & _PLACES else 0)
                _add_sense(entries[word], nodes, below, (name, offset), word, min(1.0, weight))
    # A part of speech that is rare says little: "key" as a verb.
    shared: dict[Synset, int] = defaultdict(int)
    for concepts in entries.values():
        for concept in concepts:
            shared[concept] += 1
    number = {concept: i for i, concept in enumerate(sorted(c for c, words in shared.items() if words > 1))}
    words = sorted(entries)
    ids: list[int] = []
    weights: list[int] = []
    depths: list[int] = []
    starts = [0]
    for word in words:
        for concept, (weight, depth) in sorted(entries[word].items()):
            if concept in number:
                ids.append(number[concept])
                weights.append(max(1, round(255 * weight)))
                depths.append(depth)
        starts.append(len(ids))
    at = {word: i for i, word in enumerate(words)}
    forms = dict(at)
    for form, base in _irregular(folder):
        if base in at:
            forms.setdefault(form, at[base])
    by_hash = dict(sorted((hash32(form), entry) for form, entry in forms.items()))
    return {
        "hashes": np.array(list(by_hash), np.uint32),
        "entry": np.array(list(by_hash.values()), np.int32),
        "parts": np.array(
            [max(parts[word], key=lambda p: parts[word][p]) + flags[word] for word in words],
            np.uint8,
        ),
        "starts": np.array(starts, np.int32),
        "concepts": np.array(ids, np.int32),
        "weights": np.array(weights, np.uint8),
        "depths": np.array(depths, np.uint8),
    }


def _add_sense(
    entry: dict[Synset, tuple[float, int]],
    nodes: dict[Synset, _Node],
    below: dict[Synset, int],
    synset: Synset,
    word: str,
    weight: float,
) -> None:
    def add(concept: Synset, weight: float, depth: int) -> None:
        if concept not in entry or entry[concept][0] < weight:
            entry[concept] = weight, depth

    node = nodes[synset]
    add(synset, weight, 0)
    for number, other in node.derived:
        if number == 0 or (number <= len(node.words) and node.words[number - 1] == word):
            add(other, DERIVED * weight, 0)
    level = {synset}
    for depth in range(1, MAX_DEPTH + 1):
        level = {above for one in level for above in nodes[one].above if above in nodes}
        for above in level:
            if below.get(above, 0) <= MAX_BELOW:
                add(above, weight * DECAY**depth, depth)


def _words_above(nodes: dict[Synset, _Node], synset: Synset) -> set[str]:
    """Return the first words of a concept and of all above it."""
    found: set[str] = set()
    level = {synset}
    for _ in range(2 * MAX_DEPTH):
        found.update(nodes[one].words[0] for one in level)
        level = {above for one in level for above in nodes[one].above if above in nodes}
    return found


def _synsets(folder: Path) -> Iterator[tuple[Synset, _Node]]:
    for name in PARTS:
        path = folder / f"data.{name}"
        if not path.is_file():
            raise TrainingError(f"no WordNet in {folder}: install Debian's wordnet-base, or name its folder")
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("  "):
                continue
            parts = line.partition(" | ")[0].split()
            count = int(parts[3], 16)
            words = [parts[4 + 2 * i].lower().partition("(")[0] for i in range(count)]
            node = _Node(words)
            at = 4 + 2 * count
            for i in range(int(parts[at])):
                symbol, offset, letter, ends = parts[at + 1 + 4 * i : at + 5 + 4 * i]
                other = _LETTERS[letter], int(offset)
                if symbol in ("@", "@i"):
                    node.above.append(other)
                elif symbol == "&":
                    # All that are like one adjective would be synonyms of each other: "red" and "green" are chromatic.
                    if parts[2] == "s":
                        node.above.append(other)
                elif symbol in ("+", "=", "\\", "<"):
                    # "ends" has the numbers of the two words, in hexadecimal.
                    node.derived.append((int(ends[:2], 16), other))
            yield (name, int(parts[0])), node


def _below(nodes: dict[Synset, _Node]) -> dict[Synset, int]:
    """Count the concepts below each one."""
    below: dict[Synset, int] = defaultdict(int)
    for start in nodes:
        seen, level = set(), [start]
        while level:
            level = [above for one in level if one in nodes for above in nodes[one].above if above not in seen]
            seen.update(level)
        for above in seen:
            below[above] += 1
    return below


def _index(path: Path) -> Iterator[tuple[str, list[int]]]:
    for line in path.read_text("utf-8").splitlines():
        parts = line.split()
        if not line.startswith("  ") and "_" not in parts[0]:
            yield parts[0], [int(offset) for offset in parts[-int(parts[2]) :]]


def _tag_counts(folder: Path) -> dict[tuple[str, int, int], int]:
    """Read how often each sense was met in tagged texts: by word, part of speech and rank of the sense."""
    path = folder / "cntlist.rev"
    if not path.is_file():
        return {}
    counts = {}
    for line in path.read_text("utf-8").splitlines():
        key, rank, count = line.split()
        word, _, rest = key.partition("%")
        counts[word, {5: 3}.get(int(rest[0]), int(rest[0])), int(rank)] = int(count)
    return counts


def _irregular(folder: Path) -> Iterator[tuple[str, str]]:
    for name in PARTS:
        path = folder / f"{name}.exc"
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                form, *bases = line.split()
                for base in bases[:1]:
                    yield form, base
