r"""The working memory of a router, as a torch module trains it.

It is a layer of LIF neurons (`brainnet.snn.neurons.lif`), one for each channel at each position of the prompt. The mean
over the L positions is carried to the next prompt, which starts from it with the threshold that the last decision set
(`brainnet.snn.models.quantum`):

$$
\bar u = \frac1L \sum_l u_{T, l}, \qquad u_{0, l} = \bar u_{\text{last prompt}}, \qquad
\vartheta = \vartheta_{base} (1 + 0.2 (1 - \alpha_{\text{last prompt}}))
$$
"""

from __future__ import annotations

from torch import Tensor

from brainnet.errors import ModelError
from brainnet.snn.neurons.lif import LIFParams, LIFState, lif_sequence

__all__ = ["run_working_memory"]


def run_working_memory(
    currents: Tensor, present: Tensor, membrane: Tensor | None, params: LIFParams
) -> tuple[Tensor, Tensor]:
    """Run working memory over one prompt; differentiable.

    Args:
        currents: [T, B, L, D].
        present: bool [B, L]; positions that are False get no current, stay silent and do not count in the mean.
        membrane: the membrane potential [B, D] from which every position starts; None for rest.
        params: the constants of the neurons.

    Returns:
        The spikes [T, B, L, D], and the mean membrane potential [B, D] after the prompt.

    Raises:
        ModelError: as `lif.lif_sequence`, and for shapes that do not fit.
    """
    if currents.ndim != 4 or present.shape != currents.shape[1:3]:
        raise ModelError(
            f"currents must be [steps, batch, positions, width] and present [batch, positions] of them, got "
            f"{tuple(currents.shape)} and {tuple(present.shape)}"
        )
    start = None
    if membrane is not None:
        if membrane.shape != (currents.shape[1], currents.shape[3]):
            expected = (currents.shape[1], currents.shape[3])
            raise ModelError(f"membrane must be [batch, width] = {expected}, got {tuple(membrane.shape)}")
        start = LIFState(membrane[:, None].expand(currents.shape[1:]).contiguous())
    mask = present.to(currents.dtype)[..., None]
    spikes, after = lif_sequence(currents * mask, start, params)
    # masked again: a position without current can still fire from the membrane potential of the last prompt
    mean = (after.membrane * mask).sum(1) / mask.sum(1).clamp(min=1)
    return spikes * mask, mean
