"""What prompts ask of memory, in many languages: nothing fails, and the examples are understood."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import LANGUAGES, plain_words
from brainnet.paths import share_dir
from hippocampus_phrases import languages
from hippocampus_prompts import Asked, understand
from hippocampus_wording import tells

Example = tuple[str, str, str, str | None]


def examples() -> list[Example]:
    """Return (language, what it is, prompt, detail) of hippocampus_prompts.yaml."""
    read = yaml.safe_load(Path(__file__).with_name("hippocampus_prompts.yaml").read_text("utf-8"))
    found = []
    for language, lines in read.items():
        for line in lines.splitlines():
            what, prompt, *detail = (part.strip() for part in line.split("|"))
            found.append((language, what, prompt, detail[0] if detail else None))
    return found


EXAMPLES = examples()


@pytest.mark.parametrize(("language", "what", "prompt", "detail"), EXAMPLES)
def test_the_examples_are_understood(language: str, what: str, prompt: str, detail: str | None) -> None:
    asked = understand(prompt)
    kind, _, answer_type = what.removesuffix("+").partition(":")
    assert (asked.kind, asked.answer_type if answer_type else "") == (kind, answer_type)
    if kind != "other":
        assert asked.follow_up == what.endswith("+")
    if detail is not None:
        told = {"statement": asked.fact, "correct": asked.fact, "yes_no": asked.claim}
        assert told.get(kind, " ".join(asked.subject)) == detail
    # short sentences of Danish, Norwegian and Swedish are written alike
    assert asked.language == language or kind == "other" or {asked.language, language} <= {"da", "no", "sv"}


def test_there_are_examples_of_every_language() -> None:
    counted = {language: sum(example[0] == language for example in EXAMPLES) for language in languages()}
    assert set(languages()) == set(LANGUAGES)
    assert min(counted.values()) >= 8
    assert min(counted[language] for language in ("en", "de", "fr", "es", "it", "pt", "nl")) >= 25


def test_what_is_asked_to_be_kept_is_explicit() -> None:
    assert understand("Remember that tea is at four.").explicit
    assert not understand("Tea is at four.").explicit


@pytest.mark.parametrize(
    ("prompt", "fact", "wrong"),
    [
        ("The key is not in the drawer but in the car.", "The key is in the car.", "in the drawer"),
        ("No, the key is in the car, not in the drawer.", "The key is in the car.", "in the drawer"),
        ("Nein, der Schlüssel ist nicht im Auto, sondern im Flur.", "Der Schlüssel ist im Flur.", "im Auto"),
        ("It is not true that Anna has a dog.", "", "Anna has a dog"),
        ("Actually, the key is in the car.", "The key is in the car.", ""),
    ],
)
def test_what_was_wrong(prompt: str, fact: str, wrong: str) -> None:
    asked = understand(prompt)
    assert (asked.kind, asked.fact, asked.corrected) == ("correct", fact, wrong)


def test_only_a_request_is_a_statement_beside_a_picture() -> None:
    assert understand("My cat is called Minka.").kind == "statement"
    assert understand("My cat is called Minka.", attached=True).kind == "other"
    assert understand("Remember that my cat is called Minka.", attached=True).kind == "statement"


def test_prompts_for_other_regions_are_no_statements() -> None:
    """Precision: of the routing prompts for other regions at most one in a hundred is taken for a statement."""
    kept, prompts = [], []
    for name in ("validation", "written", "test", "test_2"):
        path = share_dir() / f"nodes/prefrontal/routing_prompts_{name}.yaml"
        for region, lines in yaml.safe_load(path.read_text("utf-8")).items():
            if "hippocampus" not in region:
                prompts += [(region == "vision", line.removeprefix("<image>").strip()) for line in lines.splitlines()]
    for attached, prompt in prompts:
        if prompt and understand(prompt, attached=attached).kind in ("statement", "correct", "forget", "everything"):
            kept.append(prompt)
    assert len(prompts) > 1500
    assert len(kept) * 100 <= len(prompts), kept


ANY = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([word for _, _, prompt, _ in EXAMPLES for word in prompt.split()]), max_size=12).map(
        " ".join
    ),
)


@given(text=ANY, attached=st.booleans())
def test_any_text_is_understood_somehow(text: str, attached: bool) -> None:
    asked = understand(text, attached=attached)
    assert isinstance(asked, Asked)
    assert isinstance(asked.subject, list)
    assert len(set(asked.subject)) == len(asked.subject)
    assert set(asked.subject) <= set(plain_words(text)) | set(plain_words(text.casefold()))
    if asked.kind == "statement":
        assert len(plain_words(asked.fact)) > 1
    if asked.kind in ("forget", "about", "everything", "other"):
        assert not asked.fact


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("Forget the dent, please.", "dent"),
        ("You may drop who has night duty.", "night duty"),
        ("please remove where our money comes from", "money comes"),
        ("Don't store anything about Ikram.", "ikram"),
        ("no need to keep the bit about the water butt", "bit water butt"),
        ("Remove the fire from your notes, will you.", "fire"),
        ("The spotlight's been fixed, so drop it.", "spotlight's fixed"),
        ("The nun with the hops, you can drop that.", "nun hops"),
        ("Merk dir bitte nicht länger, wo der Schlüssel ist.", "schlussel"),
        ("Das mit Ngozi und den Bussen kannst du löschen.", "ngozi bussen"),
        ("Le concert du 8 décembre, tu peux l'effacer.", "concert 8 decembre"),
        ("Ya he enviado el bastón, puedes olvidarlo.", "enviado baston"),
        ("Please don't keep Tom's number any longer.", "tom's number"),
        ("Non serve più ricordare chi porta il vino.", "porta vino"),
    ],
)
def test_requests_to_forget_in_other_words(prompt: str, subject: str) -> None:
    asked = understand(prompt)
    assert (asked.kind, " ".join(asked.subject)) == ("forget", subject)


@pytest.mark.parametrize(
    "prompt",
    [
        "Don't keep the batteries in the fridge.",
        "I can forget it.",
        "We never delete it.",
        "You can drop the parcel at Nora's.",
        "Anna said you can forget that.",
        "Drop the red block into the bin.",
        "Remove the lid and lift the arm.",
        "Quita la caja de la mesa.",
        "Das kannst du vergessen!",
    ],
)
def test_what_only_sounds_like_forgetting_deletes_nothing(prompt: str) -> None:
    assert understand(prompt).kind != "forget"


@pytest.mark.parametrize(
    "text",
    [
        "Le oche fanno la guardia al pollaio, perché la volpe ci ha portato via tre galline.",
        "El chupete es de Vera, que tiene cuatro años.",
        "Le match est dimanche à 10 heures, et c'est Loïc, le facteur, qui arbitre.",
        "Wer als Letzter geht, muss das Tor zumachen.",
        "Chi tarda paga il caffè a tutti, anche alla direttrice.",
        "When thunder is forecast we don't go, and Marlies writes to all.",
        "Mansikkamaan ympärillä on sähköaita, koska peurat söivät kaiken.",
    ],
)
def test_a_clause_that_begins_with_a_question_word_asks_nothing(text: str) -> None:
    asked = understand(text)
    assert asked.kind == "statement" or (asked.kind == "other" and tells(text))


@pytest.mark.parametrize(
    "text",
    [
        "Lift passes are sold at the station.",
        "Open flames are forbidden everywhere, even in the courtyard.",
        "Switch 5 is heated with gas.",
        "No eggs go into the poppy seed cake.",
        "spare key: under the blue flower pot",
        "plumber = Okonkwo, 0171 5550",
    ],
)
def test_what_begins_like_a_command_may_tell(text: str) -> None:
    assert tells(text)


@pytest.mark.parametrize(
    "text",
    [
        "Tell me who is there.",
        "Show what is in the picture.",
        "Put the cup that is red down.",
        "No, stop it please.",
        "Continue: it was a dark night",
        "Move the arm to where the cup is.",
        "Translate: the key is here",
        "What is it: a cat or a dog",
    ],
)
def test_commands_tell_nothing(text: str) -> None:
    assert not tells(text)
