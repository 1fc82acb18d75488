"""The spiking language model: causality, carried state, event-driven generation against torch, sampling."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from brainnet.errors import ModelError
from brainnet.snn.models.text_generation import EventDrivenModel, TextGenerator, sample
from brainnet.snn.models.text_model import (
    SpikingTextModel,
    TextModelConfig,
    firing_fraction,
    load_text_model,
    quantize_rows,
    quantized_tensors,
    weights_metadata,
)

CONFIG = TextModelConfig(vocabulary=300, width=32, layers=2, expansion=2)
WEIGHTS = Path(__file__).resolve().parents[2] / "nodes" / "language" / "language.safetensors"
TEXT = "It was a dark night, and the wind cried “no” — 29 °C. Ὅμηρος 🙂\n\n"


@pytest.fixture(scope="module")
def model() -> SpikingTextModel:
    """A small model whose weights are as a file holds them: of 8 bits."""
    torch.manual_seed(0)
    model = SpikingTextModel(CONFIG).eval()
    values = {}
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2:
            numbers, scale = quantize_rows(tensor)
            values[name] = numbers.float() * scale[:, None]
    model.load_state_dict(values, strict=False)
    return model


@pytest.fixture(scope="module")
def saved(model: SpikingTextModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the small model with its tokenizer beside it."""
    path = tmp_path_factory.mktemp("language") / "small.safetensors"
    save_file(quantized_tensors(model), path, weights_metadata(CONFIG))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 5, trainer)
    tokenizer.save(str(path.with_suffix(".tokenizer.json")))
    return path


@pytest.fixture(scope="module")
def generator(saved: Path) -> TextGenerator:
    return TextGenerator(saved, saved.with_suffix(".tokenizer.json"))


def random_tokens(seed: int, length: int) -> torch.Tensor:
    return torch.randint(CONFIG.vocabulary, (length, 2), generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 1000), changed=st.integers(0, 15))
@settings(max_examples=15, deadline=None)
def test_no_logit_depends_on_a_later_token(model: SpikingTextModel, seed: int, changed: int) -> None:
    tokens = random_tokens(seed, 16)
    with torch.no_grad():
        before, _ = model(tokens)
        tokens[changed:] = (tokens[changed:] + 1) % CONFIG.vocabulary
        after, _ = model(tokens)
    assert torch.equal(before[:changed], after[:changed])
    assert not torch.equal(before[changed:], after[changed:])


@given(seed=st.integers(0, 1000), cut=st.integers(1, 15))
@settings(max_examples=15, deadline=None)
def test_carried_state_continues_the_sequence(model: SpikingTextModel, seed: int, cut: int) -> None:
    tokens = random_tokens(seed, 16)
    with torch.no_grad():
        whole, _ = model(tokens)
        first, state = model(tokens[:cut])
        second, _ = model(tokens[cut:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns(model: SpikingTextModel) -> None:
    logits, _ = model(random_tokens(1, 32))
    logits.square().mean().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    model.zero_grad()
    assert silent == []


def test_fewer_neurons_fire_when_spikes_have_a_cost() -> None:
    torch.manual_seed(0)
    model = SpikingTextModel(CONFIG)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    tokens = random_tokens(3, 33)
    shares = []
    model.set_spike_cost(1.0)
    for _ in range(12):
        loss, state = model.loss(tokens[:-1], tokens[1:])
        shares.append(firing_fraction(state))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert 0.1 < shares[0] < 0.3
    assert shares[-1] < shares[0] / 2


def test_firing_fraction_is_what_event_driven_steps_report(model: SpikingTextModel) -> None:
    tokens = random_tokens(4, 9)[:, :1]
    with torch.no_grad():
        _, state = model(tokens)
    stepper = EventDrivenModel(model)
    for token in tokens[:, 0].tolist():
        _, fired = stepper.advance(token)
    assert firing_fraction(state) == pytest.approx(fired.mean(), abs=0.005)


def test_event_driven_logits_equal_torch(model: SpikingTextModel) -> None:
    tokens = random_tokens(2, 40)[:, :1]
    with torch.no_grad():
        logits, _ = model(tokens)
    stepper = EventDrivenModel(model)
    for token, expected in zip(tokens[:, 0].tolist(), logits[:, 0].numpy(), strict=True):
        found, fired = stepper.advance(token)
        assert np.abs(found - expected).max() < 1e-3
        assert fired.shape == (stepper.neurons,)
        assert 0 < fired.sum() < fired.size
        assert fired.max() == 1


def test_reset_forgets_and_reading_equals_advancing(model: SpikingTextModel) -> None:
    stepper = EventDrivenModel(model)
    for token in (5, 6, 7):
        stepper.advance(token)
    expected, _ = stepper.advance(8)
    stepper.reset()
    stepper.prefill([5, 6, 7])
    assert np.array_equal(stepper.advance(8)[0], expected)


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.1, 3), top_p=st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_sampled_token_is_in_the_nucleus(seed: int, temperature: float, top_p: float) -> None:
    generator = np.random.default_rng(seed)
    logits = (generator.standard_normal(200) * 3).astype(np.float32)
    token, probability = sample(logits, temperature, top_p, generator)
    exact = torch.from_numpy(logits).double()
    tempered = (exact / temperature).softmax(0)
    more_likely = tempered[tempered > tempered[token]].sum()
    assert more_likely < top_p + 1e-4
    assert probability == pytest.approx(exact.softmax(0)[token].item(), rel=1e-3)


def test_draws_follow_the_tempered_distribution() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    generator = np.random.default_rng(0)
    drawn = np.bincount([sample(logits, 0.5, 1.0, generator)[0] for _ in range(4000)], minlength=4) / 4000
    expected = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert np.abs(drawn - expected / expected.sum()).max() < 0.03


def test_temperature_zero_takes_the_most_probable() -> None:
    logits = np.array([0.1, 2.0, -1.0], np.float32)
    assert sample(logits, 0, 0.9, np.random.default_rng(0))[0] == 1


def test_same_seed_writes_the_same_text(generator: TextGenerator) -> None:
    def text(seed: int) -> str:
        return "".join(token.text for token in generator.generate("It was", 30, 1.0, 1.0, seed))

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_generated_tokens_carry_spikes_and_probabilities(generator: TextGenerator) -> None:
    tokens = list(generator.generate("It was", 12, 1.0, 1.0, 3))
    assert 0 < len(tokens) <= 12
    for token in tokens:
        assert 0 < token.probability <= 1
        assert token.neurons.dtype == np.uint8
        assert token.neurons.shape == (generator.model.neurons,)
        assert set(np.unique(token.neurons)) <= {0, 1}


def test_a_prompt_may_be_empty_or_long_or_any_unicode(generator: TextGenerator) -> None:
    for prompt in ("", "x" * 100_000, TEXT, "\x00\ud7ff"):
        assert len(list(generator.generate(prompt, 2, 1.0, 1.0, 0))) <= 2


@given(text=st.text(max_size=80))
@settings(max_examples=40, deadline=None)
def test_tokenizer_gives_every_text_back(generator: TextGenerator, text: str) -> None:
    assert generator.tokenizer.decode(generator.tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_loaded_model_has_the_saved_weights(saved: Path, model: SpikingTextModel) -> None:
    loaded = load_text_model(saved)
    assert loaded.config == CONFIG
    for name, parameter in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], parameter, rtol=1e-6, atol=1e-7)


