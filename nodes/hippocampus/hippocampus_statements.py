"""Whether a text without a request is a plain statement that a memory should keep.

It is decided for precision: what is not kept can be said again with "Remember that", and what is kept by mistake is
answered as a fact. So stories, texts to continue, commands, thanks and feelings are not statements.
"""

from __future__ import annotations

import re
from typing import Final

from brainnet.memory import fold, plain_words
from hippocampus_phrases import anywhere, leading, trailing

MAX_WORDS: Final = 45
"""Words of the longest plain statement."""
MAX_SENTENCES: Final = 3

_UNFINISHED = re.compile(
    r"(?:[,:;(\[—–-]|\.\.\.|…|(?<!\w)(?:and|or|but|the|a|an|of|to|in|on|at|with|for|from|by|that|because|if|when"
    r"|while|was"
    r"|were|is|are|my|your|his|her|their|our|very|until|after|before|as|than|into|like|und|oder|aber|der|die|das"
    r"|dass|weil|et|ou|mais|que|de|y|pero|e|ma|che"
    r"|en|of|maar|och|og|men|i|a|и|но|что))\W{0,3}\Z"
)
_CHATTER = re.compile(
    r"\A(?:thanks?|thank you|thx|you(?:'re| are)? (?:are|is|so|very|a|an|my|too|really|great|welcome|funny|nice"
    r"|wrong|right"
    r"|good|the best|kind|smart)|you're|good (?:morning|evening|night|job|work|bye)|bye|goodbye|yes|yeah|yep|no|nope"
    r"|sure"
    r"|great|nice|cool|wow|awesome|perfect|well done|that(?:'s| is| was) (?:all|it|great|nice|good|cool|fine|funny"
    r"|right|true"
    r"|interesting|amazing|correct|ok|okay|awesome|enough|sad|too bad|wonderful|perfect|very \w{1,12})|nothing"
    r"|never mind"
    r"|once upon a time|there (?:was|were|once)|it (?:was|had)|long ago|in the beginning|chapter \w{1,8}"
    r"|i (?:want|wish|hope|wonder|guess|would|think|feel|love you|see|understand|agree|said|mean|don't understand"
    r"|don't know"
    r"|do not know|could|can't believe|need help|beg|thank|am (?:sad|happy|bored|tired|sorry|fine|ok|okay|back|here"
    r"|hungry"
    r"|ready|done|glad|so|very|not sure|curious|lost|confused|excited|afraid|in love)|have (?:no idea|a question"
    r"|to go))\b"
    r"|i'd|i did(?:n't| not)|i (?:love|miss|hate|adore) (?:the|this|that|when|how|it)|no one|nobody|in my dream"
    r"|[A-Z]{3,20}: |i'm (?:sad|happy|bored|tired|sorry|fine|ok|okay|back|here|hungry|ready|done|glad|so|very"
    r"|not sure|curious|lost"
    r"|confused|excited|afraid|good|in love)\b|danke|merci|gracias|grazie|obrigad[oa]|dank je|bedankt|tack|takk|tak"
    r"|kiitos"
    r"|dzieki|dziekuje|спасибо|дякую|tesekkur|ευχαριστω|شكرا|תודה|धन्यवाद|ありがとう|谢谢|고마워"
    r"|es war einmal|il etait une fois"
    r"|erase una vez|habia una vez|c'era una volta|era uma vez|er was eens|det var en gang|der var engang"
    r"|dawno,? dawno temu"
    r"|жили-были|жил-был|昔々|むかしむかし|从前|옛날)(?!\w)"
)
_QUOTES = re.compile('["“”„«»]')
_SENTENCE_END = re.compile(r"[.!。！](?= |\Z)|[。！]")
# Verbs that state how things are. "'s" and "n't" are part of the words as they are written.
_COPULA: Final = frozenset(
    """is are am isn't aren't has have hasn't haven't can can't cannot will won't must should shouldn't may does
    doesn't do don't needs i'm i've we're we've i'll we'll they're they've it's
    he's she's that's there's""".split()  # noqa: SIM905
)
_AFTER_IS: Final = frozenset(
    """in on at under above behind beside near with by over from inside outside upstairs downstairs the a an not
    called named closed open broken gone locked always now still already also due
    ready away here there""".split()  # noqa: SIM905
)
"""What comes after "'s" where it is "is", and not after a possessive."""
_PAST: Final = frozenset(
    """was were had did wasn't weren't hadn't didn't wouldn't would
    could couldn't i'd we'd""".split()  # noqa: SIM905
)
_STATES: Final = frozenset(
    """report display boil break burn charge connect control detect freeze melt monitor print reach smell weld
    accept arrive bake begin belong bike bring build buy call carry celebrate charge clean close collect come
    commute complain consist contain cook cost count cover cycle cycles dance deliver depart dislike drink drive
    eat end enjoy enter expire face fear feed fit fly forget get give go grow hang happen hate have hold host
    include install join jog keep know last lead learn leave lie like listen live look love make manage marry mean
    measure meet miss move need open order owe own park pay plan play practise practice prefer produce provide put
    read receive rent repair require rest ride run say sell send serve share show sing sit sleep smell smoke snore
    sort speak spell spend stand start stay stop store study suffer supply support swim take talk taste teach tell
    train travel turn understand use visit wait wake walk want wash watch water wear weigh work worry write
    recharge reboot run""".split()  # noqa: SIM905
)
_PAST_FORMS: Final = frozenset(
    """ate became began bought broke brought built came caught chose cut did drank drove fell felt flew forgot
    found gave got grew had heard hid hung kept knew laid learnt left lent lost made meant met paid put ran read
    rode said sang sat saw sent set slept sold spent spoke stood stole swam taught told took went were woke won
    wore wrote""".split()  # noqa: SIM905
)
_SUBJECT_AND_VERB: Final = frozenset(
    "i'm we're i've we've it's he's she's there's they're i'll we'll".split()  # noqa: SIM905
)
_FIRST_PERSON: Final = frozenset("i we my our i'm i've we're we've i'll we'll i'd".split())  # noqa: SIM905
_MARKER = re.compile(
    r"(?<!\w)(?:\d|yesterday|today|tonight|tomorrow|mondays?|tuesdays?|wednesdays?|thursdays?|fridays?|saturdays?"
    r"|sundays?"
    r"|january|february|march|april|june|july|august|september|october|november|december"
    r"|(?:last|next) (?:week|month|year|night|time)|this (?:morning|week|month|year|afternoon)|ago|born|noon|midnight"
    r"|o'clock)"
)
"""What a fact has more often than a story: numbers, days and months."""
_PUT: Final = frozenset(
    """put parked left moved stored hid hung placed lent gave bought sold locked changed borrowed booked hired met
    kept scheduled cancelled canceled installed replaced repaired named called ordered promised agreed decided
    started switched paid owed wrote saved packed returned rented appointed planned""".split()  # noqa: SIM905
)
"""Verbs of what first persons tell to be remembered."""
_I_AM = re.compile(
    r"i(?:'m| am) (?:an? (?!bit|little)|the |from |allergic|called|named|born|married|single|divorced|vegetarian|vegan"
    r"|diabetic|\d|living|working|studying|left-handed|right-handed|deaf|blind|colou?r-?blind|on holiday|away"
    r"|\w{3,12} years"
    r"|in (?!the mood|love|a)|at (?!a loss)|[a-z]{3,15}\W*\Z)|i(?:'ve| have| had) (?!been|never|the impression|no |to )"
    r"|i (?:\w{3,9}ly |always |never |often |usually )?(?!miss|need|can|could|don't feel|do not feel|dream|sense|fear"
    r"|believe|regret|suppose|doubt|bet)[a-z']{2,}"
)
_MOOD = re.compile(
    r"(?<!\w)(?:nervous|scared(?! of)|heartbroken|sad|lonely|mad|awful|horrible|rotten|wonderful|worried|convinced"
    r"|in the mood|afraid(?! of)|magical|feel(?:s|ing)? (?:like|so|as)|strange feeling|felt like|no one ever"
    r"|nobody ever|all my friends"
    r"|so much|at last|such is|it is said|they say|(?:driving|making|killing) me"
    r"|talking to me|listens to me|fed up|can't stop|can't sleep|can't get|never liked|stopped talking|as if"
    r"|i didn't|i did not|get out of bed"
    r"|cheer|don't cry|poem|story|verse|rhyme|novel|haiku|limerick|fairy tale|let's|let us|i'm going to"
    r"|getting married)(?!\w)"
)
"""What is said in conversation, or about a text to be written."""
_IS_NAMED = re.compile(r"(?!that|what|here|where|who|how|this|let|when|why)[a-z]{2,20}'s\Z")
"""A name with "is"."""
_THERE_IS = re.compile(r"(?:in|on|under|at|behind|beside|inside) [^,.!?]{2,60},? there (?:is|are) [^.!?]{2,60}\.\Z")
_BY_NAME = re.compile(r" (?:was|were) \w{3,20}(?:ed|en|t) by [A-Z]")
"""Who did it: "The drill was borrowed by Paul."."""
_FOUND = re.compile(r"you(?:'ll| can| will)? (?:find|reach|see) (?:the|my|our|\w{1,20}'s) [^.!?]{3,80}\.?\Z")
_PAIR = re.compile(r"(?<![\d.])-?0?\.\d{1,4}(?:,| by| and| x) -?0?\.\d")
"""A place within the reach of an arm, which is a command rather than a fact."""
_BODY: Final = frozenset("arm arms hand hands finger fingertip tip gripper elbow shoulder wrist".split())  # noqa: SIM905
_SHOULD: Final = frozenset("should must too needs has have".split())  # noqa: SIM905
_SUBORDINATE: Final = frozenset(
    """if when while who which where because until than whether how what
    whatever wherever whenever as""".split()  # noqa: SIM905
)
_LEADS: Final = frozenset(
    """with in for before after on at to by from just now so as then while when where whenever wherever if here
    sometimes honestly sweetheart such nobody none one it's there
    they somewhere once far""".split()  # noqa: SIM905
)
"""Words that begin a fact only if it has a number or a day."""
_ENTRY = re.compile(r"\A(?:(?:the|my|our) )?[\w'-]{2,20}(?: [\w'-]{1,20}){0,4}: ?\S{1,40}(?: \S{1,40}){0,6}\Z")
_CLAUSES = re.compile(
    r"[,;:.!] (?:(?:and|then|so|but|please|now|anyway|simply|just) ){0,3}| and (?=(?:go|get|touch|tell|look|press) )"
)
_FINITE = re.compile(r" (?:is|are|was|were|has|have|'s|will|can|costs?|starts?|begins?|ends?|closes?|opens?)(?!\w)")
_SUBJECT_START: Final = frozenset(
    """the a an my our his her their its this that these those there every each
    all both some no""".split()  # noqa: SIM905
)
_THIRD_PRONOUNS: Final = frozenset("he she it they".split())  # noqa: SIM905
_WANTS = (
    r"(?!veux|voudrais|aimerais|pense|crois|suis (?:triste|content|fatigue)|t'aime|will|mochte|wurde|glaube|denke"
    r"|liebe dich|bin (?:mude|traurig)|quiero|creo|pienso|voglio|vorrei|penso|credo|quero|acho|wil|zou|denk|хочу|думаю"
    r"|hou van je|люблю тебя|chce|mysle)"
)
_FIRST_PERSONS: Final = {
    language: re.compile(rf"(?:{who}){_WANTS}\w")
    for language, who in {
        "fr": "je |j'|nous ", "de": "ich |wir ", "es": "yo |nosotros ", "it": "io |noi ", "pt": "eu |nos ",
        "nl": "ik |we |wij ", "sv": "jag |vi ", "da": "jeg |vi ", "no": "jeg |vi ", "pl": "ja |my ",
        "ru": "я |мы |мо[яйеи] |наш[аеи]? ", "uk": "я |ми |мі[яйє] ",
    }.items()
}  # fmt: skip
"""How a statement of a first person begins."""
_NO_VERB_NEEDED: Final = {
    # languages whose statements need no verb: "Ключ в ящике."; a preposition or a pronoun shows them
    "ru": re.compile(r"(?<!\w)(?:в|во|на|у|под|за|над|с|со|возле|рядом|мое имя|меня)(?!\w)|[—–-] | \d"),
    "uk": re.compile(r"(?<!\w)(?:в|у|на|під|за|над|з|біля|поруч|мене)(?!\w)|[—–-] | \d"),
}


