"""English requests to remember, and the words of English questions, decided by regular expressions and word lists.

Regular expressions (`statement_to_remember`) decide whether a prompt asks to store a statement, and which part of it is
stored. Word lists decide which words of a question count (`content_words`).
"""

from __future__ import annotations

import re

from brainnet.memory import plain_words, terms

# A request to remember is a polite phrase, a verb of storing or a lead-in ("for the record"), and a joining word
# ("that", a colon). What follows is the statement.
# It is matched after its white space is collapsed. Every repetition is bounded or can be read in one way only, so that
# the time is linear in the length of the text.
_POLITE = r"(?:(?:please|kindly|hey|ok|okay|now|also|and|so|well)\b[ ,]{0,8}){0,6}"
_REQUEST = rf"(?:(?:can|could|would|will) you\b[\s,]*|I(?:'d| would)? (?:want|like|need) you to\b\s*)?{_POLITE}"
_STORE = (
    r"(?:remember|memori[sz]e|(?:do not|don't|never) forget|(?:keep|bear) in (?:mind|your memory)"
    r"|(?:make|take) a note|note down|(?:take|write) (?:this|that) down|remind me(?: later)?"
    r"|file (?:this|that) away|(?:commit|add)(?: this)? to (?:your )?memory|put (?:this|that) in your memory"
    # what else may be kept, saved or known: only with "that", "this", "for me" or a colon
    r"|(?:keep|save|store|know|learn|note|log|record|file)(?=(?: (?:this|that|the following|for me|the fact)\b"
    r"| ?[:,])))"
)
_LEAD_IN = (
    r"(?:for (?:later|the record|your (?:memory|information)|future reference)|just so you (?:know|remember)"
    r"|it is important that you remember|(?:I have|I've got|got|there is) something (?:for you )?to remember"
    r"|let me tell you (?:something|a fact)|you should (?:know|remember))"
)
_THIS = r"(?:(?:this|that|the following|the fact that|of this|about this)\b)"
_THAT = rf"(?:\s+{_THIS})?(?:\s+fact)?(?:\s+for me)?(?:\s*[:,]\s*|\s+)(?:that\s+)?"
# "Remember where I parked?" is a question, with nothing to store.
_NO_QUESTION = r"(?!(?:where|when|what|who|whom|whose|which|how|why|if|whether|about|of|me)\b)"
# The request in front: "Please remember that the key is in the drawer."
_REQUEST_FIRST = re.compile(
    rf"^\W*{_POLITE}(?:{_REQUEST}{_STORE}|{_LEAD_IN}){_THAT}{_NO_QUESTION}(?P<fact>\S.*)$", re.IGNORECASE | re.DOTALL
)
# The request at the end: "The key is in the drawer, remember that."
_REQUEST_LAST = re.compile(
    r"^(?P<fact>.+?)[.,;:!]\s*(?:please\s+)?(?:remember|don't forget|do not forget|keep|note|memori[sz]e)"
    r"(?:\s+(?:this|that|it))?(?:\s+(?:for me|in mind|for later|please))*\s*[.!]*$",
    re.IGNORECASE | re.DOTALL,
)
# "Do you remember ...?" contains a verb of storing, and is a question all the same.
_QUESTION = re.compile(r"^\W*do you (?:still )?(?:remember|know|recall)\b", re.IGNORECASE)

_CLAUSES = re.compile(r"(?<=[.,;:!–—-]) ")
# A clause that asks to remember, anywhere in a text.
_NOTE = re.compile(
    r"(?<!\w)(?:remember(?: it| this| that|ed)?\W*\Z|please remember|remember (?:her|his|its) name|memori[sz]e"
    r"|in (?:your )?memory|(?:don't|do"
    r" not|never|not|let me|bound to) forget|(?:make|take) (?:yourself )?(?:a )?note|keep (?:it|that|this"
    r"|them) (?:safe|in mind)|that"
    r" date in mind|learn that|by heart|(?:ought to|should(?: always)?|want you to|like you to"
    r"|make sure you) (?:always )?know|write"
    r" (?:that|this|it)|hold that thought|in case you (?:wonder|need)|if you need it|remind me|i tell you for"
    r"|track of|let me have it\W*\Z"
    r"|for later|for (?:your )?(?:files|the file|next time)|behind your ears|keep a secret|hold on to)"
)

# Words of a question that do not say what it is about. More than the usual stop words: words of asking, of memory
# and of search ("find", "told", "lost") are in nearly every question to memory.
_QUESTION_STOP_WORDS = frozenset(
    plain_words("""
        a about again all am an and any anything are at be been before by can could did do does earlier
        everything exactly find for forget forgot forgotten from had has have how i if in is it know last left
        let lie lies like look looking lost may me mention mentioned mind my near need now of on or our please
        put recall remember retrieve said say search see seen should so something still store stored tell that
        the their them there these thing things this those time to today told us want was we went were what
        what's when where where's whereabouts which who who's whom whose why will with would yesterday you your
    """)
)
_STOP_BASES = _QUESTION_STOP_WORDS | {"here", "he", "she", "that"}
# Words of a question that are about a picture which came with it: "Which digit is this?"
PICTURE_WORDS = frozenset(
    terms("""
        animal article cloth clothing clothes classify colour color describe depict depicted digit display drawing drawn
        garment guess handwritten identify image item kind label letter name number numeral object photo photograph
        picture piece read recognise recognize represent shape show shown sketch sort type vehicle view visible wear
    """)
)


def statement_to_remember(text: str) -> str | None:
    """Extract the statement that a prompt asks to remember.

    Returns:
        The statement, with its white space collapsed; None when the prompt is a question.
    """
    text = " ".join(text.split())
    if _QUESTION.match(text):
        return None
    first = _REQUEST_FIRST.match(text)
    fact = first["fact"] if first else text
    last = _REQUEST_LAST.match(fact)
    fact = (last["fact"] if last else fact).strip()
    # One word says nothing: "Remember that".
    if not (first or last) or len(plain_words(fact)) < 2:
        return None
    # "Could you remember that ...?": the question mark belongs to the request.
    if fact.endswith("?"):
        fact = fact.rstrip("? ") + "."
    # Only a word in lower case is capitalised: "iPhone" and "McKay" stay as they are.
    return fact[0].upper() + fact[1:] if fact.split()[0].islower() else fact


def noted(text: str) -> str | None:
    """Return a text without its clauses that ask to remember it; None if it has none, or nothing else.

    "The code is 12, you ought to know that." is "The code is 12".
    """
    clauses = _CLAUSES.split(text)
    told = [clause for clause in clauses if not _NOTE.search(clause.lower().replace("’", "'"))]
    return " ".join(told).rstrip(" ,;:–—-") if told and len(told) < len(clauses) else None


def asked_words(text: str) -> list[str]:
    """Return the words of a question in order, as memory compares them; "where's" is "where"."""
    return [word.removesuffix("'s") if word.removesuffix("'s") in _STOP_BASES else word for word in plain_words(text)]


def content_words(text: str) -> list[str]:
    """Extract the words of a question that say what it is about, without repetitions."""
    return [word for word in dict.fromkeys(asked_words(text)) if word not in _QUESTION_STOP_WORDS]