def test_weights_of_half_precision_load(tmp_path: Path, model: SpikingTextModel) -> None:
    path = tmp_path / "half.safetensors"
    save_file({k: v.half() for k, v in model.state_dict().items()}, path, weights_metadata(CONFIG))
    for name, parameter in load_text_model(path).state_dict().items():
        torch.testing.assert_close(parameter, model.state_dict()[name], rtol=1e-3, atol=1e-3)


@given(rows=st.integers(1, 5), columns=st.integers(1, 40), scale=st.floats(1e-6, 1e6), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_rounding_is_near_and_rounds_no_further(rows: int, columns: int, scale: float, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * scale
    numbers, steps = quantize_rows(matrix)
    again, _ = quantize_rows(numbers.float() * steps[:, None])
    assert torch.equal(again, numbers)
    assert ((numbers * steps[:, None] - matrix).abs() <= 0.5001 * steps[:, None]).all()


def test_a_control_learns_like_a_model_and_has_no_events() -> None:
    torch.manual_seed(1)
    control = SpikingTextModel(TextModelConfig(vocabulary=50, width=16, layers=2, expansion=2, spiking=False))
    tokens = torch.randint(50, (12, 3))
    loss, _ = control.loss(tokens[:-1], tokens[1:])
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in control.parameters())
    with torch.no_grad():
        whole, _ = control(tokens)
        first, state = control(tokens[:5])
        second, _ = control(tokens[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match="control"):
        EventDrivenModel(control)


def test_more_neurons_may_fire_than_sixteen_bits_add_up() -> None:
    """600 spikes of the largest weights pass 32,767: the sums must not wrap."""
    model = SpikingTextModel(TextModelConfig(vocabulary=4, width=8, layers=1, expansion=75)).eval()
    with torch.no_grad():
        model.get_parameter("blocks.0.expand.weight").fill_(1.0)
        model.get_parameter("blocks.0.expanded.gain").fill_(5.0)
        model.get_parameter("blocks.0.contract.weight").fill_(0.01)
        model.get_parameter("blocks.0.channel.gain").fill_(5.0)
        tokens = torch.tensor([[1], [2], [3]])
        expected, _ = model(tokens)
    stepper = EventDrivenModel(model)
    most = 0
    for token, logits in zip((1, 2, 3), expected[:, 0].numpy(), strict=True):
        found, fired = stepper.advance(token)
        most = max(most, int(fired.sum()))
        assert np.abs(found - logits).max() < 0.05 * np.abs(logits).max() + 1e-3
    assert most > 300


def test_files_that_are_no_model_are_named(tmp_path: Path, saved: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        load_text_model(wrong)
    save_file({"x": torch.zeros(1)}, wrong, weights_metadata(CONFIG))
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        load_text_model(wrong)
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        TextGenerator(saved, wrong)
    with pytest.raises(ModelError, match="absent"):
        load_text_model(tmp_path / "absent.safetensors")


def test_shipped_model_writes_english() -> None:
    """The share of its letter runs that are everyday words tells trained weights from random ones."""
    generator = TextGenerator(WEIGHTS, WEIGHTS.with_suffix(".tokenizer.json"))
    text = "".join(t.text for t in generator.generate("It was a dark night, and", 120, 0.7, 0.9, 0))
    common = {"the", "and", "of", "to", "a", "in", "was", "he", "it", "his", "that", "i", "had", "with", "as", "her"}
    words = [word.strip(".,;:!?\"'").lower() for word in text.split()]
    assert len(words) > 30
    assert sum(word in common for word in words) / len(words) > 0.2


@pytest.mark.parametrize("token", [-1, 10**9])
def test_a_token_outside_the_vocabulary_is_an_error(model: SpikingTextModel, token: int) -> None:
    stepper = EventDrivenModel(model)
    with pytest.raises(ModelError, match="outside the vocabulary"):
        stepper.advance(token)
    with pytest.raises(ModelError, match="outside the vocabulary"):
        stepper.prefill([0, token])
