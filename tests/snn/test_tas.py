"""The TAS code: shape of the spikes, exact decoding, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.paths import share_dir
from brainnet.snn.router import Router
from brainnet.snn.tas import TasEncoder, TasWindow, tas_encode

quick = settings(deadline=None, max_examples=30)


@quick
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(2, 24), positions=st.integers(1, 40))
def test_each_neuron_fires_one_run_of_the_right_length_from_its_phase(seed: int, steps: int, positions: int) -> None:
    window = TasWindow(steps, positions)
    embeddings = torch.randn(2, positions, 5, generator=torch.Generator().manual_seed(seed)) * 2
    spikes = tas_encode(embeddings, window)
    assert spikes.shape == (2, steps, positions, 5)
    rate = torch.sigmoid(embeddings)
    for position in range(positions):
        phase = position * (steps // 2) // positions
        count = torch.round(rate[:, position] * (steps - phase))
        for step in range(steps):
            expected = (step >= phase) & (step - phase < count)
            assert torch.equal(spikes[:, step, position].bool(), expected)


def test_decodes_every_token_of_a_vocabulary_at_every_position() -> None:
    torch.manual_seed(0)
    encoder = TasEncoder(500, 32, TasWindow(steps=12, positions=24))
    with torch.inference_mode():
        for start in range(24):
            tokens = torch.arange(500).roll(start)[: 500 // 24 * 24].view(-1, 24)
            assert torch.equal(encoder.decode(encoder(tokens.clamp(min=1))), tokens.clamp(min=1))


def test_decodes_the_whole_vocabulary_of_the_trained_router() -> None:
    router = Router.load(share_dir() / "nodes" / "weights" / "prefrontal.safetensors")
    encoder, count, length = router.net.encoder, len(router.vocabulary), router.config.positions
    with torch.inference_mode():
        for position in (0, length - 1):
            tokens = torch.ones(count - 1, length, dtype=torch.long)
            tokens[:, position] = torch.arange(1, count)
            assert torch.equal(encoder.decode(encoder(tokens))[:, position], tokens[:, position])


def test_padding_is_silent() -> None:
    encoder = TasEncoder(10, 8, TasWindow(8, 4))
    spikes = encoder(torch.tensor([[3, 4, 0, 0]]))
    assert spikes[:, :, :2].any()
    assert not spikes[:, :, 2:].any()


def test_more_rate_is_more_spikes_for_the_gradient() -> None:
    embeddings = torch.zeros(1, 3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(tas_encode(embeddings, TasWindow(12, 3)).sum(), embeddings)
    # d(count) / dE = sigmoid'(0) * (T - phi) = (T - phi) / 4, rounding passed straight through.
    spans = torch.tensor([12.0, 10.0, 8.0])[None, :, None].expand(1, 3, 4)
    assert torch.allclose(gradient, spans / 4)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="5 tokens do not fit"):
        tas_encode(torch.zeros(1, 5, 2), TasWindow(8, 4))
    with pytest.raises(ValueError, match="at least 2 steps"):
        TasWindow(1, 4)
