"""The network of a router as a torch module: for training, and as the reference of its inference in numpy.

The weights of a trained network make a `brainnet.snn.models.router.Router`, which needs no torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brainnet.snn.codes.tas import TasEncoder, TasWindow
from brainnet.snn.layers.attention import ChronoSpikeAttention
from brainnet.snn.models.bid_layer import untrained
from brainnet.snn.models.router import Router, RouterConfig
from brainnet.snn.models.text_features import HashedVocabulary
from brainnet.snn.models.working_memory import run_working_memory
from brainnet.snn.neurons.lif import LIFParams

__all__ = ["RouterNet"]


class RouterNet(nn.Module):
    """The trainable network: TAS spikes and a membrane potential in, route scores and a membrane potential out.

    Args:
        config: the configuration of the router.
        vocabulary: rows of the embedding table.
    """

    def __init__(self, config: RouterConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = TasEncoder(vocabulary, config.width, TasWindow(config.steps, config.positions))
        self.input = nn.Linear(config.width, config.width)
        self.attention = ChronoSpikeAttention(config.width, config.heads, tau=config.steps / 4, beta=config.beta)
        self.readout = nn.Linear(4 * config.width, len(config.routes))
        # what an answer of each region moves the membrane potential of working memory towards; not trained by gradients
        self.register_buffer("answers", torch.zeros(len(config.routes), config.width))
        # how bids change the scores; fitted after the network
        self.bids = nn.Module()
        for name, array in untrained(len(config.routes)).items():
            self.bids.register_buffer(name.removeprefix("bids."), torch.from_numpy(array))
        # fast and slow channels alternate, so that every group of channels has both
        decay = torch.full((config.width,), config.beta)
        decay[1::2] = config.slow_beta
        self.decay = nn.Parameter(torch.logit(decay))

    @classmethod
    def of(cls, router: Router) -> RouterNet:
        """Return a network with the weights of a router, in evaluation mode."""
        net = cls(router.config, len(router.vocabulary))
        net.load_state_dict({name: torch.tensor(array) for name, array in router.weights.items()})
        return net.eval()

    def to_router(self, vocabulary: HashedVocabulary) -> Router:
        """Return a router with a copy of the weights as they are now.

        Raises:
            ModelError: the vocabulary has another number of rows than the embedding table.
        """
        weights = {name: tensor.float().cpu().numpy().copy() for name, tensor in self.state_dict().items()}
        return Router(self.config, weights, vocabulary)

    @property
    def beta(self) -> Tensor:
        """The decay per step of the neurons of working memory, [D], each in (0, 1)."""
        return torch.sigmoid(self.decay)

    def forward(
        self, spikes: Tensor, mask: Tensor, membrane: Tensor | None, threshold: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the scores [B, N] and the membrane potential [B, D] after a prompt.

        Args:
            spikes: TAS spikes [B, T, L, D].
            mask: bool [B, L], False for padding.
            membrane: the membrane potential [B, D] of the session; None for rest.
            threshold: the firing threshold of working memory; None for the base threshold.
        """
        memory, after = self.run_working_memory(spikes, mask, membrane, threshold)
        present = mask.to(spikes.dtype)
        attended = self.attention(memory) * present[:, None, :, None]
        rates = torch.cat([memory.mean(1), attended.mean(1)], dim=-1)
        # the mean describes the prompt as a whole; the maximum keeps a single strong token in a long prompt visible
        mean = rates.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        decision_vector = torch.cat([mean, rates.amax(1)], dim=-1)
        scores: Tensor = self.config.scale * self.readout(decision_vector)
        return scores, after

    def run_working_memory(
        self, spikes: Tensor, mask: Tensor, membrane: Tensor | None, threshold: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run working memory alone; arguments as for `forward`.

        Returns:
            The spikes [B, T, L, D], and the membrane potential [B, D] for the next prompt.
        """
        params = LIFParams(self.beta, self.config.base_threshold if threshold is None else threshold)
        currents = self.input(spikes).transpose(0, 1)
        memory, after = run_working_memory(currents, mask, membrane, params)
        return memory.transpose(0, 1), after
