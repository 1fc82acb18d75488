"""The language of a text, and words as memory compares them in each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.memory import LANGUAGES, TextIndex, fold, guess_language, kinship, plain_words, stop_words, terms


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the key?", "en"),
        ("move the arm to (0.1, 0.2)", "en"),
        ("wifi password", "en"),
        ("Wo ist der Schlüssel?", "de"),
        ("Merk dir: wifi swordfish", "de"),
        ("Où est la clé ?", "fr"),
        ("¿Dónde está la llave?", "es"),
        ("Dov'è la chiave?", "it"),
        ("Onde está a chave?", "pt"),
        ("Waar is de sleutel?", "nl"),
        ("Var är nyckeln?", "sv"),
        ("Hvad ved du om nøglen?", "da"),
        ("Hva vet du om nøkkelen?", "no"),
        ("Missä avain on?", "fi"),
        ("Gdzie jest klucz?", "pl"),
        ("Kde je klíč?", "cs"),
        ("Где ключ?", "ru"),
        ("Де лежить ключ?", "uk"),
        ("Anahtar nerede?", "tr"),
        ("Πού είναι το κλειδί;", "el"),
        ("أين المفتاح؟", "ar"),
        ("איפה המפתח?", "he"),
        ("चाबी कहाँ है?", "hi"),
        ("鍵はどこですか", "ja"),
        ("钥匙在哪里", "zh"),
        ("열쇠는 어디에 있나요?", "ko"),
        ("กุญแจอยู่ที่ไหน", "th"),
        ("iPhone はどこ", "ja"),
        ("12 34", ""),
        ("", ""),
    ],
)
def test_the_language_of_a_text(text: str, language: str) -> None:
    assert guess_language(text) == language


@given(st.text(max_size=60))
def test_any_text_has_at_most_one_language(text: str) -> None:
    assert len(guess_language(text)) in (0, 2)


def test_stop_words_are_plain_words() -> None:
    for language in LANGUAGES:
        words = stop_words(language)
        assert len(words) > 20
        assert words < stop_words(language, asking=True)
        assert all(plain_words(word) == [word] for word in words)
    assert stop_words("xx") == frozenset()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("المفتاح", "مفتاح"),  # the article
        ("والسيارة", "سيارة"),
        ("أحمد", "احمد"),  # forms of alef
        ("הַמַּפְתֵּחַ", "מפתח"),  # points, and a prefix
        ("במגירה", "המגירה"),
        ("열쇠는", "열쇠를"),  # particles
        ("ключа", "ключ"),
        ("ёлка", "елка"),
        ("ISPARTA", "ısparta"),
        ("Łódź", "lodz"),
        ("Straße", "STRASSE"),
        ("दराज़", "दराज"),
        ("l’huile", "l'huile"),
        ("ﬁn", "fin"),
    ],
)
def test_forms_of_a_word_have_the_same_term(one: str, other: str) -> None:
    assert terms(one) == terms(other)


def test_other_words_have_other_terms() -> None:
    assert terms("かぎ") != terms("かき")
    assert plain_words("мой") != plain_words("мои")
    assert terms("कल") != terms("काल")
    assert terms("dell'olio") == ["dell", *terms("olio")]


@pytest.mark.parametrize(
    ("word", "other", "language", "expected"),
    [
        ("schlussel", "haustürschlüssel", "de", 0.6),
        ("haustürschlüssel", "schlüsseln", "de", 0.6),
        ("sleutel", "huissleutel", "nl", 0.6),
        ("häuser", "haus", "de", 0.9),
        ("chevaux", "cheval", "fr", 0.9),
        ("key", "keys", "en", 1.0),
        ("room", "bathroom", "en", 0.0),
        ("oder", "moder", "de", 0.0),
        ("auto", "katze", "de", 0.0),
    ],
)
def test_kinship(word: str, other: str, language: str, expected: float) -> None:
    (one,), (two,) = plain_words(word), plain_words(other)
    assert kinship(one, two, language) == kinship(two, one, language) == expected


@given(st.text(max_size=40))
def test_a_folded_text_keeps_its_places(text: str) -> None:
    folded, places = fold(text)
    assert len(places) == len(folded) + 1
    assert places == sorted(places)
    assert places[-1] == len(text)


def test_compounds_are_found_by_their_parts_and_the_other_way_round() -> None:
    index = TextIndex()
    for text in ("Der Haustürschlüssel liegt dort.", "Das Auto ist rot.", "Tom hat den Schlüssel.", "the bathroom"):
        index.add(text)
    part, whole = (index.scores(index.query_terms(f"Wo ist der {word}?")) for word in ("Schlüssel", "Haustürschlüssel"))
    assert part[2] > part[0] > 0 == part[1]
    assert whole[0] > whole[2] > 0 == whole[1]
    assert index.scores(index.query_terms("Where is the room?")).tolist() == [0, 0, 0, 0]


def test_a_word_of_a_language_is_found_in_its_other_forms() -> None:
    index = TextIndex()
    for text in ("Les chevaux sont au pré.", "Le chat dort."):
        index.add(text)
    assert index.scores(index.query_terms("Où est le cheval ?"))[0] > 0


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        ("鍵は引き出しにあります。", "引き出しには何がありますか？"),
        ("钥匙在抽屉里。", "钥匙在哪里？"),
        ("चाबी दराज में है।", "चाबी कहाँ है?"),
        ("المفتاح في الدرج.", "أين مفتاح الباب؟"),
        ("המפתח במגירה.", "איפה המפתח?"),
        ("กุญแจอยู่ในลิ้นชัก", "กุญแจอยู่ที่ไหน"),
        ("열쇠는 서랍에 있어요.", "열쇠가 어디에 있나요?"),
        ("Ключ лежит в ящике.", "Где ключи?"),
    ],
)
def test_statements_are_found_in_every_script(statement: str, question: str) -> None:
    index = TextIndex()
    for text in ("The car is red.", statement, "Das Auto ist rot."):
        index.add(text)
    scores = index.scores(index.query_terms(question))
    assert scores.argmax() == 1
    assert scores[1] > 0
