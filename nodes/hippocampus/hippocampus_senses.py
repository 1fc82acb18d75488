"""Which words can stand for each other: synonyms and more general words, read from the weights of the judge.

The tables are made of WordNet 3.0 when the judge is trained (`hippocampus_wordnet`). Each word has the concepts of its
senses, and those above them ("car" has "vehicle" four steps above it). Two words stand for each other as far as they
share a concept that is the meaning of one of them; two that share only a concept above both ("bicycle", "car") name
different things of one kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from brainnet.snn.models.text_features import MAX_WORD, hash32

NOUN, VERB, ADJECTIVE, ADVERB = 1, 2, 3, 4
_ENDINGS = (
    ("'s", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"),
    ("d", ""), ("ied", "y"), ("er", ""), ("er", "e"), ("est", ""), ("est", "e"), ("ly", ""),
)  # fmt: skip
"""How a word ends, and how its base form ends instead."""
MIN_BASE = 3
"""Letters that a base form has at least."""


@dataclass(frozen=True, slots=True)
class Relation:
    """How a word of a statement is related to a word of a question, each in [0, 1].

    Attributes:
        same: They are synonyms.
        kind: The word of the statement is a kind of what the question's word names: "car" for "vehicle".
        general: The word of the statement is more general.
        sister: Both are different kinds of one thing.
    """

    same: float = 0.0
    kind: float = 0.0
    general: float = 0.0
    sister: float = 0.0


UNRELATED = Relation()


@dataclass(frozen=True, slots=True)
class Senses:
    """The concepts of a word.

    Attributes:
        concepts: By number of the concept: how much of the word's use has it, in (0, 1], and the steps up to it.
        part: Part of speech it mostly is, 0 if unknown.
        person: It can name a person: "teacher".
        place: It can name a place: "office", "Hamburg".
    """

    concepts: dict[int, tuple[float, int]]
    part: int
    person: bool = False
    place: bool = False


_NO_SENSES = Senses({}, 0)
PERSON, PLACE = 8, 16
"""Added to the part of speech of a word that can name a person, or a place."""


class Lexicon:
    """Relations between words.

    Args:
        tables: `hashes` uint32 [words], sorted; `entry` int32 [words], the entry that a word has; `parts` uint8
            [entries] (with `PERSON` and `PLACE`); `starts` int32 [entries + 1]; `concepts` int32, `weights` uint8
            (255 is 1) and `depths` uint8 [starts[-1]]. Empty for a lexicon that knows no word.
    """

    def __init__(self, tables: Mapping[str, NDArray[np.generic]]) -> None:
        self._tables = {name: np.asarray(tables[name]) for name in TABLES if name in tables}
        # Texts repeat their words.
        self.senses = lru_cache(maxsize=20_000)(self._senses)

    @property
    def tables(self) -> dict[str, NDArray[np.generic]]:
        """What the lexicon was made of."""
        return self._tables

    def known(self, word: str) -> bool:
        """Return whether the lexicon has a word, in any form."""
        return bool(self.senses(word[:MAX_WORD]).concepts)

    def _senses(self, word: str) -> Senses:
        if not self._tables:
            return _NO_SENSES
        entries = [entry for base in _bases(word) if (entry := self._entry(base)) is not None]
        if not entries:
            return _NO_SENSES
        concepts: dict[int, tuple[float, int]] = {}
        starts, ids = self._tables["starts"], self._tables["concepts"]
        weights, depths = self._tables["weights"], self._tables["depths"]
        for entry in dict.fromkeys(entries):
            first, end = int(starts[entry]), int(starts[entry + 1])
            found = zip(ids[first:end].tolist(), weights[first:end].tolist(), depths[first:end].tolist(), strict=True)
            for concept, weight, depth in found:
                if concept not in concepts or concepts[concept][0] < weight / 255:
                    concepts[concept] = weight / 255, depth
        part = int(self._tables["parts"][entries[0]])
        return Senses(concepts, part % PERSON, bool(part & PERSON), bool(part & PLACE))

    def _entry(self, word: str) -> int | None:
        hashes, wanted = self._tables["hashes"], hash32(word)
        at = int(np.searchsorted(hashes, np.uint32(wanted)))
        return int(self._tables["entry"][at]) if at < len(hashes) and int(hashes[at]) == wanted else None

    def relation(self, asked: str, said: str) -> Relation:
        """Return how the word `said` of a statement is related to the word `asked` of a question."""
        left, right = self.senses(asked).concepts, self.senses(said).concepts
        same = kind = general = sister = 0.0
        for concept in left.keys() & right.keys():
            (left_weight, left_depth), (right_weight, right_depth) = left[concept], right[concept]
            weight = left_weight * right_weight
            if not left_depth and not right_depth:
                same = max(same, weight)
            elif not left_depth:
                kind = max(kind, weight)
            elif not right_depth:
                general = max(general, weight)
            elif left_depth + right_depth <= SISTER_STEPS:
                sister = max(sister, weight)
        return Relation(same, kind, general, sister) if same or kind or general or sister else UNRELATED


TABLES = ("hashes", "entry", "parts", "starts", "concepts", "weights", "depths")
SISTER_STEPS = 4
"""Steps between two words over a concept above both, up to which they are of one kind."""


def _bases(word: str) -> list[str]:
    """Return a word and what may be its base forms, by the rules of English."""
    bases = [word]
    for ending, other in _ENDINGS:
        if word.endswith(ending):
            stem = word[: len(word) - len(ending)]
            if len(stem) + len(other) >= MIN_BASE:
                bases.append(stem + other)
                # stopped, bigger, running
                if ending in ("ing", "ed", "er", "est") and not other and len(stem) > MIN_BASE and stem[-1] == stem[-2]:
                    bases.append(stem[:-1])
    return bases
