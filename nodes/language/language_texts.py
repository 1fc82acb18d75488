"""The training and test texts of the language model, as documents and as tokens."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

HELD_OUT_BOOKS = ("The Invisible Man", "A Room with a View", "The Jungle Book")
END = "<|end|>"
"""Token between two documents; its number is 0."""
PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u2028": " "})
"""Replaces typographic quotation marks and spaces, as `str.translate` takes it."""
SECTION = 20_000
"""Approximate length of the sections into which books are cut, characters."""
Tokens = NDArray[np.uint16]
Files = Callable[[str], Path]
"""From the name of a file of the data folder to its path."""


@dataclass(frozen=True)
class Text:
    """A text as tokens; all but the first are to be predicted.

    Attributes:
        tokens: Token numbers.
        bytes: Length of the text in UTF-8.
    """

    tokens: Tokens
    bytes: int

    def first(self, count: int) -> Text:
        """Return the first `count` tokens, with a proportional share of the bytes."""
        part = self.tokens[:count]
        return Text(part, round(self.bytes * len(part) / len(self.tokens)))


@dataclass(frozen=True)
class Library:
    """Documents to train on, and those that are held out, by name."""

    train: list[str]
    held_out: dict[str, list[str]]


def read_library(file: Files) -> Library:
    """Read books, trivia and passages, with typographic quotation marks replaced.

    Held out are three books, one question in fifty, and WikiText-2 test, which is not changed. Books are cut into
    sections, so that shuffling mixes the sources.
    """
    books = gzip.decompress(file("text/books.txt.gz").read_bytes()).decode().translate(PLAIN)
    train, held_books = [], []
    for book in books.split("# Title: ")[1:]:
        title, _, body = book.partition("\n")
        # Removes the header of a book, up to the dashes, and Markdown's marks.
        body = body.partition("-------")[2].replace("# ", "").replace("#", "").replace("*", "").strip()
        if title.strip() in HELD_OUT_BOOKS:
            held_books.append(body)
        else:
            train += sections(body)
    trivia = read_trivia(file("text/trivia_qa.txt.gz"))
    passages = [
        paragraph["context"].translate(PLAIN)
        for article in json.loads(file("xquad_en.json").read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]
    train += ["\n\n".join(group) for group in chunks([q for i, q in enumerate(trivia) if i % 50], 40)]
    train += ["\n\n".join(group) for group in chunks(passages, 5)]
    held_out = {
        "books": held_books,
        "trivia": ["\n\n".join(trivia[::50])],
        "wikitext2": [file("text/wikitext2_test.txt").read_text("utf-8")],
    }
    return Library(train, held_out)


def read_trivia(path: Path) -> list[str]:
    """Read the questions with their right answers, as `Q: ...` / `A: ...`."""
    questions = []
    text = gzip.decompress(path.read_bytes()).decode(errors="ignore").translate(PLAIN)
    for entry in text.split("#Q ")[1:]:
        question, mark, rest = entry.partition("\n^ ")
        if mark:
            questions.append(f"Q: {' '.join(question.split())}\nA: {rest.partition(chr(10))[0].strip()}")
    return questions


def read_shakespeare(file: Files) -> tuple[str, Text, Text]:
    """Read tinyshakespeare, one token per character.

    Returns:
        Its characters in order, the first 90 % of the text and the last 10 %.
    """
    text = file("text/tinyshakespeare.txt").read_text("utf-8")
    characters = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(characters)}
    tokens = np.array([number[character] for character in text], np.uint16)
    cut = int(0.9 * len(text))
    first, rest = (Text(part, len(part)) for part in (tokens[:cut], tokens[cut:]))
    return characters, first, rest


def sections(text: str) -> list[str]:
    """Cut `text` into pieces of about `SECTION` characters that end with a paragraph."""
    pieces, start = [], 0
    while start < len(text):
        stop = text.find("\n\n", start + SECTION)
        stop = len(text) if stop < 0 else stop
        pieces.append(text[start:stop].strip())
        start = stop
    return pieces


def chunks(items: list[str], size: int) -> list[list[str]]:
    """Cut a list into lists of `size` items, the last perhaps shorter."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def train_tokenizer(documents: list[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer, which encodes every text and decodes it exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[str]) -> Text:
    """Encode all documents as one sequence of token numbers, with the end token before each."""
    ids = [i for encoding in tokenizer.encode_batch(documents) for i in (0, *encoding.ids)]
    return Text(np.array(ids, np.uint16), sum(len(document.encode()) for document in documents))


def parallel(tokens: Tokens, streams: int) -> Tensor:
    """Arrange `tokens` as [length, streams]: column i is the i-th contiguous part; a remainder is dropped."""
    length = len(tokens) // streams
    return torch.from_numpy(tokens[: length * streams].astype(np.int64)).view(streams, length).t().contiguous()
