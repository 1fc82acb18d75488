"""A yes/no question turned into the statement that it asks about: "Is the car in the garage?", "the car is in ..."."""

from __future__ import annotations

import re
from typing import Final

from brainnet.memory import fold, stop_words
from hippocampus_phrases import anywhere, leading, whole

_MARKS = re.compile(r"\A[¿ ]{1,4}|[ ?؟？!.。;\u037e]{1,8}\Z")
_TAG = re.compile(
    r"[,;]? (?:right|correct|true|yes|no|(?:is|are|was|were|do|does|did|has|have|can|could|will|would|should)"
    r"(?:n't| not)? (?:it|he|she|they|we|you|i|that|there|this)(?: not)?|oder|nicht wahr|stimmt's|n'est-ce pas"
    r"|verdad|no es"
    r" cierto|vero|nao e|toch|eller hur|ikke sant|prawda|правда|верно)\Z",
    re.IGNORECASE,
)
"""What makes a question of a statement at its end: ", isn't it"."""
_ENGLISH_PLURAL_S: Final = re.compile(r"(?:s|x|z|ch|sh|o)\Z")
_ENGLISH_VERBS: Final = frozenset(
    """accept arrive bake begin belong bring build buy call carry charge clean close collect come contain cook cost
    cover cycle dance dislike do drink drive eat end enjoy expire fit fly get give go grow hate have hold include
    keep know last leave like live look love make mean measure meet move need open own pay play prefer read rent
    ride run say see sell send show sing sit sleep smell snore speak spend stand start stay stop study swim take
    talk teach tell think lift reach detect climb carry grip jump hear remember recharge print scan weld swim
    travel turn understand use visit wait walk want wash watch wear weigh work write""".split()  # noqa: SIM905
)
_PREDICATE_STARTS: Final = frozenset(
    """born called named married allowed able made located closed open available free empty full broken about above
    across after against allergic already also always among around at away before behind below beneath beside
    between by called down during from here in inside into just named near never next not now of off on open
    opposite out outside over past still there through to today tomorrow tonight toward towards under up upstairs
    downstairs usually very with within without yet a an the my your our""".split()  # noqa: SIM905
)
_DO: Final = frozenset({"do", "does", "did"})


def claim_of(question: str, language: str) -> str:  # noqa: PLR0911 - one rule per return
    """Return the statement that a yes/no question asks about, in the words of the question; empty if that is unclear.

    Args:
        question: The question alone, without what leads to it.
        language: Its language.
    """
    text = _MARKS.sub("", question.strip())
    shorter = _TAG.sub("", text)
    tagged, text = shorter != text, shorter
    folded, places = fold(text)
    first = leading(language, "yes_no")
    if first and (found := first.match(folded)):
        return text[places[found.end()] :].lstrip(" ,")
    if language == "ja":
        return re.sub(r"(?:か|よね|かな)\Z", "", text)
    if language == "zh":
        return re.sub(r"(?:是吗|对吗|对吧|吗|吧)\Z", "", text)
    if language in {"ru", "uk"}:
        return re.sub(r" ли(?= )", "", text)
    if language in {"ko", "fi", "tr"}:
        return ""
    words = text.split(" ")
    if tagged or len(words) < 3 or not _is_verb(words[0], language):
        return "" if len(words) < 2 else text
    if language == "en":
        return _english(words)
    return _inverted(words, language)


def _is_verb(word: str, language: str) -> bool:
    verbs = whole(language, "verb_first")
    return bool(verbs and verbs.match(fold(word)[0]))


def _english(words: list[str]) -> str:
    verb, rest = words[0].lower(), words[1:]
    negated = verb.endswith("n't")
    verb = verb.removesuffix("n't")
    verb = {"ca": "can", "wo": "will", "ai": "is"}.get(verb, verb)
    end = _english_subject(rest, verb)
    if not 0 < end < len(rest):
        return ""
    subject, predicate = rest[:end], rest[end:]
    if negated:
        return " ".join([*subject, verb, "not", *predicate])
    if verb == "do":
        return " ".join([*subject, *predicate])
    if verb == "does" and predicate[0].isalpha():
        return " ".join([*subject, _third_person(predicate[0]), *predicate[1:]])
    return " ".join([*subject, verb, *predicate])


def _english_subject(rest: list[str], verb: str) -> int:
    """Return how many words the subject has."""
    first = rest[0].lower()
    if first in {"i", "you", "he", "she", "it", "we", "they", "there", "everyone", "everything", "someone", "anyone"}:
        return 1
    lower = [word.lower().strip(",") for word in rest]
    if first in {"this", "that", "these", "those"} and (len(rest) < 3 or lower[1] in _PREDICATE_STARTS):
        return 1
    if verb in _DO or verb in {"can", "could", "will", "would", "should", "shall", "may", "might", "must"}:
        after = (place for place in range(1, len(rest)) if lower[place] in _ENGLISH_VERBS or lower[place] == "be")
        return next(after, _noun_phrase(rest))
    # "is": the predicate begins with a preposition, an article or a participle; it is one word if there is none
    for place in range(1, len(rest)):
        word = lower[place]
        if word in {"and", "or", "of"}:
            continue
        if lower[place - 1] in {
            "and",
            "or",
            "of",
            "the",
            "a",
            "an",
            "my",
            "your",
            "our",
            "his",
            "her",
            "their",
            "this",
            "that",
        }:
            continue
        if verb in {"has", "have", "had"} and (word in {"got", "been", "to"} or word.endswith(("ed", "en"))):
            return place
        if word in _PREDICATE_STARTS or (word.endswith(("ing", "ed")) and place + 1 < len(rest)):
            return place
    return len(rest) - 1


def _noun_phrase(rest: list[str]) -> int:
    """Return the length of the noun phrase in front: a name, or an article with one word."""
    article = leading("en", "article")
    if article and article.match(rest[0].lower()):
        return 2
    end = 1
    while end < len(rest) and rest[end][:1].isupper():
        end += 1
    return end


def _third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if len(verb) > 2 and verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + ("es" if _ENGLISH_PLURAL_S.search(verb) else "s")


def _inverted(words: list[str], language: str) -> str:
    """Put the verb that begins a question behind its subject: an article with a noun, a name or a pronoun."""
    verb, rest = words[0], words[1:]
    if language in {"es", "pt", "it"}:
        verb = verb.lower()
    article, pronoun = anywhere(language, "article"), anywhere(language, "pronoun")
    first = fold(rest[0])[0]
    end = 1
    if article and article.fullmatch(first):
        end = 2
        if language == "de":
            # adjectives stand between, in lower case; nouns have a capital letter
            while end < len(rest) and not rest[end - 1][:1].isupper():
                end += 1
    elif not (pronoun and pronoun.fullmatch(first)) and first not in stop_words(language):
        while end < len(rest) and rest[end][:1].isupper() and language != "de":
            end += 1
    if end >= len(rest):
        return ""
    return " ".join([*rest[:end], verb[:1].lower() + verb[1:], *rest[end:]])
