"""Which questions there are: what they ask for, what they are about, and whether they can stand alone."""

from __future__ import annotations

import re
from typing import Final, Literal

from brainnet.memory import fold, plain_words, stop_words
from hippocampus_english import content_words
from hippocampus_phrases import ANSWER_TYPES, SIBLINGS, anywhere, languages, leading, trailing

MARKS: Final = ("?", "？", "؟", "՞", "⸮")
LEAD: Final = 3
"""Words up to which what stands before a question is an address or a greeting."""
_SEARCHED: Final = frozenset({"ja", "zh", "ko", "hi", "tr"})
"""Languages whose question words stand where the answer would stand, rather than in front."""
_CLAUSE = re.compile(r"(?:\A|[.!?:;,—–-] )(?:(?:and|und|et|y|e|en|och|og|a|i|и|а|but|so|also|then|dann|alors) )?(?=\S)")
_ALIKE: Final = frozenset({"da", "no", "sv", "ru", "uk"})
"""Languages whose question words are like those of their siblings. Others differ: "come" is Italian for "how", and
Spanish for "eats"."""
_LAST_WORD = re.compile(r"(?<!\w)(\w{2,12})\W{0,6}\Z")
_MISSPELT: Final = re.compile(
    r"\A(?:(?P<place>whrer|wehre|wher|whre|weher|wheer|whete|hwere|whera|wheree)|(?P<time>whne|wehn|wenn|whenn|hwen"
    r"|wen)"
    r"|(?P<thing>hwat|waht|wht|whta|whhat|whatt|wat|wich|whihc|wihch|whcih|wath|wats|whst)|(?P<person>woh|hwo|whoo"
    r"|whos)"
    r"|(?P<manner>hwo|howw|hwow)|(?P<reason>wyh|hwy|whyy|wy))"
)
_ENGLISH_VERB = re.compile(
    r"(?<!\w)(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|must|may|am|isn't|aren't"
    r"|doesn't|don't|it's"
    r"|he's|she's|lives|likes|works|takes|costs|\w{3,20}ed)(?!\w)"
)
_ENDS_ASKING = {
    language: re.compile(rf"(?<!sais)(?<!sait)(?<!pas) (?:{verbs}) (?:{words})[ .]*\Z")
    for language, verbs, words in (
        (
            "fr",
            "c'est|est|sont|s'appelle|s'appellent|habite|part|arrive|vient|va|coute",
            "qui|comment|quoi|ou|quand|combien|lequel|laquelle",
        ),
        ("es", "es|esta|estan|son|se llama|se llaman|vive|sale|llega|cuesta", "quien|donde|cuando|cuanto|cual"),
        ("pt", "e|esta|estao|sao|fica|se chama|mora|sai|chega|custa", "quem|onde|quando|quanto|qual"),
        ("it", "e|sta|sono|si chiama|si chiamano|abita|parte|arriva|costa", "chi|dove|quando|quanto|quale"),
    )
}
"""How a question ends that has no question mark: "la secrétaire, c'est qui"."""
_SENTENCE_END = re.compile(r"(?<=\w\w\w)[.!] ")
_VERB_NEXT = re.compile(
    r"\A(?:when|where)(?:'s| (?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|must|may|am))\b"
)
_EXPLETIVE = re.compile(
    r"(?<!\w)(?:what (?:time|day|date|year) is it|is it (?:raining|snowing|going to rain|cold|hot|warm|late|early"
    r"|true|possible|ok)|it is (?:raining|snowing|going to rain|cold|hot|warm|late|early)|how (?:late|far) is it"
    r"|wie spat ist es|wieviel uhr ist es"
    r"|quelle heure"
    r" est-il|(?:is|are|was|were) there|there(?:'s| is| are)|how \w{2,12} is it (?:in|at|on|outside)|gibt es"
    r"|stimmt es|il y a|y a-t-il)(?!\w)"
)
SPEAKERS: Final = frozenset(
    """i me my mine we us our you your ich mich mir mein meine meinen meinem meiner wir uns unser unsere du dich
    dir dein deine je j me moi m ma mes mon nous notre nos tu toi ton ta tes yo mi mis nosotros nuestro nuestra tu
    io mio mia miei noi nostro nostra tuo tua eu meu minha meus minhas nos nosso nossa teu tua ik mij mijn wij we
    ons onze jij je jouw jag mig min mitt mina vi oss du dig jeg meg mitt mina vores ja moj moja moje mnie mi my
    nas nasz ty twoj я меня мне мой моя мое мои мы нас наш наша ты тебя твой мене мені моє ми ben benim bana adim
    biz senin εγω μου μας σου أنا انا اسمي اني אני שלי אנחנו אתה मैं मेरा मेरी मेरे हम हमारा हमारी तुम्हारा
    तुम्हारी 私 僕 俺 我 我们 你 나 내 저 제 우리 llamo chiamo chamo""".split()  # noqa: SIM905
)
"""Words for who speaks and who is spoken to: they need no noun before them."""


