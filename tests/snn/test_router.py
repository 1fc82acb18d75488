"""The trained router: where prompts go, what a decision carries, and what a session's working memory does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.paths import region_file
from brainnet.snn.models.quantum import modulate, select_routes
from brainnet.snn.models.router import (
    RouteDecision,
    Router,
    RouterConfig,
    RouteRequest,
    RouterState,
    embedding_rows,
    prompt_tokens,
    suffix_token,
)
from brainnet.snn.models.router_inference import RouterInference
from brainnet.snn.models.router_network import RouterNet
from brainnet.snn.models.text_features import HashedVocabulary

WEIGHTS = region_file("prefrontal", ".safetensors")
AGAIN = ("please carry out the same", "again, please", "play it once more", "do that again", "the same again")
quick = settings(deadline=None, max_examples=25)


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.load(WEIGHTS)


@pytest.fixture(scope="module")
def net(router: Router) -> RouterNet:
    """The same router as a torch module."""
    return RouterNet.of(router)


def test_deciding_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from brainnet.snn.models.router import Router\n"
        "print(*Router.load(sys.argv[1]).decide('Once upon a time').chosen)\n"
        "print(*sorted({'torch', 'numba', 'snntorch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(WEIGHTS)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["language", ""]


@pytest.mark.parametrize(
    ("text", "has_image", "route"),
    [
        ("which digit is this?", True, "vision"),
        ("What number do you see in this picture?", True, "vision"),
        ("", True, "vision"),
        ("Remember that the blue toolbox is under the workbench.", False, "hippocampus"),
        ("Where is the blue toolbox?", False, "hippocampus"),
        ("Where are my glasses?", False, "hippocampus"),
        ("Move the arm to (0.10, 0.10)", False, "motor_cortex"),
        ("please reach for -0.05, 0.12", False, "motor_cortex"),
        ("Once upon a time", False, "language"),
        ("Write a story about a robot arm", False, "language"),
        ("How well do you predict your movements?", False, "cerebellum"),
    ],
)
def test_asks_one_region_when_the_prompt_is_clear(router: Router, text: str, has_image: bool, route: str) -> None:
    assert router.decide(text, has_image=has_image).chosen == (route,)


def test_a_decision_carries_what_it_follows_from(router: Router) -> None:
    decision = router.decide("Where is the blue toolbox?", mass=0.9, max_temperature=5.0)
    assert decision.names == router.config.routes
    expected = modulate(decision.scores, max_temperature=5.0)
    for name in ("probs", "route_probs"):
        assert np.array_equal(getattr(decision, name), getattr(expected, name))
    for name in ("entropy", "alpha", "temperature", "threshold"):
        assert getattr(decision, name) == getattr(expected, name)
    assert decision.chosen == tuple(decision.names[i] for i in select_routes(decision.route_probs, 0.9))


def test_the_spikes_are_the_prompt(router: Router, net: RouterNet) -> None:
    text = "Move the arm to (0.10, 0.10)"
    spikes = router.encode(text)
    tokens = router.token_rows(text)
    config = router.config
    assert spikes.shape == (len(tokens) * config.width, config.steps)
    assert spikes.dtype == np.uint8
    rows = torch.from_numpy(spikes).float().view(1, len(tokens), config.width, config.steps).permute(0, 3, 1, 2)
    assert net.encoder.decode(rows)[0].tolist() == tokens.tolist()


@quick
@given(text=st.text(max_size=300), has_image=st.booleans(), has_audio=st.booleans())
def test_any_text_gets_a_decision(text: str, has_image: bool, has_audio: bool) -> None:
    router = Router.load(WEIGHTS)
    decision = router.decide(text, has_image=has_image, has_audio=has_audio)
    assert decision.route_probs.sum() == pytest.approx(1.0)
    assert decision.chosen
    assert router.encode(text, has_image=has_image, has_audio=has_audio).shape[0] <= 24 * 64


def test_long_prompts_keep_their_beginning_and_end() -> None:
    tokens = prompt_tokens("first " + "middle " * 1000 + "last", has_image=True, has_audio=True, limit=24)
    assert len(tokens) == 24
    assert tokens[:4] == ["<start>", "<image>", "<audio>", "first"]
    assert tokens[-1] == "last"


def test_only_available_regions_are_chosen(router: Router) -> None:
    decision = router.decide("Once upon a time", available=["hippocampus", "vision", "somebody_elses"])
    assert decision.names == ("vision", "hippocampus")
    assert set(decision.chosen) <= {"vision", "hippocampus"}
    alone = router.decide("Once upon a time", available=["motor_cortex"])
    assert (alone.chosen, alone.alpha) == (("motor_cortex",), 1.0)
    with pytest.raises(ModelError, match="none of"):
        router.decide("Once upon a time", available=["somebody_elses"])


def outcome(decision: RouteDecision) -> tuple[list[float], tuple[str, ...]]:
    return decision.route_probs.tolist(), decision.chosen


def test_is_deterministic_and_sessions_are_apart(router: Router) -> None:
    first = router.decide("again")
    other = router.decide("Move the arm to (0.1, 0.1)")
    assert outcome(router.decide("again")) == outcome(first)
    assert outcome(router.decide("again", state=other.state)) == outcome(router.decide("again", state=other.state))
    assert outcome(router.decide("again", state=other.state)) != outcome(first)


def test_a_session_continues_from_the_membrane_and_the_threshold_of_its_state(router: Router, net: RouterNet) -> None:
    """A copy of the state continues in the same way; failures and other branches do not change it."""
    state = router.decide("Move the arm to (0.1, 0.1)").state
    before = RouterState(state.membrane.copy(), state.threshold)
    assert outcome(router.decide("again", state=state)) == outcome(router.decide("again", state=before))
    with pytest.raises(ModelError, match="none of"):
        router.decide("again", available=["somebody_elses"], state=state)
    router.decide("Once upon a time", state=state)
    assert np.array_equal(state.membrane, before.membrane)
    tokens = torch.from_numpy(router.token_rows("again"))[None]
    with torch.inference_mode():
        scores, after = net(net.encoder(tokens), tokens != 0, torch.from_numpy(state.membrane)[None], state.threshold)
    decision = router.decide("again", state=state)
    assert decision.scores == pytest.approx(scores[0].numpy(), abs=1e-5)
    # the decays are rounded by different exponential functions
    assert decision.state.membrane == pytest.approx(after[0].numpy(), abs=1e-5)
    assert decision.state.threshold == decision.threshold


@pytest.mark.parametrize(
    ("before", "has_image", "route"),
    [
        ("Move the arm to (0.1, 0.1)", False, "motor_cortex"),
        ("Once upon a time", False, "language"),
        ("Where is the blue toolbox?", False, "hippocampus"),
    ],
)
def test_once_more_means_what_was_done_before(router: Router, before: str, has_image: bool, route: str) -> None:
    state = router.decide(before, has_image=has_image).state
    follow_up = router.decide("once more", state=state)
    assert follow_up.names[int(follow_up.probs.argmax())] == route


@pytest.mark.parametrize("route", ["hippocampus", "motor_cortex", "cerebellum", "language"])
def test_once_more_goes_to_who_answered(router: Router, route: str) -> None:
    silent = [router.decide(text).chosen[0] == route for text in AGAIN]
    answered = [router.decide(text, state=router.after_answer(None, route, 1.0)).chosen[0] == route for text in AGAIN]
    assert all(answered)
    assert sum(silent) <= 2


def test_an_answer_moves_working_memory_as_far_as_it_is_strong(router: Router) -> None:
    before = router.decide("Which digit is this?", has_image=True).state
    towards = router.weights["answers"][router.config.routes.index("language")]
    for strength in (0.0, 0.25, 1.0):
        after = router.after_answer(before, "language", strength)
        wanted = (1 - strength) * before.membrane + strength * towards
        np.testing.assert_allclose(after.membrane, wanted, rtol=1e-5, atol=1e-6)
        assert after.threshold == before.threshold
    assert router.after_answer(before, "olfactory", 1.0) is before
    rest = router.after_answer(None, "language", 0.0)
    assert not rest.membrane.any()
    assert rest.threshold == router.config.base_threshold


def test_what_answers_do_is_the_mean_of_what_prompts_leave_behind(router: Router) -> None:
    requests = [RouteRequest("where is the key?"), RouteRequest("who has the red one?", has_image=True)]
    left = [router.decide(one.text, has_image=one.has_image).state.membrane for one in requests]
    learned = router.with_answers({"hippocampus": requests, "vision": []})
    at = router.config.routes.index("hippocampus")
    np.testing.assert_allclose(learned.weights["answers"][at], np.mean(left, axis=0), rtol=1e-5)
    others = [i for i in range(len(router.config.routes)) if i != at]
    np.testing.assert_array_equal(learned.weights["answers"][others], router.weights["answers"][others])


def test_uncertainty_raises_the_threshold_of_the_next_decision(router: Router, net: RouterNet) -> None:
    sure, unsure = router.decide("Move the arm to (0.1, 0.1)"), router.decide("again")
    assert sure.state.threshold == sure.threshold == pytest.approx(1.0, abs=0.01)
    assert unsure.state.threshold == unsure.threshold > sure.threshold
    tokens = torch.from_numpy(router.token_rows("Where is it?"))[None]
    with torch.inference_mode():
        spikes = net.encoder(tokens)
        easy, _ = net.run_working_memory(spikes, tokens != 0, None, 1.0)
        hard, _ = net.run_working_memory(spikes, tokens != 0, None, 1.2)
    assert hard.sum() < easy.sum()


def test_padding_does_not_change_a_score(router: Router, net: RouterNet) -> None:
    tokens = torch.from_numpy(router.token_rows("Where is it?"))[None]
    padded = torch.nn.functional.pad(tokens, (0, 5))
    with torch.inference_mode():
        scores, after = net(net.encoder(tokens), tokens != 0, None)
        padded_scores, padded_after = net(net.encoder(padded), padded != 0, None)
    assert torch.allclose(scores, padded_scores, atol=1e-4)
    assert torch.allclose(after, padded_after, atol=1e-5)


def test_a_word_that_is_not_known_is_taken_by_its_ending() -> None:
    vocabulary = HashedVocabulary.build(["singing", suffix_token("walking")], unknown_rows=2)
    rows = embedding_rows(["singing", "jumping", "dancing", "jump", "?"], vocabulary)
    known, unknown = rows[0], rows[3:]
    assert rows[1] == rows[2] == vocabulary.rows([suffix_token("singing")])[0] != known
    assert (unknown <= vocabulary.unknown_rows).all()
    assert embedding_rows([], vocabulary).shape == (0,)


def test_every_neuron_of_working_memory_has_its_decay() -> None:
    net = RouterNet(RouterConfig(routes=("left", "right"), width=4, beta=0.8, slow_beta=0.95), vocabulary=9)
    assert net.beta.tolist() == pytest.approx([0.8, 0.95, 0.8, 0.95])
    blank = torch.zeros(1, 12, 1, 4)
    net.input.bias.data.zero_()
    _, after = net.run_working_memory(blank, torch.ones(1, 1, dtype=torch.bool), torch.full((1, 4), 0.5))
    assert after[0].tolist() == pytest.approx([0.5 * beta**12 for beta in (0.8, 0.95, 0.8, 0.95)], rel=1e-4)


def test_saved_weights_decide_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RouterConfig(routes=("left", "right"), width=16, positions=8, unknown_rows=2)
    vocabulary = HashedVocabulary.build(["go", "left", "right"], config.unknown_rows)
    fresh = RouterNet(config, len(vocabulary)).to_router(vocabulary)
    fresh.save(tmp_path / "one.safetensors")
    loaded = Router.load(tmp_path / "one.safetensors")
    loaded.save(tmp_path / "two.safetensors")
    assert loaded.config == config
    assert outcome(Router.load(tmp_path / "two.safetensors").decide("go left")) == outcome(loaded.decide("go left"))


def test_the_scale_makes_sharper_and_changes_no_order(router: Router) -> None:
    text = "Is there anything about the arm in memory?"
    scores = router.decide(text).scores
    sharper = router.rescaled(2 * router.config.scale)
    assert sharper.decide(text).scores == pytest.approx(2 * scores, rel=1e-5)
    assert np.array_equal(router.decide(text).scores, scores)


def test_weights_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    for name in ("bad.safetensors", "missing.safetensors"):
        with pytest.raises(ModelError, match=rf"{name}.*brainnet train"):
            Router.load(tmp_path / name)
    with pytest.raises(ModelError, match="no router weights"):
        Router.load(region_file("hippocampus", ".safetensors"))


def test_weights_that_do_not_fit(router: Router) -> None:
    missing = {name: array for name, array in router.weights.items() if name != "decay"}
    with pytest.raises(ModelError, match=r"^decay is missing and should be \(64,\)$"):
        Router(router.config, missing, router.vocabulary)
    with pytest.raises(ModelError, match=r"^bias is \(64,\) and should be left out$"):
        Router(router.config, {**router.weights, "bias": router.weights["decay"]}, router.vocabulary)
    with pytest.raises(ModelError, match=r"readout\.bias is \(5,\) and should be \(2,\); readout\.weight"):
        Router(replace(router.config, routes=("left", "right")), router.weights, router.vocabulary)
    fewer = HashedVocabulary(router.vocabulary.hashes[1:], router.vocabulary.unknown_rows)
    with pytest.raises(ModelError, match=r"^encoder\.embedding\.weight is \(8441, 64\) and should be \(8440, 64\)$"):
        Router(router.config, router.weights, fewer)


@pytest.mark.parametrize(
    ("sizes", "said"), [({"steps": 1}, "window"), ({"positions": 0}, "window"), ({"heads": 3}, "heads")]
)
def test_sizes_that_do_not_fit(sizes: dict[str, int], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        RouterConfig(routes=("left", "right"), **sizes)


def test_every_token_has_the_code_of_the_network_at_every_phase(router: Router, net: RouterNet) -> None:
    config = router.config
    inference = RouterInference(config, router.weights)
    rows = np.arange(len(router.vocabulary))
    for first in range(0, len(rows), 1000):
        tokens = np.repeat(rows[first : first + 1000, None], config.positions, axis=1)
        with torch.inference_mode():
            expected = net.encoder(torch.from_numpy(tokens)).transpose(0, 1).numpy()
        assert np.array_equal(inference.encode(tokens), expected)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=24), st.booleans(), st.integers(0, 2**31))
def test_deciding_in_numpy_gives_what_the_network_gives(tokens: list[int], first: bool, seed: int) -> None:
    torch.manual_seed(seed % 7)
    config = RouterConfig(routes=("nose", "tongue", "ear"))
    net = RouterNet(config, 201).eval()
    vocabulary = HashedVocabulary(np.arange(200 - config.unknown_rows), config.unknown_rows)
    rng = np.random.default_rng(seed)
    rows = np.array([tokens, tokens[::-1]], np.int64)
    membrane = None if first else rng.normal(0, 0.5, (2, config.width)).astype(np.float32)
    threshold = None if first else 1.17
    with torch.no_grad():
        spikes = net.encoder(torch.from_numpy(rows))
        start = None if membrane is None else torch.from_numpy(membrane)
        scores, after = net(spikes, torch.ones(rows.shape, dtype=torch.bool), start, threshold)
    inference = RouterInference(config, net.to_router(vocabulary).weights)
    codes = inference.encode(rows)
    np.testing.assert_array_equal(codes.transpose(1, 0, 2, 3), spikes.numpy().astype(bool))
    found, potential = inference.run(codes, membrane, threshold)
    # A sum that is rounded in another order may move one spike of a neuron that is exactly at its threshold.
    np.testing.assert_allclose(found, scores.numpy(), atol=0.05)
    np.testing.assert_allclose(potential, after.numpy(), atol=0.05)
    assert np.median(np.abs(found - scores.numpy())) < 1e-4
