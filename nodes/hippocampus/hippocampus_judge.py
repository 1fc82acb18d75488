"""The judge: how probable it is that a statement answers a question.

A word of the question is compared with every word of the statement: by its term, its spelling, its meanings
(`hippocampus_senses`), its vector, and on axes of the vectors that are learned for questions and answers. What is found
for each word goes through a small network, is summed, and the same is done for the words of the statement; a second
network judges the sums. A word of the question that the statement lacks, and a word of the statement that the question
does not explain, can so speak against a statement as strongly as common words speak for it. The network is that of
Zaheer et al. 2017, *Deep Sets*. Inference needs only numpy.

The network was trained on worlds made from templates. Its logit is one of eight figures of a logistic regression
(`BLEND`) that was fitted on questions worded one by one; the others are plain: is a word or a name missing, how near
are the vectors, how far ahead is the statement. The threshold is chosen on its probabilities (`hippocampus_blend`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from brainnet.errors import ModelError
from brainnet.memory import kinship, terms
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from hippocampus_reading import Reading, Word, WordVectors, read, spelling
from hippocampus_senses import ADJECTIVE, ADVERB, NOUN, TABLES, VERB, Lexicon

Array = NDArray[np.float32]

EXACT, SPELT, SAME, KIND, GENERAL, SISTER, NEAR, LEARNED, BEST = range(9)
"""Channels in which two words are compared."""
CHANNELS = 9
ASKED_WIDTH = CHANNELS + 12
SAID_WIDTH = CHANNELS + 14
PAIR_WIDTH = 33
_TYPES = ("place", "time", "person", "number")
BARRED = 4.0
"""Subtracted from the logit of a statement that cannot answer: it names no person to "who", no time to "when"."""
OTHER_QUALITY = 0.8
"""Two adjectives that are no synonyms, as different things of one kind: "red", "green"."""
OF_ONE_KIND = 0.2
"""How far two words are different things of one kind, from which on being near says little."""
BLEND = 8
"""Figures of `Judge.figures`: the network's logit, the least found word, the similarity of the vectors, the lead of the
share of found words, whether a name or number is missing, whether it is barred, the length of the question, and the
share of words that are missing."""
IS_BARRED = 5
"""The figure that says whether it is barred."""
MISSING_NAME = 0.6
"""A name or number of the question that is found less well is missing."""
MISSING = 0.5
"""The same for any word."""
_TYPED_LANGUAGES = frozenset(("", "en", "de", "fr", "es", "it", "pt", "nl"))
"""Languages whose words for times are known."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the judge sees of a question and several statements.

    Attributes:
        asked: Of each word of the question with each statement, [statements, words, ASKED_WIDTH].
        said: Of each word of the statements, [words, SAID_WIDTH].
        starts: Where the words of each statement begin in `said`, [statements].
        pairs: Of the question with each statement, [statements, PAIR_WIDTH].
        found: How well each word of the question is found in each statement, [statements, words].
        explained: How well each word of the statements is found in the question, [words], as `said`.
    """

    asked: Array
    said: Array
    starts: NDArray[np.int64]
    pairs: Array
    found: Array
    explained: Array


class Judge:
    """Judges statements; deterministic. Not safe to use from several threads.

    Args:
        embedder: Gives the vectors of words.
        lexicon: Gives their meanings.
        weights: The axes `axes.weight` [A, D], and the networks: `asked.weight` [H, ASKED_WIDTH], `asked.bias`,
            `said.*`, `hidden.*`, `out.*`.
        scale: Slope and offset of the calibration of the network's logit alone.
        threshold: Probability from which on a statement is asserted.
        blend: Weights of the figures of `figures`, and last the bias, [BLEND + 1]; None for the network alone.
    """

    def __init__(
        self,
        embedder: SpikingTextEmbedder,
        lexicon: Lexicon,
        weights: Mapping[str, Array],
        scale: tuple[float, float] = (1.0, 0.0),
        threshold: float = 0.5,
        blend: Sequence[float] | None = None,
    ) -> None:
        self.lexicon = lexicon
        self.weights = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        self.scale = scale
        alone = (scale[0], *[0.0] * (BLEND - 1), scale[1])
        self.blend = np.asarray(alone if blend is None else blend, np.float32)
        if self.blend.shape != (BLEND + 1,):
            raise ModelError(f"a judge blends {BLEND} figures, got {len(self.blend) - 1} weights")
        self.threshold = threshold
        self._vectors = WordVectors(embedder)
        # Texts repeat their words.
        self._compared = lru_cache(maxsize=100_000)(self._channels)

    @classmethod
    def load(cls, path: Path | str, embedder: SpikingTextEmbedder) -> Judge:
        """Read the weights.

        Raises:
            ModelError: The file is missing, or does not hold a judge.
        """
        try:
            with safe_open(str(path), framework="np") as file:
                meta = json.loads((file.metadata() or {})["judge"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            lexicon = Lexicon({name: tensors.pop(name) for name in TABLES if name in tensors})
            width = tensors["axes.weight"].shape[1] if "axes.weight" in tensors else embedder.width
            if width != embedder.width:
                raise ValueError(f"it was made with vectors of {width} numbers, the embedder has {embedder.width}")
            scale = float(meta["slope"]), float(meta["offset"])
            return cls(embedder, lexicon, tensors, scale, float(meta["threshold"]), meta.get("blend"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} holds no judge ({error}); make it with `brainnet train`") from error

    def save(self, path: Path | str) -> None:
        """Write the weights and the tables of the lexicon."""
        meta = {
            "slope": self.scale[0],
            "offset": self.scale[1],
            "blend": [round(float(weight), 4) for weight in self.blend],
            "threshold": self.threshold,
        }
        tensors = {name: value.astype(np.float16) for name, value in self.weights.items()}
        save_file({**tensors, **self.lexicon.tables}, str(path), metadata={"judge": json.dumps(meta)})

    def read(self, text: str, content: Sequence[str] | None = None, language: str = "") -> Reading:
        """Read a statement, or a question whose content words are given."""
        return read(text, self.lexicon, content, language)

    def probabilities(self, figures: Array) -> Array:
        """Return the probability of each statement by its figures, float32 [statements]."""
        logits = figures @ self.blend[:-1] + self.blend[-1]
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)

    def figures(self, features: Features) -> Array:
        """Return what is blended for each statement, float32 [statements, BLEND]."""
        pairs, found = features.pairs, features.found
        named = features.asked[:, :, CHANNELS : CHANNELS + 2].max(2) > 0
        return np.stack(
            [
                self.logits(features),
                found.min(1),
                pairs[:, 2],
                _lead(pairs[:, 0], found >= MISSING),
                ((found < MISSING_NAME) & named).any(1),
                pairs[:, -1],
                np.full(len(found), math.log1p(found.shape[1]), np.float32),
                (found < MISSING).mean(1),
            ],
            1,
        ).astype(np.float32)

    def logits(self, features: Features) -> Array:
        """Return the output of the network, float32 [statements]."""
        asked = _relu(self._layer("asked", features.asked))
        said = _relu(self._layer("said", features.said))
        ends = [*features.starts[1:].tolist(), len(said)]
        empty = np.array([begin == end for begin, end in zip(features.starts.tolist(), ends, strict=True)])
        # reduceat gives the row itself for an empty part, and fails behind the end.
        at = np.minimum(features.starts, max(0, len(said) - 1))
        if len(said):
            total = np.where(empty[:, None], 0, np.add.reduceat(said, at, axis=0))
            most = np.where(empty[:, None], 0, np.maximum.reduceat(said, at, axis=0))
        else:
            total = most = np.zeros((len(at), said.shape[1]), np.float32)
        sums = np.concatenate([asked.sum(1), asked.max(1), total, most, features.pairs], 1)
        hidden = _relu(self._layer("hidden", sums))
        return np.asarray(self._layer("out", hidden)[:, 0] - BARRED * features.pairs[:, -1], np.float32)

    def _layer(self, name: str, values: Array) -> Array:
        return np.asarray(values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"], np.float32)

    def compare(self, asked: Sequence[Word], said: Sequence[Word], language: str = "en") -> Array:
        """Compare words, float32 [asked, said, CHANNELS]."""
        table = np.zeros((len(asked), len(said), CHANNELS), np.float32)
        if not len(asked) or not len(said):
            return table
        numbers = self._vectors.numbers([word.word for word in (*asked, *said)])
        left, right = numbers[: len(asked)], numbers[len(asked) :]
        table[:, :, NEAR] = self._vectors.vectors(left) @ self._vectors.vectors(right).T
        if (axes := self.weights.get("axes.weight")) is not None:
            projected = self._vectors.vectors(numbers) @ axes.T
            table[:, :, LEARNED] = np.maximum(projected[: len(asked)] @ projected[len(asked) :].T, 0)
        # The same word stands in many statements.
        unique = {(word.word, word.name): word for word in said}
        column = {key: i for i, key in enumerate(unique)}
        at = [column[word.word, word.name] for word in said]
        for row, one in enumerate(asked):
            channels = np.array(
                [
                    self._compared(one.word, one.name, one.number, other.word, other.name, other.number, language)
                    for other in unique.values()
                ],
                np.float32,
            )
            table[row, :, :NEAR] = channels[at]
        # Different things of one kind are near, too: "red" and "green".
        near = np.clip((table[:, :, NEAR] - 0.3) / 0.4, 0, 1) * np.where(table[:, :, SISTER] > OF_ONE_KIND, 0.4, 0.9)
        best = table[:, :, [EXACT, SPELT, SAME, KIND, GENERAL]] @ np.diag(np.array([1, 0.95, 1, 0.95, 0.6], np.float32))
        table[:, :, BEST] = np.maximum(best.max(2), near)
        return table

    def _channels(
        self,
        asked: str,
        asked_name: bool,
        asked_number: bool,
        said: str,
        said_name: bool,
        said_number: bool,
        language: str,
    ) -> tuple[float, ...]:
        asked_terms, said_terms = set(terms(asked)), set(terms(said))
        if asked_terms and asked_terms <= said_terms:
            return 1.0, 1.0, 0.0, 0.0, 0.0, 0.0
        alike = spelling(asked, said)
        if language not in ("", "en") and not asked_number and not said_number:
            alike = max(alike, kinship(asked, said, language))
        relation = self.lexicon.relation(asked, said)
        if asked_name or said_name or asked_number or said_number:
            # A name stands for itself; of "Hamburg" all the same it may be asked which city.
            other = (asked_name and said_name) or (asked_number and said_number)
            return 0.0, alike, 0.0, 0.0 if asked_name else relation.kind, 0.0, float(other and not alike)
        sister = relation.sister
        if self.lexicon.senses(asked).part == ADJECTIVE == self.lexicon.senses(said).part:
            sister = max(sister, OTHER_QUALITY)
        if max(relation.same, relation.kind, relation.general) > 0.3 or alike:
            sister = 0.0
        return 0.0, alike, relation.same, relation.kind, relation.general, sister

    def features(
        self,
        question: Reading,
        answer_type: str,
        statements: Sequence[Reading],
        rarity: Sequence[float],
        similarity: Sequence[float],
        count: int,
    ) -> Features:
        """Compute what the judge sees.

        Args:
            question: The question, read with its content words; at least one.
            answer_type: What it asks for: "place", "time", "person", "number", another word, or "".
            statements: The statements; at least one.
            rarity: Of each word of the question, in [0, 1], by the share of the statements that hold it.
            similarity: Cosine similarity of each statement's vector to the question's.
            count: Number of statements in memory.
        """
        said = [word for statement in statements for word in statement.words]
        lengths = np.array([len(statement.words) for statement in statements])
        starts = np.cumsum(lengths) - lengths
        table = self.compare(question.words, said, question.language)
        asked = np.zeros((len(statements), len(question.words), CHANNELS), np.float32)
        for number, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            if length:
                asked[number] = table[:, start : start + length].max(1)
        explained = table.max(0) if said else np.zeros((0, CHANNELS), np.float32)
        found = asked[:, :, BEST]
        weights = self._vectors.weights(self._vectors.numbers([word.word for word in question.words]))
        fixed = np.array(
            [
                [*self._kind(word), weight, rare]
                for word, weight, rare in zip(question.words, weights, rarity, strict=True)
            ],
            np.float32,
        )
        best_elsewhere = found.max(0)
        asked_features = np.concatenate(
            [
                asked,
                np.broadcast_to(fixed, (len(statements), *fixed.shape)),
                np.broadcast_to(best_elsewhere[None, :, None], (*found.shape, 1)),
                (best_elsewhere[None] - found)[:, :, None],
                (found * fixed[:, -2] * fixed[:, -1])[:, :, None],
                ((1 - found) * fixed[:, -2])[:, :, None],
            ],
            2,
        )
        said_features = self._said_features(said, explained, lengths)
        importance = np.maximum(fixed[:, -2] * (0.3 + fixed[:, -1]), 1e-3)
        share = found @ importance / importance.sum()
        pairs = self._pair_features(question, answer_type, statements, share, np.asarray(similarity, np.float32), count)
        return Features(asked_features, said_features, starts, pairs, found, explained[:, BEST])

    def _kind(self, word: Word) -> tuple[float, ...]:
        part = self.lexicon.senses(word.word).part
        return (
            word.name, word.number, part == NOUN, part == VERB, part in (ADJECTIVE, ADVERB), not part,
        )  # fmt: skip

    def _said_features(self, said: Sequence[Word], explained: Array, lengths: NDArray[np.int64]) -> Array:
        features = np.zeros((len(said), SAID_WIDTH), np.float32)
        features[:, :CHANNELS] = explained
        weights = self._vectors.weights(self._vectors.numbers([word.word for word in said]))
        firsts = set((np.cumsum(lengths) - lengths).tolist())
        lasts = set((np.cumsum(lengths) - 1).tolist())
        for i, word in enumerate(said):
            before = 0.0 if i in firsts or said[i - 1].at != word.at - 1 else explained[i - 1, BEST]
            after = 0.0 if i in lasts or said[i + 1].at != word.at + 1 else explained[i + 1, BEST]
            features[i, CHANNELS:] = (
                *self._kind(word), word.before, word.place, word.owner, before, after, weights[i],
                word.before * (1 - explained[i, BEST]), (word.name or word.number) * (1 - explained[i, BEST]),
            )  # fmt: skip
        return features

    def _pair_features(
        self,
        question: Reading,
        answer_type: str,
        statements: Sequence[Reading],
        share: Array,
        similarity: Array,
        count: int,
    ) -> Array:
        pairs = np.zeros((len(statements), PAIR_WIDTH), np.float32)
        order = np.sort(share)
        others = np.where(share == order[-1], order[-2] if len(order) > 1 else 0.0, order[-1])
        nearest = similarity.max()
        asked_terms = question.terms
        known = np.mean([self.lexicon.known(word.word) for word in question.words])
        for i, statement in enumerate(statements):
            places = statement.place or any(
                self.lexicon.senses(word.word).place and not (word.terms & asked_terms) for word in statement.words
            )
            names = statement.speaker or any(
                (word.name or self.lexicon.senses(word.word).person) and not (word.terms & asked_terms)
                for word in statement.words
            )
            there = (places, statement.time, names, statement.number)
            wanted = [answer_type == kind for kind in _TYPES]
            mine = question.my and statement.your and not statement.my
            yours = question.your and not question.my and statement.my and not statement.your
            # A place may be named without a preposition that is known here; a time or a person hardly.
            absent = [w and not t for w, t in zip(wanted, there, strict=True)]
            barred = (1.0 if any(absent[1:]) else 0.5 * absent[0]) if question.language in _TYPED_LANGUAGES else 0.0
            owned = any(word.owner and not (word.terms & asked_terms) for word in statement.words)
            pairs[i] = (
                share[i], share[i] - others[i], similarity[i], nearest - similarity[i], math.log1p(len(question.words)),
                math.log1p(len(statement.words)), math.log1p(count) / 7, known,
                *wanted,
                *(w and t for w, t in zip(wanted, there, strict=True)),
                *absent,
                question.my and statement.my, question.my and not statement.my and not statement.your,
                mine, question.my and owned, yours, question.your and statement.your,
                question.negated, statement.negated, question.negated != statement.negated,
                statement.my and not question.my, owned, answer_type == "",
                1.0 if mine or yours else barred,
            )  # fmt: skip
        return pairs


def _lead(share: Array, held: NDArray[np.bool_]) -> Array:
    """Return how far each statement is ahead of the best that holds other words of the question, [statements].

    Two that hold the same words say the same, or one corrects the other: neither speaks against the other.
    """
    other = (held[:, None] != held[None]).any(2)
    return np.asarray(share - np.where(other, share[None], 0.0).max(1), np.float32)


def _relu(values: Array) -> Array:
    return np.maximum(values, 0)