def is_statement(text: str, language: str, *, lenient: bool = False) -> bool:  # noqa: PLR0911 - one rule per return
    """Return whether a text is a plain statement.

    Args:
        text: The text with its white space collapsed, without a greeting in front.
        language: Its language.
        lenient: It is known to be meant for memory, as after "No, ..."; so the past of third persons and statements
            without a sign of who speaks count too.
    """
    folded = fold(text)[0]
    words = plain_words(text)
    if not words or len(words) > (2 * MAX_WORDS if language in {"ja", "zh"} else MAX_WORDS):
        return False
    if "?" in folded or "؟" in folded or _quotes(text) or len(_SENTENCE_END.findall(text)) > MAX_SENTENCES:
        return False
    if _CHATTER.match(folded) or (not folded.endswith(".") and _UNFINISHED.search(folded)) or folded.endswith("..."):
        return False
    if language == "en":
        return _english(text, lenient=lenient)
    command = leading(language, "command")
    if command and command.match(folded):
        return False
    last = trailing(language, "verbs_last")
    if last:
        return bool(last.search(folded))
    some = anywhere(language, "verbs_anywhere")
    if some:
        return bool(some.search(folded)) and len(words) >= 2
    if len(words) < 2:
        return False
    if language in _NO_VERB_NEEDED and _NO_VERB_NEEDED[language].search(folded):
        return True
    if language in {"ar", "he"} and text.endswith("."):
        return True  # "My car is blue" is two words without a verb
    verbs, first = anywhere(language, "verbs"), _FIRST_PERSONS.get(language)
    return bool((verbs and verbs.search(folded)) or (first and first.match(folded)))