def subject_words(text: str, language: str) -> list[str]:
    """Return the content words of a text in order, without repetitions: without function words and words of asking."""
    if language in {"en", ""}:
        stops = stop_words("en", asking=True)
        return [word for word in content_words(text) if word not in stops and not _MISSPELT.fullmatch(word)]
    stops = stop_words(language, asking=True)
    return [word for word in dict.fromkeys(plain_words(text)) if word not in stops]


def _type_at(folded: str, language: str) -> str | None:
    for name in ANSWER_TYPES:
        pattern = leading(language, name)
        if pattern and pattern.match(folded):
            return _kind_of(name)
    return None


def _kind_of(name: str) -> str:
    # a name may be that of a person, an animal, a robot or a town
    return "thing" if name == "name" else name


def answer_type(folded: str, language: str) -> str | None:  # noqa: PLR0911 - one rule per return
    """Return what the question words of a folded text ask for, one of `ANSWER_TYPES`; None without question words."""
    if language in _SEARCHED:
        found = {name: hit.start() for name in ANSWER_TYPES if (hit := _search(name, folded, language))}
        first = min(found, key=lambda name: (found[name], ANSWER_TYPES.index(name)), default=None)
        return _kind_of(first) if first else None
    for clause in _CLAUSE.finditer(folded[:1000]):
        rest = folded[clause.end() :]
        found_type = _type_at(rest, language)
        if found_type:
            return found_type
    if (
        language == "en"
        and (misspelt := _MISSPELT.match(folded))
        and folded[misspelt.end() : misspelt.end() + 1] in {" ", "'"}
    ):
        return misspelt.lastgroup
    if language in {"ar", "he", "el", "fi", "pl", "cs", "ru", "uk"}:
        # words may stand in any order: "Ключ где?"
        found = {name: hit.start() for name in ANSWER_TYPES[:-1] if (hit := _search(name, folded[:1000], language))}
        if folded.endswith(MARKS) and found:
            return _kind_of(min(found, key=lambda name: (found[name], ANSWER_TYPES.index(name))))
    if folded.endswith(MARKS):
        # "In welcher ...", "With which ...", "My keys are where?"
        second = folded.split(" ", 2)
        if len(second) > 2 and len(second[0]) <= 6 and (pattern := leading(language, "thing")):
            found_thing = pattern.match(folded[len(second[0]) + 1 :])
            if found_thing and len(found_thing.group()) > 3 and not _starts_with_verb(folded, language):
                return "thing"
        # "Le train part à quelle heure ?": of one word, as "ou", the meaning would be uncertain
        middle = ((name, _search(name, folded[:1000], language)) for name in ANSWER_TYPES)
        inside = next((name for name, hit in middle if hit and " " in hit.group() and language != "en"), None)
        if inside and not _starts_with_verb(folded, language):
            return _kind_of(inside)
        last = _LAST_WORD.search(folded[-40:])
        if last and language in {"en", "de", "fr", "es", "it", "pt", "nl"}:
            return _type_at(last.group(1), language)
    return None


def _search(name: str, folded: str, language: str) -> re.Match[str] | None:
    pattern = anywhere(language, name)
    return pattern.search(folded) if pattern else None


def _starts_with_verb(folded: str, language: str) -> bool:
    pattern = leading(language, "verb_first")
    return bool(pattern and pattern.match(folded))


