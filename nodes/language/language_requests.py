"""Which part of a prompt is text to continue, and whether a prompt asks for that at all.

The spiking model continues texts and does nothing else, so a question or a command is not for it. Regular expressions
and word lists decide; a text that stops in the middle of a sentence asks to be continued without a word about it.
"""

from __future__ import annotations

import re

from brainnet.memory import guess_language

# An instruction ends with a colon or is followed by a quotation mark; otherwise "Continue to the bridge" is text. White
# space is bounded, so that the time is linear in the length of the text.
_SPACE = r"\s{1,20}"
_KIND = r"(?:text|story|sentence|passage|paragraph|tale|line|phrase|poem|verse|letter|scene|chapter)"
_INSTRUCTION = re.compile(
    rf"(?:(?:please|can you|could you|would you|will you){_SPACE}){{0,2}}"
    rf"(?:continue|complete|finish|extend|go on with|carry on with|keep writing|write on|go on)"
    rf"(?:{_SPACE}(?:with|from))?(?:{_SPACE}(?:this|the|my|following|a)){{0,5}}"
    rf"(?:{_SPACE}{_KIND})?(?:{_SPACE}(?:for me|please)){{0,2}}\s{{0,20}}(?::|(?<=\s)(?=[\"'“‘«]))",
    re.IGNORECASE,
)
# "Continue the story of the fox", "What comes next: ...": asked for, without a mark between request and text.
_ASKED = re.compile(
    rf"(?:(?:please|can you|could you|would you|will you|now){_SPACE}){{0,2}}"
    rf"(?:(?:continue|complete|finish|extend){_SPACE}(?:with{_SPACE})?(?:this|the|my|that)\b"
    rf"|(?:go on|carry on|keep writing|write on|continue)\s{{0,20}}[.!]?\s{{0,20}}$"
    r"|what (?:comes|happens|follows) next\b|how does (?:it|this|the story) (?:go on|continue|end)\b)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_MARKS_OF_END = ".?!…:;)]}\"'”’»。？！"
# What questions and commands to a brain begin with. Prose may begin so too; it can be quoted after "Continue:".
_BEGINS_REQUEST = frozenset(
    """
    what which who whom whose where when why how is are am was were do does did can could will would shall should have
    has had may might must please tell show give find list name describe explain identify classify recognise recognize
    read look see move reach touch stop halt turn raise lower go point grab put bring remember memorise memorize note
    store save keep forget remind recall delete predict calculate compute translate play set open close start switch
    hello hi hey thanks thank you help write sing draw make let say answer ask
    """.split()  # noqa: SIM905
)
# A question somewhere in the text: "the lamp burnt out, where do we keep new ones".
_ASKS = re.compile(
    r"\b(?:where|when|who|whom|whose|which|wich|what|whats|wheres|whos|how|hows|why)\s{1,4}(?:\w{1,20}\s{1,4})?"
    r"(?:do|does|did|is|are|was|were|can|could|should|shall|will|would|have|has|must|may|to|i|we|you)\b"
    r"|^(?:whats|wheres|whos|hows|whens)\b",
    re.IGNORECASE,
)
UNFINISHED_WORDS = 4
"""Words of the shortest unfinished text that asks to be continued."""
NARRATIVE_WORDS = 14
"""Words of the shortest finished text that is taken for prose to go on with."""
ASKED_FOR = 0.4
"""The bid from which the region continues a text that the router sends it."""


def text_to_continue(prompt: str) -> str:
    """Remove an instruction in front of the text ("Continue the text:") and quotation marks around the rest."""
    prompt = prompt.strip()
    match = _INSTRUCTION.match(prompt)
    text = prompt[match.end() :].strip() if match else prompt
    if match and len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def continuation_asked(prompt: str) -> tuple[float, str]:  # noqa: PLR0911 - one rule per return
    """Return how clearly a prompt asks to continue a text, 0 to 1, and why.

    An instruction asks for it, and so does a text that stops in the middle of a sentence; a long text without a
    question perhaps.
    """
    text = prompt.strip()[:2000]
    if _INSTRUCTION.match(text):
        return 0.97, "asked to continue a text"
    if _ASKED.match(text):
        return 0.9, "asked to continue"
    words = _WORD.findall(text)
    first = words[0].lower() if words else ""
    if "?" in text or _ASKS.search(text) or guess_language(text) not in ("", "en"):
        return 0.0, "not asked to continue an English text"
    if first.partition("'")[0].partition("’")[0] in _BEGINS_REQUEST:
        return 0.0, "not asked to continue a text"
    # Letters without capitals or spaces, as in Japanese, are not what the model has learned.
    if len(words) >= UNFINISHED_WORDS and text[-1] not in _MARKS_OF_END:
        return (0.75 if len(words) > UNFINISHED_WORDS else 0.55), "a text that stops in the middle of a sentence"
    if len(words) >= NARRATIVE_WORDS:
        return 0.45, "a text to go on with"
    return 0.05, "no text to continue"
