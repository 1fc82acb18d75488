r"""TAS: time-amplitude spikes, an exactly decodable spike code for token sequences.

For a token embedding E [D] at position pos of a window of T steps and P positions:

.. math::
    \lambda = \sigma(E), \qquad \phi = \lfloor \text{pos} \, \Delta\phi \rfloor, \qquad
    \Delta\phi = \lfloor T / 2 \rfloor / P, \qquad n = \operatorname{round}(\lambda (T - \phi))

The neuron fires n times in a row from step :math:`\phi` on: the firing rate :math:`\lambda` (0..1) is in the count,
the position in the time of the first spike. Ties round to even.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import finite, real, whole

__all__ = ["TasEncoder", "TasWindow", "tas_decode", "tas_encode"]


@dataclass(frozen=True, slots=True)
class TasWindow:
    """The time window of the code: `steps` T, and `positions` P, the most tokens of a sequence.

    The positions are spread over the first half of the window, so that the last one keeps at least ceil(T / 2) steps
    for its amplitude. Raises ModelError for fewer than 2 steps or 1 position.
    """

    steps: int
    positions: int

    def __post_init__(self) -> None:
        if self.steps < 2 or self.positions < 1:
            raise ModelError(f"window must have at least 2 steps and 1 position, not {self.steps} and {self.positions}")

    def phases(self, length: int, device: torch.device | None = None) -> Tensor:
        """Phi of the first `length` positions, int64 [length], each in [0, T // 2).

        Raises ModelError for more positions than the window has.
        """
        if length > self.positions:
            raise ModelError(f"{length} tokens do not fit the {self.positions} positions of this window")
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
    through to lambda, spread over the run that the count covers. Raises ModelError, naming the argument, for what does
    not fit, and for more tokens than the window has positions.
    """
    if finite("embeddings", real("embeddings", embeddings)).ndim != 3:
        raise ModelError(f"embeddings must be [batch, positions, width], not of shape {tuple(embeddings.shape)}")
    length = embeddings.shape[1]
    phase = window.phases(length, embeddings.device).to(embeddings.dtype)[None, None, :, None]
    expected = torch.sigmoid(embeddings)[:, None] * (window.steps - phase)
    counts: Tensor = _RoundStraightThrough.apply(expected)
    step = torch.arange(window.steps, device=embeddings.device, dtype=embeddings.dtype)[None, :, None, None]
    spikes = _run(counts, step - phase)
    if mask is not None:
        if (mask.shape, mask.dtype, mask.device) != (embeddings.shape[:2], torch.bool, embeddings.device):
            found = f"{mask.dtype} {tuple(mask.shape)} on {mask.device}"
            raise ModelError(f"mask must be bool {tuple(embeddings.shape[:2])} on {embeddings.device}, not {found}")
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

    The phase is known from the position; the token is the row whose expected counts round(sigmoid(E) (T - phi)) lie
    nearest (Euclidean; the first of equals) to the counts that arrived. Exact for what `tas_encode` makes whenever no
    two rows round to the same counts. Raises ModelError, naming the argument, for what does not fit.
    """
    if finite("embedding", real("embedding", embedding)).ndim != 2 or not embedding.shape[0]:
        raise ModelError(f"embedding must be [vocabulary >= 1, width], not of shape {tuple(embedding.shape)}")
    width = embedding.shape[1]
    finite("spikes", real("spikes", spikes))
    if spikes.ndim != 4 or (spikes.shape[1], spikes.shape[3]) != (window.steps, width):
        raise ModelError(f"spikes must be [batch, {window.steps}, positions, {width}], not {tuple(spikes.shape)}")
    if spikes.device != embedding.device:
        raise ModelError(f"spikes are on {spikes.device}, embedding on {embedding.device}; they must be together")
    counts = spikes.float().sum(1)
    phases = window.phases(counts.shape[1], spikes.device)
    # in the type of the table, as the encoder does, so that both round alike
    expected = torch.sigmoid(embedding)
    tokens = torch.empty(counts.shape[:2], dtype=torch.int64, device=spikes.device)
    for phase in phases.unique().tolist():
        rows = (expected * (window.steps - phase)).round().float()
        tokens[:, phases == phase] = _nearest(counts[:, phases == phase], rows)
    return tokens


def _nearest(counts: Tensor, rows: Tensor) -> Tensor:
    """The index [...] of the row of `rows` [V, D] nearest to each of `counts` [..., D], the first of equals.

    Counts that a row has exactly, as all have unless spikes were lost, are looked up by a hash, the others measured.
    """
    flat = counts.flatten(0, -2)
    # random 63-bit weights, the same every time; equal hashes of unequal rows would cost time, never a wrong answer
    weights = torch.empty(rows.shape[1], dtype=torch.int64).random_(generator=torch.Generator()).to(rows.device)
    hashes, order = (rows.long() * weights).sum(-1).sort(stable=True)
    # what is not among all but the last can only be the last
    found = order[torch.searchsorted(hashes[:-1], (flat.long() * weights).sum(-1))]
    missed = (rows[found] != flat).any(-1).nonzero().squeeze(-1)
    for some in missed.split(1024):
        found[some] = torch.cdist(flat[some], rows).argmin(-1)
    return found.view(counts.shape[:-1])


class TasEncoder(nn.Module):
    """`tas_encode` with its embedding table: tokens int64 [B, L] -> spikes [B, T, L, D]; token 0 is padding.

    Raises ModelError for tokens outside the vocabulary, or more of them than the window has positions.
    """

    def __init__(self, vocabulary: int, width: int, window: TasWindow) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.window = window

    def forward(self, tokens: Tensor) -> Tensor:
        table = self.embedding.weight
        if whole("tokens", tokens).ndim != 2 or tokens.device != table.device:
            found = f"{tuple(tokens.shape)} on {tokens.device}"
            raise ModelError(f"tokens must be [batch, positions] on {table.device}, not {found}")
        # elsewhere the check would wait for the device
        if tokens.device.type == "cpu" and bool(((tokens < 0) | (tokens >= len(table))).any()):
            raise ModelError(f"tokens must be 0 to {len(table) - 1}, got {int(tokens.min())} to {int(tokens.max())}")
        return tas_encode(self.embedding(tokens), self.window, tokens != 0)

    def decode(self, spikes: Tensor) -> Tensor:
        """Tokens int64 [B, L] of spikes [B, T, L, D]; a silent position decodes to the nearest row, too."""
        return tas_decode(spikes, self.embedding.weight, self.window)