def _quotes(text: str) -> bool:
    """Return whether a text quotes more than a word: somebody speaks in it."""
    marks = [mark.start() for mark in _QUOTES.finditer(text)]
    return bool(marks) and (len(marks) != 2 or marks[1] - marks[0] > 30)


def _english(text: str, *, lenient: bool) -> bool:  # noqa: PLR0911 - one rule per return
    # the words as they are written, apart from case and punctuation: "isn't" is a verb
    written = [word.strip(".,;:!()") for word in text.replace("’", "'").split(" ")]
    written = [word for word in written if word]
    words = [word.lower() for word in written]
    if len(words) < 3 and not (lenient and len(words) == 2):
        return False
    place = _verb(words)
    if place is None:
        return not lenient and _is_entry(text, words)
    if place == 0 and words[0] not in _SUBJECT_AND_VERB and not _IS_NAMED.match(words[0]):
        return False  # a command, or a question without its mark
    if _commands(text, words, place):
        return False
    if lenient:
        return True
    low = text.lower()
    if _FOUND.match(low):
        return True
    if "you" in words or ("your" in words and not low.startswith("your name")) or _MOOD.search(low):
        return False
    if _PAIR.search(low) or (_BODY.intersection(words) and _SHOULD.intersection(words)):
        return False
    if _SUBORDINATE.intersection(words[1:place]):
        return False
    return _is_told(text, written, words, place)


