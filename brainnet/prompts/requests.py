"""A prompt that asks for several things, split into prompts that each ask for one.

It is decided by the form of the text alone, and for precision: a prompt that stays together is answered in part, and
one that is torn apart is not answered at all. So a part is only split off if it is a question or a command by itself,
and if what stands before it is one too.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_PARTS", "split_requests"]

MAX_PARTS: Final = 4
"""The most requests that a prompt is split into; one with more is left as it is."""
MAX_LENGTH: Final = 600
"""Characters of the longest prompt that is split; longer ones are mostly texts to work on."""

_SENTENCE = re.compile(r"(?<![A-Z]\.)(?<!\b[A-Z][a-z]\.)(?<=[.!?;])[\"'”’)]{0,2}\s{1,8}|(?<=[。！？])\s{0,8}")
_QUOTES = re.compile(r"[\"“”„«»]|(?<!\w)'\w[^']{8,200}'(?!\w)")
_KEPT_TOGETHER = re.compile(
    r"\A\W{0,4}(?:if|when(?! (?:is|are|was|were|do|does|did|will|can))|whenever|as soon as|once|after|before|while"
    r"|wenn|sobald"
    r"|nachdem|bevor|falls|si|quand (?:tu|je|il|elle)|cuando (?:el|la|yo)|se|als)(?!\w)"
    r"|(?<!\w)(?:until|unless|as soon as|whenever|bis du|sobald|jusqu'a|hasta que|finche)(?!\w)",
    re.IGNORECASE,
)
_WORK_ON = re.compile(
    r"\A\W{0,4}(?:please |can you |could you |bitte )?(?:continue|complete|finish|translate|summari[sz]e|rewrite"
    r"|paraphrase|correct"
    r"|improve|proofread|rephrase|shorten|repeat|quote|say|write|setze?|ubersetze|übersetze|traduis|traduce|traduci"
    r"|traduza|vertaal)"
    r"[^.!?:]{0,80}:",
    re.IGNORECASE,
)

# what a second request may begin with: "and then please"
_LEAD = (
    r"(?:(?:please|also|now|then|next|finally|afterwards|first(?:ly)?|second(?:ly)?|and|but|bitte|dann|danach|zuerst"
    r"|auch|noch"
    r"|anschließend|puis|ensuite|aussi|d'abord|luego|después|despues|también|primero|poi|dopo|anche|prima|depois"
    r"|também|primeiro"
    r"|daarna|dan|ook|eerst|lastly|afterward|thirdly|could you|can you|would you|kannst du|peux-tu|puedes|puoi"
    r"|you can)\b,? ?){0,4}"
)
_LEADING = re.compile(rf"\A\s{{0,4}}{_LEAD}", re.IGNORECASE)
_FIRST = re.compile(
    r"\A\s{0,4}(?:first(?:ly)?(?: of all)?|zuerst|zunächst|als erstes|d'abord|primero|prima|primeiro|eerst)\b,? ?",
    re.IGNORECASE,
)
# where a sentence may be split
_JOINT = re.compile(
    r"(?:,|;)? (?:and|und|et|y|e|en)(?: (?:then|also|please|after that|afterwards|finally|dann|danach|auch|bitte"
    r"|anschließend|puis"
    r"|ensuite|aussi|luego|después|despues|también|poi|dopo|anche|depois|também|daarna|dan|ook)){0,2},? "
    r"|(?:,|;) ?(?:then|after that|afterwards|next|finally|dann|danach|anschließend|puis|ensuite|luego|después"
    r"|despues|poi|dopo"
    r"|depois|daarna|dan|but)(?: (?:also|please|bitte|auch))?,? "
    r"| (?:then|und dann|dann|puis|luego|poi|depois)(?: please)? "
    r"|; ",
    re.IGNORECASE,
)
_THEN = re.compile(
    r"(?:then|after|next|finally|dann|danach|anschließend|puis|ensuite|luego|despu|poi|dopo|depois|daarna"
    r"|(?<!\w)dan(?!\w)|;)",
    re.IGNORECASE,
)

_MOVE = (
    r"(?:move|go|turn|rotate|lift|raise|lower|reach|stretch|extend|bend|swing|drive|steer|shift|slide|touch|point"
    r"|return|come back"
    r"|bewege?|fahre?|gehe?|drehe?|hebe?|senke?|strecke?|berühre|zeige auf|bouge|déplace|deplace|va|tourne|lève|leve"
    r"|touche|baisse"
    r"|mueve|ve a|gira|levanta|baja|toca|muovi|vai|alza|abbassa|mova|vá|gire|levante|abaixe|toque|beweeg|ga naar"
    r"|draai|til)"
)
_TELL = (
    r"(?:(?:tell|remind|show|give|send|read) (?:me|us)|say|let me know|answer|sag(?:e)? (?:mir|uns)|erzähle? mir"
    r"|zeige? mir|erinnere? mich"
    r"|nenne? mir|dis[- ]moi|montre[- ]moi|raconte[- ]moi|rappelle[- ]moi|dime|muéstrame|recuérdame|cuéntame|dimmi"
    r"|mostrami|ricordami"
    r"|diga[- ]me|diz[- ]me|me diga|mostre[- ]me|zeg me|zeg mij|vertel me|vertel mij|toon me)"
)
_KEEP = (
    r"(?:(?:please )?(?:remember|note|memori[sz]e|save|store)(?: that|:| this)|don't forget|do not forget|forget"
    r"|delete|erase|merke? dir"
    r"|vergiss|souviens[- ]toi|n'oublie pas|oublie|recuerda que|no olvides|olvida|ricorda che|ricordati"
    r"|non dimenticare|dimentica"
    r"|lembre[- ]se|não esqueça|esqueça|onthoud|vergeet)"
)
_MAKE = (
    r"(?:(?:write|compose|tell me|sing|recite|invent) (?:me )?an?(?= )|predict|classify|describe|explain|list"
    r"|translate|calculate|compute|"
    r"stop|wait|wave|schreibe?|erkläre?|beschreibe?|stopp|warte|écris|explique|décris|escribe|explica|describe"
    r"|scrivi|spiega|escreva|explique"
    r"|schrijf|leg uit)"
)
_COMMAND = re.compile(rf"(?:{_MOVE}|{_TELL}|{_KEEP}|{_MAKE})(?!\w)", re.IGNORECASE)
_MOVEMENT = re.compile(rf"{_MOVE}(?!\w)", re.IGNORECASE)
_TELLING = re.compile(rf"{_TELL}(?!\w)", re.IGNORECASE)
_KEEPING = re.compile(rf"{_KEEP}(?!\w)", re.IGNORECASE)

_KEEPS = re.compile(r"(?:remember|recall|merke? dir|souviens-toi|recuerda|ricorda|lembre|onthoud)(?!\w)", re.IGNORECASE)

_QUESTION_WORD = (
    r"(?:where|when|who|whom|whose|what|which|why|how|what's|where's|who's|when's|how's|wo|wann|wer|wen|wem|wessen"
    r"|was|welche[rsnm]?|warum"
    r"|wieso|wie|wohin|woher|où|ou|quand|qui|que|qu'est-ce que|qu'est-ce qui|quel(?:le)?s?|pourquoi|comment|combien"
    r"|à quelle heure"
    r"|dónde|donde|cuándo|cuando|quién|quien|qué|cuál|cual|por qué|cómo|como|cuántos?|cuántas?|dove|dov'è|quando|chi"
    r"|cosa|che cosa|quale"
    r"|perché|come|quant[oiae]|onde|quem|qual|por que|quant[ao]s?|waar|wanneer|wie|wat|welke?|waarom|hoe|hoeveel"
    r"|(?:in|on|at|from|to|with|for"
    r"|by) (?:which|what|whom)|in welche[mrn]|um wie viel)"
)
_ASKS = re.compile(rf"(?:¿ ?)?{_QUESTION_WORD}(?!\w)", re.IGNORECASE)
_ENGLISH = re.compile(r"(?:where|when|who|what|which|why|how)", re.IGNORECASE)
# a verb in front of its subject
_SUBJECT = (
    r"(?:the|my|our|your|his|her|their|there|i|you|we|they|he|she|it|this|that|these|those|any|anyone|someone|everyone"
    r"|[A-Z]\w{1,20})"
)
_INVERTED = re.compile(
    rf"(?:(?:[Ii]s|[Aa]re|[Ww]as|[Ww]ere|[Dd]o|[Dd]oes|[Dd]id|[Cc]an|[Cc]ould|[Ww]ill|[Ww]ould|[Ss]hould|[Hh]as"
    rf"|[Hh]ave) {_SUBJECT}"
    r"|(?:[Ii]st|[Ss]ind|[Ww]ar|[Hh]at|[Hh]aben|[Kk]ann|[Kk]annst|[Ww]eißt) (?:der|die|das|mein|meine|du|er|sie|es"
    r"|ich|[A-Z]\w{1,20})"
    r"|[Ee]st-ce que)(?!\w)"
)
_INDIRECT = re.compile(
    rf"(?:{_TELL}|do you (?:still )?(?:know|remember)|(?:can|could|would) you (?:please )?(?:tell|remind|show) me"
    rf"|i (?:want|need|would like) to"
    r" know|i wonder|weißt du|kannst du mir sagen|ich möchte wissen|sais-tu|peux-tu me dire|sabes|puedes decirme|sai"
    r"|puoi dirmi|você sabe|sabe"
    r"|weet je|kun je me vertellen)(?!\w)",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"(?<!\w)(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|must|may|\w{1,20}'s"
    r"|\w{2,20}(?:s|ed)|put|kept|left|took"
    r"|gave|ist|sind|war|waren|hat|haben|kann|\w{2,20}t|est|sont|était|a|ont|se trouve|está|están|es|son|tiene|vive"
    r"|è|sono|ha|sta|vive|é|estão"
    r"|tem|fica|mora|zijn|heeft|heet|staat|ligt)(?!\w)",
    re.IGNORECASE,
)
_HANGING = re.compile(
    r"(?<!\w)(?:where|when|who|what|which|why|how|and|or|the|a|an|my|of|in|on|at|to|with|that|if|whether|wo|wann|wer"
    r"|und|oder|der|die|das|où"
    r"|quand|et|ou|dónde|cuándo|y|o|dove|e|onde|en|waar)\W{0,3}\Z",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"(?<!\w)(?:it|its|it's|they|them|their|he|she|him|his|her|this|these|that|those|one|there|es|ihn|ihm|sie|er"
    r"|damit|davon|il|elle|lui"
    r"|ça|cela|él|ella|lui|lei|ele|ela|isso|het|hij|hem|dat)(?!\w)(?! (?:the|is the))",
    re.IGNORECASE,
)
_SUBJECT_QUESTION = re.compile(
    r"(?:who|what|which|whose|wer|was|welche[rsnm]?|qui|quien|quién|chi|quem|wie|wat|welke?)(?!\w)", re.IGNORECASE
)
_ABOUT_IT = re.compile(r"(?:is|are|was|were) (?:it|this|that|they|he|she)(?!\w)", re.IGNORECASE)
_SAME_THING = re.compile(r"(?:what|which|who) (?:is|are|was) (?:it|this|that|they)(?!\w)", re.IGNORECASE)
_COUNTED = re.compile(
    r"(?:how (?:many|much)|which|what) (?!(?:is|are|was|were|do|does|did|has|have|can|will|would"
    r"|should)(?!\w))\w{1,30}",
    re.IGNORECASE,
)
_PLACE = re.compile(r"[(\[]? ?[-+−]?\d{0,3}[.,]?\d{1,4} ?, ?[-+−]?\d{0,3}[.,]?\d")
_GOAL = re.compile(
    r"(?:back )?(?:to|towards|over to|up|down|left|right|zu|nach|zurück|à|vers|a|hacia|verso|para|naar)(?!\w)"
    r"|[(\[] ?[-+−]?\d",
    re.IGNORECASE,
)
_TO = re.compile(r"(?<!\w)(?:to|zu|nach|à|a|vers|hacia|verso|para|naar)(?= [(\[\d-])", re.IGNORECASE)


def split_requests(text: str) -> list[str]:
    """Split a prompt that asks for two to `MAX_PARTS` things into prompts that each ask for one, in order.

    "Move to (0.1, 0.1) and tell me where the rover is" becomes "Move to (0.1, 0.1)" and "tell me where the rover is";
    "Go to (0.1, 0.1), then to (0.2, 0)" becomes "Go to (0.1, 0.1)" and "Go to (0.2, 0)". Texts to continue or to work
    on, quotations and conditions are not split. It takes time linear in the length of the text.

    Returns:
        The parts without the words that join them; the text alone, unchanged, if it is not split.
    """
    if len(text) > MAX_LENGTH:
        return [text]
    plain = " ".join(text.replace("’", "'").split())
    if _QUOTES.search(plain) or _KEPT_TOGETHER.search(plain) or _WORK_ON.match(plain):
        return [text]
    parts: list[str] = []
    for sentence in _sentences(plain):
        first, *others = _clauses(sentence)
        if parts and not _begins_another(parts[-1], first):
            parts[-1] = f"{parts[-1]} {first}"
        else:
            parts.append(first)
        parts += others
    if not 2 <= len(parts) <= MAX_PARTS or not all(map(_is_request, parts)):
        return [text]
    return [_without_lead(part) for part in parts]


def _sentences(text: str) -> list[str]:
    return [sentence for part in _SENTENCE.split(text) if (sentence := part.strip())]


def _bare(part: str) -> str:
    found = _LEADING.match(part)
    return part[found.end() :] if found else part


def _without_lead(part: str) -> str:
    return (_bare(part) if _is_request(_bare(part)) else part).strip(" ,;")


def _is_question(part: str) -> bool:
    bare = _bare(part)
    if _ASKS.match(bare):
        return bool(_VERB.search(bare)) or part.endswith("?") or not _ENGLISH.match(bare)
    return bool(_INVERTED.match(bare) or _INVERTED.match(part)) or part.rstrip().endswith(("?", "？"))


def _is_request(part: str) -> bool:
    return bool(_COMMAND.match(_bare(part))) or bool(_INDIRECT.match(_bare(part))) or _is_question(part)


def _begins_another(before: str, part: str) -> bool:
    """Return whether a sentence or clause is a request of its own, after another one."""
    bare = _bare(part)
    if not _is_request(part) or not _is_request(before):
        return False
    short = _is_short(bare) and not re.fullmatch(r"(?:stop|wait|wave|stopp|warte)\W{0,3}", bare, re.IGNORECASE)
    if short or _is_short(_bare(before)):
        return False
    if _COMMAND.match(bare) and not part.endswith("?"):
        return not (_PRONOUN.search(bare) and not _KEEPING.match(bare)) or bool(_PLACE.search(bare))
    # "Would you look at that! What is it?", "Remember the load? Are you used to it?": the same thing
    same = not before.endswith(("?", "？")) or _ABOUT_IT.search(bare) or _KEEPS.match(_bare(before))
    return not (_PRONOUN.search(bare) and same)


def _is_short(part: str) -> bool:
    # what is written without spaces has its words in one
    return len(part.split()) < 3 and (part.isascii() or len(part) < 6 or " " in part)


def _clauses(sentence: str) -> list[str]:
    """Split one sentence at its joining words, wherever a request follows and another one stands before."""
    first = _FIRST.match(sentence)
    rest = sentence[first.end() :] if first else sentence
    parts, begin = [], 0
    for joint in _JOINT.finditer(rest):
        before, after = rest[begin : joint.start()], rest[joint.end() :]
        carried = _carried(before, joint.group(), after)
        if carried is not None:
            parts.append(before)
            # what follows is read on with the verb in front of it
            return [*parts, *_clauses(carried)]
        if _can_split(before, joint.group(), after):
            parts.append(before)
            begin = joint.end()
    return [*parts, rest[begin:]]


def _carried(before: str, joint: str, after: str) -> str | None:
    """Return "to (0.2, 0)" with the verb of the movement before it; None if it is no such place."""
    if re.search(r"(?<!\w)(?:between|zwischen|entre|tra|tussen)(?!\w)", before, re.IGNORECASE):
        return None
    verb = _MOVEMENT.match(_bare(before))
    goal = _GOAL.match(after)
    if not verb or not goal or not _PLACE.search(before) or not _PLACE.search(after[:40]):
        return None
    words = verb.group()
    # "Move the arm to (0.1, 0.1), then (0.2, 0)": with all that stands before the place
    to = _TO.search(before)
    lead = before[: to.start()].rstrip() if to else words
    lead = _bare(lead) or words
    if goal.group().lstrip().startswith(("(", "[")) or goal.group()[:1].isdigit():
        lead = f"{lead} {to.group() if to else 'to'}"
    return f"{lead} {after}"


def _can_split(before: str, joint: str, after: str) -> bool:
    bare_before, bare = _bare(before), _bare(after)
    if not _is_request(before) or _HANGING.search(before):
        return False
    then = bool(_THEN.search(joint))
    if re.match(r"(?:stop|wait|stopp|warte)(?!\w)", bare, re.IGNORECASE):
        return then and bool(_MOVEMENT.match(bare_before)) and len(bare_before.split()) > 2
    if len(bare_before.split()) < 3 or len(bare.split()) < 3:
        return False
    if _COMMAND.match(bare):
        return _command_after(bare_before, bare, then=then)
    if joint.strip(" ,;") == "" and not after.endswith("?"):
        return False
    return _question_after(bare_before, bare, whole_question=after.endswith("?"))


def _command_after(before: str, bare: str, *, then: bool) -> bool:
    """Return whether a command is another request than what stands before it."""
    # up to the next joint: what comes later may have pronouns of its own
    clause = _JOINT.split(bare)[0]
    if _PRONOUN.search(clause) and not _PLACE.search(clause) and not _KEEPING.match(bare):
        return False
    if _MOVEMENT.match(bare):
        # "Stretch the arm and touch (0.1, 0.1)" is one movement
        if _MOVEMENT.match(before):
            return then or bool(_PLACE.search(before) and _PLACE.search(clause))
        return then or bool(_PLACE.search(clause)) or not _COMMAND.match(before)
    if _KEEPING.match(before) and not _TELLING.match(bare):
        return then
    return bool(_COMMAND.match(before) or _INDIRECT.match(before) or _is_question(before))


def _question_after(before: str, bare: str, *, whole_question: bool) -> bool:  # noqa: PLR0911 - one rule per return
    """Return whether a question is another request than what stands before it."""
    clause = _JOINT.split(bare)[0]
    if _ASKS.match(bare):
        if not _VERB.search(clause) and _ENGLISH.match(bare):
            return False
        if _KEEPING.match(before) and not whole_question:
            return False
        if _SAME_THING.match(bare):
            return False  # "Which end is the front, and what is it?"
        if _ASKS.match(before):
            counted = _COUNTED.match(before)
            return bool(_VERB.search(before[counted.end() :] if counted else before))
        if _INDIRECT.match(before):
            # "Tell me that ... and where ..." has no first question
            return bool(re.search(rf"(?<!\w){_QUESTION_WORD}(?!\w)", before, re.IGNORECASE))
        return whole_question and (_is_question(before) or bool(_MOVEMENT.match(before) or _KEEPING.match(before)))
    if _INVERTED.match(bare) and whole_question and not _ABOUT_IT.match(bare):
        if re.match(r"ha(?:s|ve) ", bare, re.IGNORECASE):
            return False
        if _ASKS.match(before) and _SUBJECT_QUESTION.match(before):
            return bool(re.match(r"(?:do|does|did|can|could|will|would|should) ", bare, re.IGNORECASE))
        return True
    return False
