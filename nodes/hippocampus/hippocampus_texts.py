"""The training texts of the embedder, and the judged collections that measure it."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from brainnet.errors import TrainingError
from brainnet.snn.models.text_features import words

HELD_OUT_ARTICLES = 8
"""Number of XQuAD articles for the test, the last ones; as many before them are for choosing settings."""
# A sentence ends with a mark and perhaps closing quotes, and the next begins with a capital letter or a digit.
SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9])")
ADVERSARIAL = 5
"""LoCoMo's category of questions that the conversation does not answer."""


@dataclass(frozen=True)
class Judged:
    """A retrieval collection.

    Attributes:
        texts: The texts to search, in order.
        queries: The queries.
        gains: For each query the gain of every relevant text, by number.
        groups: Which texts belong together, as the turns of one conversation do: (first text, one past the last).
    """

    texts: list[str]
    queries: list[str]
    gains: list[dict[int, float]]
    groups: list[tuple[int, int]]


def sentences(text: str, least: int = 3) -> list[str]:
    """Split a text into sentences, and return those with at least `least` words."""
    return [part.strip() for part in SENTENCE.split(" ".join(text.split())) if len(words(part)) >= least]


@dataclass(frozen=True)
class Texts:
    """Texts for training, from the data folder and, where it is installed, from WordNet.

    Attributes:
        data: The data folder.
        wordnet: Folder with WordNet's data files.
    """

    data: Path
    wordnet: Path

    @cached_property
    def book_paragraphs(self) -> list[str]:
        """Paragraphs of books with at least 8 words."""
        with gzip.open(self.data / "text" / "books.txt.gz", "rt", encoding="utf-8") as file:
            return [p for p in re.split(r"\n\s*\n", file.read()) if len(words(p)) >= 8]

    @cached_property
    def trivia(self) -> list[tuple[str, str]]:
        """Questions with their answers."""
        pairs, question = [], ""
        with gzip.open(self.data / "text" / "trivia_qa.txt.gz", "rt", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("#Q "):
                    question = line[3:].strip()
                elif line.startswith("^ "):
                    pairs.append((question, line[2:].strip()))
        return pairs

    @cached_property
    def wiki_paragraphs(self) -> list[str]:
        """Paragraphs of WikiText-2 validation with at least 8 words."""
        lines = (self.data / "text" / "wikitext2_valid.txt").read_text("utf-8").splitlines()
        # Lines that begin with "=" are headings.
        paragraphs = [_untokenised(line) for line in lines if not line.strip().startswith("=")]
        return [paragraph for paragraph in paragraphs if len(words(paragraph)) >= 8]

    @cached_property
    def passages(self) -> list[str]:
        """The passages of the training articles of XQuAD."""
        return [" ".join(parts) for parts, _ in _passages(self.data, "train")]

    @cached_property
    def questions(self) -> list[tuple[str, str]]:
        """Questions on these passages, each with the sentence that holds the answer."""
        return [(question, parts[at]) for parts, asked in _passages(self.data, "train") for question, at in asked]

    @cached_property
    def synsets(self) -> list[tuple[list[str], str]]:
        """WordNet's synsets: their lemmas, and their gloss with its examples (wndb(5WN)); empty without WordNet."""
        synsets = []
        for part in ("noun", "verb", "adj", "adv"):
            path = self.wordnet / f"data.{part}"
            if not path.is_file():
                return []
            for line in path.read_text("utf-8", errors="replace").splitlines():
                if line.startswith("  "):  # the licence at the top of each file
                    continue
                head, _, gloss = line.partition(" | ")
                fields = head.split()
                # Field 3 is the number of words in hexadecimal; each word is followed by its lexical id. Adjectives
                # may carry a syntactic marker in brackets.
                lemmas = [re.sub(r"\([^()]*\)$", "", fields[4 + 2 * i]) for i in range(int(fields[3], 16))]
                synsets.append(([lemma.replace("_", " ") for lemma in lemmas], gloss.strip()))
        return synsets

    def vocabulary(self, size: int) -> list[str]:
        """Return the `size` most frequent words, most frequent first.

        Each kind of text has the same weight, however much there is of it.
        """
        kinds = [
            self.book_paragraphs,
            [question for question, _ in self.trivia],
            [*self.wiki_paragraphs, *self.passages],
            [f"{' '.join(lemmas)} {gloss}" for lemmas, gloss in self.synsets],
        ]
        shares: Counter[str] = Counter()
        for texts in kinds:
            counts = Counter(word for text in texts for word in words(text))
            total = max(1, counts.total())
            shares.update({word: count / total for word, count in counts.items()})
        return [word for word, _ in sorted(shares.items(), key=lambda entry: (-entry[1], entry[0]))[:size]]

    def mix(self, rng: random.Random, books: int, synsets: int) -> list[str]:
        """Collect the training texts in random order: samples of books and WordNet, and all of the rest.

        Args:
            rng: Source of all random draws.
            books: Number of book paragraphs whose first two sentences are taken; a twentieth as many are taken whole.
            synsets: Number of synsets whose gloss and first example are taken.
        """
        paragraphs = self.book_paragraphs
        texts = [s for p in rng.sample(paragraphs, min(books, len(paragraphs))) for s in sentences(p)[:2]]
        texts += rng.sample(paragraphs, min(books // 20, len(paragraphs)))
        for paragraph in [*self.wiki_paragraphs, *self.passages]:
            texts += [paragraph, *sentences(paragraph)]
        texts += [question for question, _ in self.questions]
        texts += [question for question, _ in self.trivia]
        for lemmas, gloss in rng.sample(self.synsets, min(synsets, len(self.synsets))):
            meaning, *examples = gloss.split('; "')
            texts.append(f"{', '.join(lemmas[:3])}: {meaning}")
            texts += [example.strip('"') for example in examples[:1] if len(words(example)) >= 4]
        texts = list(dict.fromkeys(texts))
        rng.shuffle(texts)
        return texts


def _untokenised(line: str) -> str:
    """Undo the tokenisation of a line of WikiText-2; unknown words are left out."""
    line = line.replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".").replace("<unk>", "")
    return re.sub(r" ([.,;:!?%)'])", r"\1", " ".join(line.split())).replace("( ", "(")


def _passages(data: Path, part: str) -> Iterator[tuple[list[str], list[tuple[str, int]]]]:
    """Read passages: the sentences of each, and its questions with the number of the sentence that holds the answer."""
    articles = json.loads((data / "xquad_en.json").read_text(encoding="utf-8"))["data"]
    count = HELD_OUT_ARTICLES
    chosen = {"train": articles[: -2 * count], "choose": articles[-2 * count : -count], "test": articles[-count:]}[part]
    for paragraph in (paragraph for article in chosen for paragraph in article["paragraphs"]):
        parts = SENTENCE.split(paragraph["context"])
        # Answers are given by their character position; sentences are taken to be one space apart.
        ends = np.cumsum([len(part) + 1 for part in parts])
        asked = [
            (qa["question"], int(np.searchsorted(ends, qa["answers"][0]["answer_start"], side="right")))
            for qa in paragraph["qas"]
        ]
        yield parts, [(question, min(at, len(parts) - 1)) for question, at in asked]


def xquad(data: Path, part: str = "test") -> Judged:
    """Read a part of XQuAD: the sentences of its passages; questions, and the sentence that holds the answer."""
    judged = Judged([], [], [], [])
    for parts, asked in _passages(data, part):
        first = len(judged.texts)
        judged.texts.extend(parts)
        judged.groups.append((first, len(judged.texts)))
        for question, at in asked:
            judged.queries.append(question)
            judged.gains.append({first + at: 1.0})
    return judged


def locomo(data: Path) -> list[Judged]:
    """Read LoCoMo, one collection per conversation: the turns, with their speakers; questions, and evidence turns."""
    conversations = []
    for sample in json.loads((data / "locomo_dev.json").read_text(encoding="utf-8")):
        talk = sample["conversation"]
        judged = Judged([], [], [], [])
        at: dict[str, int] = {}
        numbers = sorted(int(key[8:]) for key in talk if re.fullmatch(r"session_\d+", key))
        for session in (talk[f"session_{number}"] for number in numbers):
            first = len(judged.texts)
            for turn in session:
                at[turn["dia_id"]] = len(judged.texts)
                judged.texts.append(f"{turn['speaker']}: {turn['text']}")
            judged.groups.append((first, len(judged.texts)))
        for qa in sample["qa"]:
            gains = {at[turn]: 1.0 for turn in qa.get("evidence", []) if turn in at}
            if gains and qa["category"] != ADVERSARIAL:
                judged.queries.append(qa["question"])
                judged.gains.append(gains)
        conversations.append(judged)
    return conversations


def cranfield(data: Path) -> Judged:
    """Read Cranfield: abstracts, and queries with graded judgements."""
    folder = data / "cranfield"
    documents = list(_xml(folder / "cran.all.1400.xml").iter("doc"))
    texts = [(document.findtext("text") or "").strip() or "-" for document in documents]
    numbers = {(document.findtext("docno") or "").strip(): i for i, document in enumerate(documents)}
    queries = [(query.findtext("title") or "").strip() for query in _xml(folder / "cran.qry.xml").iter("top")]
    gains: list[dict[int, float]] = [{} for _ in queries]
    for line in (folder / "cranqrel.trec.txt").read_text(encoding="utf-8").splitlines():
        query, _, number, grade = line.split()
        if number in numbers and int(grade) > 0:
            gains[int(query) - 1][numbers[number]] = float(grade)
    judged = [(query, gain) for query, gain in zip(queries, gains, strict=True) if gain]
    groups = [(i, i + 1) for i in range(len(texts))]
    return Judged(texts, [query for query, _ in judged], [gain for _, gain in judged], groups)


def _xml(path: Path) -> ElementTree.Element:
    try:
        text = path.read_text(encoding="utf-8")
        # The files have no root element, and declarations that are not at their beginning.
        return ElementTree.fromstring(f"<all>{re.sub(r'<[?!][^<>]*>', '', text)}</all>")
    except (OSError, ElementTree.ParseError) as error:
        raise TrainingError(f"{path} cannot be read as XML: {error}") from error