def _is_told(text: str, written: list[str], words: list[str], place: int) -> bool:  # noqa: PLR0911 - one rule per return
    """Return whether an English sentence with its finite verb at `place` tells a fact, rather than a story."""
    first, verb, low = words[0], words[place], text.lower()
    strong, ended = bool(_MARKER.search(low)), text.endswith((".", "!"))
    if first in _LEADS and not strong and not _THERE_IS.match(low):
        return False
    if not ended and "," in text and not strong:
        return False
    if verb in _PAST or verb in _PAST_FORMS or (verb.endswith("ed") and verb not in _STATES):
        # the past of first persons is told, if it says where something was put; other past is mostly a story
        if first in _FIRST_PERSON and (_PUT.intersection(words[: place + 2]) or strong):
            return True
        told = ended and first not in _THIRD_PRONOUNS and len(words) <= 14
        if told and (_BY_NAME.search(text) or (_PUT.intersection(words) and {"my", "our"}.intersection(words[place:]))):
            return True
        return (
            strong
            and (ended or (len(words) <= 8 and first in _SUBJECT_START))
            and first not in _FIRST_PERSON | _THIRD_PRONOUNS
            and len(words) <= 16
        )
    if first in {"i'm", "i"} and not _I_AM.match(low):
        return False
    if first in _FIRST_PERSON or first in _SUBJECT_START or first in _THIRD_PRONOUNS or strong:
        return len(words) <= (25 if ended or strong else 14)
    # a name, or a noun without an article: "Anna likes tea.", "Breakfast is at eight."
    return (written[0][:1].isupper() or text.islower()) and len(words) <= 20


