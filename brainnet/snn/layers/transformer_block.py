"""A spiking transformer block. The recurrent one for text is `brainnet.snn.models.text_model.Block`."""

from __future__ import annotations

from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.layers.attention import ChronoSpikeAttention, fire, neurons, require_sequence
from brainnet.snn.layers.norm import RMSNorm


class SpikingTransformerBlock(nn.Module):
    r"""ChronoSpikeAttention and a spiking feed-forward, each behind a norm and a LIF, around a float residual.

    .. math::
        x &\leftarrow x + \text{attention}(\text{LIF}(\text{norm}(x))) \\
        x &\leftarrow x + W_2\, \text{LIF}(\text{norm}(W_1\, \text{LIF}(\text{norm}(x))))

    Currents [B, T, L, D] in, the same shape out; float, while every projection sees spikes but the attention's own
    output projection (Zhou et al. 2023, *Spikformer*, with the norms before the neurons). As causal as its attention.
    `tau` is that of the attention; the feed-forward is `expansion` times as wide as the block; neurons start with
    decay `beta`. Raises ModelError for shapes, types and devices that do not fit and values that are not finite.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        tau: float | None = None,
        *,
        expansion: int = 4,
        causal_positions: bool = True,
        linear: bool = False,
        beta: float = 0.9,
    ) -> None:
        super().__init__()
        if expansion < 1:
            raise ModelError(f"expansion must be at least 1, not {expansion}")
        self.attention = ChronoSpikeAttention(
            width, heads, tau, causal_positions=causal_positions, linear=linear, beta=beta
        )
        self.attention_norm, self.attention_neurons = RMSNorm(width), neurons(width, beta)
        self.input_norm, self.input_neurons = RMSNorm(width), neurons(width, beta)
        self.hidden_norm, self.hidden_neurons = RMSNorm(width * expansion), neurons(width * expansion, beta)
        self.expand = nn.Linear(width, width * expansion, bias=False)
        self.contract = nn.Linear(width * expansion, width, bias=False)

    def forward(self, currents: Tensor) -> Tensor:
        require_sequence("currents", currents, self.expand)
        currents = currents + self.attention(fire(self.attention_neurons, self.attention_norm(currents)))
        hidden = self.expand(fire(self.input_neurons, self.input_norm(currents)))
        update: Tensor = self.contract(fire(self.hidden_neurons, self.hidden_norm(hidden)))
        return currents + update
