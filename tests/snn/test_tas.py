"""The TAS code: shape of the spikes, exact decoding of whole vocabularies, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainnet.errors import ModelError
from brainnet.paths import region_file
from brainnet.snn.codes.tas import TasEncoder, TasWindow, tas_decode, tas_encode
from brainnet.snn.models.router import Router
from brainnet.snn.models.router_network import RouterNet

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


def decodes_every_token_at_every_position(encoder: TasEncoder) -> None:
    vocabulary, positions = len(encoder.embedding.weight), torch.arange(encoder.window.positions)
    with torch.inference_mode():
        for first in range(0, vocabulary, 2000):
            rows = torch.arange(first, min(first + 2000, vocabulary))
            # every row of the vocabulary comes by once at each position, in ever other company
            tokens = (rows[:, None] + 1777 * positions) % vocabulary
            spikes = tas_encode(encoder.embedding(tokens), encoder.window)
            assert torch.equal(encoder.decode(spikes), tokens)


def test_decodes_32000_tokens_at_every_position_up_to_the_limit() -> None:
    torch.manual_seed(0)
    decodes_every_token_at_every_position(TasEncoder(32_000, 20, TasWindow(steps=12, positions=24)))


def test_decodes_the_whole_vocabulary_of_the_trained_router() -> None:
    router = Router.load(region_file("prefrontal", ".safetensors"))
    decodes_every_token_at_every_position(RouterNet.of(router).encoder)


@quick
@given(seed=st.integers(0, 2**31), lost=st.floats(0, 0.5), width=st.integers(1, 6))
def test_spikes_that_were_lost_leave_the_nearest_token(seed: int, lost: float, width: int) -> None:
    generator, window = torch.Generator().manual_seed(seed), TasWindow(10, 5)
    table = torch.randn(40, width, generator=generator)
    spikes = tas_encode(table[torch.randint(40, (3, 5), generator=generator)], window)
    spikes = spikes * (torch.rand(spikes.shape, generator=generator) >= lost)
    found = tas_decode(spikes, table, window)
    for position in range(5):
        rows = (torch.sigmoid(table) * (10 - position)).round()
        for row in range(3):
            # the first of equals, by squared distance in whole numbers
            distances = (rows - spikes[row, :, position].sum(0)).square().sum(-1)
            assert found[row, position] == distances.argmin()


def test_equal_rows_decode_to_the_first() -> None:
    table = torch.tensor([[5.0], [0.0], [0.0], [5.0]])
    window = TasWindow(8, 1)
    assert tas_decode(tas_encode(table[:, None], window), table, window).flatten().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_decode_too(kind: torch.dtype) -> None:
    table, window = torch.randn(60, 16, generator=torch.Generator().manual_seed(1)).to(kind), TasWindow(12, 6)
    spikes = tas_encode(table.view(10, 6, 16), window)
    assert spikes.dtype == kind
    assert torch.equal(tas_decode(spikes, table, window), torch.arange(60).view(10, 6))


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


def test_the_gradient_is_spread_over_the_window_after_the_phase() -> None:
    embeddings = torch.zeros(1, 3, 1, requires_grad=True)
    spikes = tas_encode(embeddings, TasWindow(12, 3))
    assert bool(((spikes == 0) | (spikes == 1)).all())
    for step in range(12):
        (gradient,) = torch.autograd.grad(spikes[0, step].sum(), embeddings, retain_graph=True)
        assert gradient.flatten().tolist() == [0.25 if step >= phase else 0.0 for phase in (0, 2, 4)]


def test_the_window_keeps_half_its_steps_for_the_last_position() -> None:
    for steps, positions in ((2, 1), (7, 3), (12, 24), (9, 100)):
        phases = TasWindow(steps, positions).phases(positions).tolist()
        assert phases == [math.floor(at * (steps // 2) / positions) for at in range(positions)]
        assert max(phases) < max(1, steps // 2)


def test_positions_past_the_window_are_refused() -> None:
    window, encoder = TasWindow(8, 4), TasEncoder(10, 2, TasWindow(8, 4))
    said = "5 tokens do not fit the 4 positions of this window"
    calls: list[Any] = [
        lambda: window.phases(5),
        lambda: tas_encode(torch.zeros(1, 5, 2), window),
        lambda: tas_decode(torch.zeros(1, 8, 5, 2), torch.zeros(10, 2), window),
        lambda: encoder(torch.ones(1, 5, dtype=torch.int64)),
        lambda: encoder.decode(torch.zeros(1, 8, 5, 2)),
    ]
    for call in calls:
        with pytest.raises(ModelError, match=said):
            call()
    assert encoder(torch.ones(1, 4, dtype=torch.int64)).shape == (1, 8, 4, 2)


@pytest.mark.parametrize(("steps", "positions"), [(1, 4), (0, 4), (8, 0)])
def test_a_window_without_room_is_refused(steps: int, positions: int) -> None:
    with pytest.raises(ModelError, match=f"2 steps and 1 position, not {steps} and {positions}"):
        TasWindow(steps, positions)


E, TABLE, SPIKES, WINDOW = torch.zeros(2, 3, 4), torch.zeros(10, 4), torch.zeros(2, 8, 3, 4), TasWindow(8, 4)


@pytest.mark.parametrize(
    ("embeddings", "mask", "said"),
    [
        (E[0], None, r"embeddings must be \[batch, positions, width\], not of shape \(3, 4\)"),
        (E.long(), None, "embeddings must be of a floating-point type"),
        (E * math.nan, None, "embeddings must be finite"),
        (E, torch.ones(2, 3), r"mask must be bool \(2, 3\) on cpu, not torch.float32"),
        (E, torch.ones(2, 4, dtype=torch.bool), r"mask must be bool \(2, 3\) on cpu, not torch.bool \(2, 4\)"),
        (E, torch.ones(2, 3, dtype=torch.bool, device="meta"), "mask must be bool .* on meta"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(embeddings: Tensor, mask: Tensor | None, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        tas_encode(embeddings, WINDOW, mask)


@pytest.mark.parametrize(
    ("spikes", "table", "said"),
    [
        (SPIKES[:, :7], TABLE, r"spikes must be \[batch, 8, positions, 4\], not \(2, 7, 3, 4\)"),
        (SPIKES[..., :3], TABLE, r"spikes must be \[batch, 8, positions, 4\]"),
        (SPIKES[0], TABLE, r"spikes must be \[batch, 8, positions, 4\], not \(8, 3, 4\)"),
        (SPIKES.long(), TABLE, "spikes must be of a floating-point type"),
        (SPIKES * math.inf, TABLE, "spikes must be finite"),
        (SPIKES.to("meta"), TABLE, "spikes are on meta, embedding on cpu"),
        (SPIKES, TABLE[:0], r"embedding must be \[vocabulary >= 1, width\], not of shape \(0, 4\)"),
        (SPIKES, TABLE[0], r"embedding must be \[vocabulary >= 1, width\]"),
        (SPIKES, TABLE.long(), "embedding must be of a floating-point type"),
        (SPIKES, TABLE * math.nan, "embedding must be finite"),
    ],
)
def test_spikes_that_do_not_fit_are_refused(spikes: Tensor, table: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        tas_decode(spikes, table, WINDOW)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (torch.tensor([[1, 10]]), "tokens must be 0 to 9, got 1 to 10"),
        (torch.tensor([[-1, 1]]), "tokens must be 0 to 9, got -1 to 1"),
        (torch.tensor([[1.0]]), "tokens must be of an integer type"),
        (torch.tensor([1]), r"tokens must be \[batch, positions\] on cpu, not \(1,\) on cpu"),
        (torch.ones(1, 2, dtype=torch.int64, device="meta"), r"tokens must be .* on cpu, not \(1, 2\) on meta"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        TasEncoder(10, 8, WINDOW)(tokens)
