"""TAS: time-amplitude spikes, an exactly decodable spike code for token sequences.

For token embedding E [D] at position pos in a window of T steps: firing rate lambda = sigmoid(E) in [0, 1];
phase phi = floor(pos * dphi) steps; count n = round(lambda * (T - phi)); the neuron fires n times in a row
from step phi on. The amplitude is in the count, the position in the time of the first spike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["TasEncoder", "TasWindow", "tas_decode", "tas_encode"]


@dataclass(frozen=True, slots=True)
class TasWindow:
    """The time window of the code: `steps` T, and `positions`, the most tokens of a sequence.

    dphi spreads the positions over the first half of the window, so that the last one keeps at least
    ceil(T / 2) steps for its amplitude.
    """

    steps: int
    positions: int

    def __post_init__(self) -> None:
        if self.steps < 2 or self.positions < 1:
            raise ValueError(f"need at least 2 steps and 1 position, got {self.steps} and {self.positions}")

    def phases(self, length: int, device: torch.device | None = None) -> Tensor:
        """phi of the first `length` positions, int64 [length], each in [0, T // 2)."""
        if length > self.positions:
            raise ValueError(f"{length} tokens do not fit the {self.positions} positions of this code")
        return torch.arange(length, device=device) * (self.steps // 2) // self.positions


class _RoundStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, counts: Tensor) -> Tensor:
        return counts.round()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return grads[0]


def tas_encode(embeddings: Tensor, window: TasWindow, mask: Tensor | None = None) -> Tensor:
    """Spikes [B, T, L, D] (0/1, the embeddings' dtype) of token embeddings [B, L, D].

    `mask` bool [B, L]: positions that hold no token (False) stay silent. Rounding passes gradients straight
    through to lambda, spread over the run that the count covers.
    """
    length = embeddings.shape[1]
    phase = window.phases(length, embeddings.device).to(embeddings.dtype)[None, None, :, None]
    expected = torch.sigmoid(embeddings)[:, None] * (window.steps - phase)
    counts: Tensor = _RoundStraightThrough.apply(expected)
    step = torch.arange(window.steps, device=embeddings.device, dtype=embeddings.dtype)[None, :, None, None]
    spikes = _run(counts, step - phase)
    if mask is not None:
        spikes = spikes * mask[:, None, :, None].to(spikes.dtype)
    return spikes


def _run(counts: Tensor, offset: Tensor) -> Tensor:
    """1 where 0 <= offset < counts; the gradient of the sum over time equals that of counts."""
    fired = ((offset >= 0) & (offset < counts)).to(counts.dtype)
    if not counts.requires_grad:
        return fired
    window_length = (offset >= 0).sum(1, keepdim=True)
    spread = torch.where(offset >= 0, counts / window_length, torch.zeros_like(counts))
    return fired + spread - spread.detach()


def tas_decode(spikes: Tensor, embedding: Tensor, window: TasWindow) -> Tensor:
    """The tokens of TAS spikes: int64 [B, L] from spikes [B, T, L, D] and the embedding table [V, D].

    The phase is known from the position; the token is the row whose expected counts
    sigmoid(E) * (T - phi) lie nearest (Euclidean) to the counts that arrived. Exact whenever no
    two rows round to the same counts.
    """
    _, _, length, _ = spikes.shape
    counts = spikes.to(torch.float32).sum(1)
    span = (window.steps - window.phases(length, spikes.device)).to(torch.float32)
    expected = torch.sigmoid(embedding.to(torch.float32))
    rows = [torch.cdist(counts[:, i], (expected * span[i]).round()).argmin(-1) for i in range(length)]
    return torch.stack(rows, dim=1)


class TasEncoder(nn.Module):
    """`tas_encode` with its embedding table: tokens int64 [B, L] -> spikes [B, T, L, D]; token 0 is padding."""

    def __init__(self, vocabulary: int, width: int, window: TasWindow) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.window = window

    def forward(self, tokens: Tensor) -> Tensor:
        return tas_encode(self.embedding(tokens), self.window, tokens != 0)

    def decode(self, spikes: Tensor) -> Tensor:
        """Tokens int64 [B, L] of spikes [B, T, L, D]; a silent position decodes to the nearest row, too."""
        return tas_decode(spikes, self.embedding.weight, self.window)
