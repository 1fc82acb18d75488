"""A spiking transformer block. The recurrent one for text is `brainnet.snn.models.text_model.Block`."""

from __future__ import annotations

from torch import Tensor, nn

from brainnet.errors import ModelError
from brainnet.snn.layers.attention import ChronoSpikeAttention, check_input, lif_layer, spikes_from_rest
from brainnet.snn.layers.norm import RMSNorm


class SpikingTransformerBlock(nn.Module):
    r"""ChronoSpikeAttention and a spiking feed-forward network, each after a norm and a LIF, with float residuals.

    $$
    \begin{aligned}
    x &\leftarrow x + \text{attention}(\text{LIF}(\text{norm}(x))) \\
    x &\leftarrow x + W_2\, \text{LIF}(\text{norm}(W_1\, \text{LIF}(\text{norm}(x))))
    \end{aligned}
    $$

    Input and output are float currents [B, T, L, D]. Every projection has spikes as input, except the output projection
    of the attention (Zhou et al. 2023, *Spikformer*, with the norms before the neurons). The block is as causal as its
    attention.

    Args:
        width: D.
        heads: heads of the attention.
        tau: the time constant of the attention in steps; None for its default.
        expansion: width of the feed-forward network relative to D.
        causal_positions: mask later positions in the attention.
        linear: use linear attention.
        beta: the initial decay of all neurons per step.

    Raises:
        ModelError: shapes, types or devices that do not fit, or values that are not finite.
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
        self.attention_norm, self.attention_neurons = RMSNorm(width), lif_layer(width, beta)
        self.input_norm, self.input_neurons = RMSNorm(width), lif_layer(width, beta)
        self.hidden_norm, self.hidden_neurons = RMSNorm(width * expansion), lif_layer(width * expansion, beta)
        self.expand = nn.Linear(width, width * expansion, bias=False)
        self.contract = nn.Linear(width * expansion, width, bias=False)

    def forward(self, currents: Tensor) -> Tensor:
        """Return the output currents [B, T, L, D]."""
        check_input("currents", currents, self.expand)
        currents = currents + self.attention(spikes_from_rest(self.attention_neurons, self.attention_norm(currents)))
        hidden = self.expand(spikes_from_rest(self.input_neurons, self.input_norm(currents)))
        update: Tensor = self.contract(spikes_from_rest(self.hidden_neurons, self.hidden_norm(hidden)))
        return currents + update
