"""Texts that the language model learns from and is measured on, as documents and as tokens."""

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
PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u2028": " "})
SECTION = 20_000
Tokens = NDArray[np.uint16]
Files = Callable[[str], Path]
"""From the name of a file of the data folder to its path."""


@dataclass(frozen=True)
class Text:
    """Tokens to be predicted, all but the first, and how many bytes of UTF-8 they stand for."""

    tokens: Tokens
    bytes: int

    def first(self, count: int) -> Text:
        """The first tokens; their share of the bytes is estimated."""
        part = self.tokens[:count]
        return Text(part, round(self.bytes * len(part) / len(self.tokens)))


@dataclass(frozen=True)
class Library:
    """Documents to train on, and by name those that are held out."""

    train: list[str]
    held_out: dict[str, list[str]]


def read_library(file: Files) -> Library:
    """Books, trivia and passages, typographic quotes made plain; held out: three books, one question in fifty, and
    WikiText-2 test as it comes.

    Books are cut into sections so that a shuffle mixes the sources.
    """
    books = gzip.decompress(file("text/books.txt.gz").read_bytes()).decode().translate(PLAIN)
    train, held_books = [], []
    for book in books.split("# Title: ")[1:]:
        title, _, body = book.partition("\n")
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
    """The questions with their right answers, as `Q: ...` / `A: ...`."""
    found = []
    text = gzip.decompress(path.read_bytes()).decode(errors="ignore").translate(PLAIN)
    for entry in text.split("#Q ")[1:]:
        question, mark, rest = entry.partition("\n^ ")
        if mark:
            found.append(f"Q: {' '.join(question.split())}\nA: {rest.partition(chr(10))[0].strip()}")
    return found


def read_shakespeare(file: Files) -> tuple[str, Text, Text]:
    """The characters of tinyshakespeare in order, its first 90 % and its last 10 %, one token a character."""
    text = file("text/tinyshakespeare.txt").read_text("utf-8")
    characters = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(characters)}
    tokens = np.array([number[character] for character in text], np.uint16)
    cut = int(0.9 * len(text))
    first, rest = (Text(part, len(part)) for part in (tokens[:cut], tokens[cut:]))
    return characters, first, rest


def sections(text: str) -> list[str]:
    """`text` in pieces of about `SECTION` characters that end with a paragraph."""
    pieces, start = [], 0
    while start < len(text):
        stop = text.find("\n\n", start + SECTION)
        stop = len(text) if stop < 0 else stop
        pieces.append(text[start:stop].strip())
        start = stop
    return pieces


def chunks(items: list[str], size: int) -> list[list[str]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def train_tokenizer(documents: list[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE: every text has tokens, and decoding gives it back exactly."""
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
    """All documents as one row of token ids, each begun by the end token."""
    ids = [i for encoding in tokenizer.encode_batch(documents) for i in (0, *encoding.ids)]
    return Text(np.array(ids, np.uint16), sum(len(document.encode()) for document in documents))


def parallel(tokens: Tokens, streams: int) -> Tensor:
    """`tokens` as [length, streams]: column i is the i-th contiguous part; a remainder is left out."""
    length = len(tokens) // streams
    return torch.from_numpy(tokens[: length * streams].astype(np.int64)).view(streams, length).t().contiguous()