def _is_entry(text: str, words: list[str]) -> bool:
    """Return whether a text is like an entry of a notebook: "Door code: 4711"."""
    command = leading("en", "command")
    entry = _ENTRY.match(text)
    return (
        bool(entry)
        and not _PAIR.search(text)
        and not (command and command.match(words[0]))
        and any(map(str.isdigit, text))
    )


def _commands(text: str, words: list[str], place: int) -> bool:
    """Return whether one of the clauses begins with a verb of command, or with "please"."""
    command = leading("en", "command")
    if command is None:
        return False
    if command.match(words[0]) and place != 1:
        return True
    for clause in _CLAUSES.split(text.lower().replace("’", "'"))[1:]:
        found = command.match(clause)
        if found and not _FINITE.match(clause[found.end() :]):
            return True
    return False


def _verb(words: list[str]) -> int | None:  # noqa: PLR0911 - one rule per return
    """Return the place of the first finite verb."""
    for place, word in enumerate(words[:14]):
        if word in _COPULA or word in _PAST:
            return place
        if word.endswith("'s") and place + 1 < len(words) and words[place + 1] in _AFTER_IS:
            return place
        subject = words[place - 1] if place else ""
        if (
            place
            and subject in {"i", "we", "they", "you"}
            and (word in _STATES or word in _PAST_FORMS or word.endswith("ed"))
        ):
            return place
        # "often", "usually" and "always" stand between
        if place > 1 and words[0] in {"i", "we", "they"} and place <= 2 and (word in _STATES or word.endswith("ed")):
            return place
        if place and _is_third_person(word) and subject not in {"the", "a", "an", "my", "our", "to", "of", "and", "in"}:
            return place
        if (
            place
            and (word in _PAST_FORMS or (word.endswith("ed") and len(word) > 4))
            and subject not in {"the", "a", "an"}
        ):
            return place
        if (
            place >= 2
            and word in _STATES
            and words[0] in _SUBJECT_START | {"my", "our"}
            and words[place - 1].endswith("s")
        ):
            return place  # "The meetings start at nine."
    return None


def _is_third_person(word: str) -> bool:
    """Return whether a word is a verb with the ending of the third person."""
    if not word.endswith("s") or len(word) < 4:
        return False
    bases = {word[:-1], word[:-2] if word.endswith("es") else "", word[:-3] + "y" if word.endswith("ies") else ""}
    return bool(bases & _STATES)
