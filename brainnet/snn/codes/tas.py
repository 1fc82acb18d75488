r"""TAS: time-amplitude spikes, an exactly decodable spike code for token sequences.

For a token embedding E [D] at position pos of a window of T steps and P positions:

$$
\lambda = \sigma(E), \qquad \phi = \lfloor \text{pos} \, \Delta\phi \rfloor, \qquad
\Delta\phi = \lfloor T / 2 \rfloor / P, \qquad n = \operatorname{round}(\lambda (T - \phi))
$$

The neuron fires n times in consecutive steps from step $\phi$ on: the count encodes the firing rate $\lambda$ (0..1),
the time of the first spike the position. Ties round to even.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.checks import check_finite, check_float, check_integer

__all__ = ["TasEncoder", "TasWindow", "tas_decode", "tas_encode"]


@dataclass(frozen=True, slots=True)
class TasWindow:
    """The time window of the code.

    The positions are spread over the first half of the window, so that the last one keeps at least ceil(T / 2) steps
    for its amplitude.

    Attributes:
        steps: T.
        positions: P, the largest number of tokens of a sequence.

    Raises:
        ModelError: fewer than 2 steps or 1 position.
    """

    steps: int
    positions: int

    def __post_init__(self) -> None:
        if self.steps < 2 or self.positions < 1:
            raise ModelError(f"window must have at least 2 steps and 1 position, not {self.steps} and {self.positions}")

    def phases(self, length: int, device: torch.device | None = None) -> Tensor:
        """Return the phase phi of the first `length` positions, int64 [length], each in [0, T // 2).

        Raises:
            ModelError: more positions than the window has.
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
    """Return the spikes [B, T, L, D] (0/1, in the type of the embeddings) of token embeddings [B, L, D].

    The gradient passes straight through the rounding to lambda, spread over the steps from the phase on.

    Args:
        embeddings: [B, L, D].
        window: the time window.
        mask: bool [B, L]; positions without a token (False) stay silent.

    Raises:
        ModelError: arguments that do not fit, or more tokens than the window has positions.
    """
    if check_finite("embeddings", check_float("embeddings", embeddings)).ndim != 3:
        raise ModelError(f"embeddings must be [batch, positions, width], not of shape {tuple(embeddings.shape)}")
    length = embeddings.shape[1]
    phase = window.phases(length, embeddings.device).to(embeddings.dtype)[None, None, :, None]
    expected = torch.sigmoid(embeddings)[:, None] * (window.steps - phase)
    counts: Tensor = _RoundStraightThrough.apply(expected)
    step = torch.arange(window.steps, device=embeddings.device, dtype=embeddings.dtype)[None, :, None, None]
    spikes = _run(counts, step - phase)
    if mask is not None:
        if (mask.shape, mask.dtype, mask.device) != (embeddings.shape[:2], torch.bool, embeddings.device):
            actual = f"{mask.dtype} {tuple(mask.shape)} on {mask.device}"
            raise ModelError(f"mask must be bool {tuple(embeddings.shape[:2])} on {embeddings.device}, not {actual}")
        spikes = spikes * mask[:, None, :, None].to(spikes.dtype)
    return spikes


def _run(counts: Tensor, offset: Tensor) -> Tensor:
    """Return 1 where 0 <= offset < counts; the gradient of its sum over time equals that of `counts`."""
    fired = ((offset >= 0) & (offset < counts)).to(counts.dtype)
    if not counts.requires_grad:
        return fired
    window_length = (offset >= 0).sum(1, keepdim=True)
    # a term of value 0 that carries the gradient: each step of the window gets an equal share
    spread = torch.where(offset >= 0, counts / window_length, torch.zeros_like(counts))
    return fired + spread - spread.detach()


def tas_decode(spikes: Tensor, embedding: Tensor, window: TasWindow) -> Tensor:
    """Return the tokens int64 [B, L] of TAS spikes [B, T, L, D], given the embedding table [V, D].

    The position gives the phase. The token is the row of the table whose expected counts round(sigmoid(E) (T - phi))
    are nearest (Euclidean; the first of equals) to the received counts. It inverts `tas_encode` exactly if no two rows
    have the same counts.

    Raises:
        ModelError: arguments that do not fit.
    """
    if check_finite("embedding", check_float("embedding", embedding)).ndim != 2 or not embedding.shape[0]:
        raise ModelError(f"embedding must be [vocabulary >= 1, width], not of shape {tuple(embedding.shape)}")
    width = embedding.shape[1]
    check_finite("spikes", check_float("spikes", spikes))
    if spikes.ndim != 4 or (spikes.shape[1], spikes.shape[3]) != (window.steps, width):
        raise ModelError(f"spikes must be [batch, {window.steps}, positions, {width}], not {tuple(spikes.shape)}")
    if spikes.device != embedding.device:
        raise ModelError(f"spikes are on {spikes.device}, embedding on {embedding.device}; they must be together")
    counts = spikes.float().sum(1)
    phases = window.phases(counts.shape[1], spikes.device)
    # in the type of the table like the encoder, so that both round in the same way
    expected = torch.sigmoid(embedding)
    tokens = torch.empty(counts.shape[:2], dtype=torch.int64, device=spikes.device)
    for phase in phases.unique().tolist():
        rows = (expected * (window.steps - phase)).round().float()
        tokens[:, phases == phase] = _nearest(counts[:, phases == phase], rows)
    return tokens


def _nearest(counts: Tensor, rows: Tensor) -> Tensor:
    """Return the index [...] of the row of `rows` [V, D] nearest to each of `counts` [..., D], the first of equals.

    Counts that equal a row are found by a hash; this is the usual case without lost spikes. Only for the others the
    distances are computed.
    """
    flat = counts.flatten(0, -2)
    # random weights from the default seed: the hash is a dot product in wrapping int64. A collision costs time only,
    # because every hit is compared with its row below
    weights = torch.empty(rows.shape[1], dtype=torch.int64).random_(generator=torch.Generator()).to(rows.device)
    hashes, order = (rows.long() * weights).sum(-1).sort(stable=True)
    # without the last hash, searchsorted can only return valid indices
    nearest = order[torch.searchsorted(hashes[:-1], (flat.long() * weights).sum(-1))]
    missed = (rows[nearest] != flat).any(-1).nonzero().squeeze(-1)
    # in parts: the matrix of distances has V columns
    for part in missed.split(1024):
        nearest[part] = torch.cdist(flat[part], rows).argmin(-1)
    return nearest.view(counts.shape[:-1])


class TasEncoder(nn.Module):
    """`tas_encode` with an embedding table: tokens int64 [B, L] -> spikes [B, T, L, D]; token 0 is padding.

    Raises:
        ModelError: tokens outside the vocabulary, or more of them than the window has positions.
    """

    def __init__(self, vocabulary: int, width: int, window: TasWindow) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.window = window

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the spikes [B, T, L, D] of `tokens` [B, L]."""
        table = self.embedding.weight
        if check_integer("tokens", tokens).ndim != 2 or tokens.device != table.device:
            actual = f"{tuple(tokens.shape)} on {tokens.device}"
            raise ModelError(f"tokens must be [batch, positions] on {table.device}, not {actual}")
        # on other devices the check would wait for the device
        if tokens.device.type == "cpu" and bool(((tokens < 0) | (tokens >= len(table))).any()):
            raise ModelError(f"tokens must be 0 to {len(table) - 1}, got {int(tokens.min())} to {int(tokens.max())}")
        return tas_encode(self.embedding(tokens), self.window, tokens != 0)

    def decode(self, spikes: Tensor) -> Tensor:
        """Return the tokens int64 [B, L] of spikes [B, T, L, D]; a silent position gives the nearest row, too."""
        return tas_decode(spikes, self.embedding.weight, self.window)
