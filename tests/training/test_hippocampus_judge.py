"""The judge of memory's answers: its worlds, its lexicon, its training, and what its threshold guarantees."""

from __future__ import annotations

import io
import random
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import hippocampus_judge_training as training
from brainnet.errors import ModelError, TrainingError
from brainnet.paths import region_file
from brainnet.snn.models.text_embedder import SpikingTextEmbedder
from brainnet.snn.models.text_features import hash32
from brainnet.training import Run
from hippocampus_judge import Judge
from hippocampus_judge_training import Outcome, Settings, binomial_tail, calibrate, evaluate, risk_coverage, train
from hippocampus_reading import read
from hippocampus_senses import Lexicon
from hippocampus_wordnet import lexicon_tables
from hippocampus_worlds import lists, make_world, relations

NOUNS = """\
00000001 03 n 01 vehicle 0 000 | what drives
00000002 06 n 02 car 0 automobile 0 001 @ 00000001 n 0000 | with four wheels
00000003 06 n 02 bicycle 0 bike 0 001 @ 00000001 n 0000 | with two wheels
00000004 18 n 01 person 0 000 | a human being
00000005 18 n 01 teacher 0 001 @ 00000004 n 0000 | who teaches
00000006 15 n 01 location 0 000 | where
00000007 15 n 01 city 0 001 @ 00000006 n 0000 | a large town
"""
INDEX = """\
vehicle n 1 0 1 0 00000001
car n 1 1 @ 1 0 00000002
automobile n 1 1 @ 1 0 00000002
bicycle n 1 1 @ 1 0 00000003
bike n 1 1 @ 1 0 00000003
person n 1 0 1 0 00000004
teacher n 1 1 @ 1 0 00000005
location n 1 0 1 0 00000006
city n 1 1 @ 1 0 00000007
"""


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wordnet")
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{part}").write_text(NOUNS if part == "noun" else "")
        (folder / f"index.{part}").write_text(INDEX if part == "noun" else "")
    (folder / "noun.exc").write_text("bicyclen bicycle\n")
    return folder


@pytest.fixture(scope="module")
def lexicon(wordnet: Path) -> Lexicon:
    words = "vehicle car automobile bicycle bike person teacher location city bicyclen".split()  # noqa: SIM905
    return Lexicon(lexicon_tables(wordnet, {hash32(word) for word in words}))


def test_the_lexicon_knows_synonyms_kinds_and_sisters(lexicon: Lexicon) -> None:
    assert lexicon.relation("automobile", "cars").same == 1
    kind = lexicon.relation("vehicle", "car")
    assert kind.kind > 0.9
    assert kind.same == kind.general == 0
    assert lexicon.relation("car", "vehicle").general > 0.9
    sister = lexicon.relation("bike", "car")
    assert sister.sister > 0.8
    assert sister.same == sister.kind == 0
    assert lexicon.relation("bicyclen", "bike").same == 1
    assert lexicon.relation("car", "teacher").same == 0
    assert lexicon.senses("teacher").person
    assert lexicon.senses("city").place
    assert not lexicon.senses("car").person
    assert not lexicon.known("quokka")


def test_no_wordnet(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="wordnet-base"):
        lexicon_tables(tmp_path, set())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("छाता अलमारी के पीछे है।", ["छाता", "अलमारी", "के", "पीछे", "है"]),
        ("குடை அலமாரியில் உள்ளது.", ["குடை", "அலமாரியில்", "உள்ளது"]),
        (unicodedata.normalize("NFD", "Jörg wohnt in Málaga."), ["jorg", "wohnt", "malaga"]),
        ("المِفتاح في السيارة", ["المفتاح", "السياره"]),
        ("l'échelle d'Anna", ["echelle", "anna"]),
    ],
)
def test_words_are_read_with_their_vowel_signs_and_accents(lexicon: Lexicon, text: str, words: list[str]) -> None:
    assert [word.word for word in read(text, lexicon, words).words] == words


def test_worlds_are_made_of_relations_whose_lists_exist() -> None:
    assert len(relations()) >= 150
    for relation in relations():
        assert lists()[relation.subject]
        assert lists()[relation.values]
        assert all("{x" in text and "{v}" in text for text in relation.statements), relation.name
        assert all("{x" in text for text in relation.questions), relation.name