def is_question(text: str, folded: str, language: str) -> Literal["question", "yes_no"] | None:  # noqa: PLR0911 - one rule per return
    """Return whether a text asks something, and whether the answer is yes or no; None if it does not.

    Args:
        text: The text.
        folded: The folded text.
        language: Its language.
    """
    if language not in languages():
        language = "en"
    tongues = (language, *SIBLINGS.get(language, ()))
    marked = folded.rstrip(" \"'”»)!.").endswith(MARKS) or (language == "el" and folded.endswith(";"))
    begins = [leading(tongue, "yes_no") for tongue in tongues]
    # of several sentences the last one asks; "Dr." ends none
    before = [end.end() for end in _SENTENCE_END.finditer(folded[: len(folded.rstrip("?？؟ "))])] if marked else []
    sentence = folded[before[-1] :] if before else folded
    if language != "hi" and any(pattern and pattern.match(sentence) for pattern in begins):
        return "yes_no"
    alike = tongues if language in _ALIKE else tongues[:1]
    asked = next((found for tongue in alike if (found := answer_type(sentence, tongue))), None)
    if language == "hi" and folded.startswith("क्या "):
        others = [name for name in ANSWER_TYPES[:-1] if _search(name, folded, "hi")]
        return "question" if others else "yes_no"
    ends = trailing(language, "yes_no_last")
    ended = bool(ends and ends.search(folded))
    if marked:
        return "question" if asked or _goes_on(sentence, language) or _is_fragment(sentence, language) else "yes_no"
    if language in {"zh", "ja", "ko"}:
        if ended:
            return "question" if asked else "yes_no"
        return "question" if asked and language == "zh" else None
    if language in {"tr", "hi"}:
        return "yes_no" if ended else "question" if asked else None
    if language in {"ru", "uk"} and " ли " in folded[:200]:
        return "yes_no"
    ends_asking = _ENDS_ASKING.get(language)
    if asked and _asks_late(folded, language):
        asked = None
    if (asked and _asks_without_mark(folded, language)) or (ends_asking and ends_asking.search(folded)):
        return "question"
    if _goes_on_without_mark(folded, language):
        return "question"
    return "yes_no" if _inverted(text, folded, tongues) else None


def _is_fragment(folded: str, language: str) -> bool:
    """Return whether a question is only a noun: "Anna's birthday?"."""
    if language in {"ru", "uk", "ar", "he", "tr", "fi", "ja", "zh", "ko", "hi"} or len(folded.split(" ")) > 4:
        return False
    if language == "en":
        return not _ENGLISH_VERB.search(folded)
    verbs, first = anywhere(language, "verbs"), leading(language, "verb_first")
    return not (verbs and verbs.search(folded)) and not (first and first.match(folded))


def _goes_on(folded: str, language: str) -> bool:
    """Return whether a question only names something else: "And Tom's?", "What about the bike?"."""
    pattern, verbs = leading(language, "and"), anywhere(language, "verbs")
    found = pattern.match(folded) if pattern else None
    if found is None:
        return False
    rest = folded[found.end() :]
    if language == "en":
        return not _ENGLISH_VERB.search(rest)
    return not (verbs and verbs.search(rest))


def _goes_on_without_mark(folded: str, language: str) -> bool:
    return language == "en" and folded.startswith(("what about ", "how about ", "and what about ", "and the other"))


def _asks_late(folded: str, language: str) -> bool:
    """Return whether the question words of a sentence with a full stop begin a clause that comes after what it says.

    "The goose guards the hens, because ..." and "Sveva leads the choir, who is ..." are written with question words in
    the Romance languages.
    """
    if not folded.endswith("."):
        return False
    for clause in _CLAUSE.finditer(folded[:1000]):
        if _type_at(folded[clause.end() :], language):
            return len(folded[: clause.end()].split()) > LEAD
    return False