def test_a_world_has_answers_where_it_says_so() -> None:
    rng = random.Random(0)
    kinds: dict[str, set[bool]] = {}
    for _ in range(100):
        world = make_world(rng, relations(), 12, 10)
        for question in world.questions:
            assert not question.answers & question.unclear
            assert all(number < len(world.told) for number in question.answers)
            kinds.setdefault(question.kind, set()).add(bool(question.answers))
    assert kinds["same"] == kinds["other_words"] == {True}
    assert False in kinds["other_subject"]
    assert False in kinds["other_relation"]
    assert kinds["yours"] == {False}


def test_the_first_person_is_told_in_its_own_words() -> None:
    from hippocampus_worlds import _fill

    assert _fill("{x} lives {v}", "I", "in Oslo") == "I live in Oslo"
    assert _fill("{x's} phone number is {v}", "I", "55") == "my phone number is 55"
    assert _fill("where does {x} live", "I", "") == "where do I live"
    assert _fill("who reports to {x}", "I", "") == "who reports to me"


def test_a_judge_is_trained_saved_and_loaded(wordnet: Path, tmp_path: Path) -> None:
    shutil.copy(region_file("hippocampus").with_name("hippocampus.safetensors"), tmp_path)
    settings = Settings.model_validate(
        {"wordnet": str(wordnet), "worlds": 60, "calibration_worlds": 15, "questions": 6, "epochs": 6, "hidden": 8,
         "judged": 8, "axes": 4, "learning_rate": 0.01, "batch": 32, "worded_repeats": 0,
         "worded_held_out": 0.005}
    )  # fmt: skip
    run = Run("judge", settings, tmp_path / "judge.safetensors", console=Console(file=io.StringIO()))
    train(run)
    judge = Judge.load(run.weights, SpikingTextEmbedder.load(tmp_path / "hippocampus.safetensors"))
    assert 0 < judge.threshold < 1
    said = [judge.read(text) for text in ("The key is in the drawer.", "Anna lives in Oslo.")]
    asked = judge.read("Where is the key?", ["key"], "en")
    features = judge.features(asked, "place", said, [0.5], [0.5, 0.0], 2)
    probable, other = judge.probabilities(judge.figures(features))
    assert probable > other
    rows = {row.name: row.value for row in evaluate(run)}
    assert rows["other_words_wrong"] < 0.5
    assert {"at_30_right", "at_90_wrong", "other_words_other_relation_refused"} <= set(rows)


def test_no_judge(tmp_path: Path) -> None:
    embedder = SpikingTextEmbedder.load(region_file("hippocampus").with_name("hippocampus.safetensors"))
    with pytest.raises(ModelError, match="holds no judge"):
        Judge.load(tmp_path / "none.safetensors", embedder)
    with pytest.raises(ModelError, match="holds no judge"):
        Judge.load(region_file("hippocampus").with_name("hippocampus.safetensors"), embedder)


def test_the_binomial_tail_is_that_of_counted_errors() -> None:
    draws = np.random.default_rng(0).binomial(200, 0.03, 20_000)
    assert binomial_tail(3, 200, 0.03) == pytest.approx(float((draws <= 3).mean()), abs=0.01)
    assert binomial_tail(0, 0, 0.03) == 0


def test_the_threshold_keeps_the_risk() -> None:
    """Of judges calibrated on samples of one distribution, few have a larger risk on it than is promised."""
    rng = np.random.default_rng(1)

    def drawn(count: int) -> list[Outcome]:
        logits = rng.normal(0, 2, count)
        right = rng.random(count) < 1 / (1 + np.exp(-1.5 * logits))
        return [Outcome(float(a), bool(b), answerable=True, kind="") for a, b in zip(logits, right, strict=True)]

    embedder = SpikingTextEmbedder.load(region_file("hippocampus").with_name("hippocampus.safetensors"))
    tested, broken = drawn(20_000), 0
    for _ in range(30):
        judge = Judge(embedder, Lexicon({}), {})
        calibrate(judge, drawn(1500), risk=0.03, sure=0.1)
        assert judge.scale[0] == pytest.approx(1.5, abs=0.4)
        broken += risk_coverage(judge, tested, judge.threshold)[0] > 0.03
    assert broken <= 7
    assert training.MIN_QUESTIONS >= 2