def _asks_without_mark(folded: str, language: str) -> bool:  # noqa: PLR0911 - one rule per return
    """Return whether a text that begins with question words is a question although it has no question mark."""
    words = folded.split(" ", 8)
    if language == "en":
        # "When I came home, ...", "When leaving, ...": a clause, which has its subject before its verb
        if words[0] in {"when", "where"} and "," in folded and folded.endswith(".") and not _VERB_NEXT.match(folded):
            return False
        if (
            words[0] in {"when", "while", "where", "how", "what", "who", "whose", "which", "why", "that"}
            and len(words) > 1
        ):
            if words[0] in {"when", "what", "where", "who"} and words[1] in {
                "i",
                "we",
                "you",
                "he",
                "she",
                "it",
                "they",
                "the",
                "a",
                "my",
            }:
                return False
            return len(folded) < 200
        return _type_at(folded, "en") is not None or bool(_MISSPELT.match(folded))
    if (
        language in {"de", "nl"}
        and words[0] in {"als", "wenn", "wie", "was", "dass", "of", "wer", "wo"}
        and len(words) > 6
        and "," in folded
    ):
        return False
    if language in {"es", "pt", "it", "fr"}:
        # without accents and marks "que", "como", "quando", "si" and "come" are mostly no question words
        return words[0] not in {
            "que",
            "como",
            "quando",
            "cuando",
            "come",
            "quand",
            "porque",
            "comme",
            "perche",
            "qui",
            "che",
            "chi",
            "se",
        } or (len(words) <= 7 and not folded.endswith("."))
    return not folded.endswith(".") or language not in {"pl", "cs", "ru", "uk", "el"}


def _inverted(text: str, folded: str, tongues: tuple[str, ...]) -> bool:
    """Return whether a text without a question mark begins with a verb that has its subject behind it."""
    written = text.split(" ", 3)
    if len(written) < 2 or folded.endswith((".", "!", ":")):
        return False
    second = fold(written[1])[0]
    for tongue in tongues:
        if tongue not in {"en", "de", "nl", "sv", "da", "no", "fi"} or not _starts_with_verb(folded, tongue):
            continue
        if tongue == "fi":
            return True
        first = folded.split(" ", 1)[0]
        if tongue == "en" and first in {"do", "have", "may", "will", "can", "might"}:
            return second in {"i", "we", "you", "they", "he", "she", "it", "the", "my", "anna", "there"} and (
                first not in {"do", "have"} or second in {"i", "we", "you", "they"}
            )
        article, pronoun = anywhere(tongue, "article"), anywhere(tongue, "pronoun")
        known = [pattern for pattern in (article, pronoun) if pattern]
        if any(pattern.fullmatch(second) for pattern in known) or written[1][:1].isupper() or second in SPEAKERS:
            return True
        if tongue == "en":
            return second in {"there", "anyone", "anybody", "someone", "everyone", "everything"}
    return False


def cannot_stand_alone(text: str, language: str, subject: list[str], *, question: bool = False) -> bool:
    """Return whether a text needs what was said before: it has a pronoun without a noun, or only goes on.

    Args:
        text: The text.
        language: Its language.
        subject: Its content words.
        question: It asks something.
    """
    folded = fold(text[:1000])[0]
    tongue = language if language in languages() else "en"
    if _EXPLETIVE.search(folded):
        return False
    if question and _goes_on(folded, tongue):
        return True
    other = anywhere(tongue, "other")
    found = other.search(folded) if question and other else None
    if found and len(subject) <= 2 and (found.group().endswith(" one") or not plain_words(folded[found.end() :])):
        return True
    words = plain_words(text[:1000])
    if question and not subject:
        return not SPEAKERS.intersection(words)
    return _pronoun_without_noun(text[:1000], tongue, set(subject))


def _pronoun_without_noun(text: str, language: str, subject: set[str]) -> bool:
    pronoun, article = anywhere(language, "pronoun"), anywhere(language, "article")
    if pronoun is None:
        return False
    if language in {"ja", "zh", "ko"}:
        folded = fold(text)[0]
        found = pronoun.search(folded)
        return bool(found) and not subject.intersection(plain_words(folded[: found.start()]) if found else ())
    written = [word.strip("\"'“”‘’.,;:!?¿¡()") for word in text.split(" ")]
    written = [word for word in written if word]
    known = False
    for place, word in enumerate(written):
        folded = fold(word)[0].partition("'")[0] if language == "en" else fold(word)[0]
        following = fold(written[place + 1])[0] if place + 1 < len(written) else ""
        is_content = bool(subject.intersection(plain_words(following)))
        if article and article.fullmatch(folded) and is_content:
            known = True
        elif pronoun.fullmatch(folded):
            if not known:
                return True
        elif subject.intersection(plain_words(word)) and (
            "'" in word or (word[:1].isupper() if place else len(written) > 2)
        ):
            known = True
    return False
